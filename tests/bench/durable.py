"""A whole fan-out with everything that makes it durable, against a bare loop over the same library.

The bare loop renders before the clock starts, keeps nothing and asks nobody: what is left is the library, the loopback
and the sink, which both share. Runs alternate, so that what else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import http_ece
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

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
        pairs = []
        for _ in range(rounds):
            began = time.perf_counter()
            await bare()
            ceiling = people / (time.perf_counter() - began)
            pairs.append((await fan_out(runtime, people), ceiling))
    return figure(name, "recipients/s", pairs)


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


def _phone_of(n: int) -> str:
    return f"+39347{n:07d}"


async def sms() -> Figure:
    with sink() as to:
        number = "+15005550006"
        notifier = SmsNotifier(
            SmsSettings(account_sid=ACCOUNT, auth_token=TOKEN, sender=number, base_url=to.sms, concurrency=REQUESTS)
        )
        client = Client(ACCOUNT, TOKEN, http_client=AsyncTwilioHttpClient(), environment={"TWILIO": ""})
        client.api.base_url = to.sms
        body = rendered().short.replace(PLACE, LINK)

        async def one(n: int) -> None:
            await client.messages.create_async(
                to=_phone_of(n),
                from_=number,
                body=body,
                validity_period=3600,
                status_callback=f"http://127.0.0.1:1/callbacks/sms/{'0' * 32}/{n}",
            )

        try:
            return await compared(
                "sms.durable",
                Channel.SMS,
                notifier,
                lambda: spread(REQUESTS, one),
                lambda n: {"phone": _phone_of(n)},
            )
        finally:
            await client.http_client.close()


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
        secret = bytes(range(16))
        keys = {"p256dh": _encoded(public), "auth": _encoded(secret)}
        connector = aiohttp.TCPConnector(limit=REQUESTS)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
            authorization = key.sign({"aud": to.push, "sub": "mailto:duty@fao.example"})["Authorization"]
            headers = {
                "TTL": "3600",
                "Urgency": "high",
                "Content-Encoding": "aes128gcm",
                "Authorization": authorization,
            }

            async def one(n: int) -> None:
                payload = {"title": words.subject, "body": body, "url": LINK, "tag": f"{'0' * 32}.{n}"}
                content = http_ece.encrypt(
                    msgspec.json.encode(payload),
                    private_key=ec.generate_private_key(ec.SECP256R1()),
                    dh=public,
                    auth_secret=secret,
                    version="aes128gcm",
                )
                named = {**headers, "Topic": topic(payload["tag"])}
                async with http.post(_endpoint(to, n), data=content, headers=named) as answer:
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
