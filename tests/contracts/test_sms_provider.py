"""Text messages: the provider's codes, its callbacks and their signatures, and the sandbox that stands in for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from conftest import ACCOUNT, TOKEN, SmsRig, deliveries, rendered, until
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from domain.outcomes import Outcome, Reason
from infra.sandbox.behaviour import Behaviour, Kind
from notifiers.channel import Result
from notifiers.sms import REFUSALS, SmsNotifier, SmsSettings, status_to_row, verify_signature

URL = "https://fenghuo.example/callbacks/sms?shard=1&index=2"
PARAMS = {"MessageSid": "SM" + "1" * 32, "MessageStatus": "delivered", "To": "+8613800000001", "Body": "收到"}


def signed(params: dict[str, str], url: str = URL, token: str = TOKEN) -> str:
    return str(RequestValidator(token).compute_signature(url, params))  # type: ignore[no-untyped-call]


class Receiver:
    """The console's side of the callbacks: checks each and keeps it. Answers 503 to the first `failing`."""

    def __init__(self, failing: int = 0) -> None:
        self.genuine: list[dict[str, str]] = []
        self.forged = 0
        self.failing = failing
        app = web.Application()
        app.router.add_post("/callback/{who}", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        self.url = ""

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        params = {name: str(value) for name, value in (await request.post()).items()}
        if self.failing:
            self.failing -= 1
            return web.Response(status=503)
        if not verify_signature(TOKEN, str(request.url), params, request.headers.get("X-Twilio-Signature", "")):
            self.forged += 1
            return web.Response(status=403)
        self.genuine.append(params)
        return web.Response(status=204)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.start()
    yield made
    await made.stop()


def test_a_genuine_signature() -> None:
    assert verify_signature(TOKEN, URL, PARAMS, signed(PARAMS))


@pytest.mark.parametrize(
    ("url", "params", "signature"),
    [
        (URL, {**PARAMS, "MessageStatus": "failed"}, signed(PARAMS)),
        (URL, {**PARAMS, "Extra": "1"}, signed(PARAMS)),
        (URL.replace("index=2", "index=3"), PARAMS, signed(PARAMS)),
        (URL.replace("https", "http"), PARAMS, signed(PARAMS)),
        (URL, PARAMS, signed(PARAMS, token="another token")),
        (URL, PARAMS, signed(PARAMS)[:-2]),
        (URL, PARAMS, ""),
        (URL, PARAMS, "é" * 28),
        ("http://[broken", PARAMS, signed(PARAMS)),
        ("https://h:99999999/", PARAMS, signed(PARAMS)),
    ],
)
def test_a_forged_twin(url: str, params: dict[str, str], signature: str) -> None:
    assert not verify_signature(TOKEN, url, params, signature)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4), st.text(max_size=40))
def test_checking_a_signature_never_raises(params: dict[str, str], signature: str) -> None:
    assert verify_signature(TOKEN, URL, params, signature) is False


@pytest.mark.parametrize(
    ("params", "row"),
    [
        ({"MessageStatus": "delivered"}, (Outcome.DELIVERED, Reason.NONE)),
        ({"MessageStatus": "read"}, (Outcome.DELIVERED, Reason.NONE)),
        ({"MessageStatus": "undelivered", "ErrorCode": "30003"}, (Outcome.REFUSED, Reason.UNDELIVERED)),
        ({"MessageStatus": "undelivered", "ErrorCode": "30005"}, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        ({"MessageStatus": "failed", "ErrorCode": "21610"}, (Outcome.REFUSED, Reason.BLOCKED)),
        ({"MessageStatus": "failed", "ErrorCode": "30007"}, (Outcome.REFUSED, Reason.BLOCKED)),
        ({"MessageStatus": "failed"}, (Outcome.REFUSED, Reason.UNDELIVERED)),
        ({"MessageStatus": "failed", "ErrorCode": "²"}, (Outcome.REFUSED, Reason.UNDELIVERED)),
        ({"MessageStatus": "failed", "ErrorCode": "9" * 5_000}, (Outcome.REFUSED, Reason.UNDELIVERED)),
        ({"MessageStatus": "queued"}, None),
        ({"MessageStatus": "sent"}, None),
        ({"MessageStatus": "something new"}, None),
        ({}, None),
    ],
)
def test_what_a_callback_says(params: dict[str, str], row: tuple[Outcome, Reason] | None) -> None:
    assert status_to_row({"MessageSid": "SM1", **params}) == ((*row, "SM1") if row else None)


async def answer(sms: SmsRig, code: int) -> Result:
    somebody = sms.someone()
    sms.behave(somebody, Behaviour(Kind.REFUSE, code=code))
    notifier = sms.notifier()
    (result,) = await notifier.send(rendered(), deliveries([somebody]))
    await notifier.close()
    return result


@pytest.mark.parametrize(("code", "meaning"), REFUSALS.items())
async def test_every_listed_error_code(sms: SmsRig, code: int, meaning: tuple[Outcome, Reason]) -> None:
    result = await answer(sms, code)
    assert (result.outcome, result.reason) == meaning


async def test_an_error_code_that_nobody_has_seen_is_a_refusal(sms: SmsRig) -> None:
    assert (await answer(sms, 29999)).outcome is Outcome.REFUSED


async def test_a_wrong_token_is_our_fault_and_not_the_recipients(sms: SmsRig) -> None:
    settings = SmsSettings(account_sid=ACCOUNT, auth_token="wrong", sender="+15005550006", base_url=sms.sandbox.url)
    notifier = SmsNotifier(settings)
    (result,) = await notifier.send(rendered(), deliveries([sms.someone()]))
    await notifier.close()
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, Reason.CREDENTIALS)


