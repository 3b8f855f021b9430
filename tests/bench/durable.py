"""A whole fan-out with everything that makes it durable, against a bare loop over the same library.

The bare loop renders before the clock starts, keeps nothing and asks nobody: what is left is the library, the loopback
and the sink, which both share. Runs alternate, so that what else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02
from pywebpush import webpush_async

from domain.people import Channel
from domain.shards import Circle, Purpose
from domain.warnings import Status, WarningState
from notifiers.channel import LINK as PLACE
from notifiers.channel import Notifier, Rendered
from notifiers.render import render
from notifiers.sms import SmsNotifier, SmsSettings
from notifiers.webpush import WebPushNotifier, WebPushSettings, topic
from tests.bench.figures import Figure, figure
from tests.bench.rig import ACCOUNT, TOKEN, Sink, content, fan_out, installation, sink

PEOPLE = 3000
ROUNDS = 5
SENDER = "+15005550006"
REQUESTS = 64  # in flight, to the providers that speak HTTP
LINK = "http://127.0.0.1:1/a/" + "x" * 40
Bare = Callable[[], Awaitable[None]]


def rendered() -> Rendered:
    """What the durable run sends, word for word."""
    warning = WarningState(warning_id="0" * 32, content=content(), authors=(), status=Status.RELEASED)
    return render(
        warning, purpose=Purpose.NOTICE, circle=Circle.PEOPLE, language="zh-CN", now=warning.content.effective_at
    )


async def compared(
    name: str,
    channel: Channel,
    notifier: Notifier,
    bare: Bare,
    address: Callable[[int], dict[str, Any]],
    *,
    people: int = PEOPLE,
    rounds: int = ROUNDS,
    allowed_origins: frozenset[str] = frozenset(),
) -> Figure:
    """A fan-out to `people`, in turn with `bare`, which sends as many messages."""
    async with installation(channel, people, {channel: notifier}, address, allowed_origins) as runtime:
        await bare()
        await fan_out(runtime, people)  # connections are open and code is warm from here on
        pairs, cpu_us = [], []
        for _ in range(rounds):
            began = time.perf_counter()
            await bare()
            ceiling = people / (time.perf_counter() - began)
            used = time.process_time()
            pairs.append((await fan_out(runtime, people), ceiling))
            cpu_us.append((time.process_time() - used) / people * 1e6)
    return figure(name, "recipients/s", pairs, cpu_us)


async def spread(width: int, one: Callable[[int], Awaitable[None]], people: int = PEOPLE) -> None:
    """Calls `one` for each number, `width` at a time."""
    numbers = iter(range(people))

    async def worker() -> None:
        for n in numbers:
            await one(n)

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())


# SMS -----------------------------------------------------------------------------------------------------------------


def phone_of(n: int) -> str:
    return f"+39347{n:07d}"


async def sms() -> Figure:
    with sink() as to:
        notifier = SmsNotifier(
            SmsSettings(account_sid=ACCOUNT, auth_token=TOKEN, sender=SENDER, base_url=to.sms, concurrency=REQUESTS)
        )
        async with posting(to) as bare:
            return await compared("sms.durable", Channel.SMS, notifier, bare, lambda n: {"phone": phone_of(n)})


@asynccontextmanager
async def posting(to: Sink, people: int = PEOPLE) -> AsyncIterator[Bare]:
    """A loop over aiohttp that posts the form of an SMS to so many people."""
    body = rendered().short.replace(PLACE, LINK)
    url = f"{to.sms}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    headers = {"Authorization": aiohttp.encode_basic_auth(ACCOUNT, TOKEN)}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=REQUESTS)) as http:

        async def one(n: int) -> None:
            form = {
                "To": phone_of(n),
                "From": SENDER,
                "Body": body,
                "ValidityPeriod": "3600",
                "StatusCallback": f"http://127.0.0.1:1/callbacks/sms/{'0' * 32}/{n}",
            }
            async with http.post(url, data=form, headers=headers) as answer:
                assert answer.status == 201, answer.status
                await answer.read()

        yield lambda: spread(REQUESTS, one, people)


# Web push ------------------------------------------------------------------------------------------------------------


async def webpush() -> Figure:
    with sink() as to:
        key = Vapid02()
        key.generate_keys()
        raw = key.private_key.private_numbers().private_value.to_bytes(32, "big")
        notifier = WebPushNotifier(
            WebPushSettings(
                vapid_key=base64.urlsafe_b64encode(raw).decode().rstrip("="),
                contact="mailto:duty@fao.example",
                allowed_origins=frozenset({to.push}),
                concurrency=REQUESTS,
            )
        )
        words = rendered()
        body = words.short.replace(PLACE, "")
        browser = ec.generate_private_key(ec.SECP256R1()).public_key()
        public = browser.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        keys = {"p256dh": _encoded(public), "auth": _encoded(bytes(range(16)))}
        connector = aiohttp.TCPConnector(limit=REQUESTS)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:

            async def one(n: int) -> None:
                payload = {"title": words.subject, "body": body, "url": LINK, "tag": f"{'0' * 32}.{n}"}
                answer = await webpush_async(
                    {"endpoint": _endpoint(to, n), "keys": keys},
                    data=msgspec.json.encode(payload).decode(),
                    vapid_private_key=key,
                    vapid_claims={"sub": "mailto:duty@fao.example"},
                    ttl=3600,
                    headers={"Urgency": "high", "Topic": topic(payload["tag"])},
                    aiohttp_session=http,
                )
                assert not isinstance(answer, str)
                await answer.read()

            return await compared(
                "webpush.durable",
                Channel.WEBPUSH,
                notifier,
                lambda: spread(REQUESTS, one),
                lambda n: {"push": {"endpoint": _endpoint(to, n), "keys": keys}},
            )


def _endpoint(to: Sink, n: int) -> str:
    return f"{to.push}/push/browser-{n:05d}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