def test_settings_show_no_secret() -> None:
    settings = SmsSettings(account_sid=ACCOUNT, auth_token=TOKEN, sender="+15005550006")
    assert TOKEN not in repr(settings) + str(settings)
    assert ACCOUNT not in repr(settings)


Handler = Callable[[web.Request], Any]


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (200, b"<html>log in to this network</html>", (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (201, b"[]", (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (201, b"", (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (201, b'{"sid": 5}', (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (201, b"x" * 1_000_000, (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (302, b"", (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (400, b"\xff", (Outcome.REFUSED, Reason.BLOCKED)),
        (400, b'{"code": "21211"}', (Outcome.REFUSED, Reason.BLOCKED)),
        (403, b"", (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (429, b"", (Outcome.DEFERRED, Reason.RATE_LIMITED)),
        (503, b"", (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
    ],
)
async def test_strange_answers(status: int, body: bytes, meaning: tuple[Outcome, Reason]) -> None:
    async def strange(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": "http://127.0.0.1:1/"})

    app = web.Application()
    app.router.add_post("/{rest:.*}", strange)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    notifier = SmsNotifier(SmsSettings(account_sid=ACCOUNT, auth_token=TOKEN, sender="MG1", base_url=url))
    (result,) = await notifier.send(rendered(), deliveries(["+8613800000000"]))
    await notifier.close()
    await runner.cleanup()
    assert (result.outcome, result.reason) == meaning


async def send_one(sms: SmsRig, receiver: Receiver, behaviour: Behaviour) -> str:
    """Sends with a callback address and returns the provider's id."""
    somebody = sms.someone()
    sms.behave(somebody, behaviour)
    notifier = sms.notifier()
    (result,) = await notifier.send(rendered(), deliveries([somebody], callback=f"{receiver.url}/callback/1?s=1"))
    await notifier.close()
    assert result.outcome is Outcome.ACCEPTED
    return result.provider_ref


@pytest.mark.parametrize(
    ("behaviour", "statuses"),
    [
        (Behaviour(), ["queued", "sent", "delivered"]),
        (Behaviour(Kind.NEVER_DELIVERED), ["queued", "sent"]),
        (Behaviour(Kind.UNDELIVERED, code=30005), ["queued", "sent", "undelivered"]),
        (Behaviour(Kind.DUPLICATE), ["queued", "queued", "sent", "sent", "delivered", "delivered"]),
        (Behaviour(Kind.LATE, delay_s=0.05), ["queued", "sent", "delivered"]),
    ],
)
async def test_callbacks_are_signed_and_in_order(
    sms: SmsRig, receiver: Receiver, behaviour: Behaviour, statuses: list[str]
) -> None:
    reference = await send_one(sms, receiver, behaviour)
    await until(lambda: len(receiver.genuine) == len(statuses))
    assert [params["MessageStatus"] for params in receiver.genuine] == statuses
    assert {params["MessageSid"] for params in receiver.genuine} == {reference}
    assert receiver.forged == 0


async def test_a_callback_waits_for_a_receiver_that_is_failing(sms: SmsRig, receiver: Receiver) -> None:
    receiver.failing = 2
    await send_one(sms, receiver, Behaviour())
    await until(lambda: len(receiver.genuine) == 3)
    assert sms.sandbox.callbacks_lost == 0


async def test_a_reply_is_signed(sms: SmsRig, receiver: Receiver) -> None:
    sms.sandbox.inbound_url = f"{receiver.url}/callback/inbound"
    assert await sms.sandbox.reply("+8613800000009", "2 需要帮助") == 204
    assert receiver.genuine[0]["From"] == "+8613800000009"
    assert receiver.genuine[0]["Body"] == "2 需要帮助"


async def test_no_more_requests_in_flight_than_the_settings_say(sms: SmsRig) -> None:
    people = [sms.someone() for _ in range(40)]
    for somebody in people:
        sms.behave(somebody, Behaviour(Kind.HANG))
    notifier = sms.notifier(timeout_s=60)
    batches = [asyncio.create_task(notifier.send(rendered(), deliveries(people))) for _ in range(2)]
    await until(lambda: sms.taken() == 16)
    await asyncio.sleep(0.05)
    assert sms.taken() == 16
    for batch in batches:
        batch.cancel()
    await asyncio.gather(*batches, return_exceptions=True)
    await notifier.close()
