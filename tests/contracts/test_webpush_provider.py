"""Web Push: encryption, tokens, and endpoints that lead where this program must not go."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from conftest import VAPID_KEY, PushRig, deliveries, rendered
from hypothesis import given
from hypothesis import strategies as st
from py_vapid import Vapid02, jwt

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from infra.sandbox.behaviour import Behaviour, Kind
from infra.sandbox.push import SandboxPush
from notifiers.channel import Result
from notifiers.net import LONGEST_ASKED_S, PublicResolver, retry_after_s
from notifiers.targets import ForbiddenAddress, is_public
from notifiers.webpush import (
    LARGEST_PAYLOAD,
    Tokens,
    WebPushNotifier,
    WebPushSettings,
    status_meaning,
    topic,
)

KEY = Vapid02.from_string(VAPID_KEY)  # type: ignore[no-untyped-call]


async def send(notifier: WebPushNotifier, addresses: list[Any], **changes: Any) -> list[Result]:
    results = await notifier.send(rendered(**changes), deliveries(addresses))
    await notifier.close()
    return sorted(results, key=lambda result: result.index)


def claims(authorization: str) -> dict[str, Any]:
    token, key = (part.split("=", 1)[1] for part in authorization.removeprefix("vapid ").split(","))
    decoded: dict[str, Any] = jwt.decode(token, key)  # type: ignore[no-untyped-call]
    return decoded


async def test_the_browser_can_read_it_and_nobody_else(push: PushRig) -> None:
    somebody = push.someone()
    (result,) = await send(push.notifier(), [somebody], urgency="high", ttl_s=1234)
    assert result.outcome is Outcome.ACCEPTED
    assert result.provider_ref.startswith("/message/")
    (message,) = push.sandbox.sent_to(somebody)
    assert message.data() == {
        "title": "台风红色预警 🌀",
        "body": "请立即撤离到高处。确认:",
        "url": "https://fenghuo.example/a/0000?k=1&t=2",
        "tag": f"{0:032x}",
    }
    assert (message.ttl_s, message.urgency, message.topic) == (1234, "high", topic(f"{0:032x}"))


async def test_an_urgency_that_the_rfc_does_not_know(push: PushRig) -> None:
    await send(push.notifier(), [push.someone()], urgency="extreme\r\nX: y", ttl_s=-5)
    assert (push.sandbox.messages[0].urgency, push.sandbox.messages[0].ttl_s) == ("normal", 0)


async def test_a_token_is_made_once_for_an_origin(push: PushRig) -> None:
    await send(push.notifier(), [push.someone() for _ in range(20)])
    assert len({message.token for message in push.sandbox.messages}) == 1


async def test_each_origin_has_a_token_of_its_own(push: PushRig) -> None:
    other = SandboxPush()
    await other.start()
    notifier = WebPushNotifier(
        WebPushSettings(
            vapid_key=VAPID_KEY, contact="mailto:a@b.example", allowed_origins=frozenset({push.sandbox.url, other.url})
        )
    )
    mixed = [push.someone(), other.subscribe(), push.someone(), other.subscribe()]
    results = await send(notifier, mixed)
    await other.stop()
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    audiences = {claims(message.token)["aud"] for message in (*push.sandbox.messages, *other.messages)}
    assert audiences == {push.sandbox.url, other.url}


def test_tokens_are_renewed_before_they_end() -> None:
    now = [1_000_000.0]
    tokens = Tokens(KEY, "mailto:a@b.example", lambda: now[0])
    first = tokens.authorization("https://push.example")
    now[0] += 10 * 3600
    assert tokens.authorization("https://push.example") == first
    now[0] += 3600
    second = tokens.authorization("https://push.example")
    assert second != first
    assert claims(first)["exp"] == 1_000_000 + 12 * 3600
    assert claims(second)["exp"] == now[0] + 12 * 3600
    assert claims(second)["sub"] == "mailto:a@b.example"


def test_tokens_for_strangers_origins_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifiers.webpush.MOST_ORIGINS", 3)
    tokens = Tokens(KEY, "mailto:a@b.example")
    for number in range(10):
        tokens.authorization(f"https://push{number}.example")
    assert len(tokens._kept) == 3


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://push.example/x",
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://localhost/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[::ffff:7f00:1]/x",
        "https://[64:ff9b::a00:1]/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/x",
        "https://[fd00::1]/x",
        "https://0.0.0.0/x",
        "https://user:pass@push.example/x",
        "https://push.example:99999/x",
        "https://push..example/x",
        "https:///x",
        "//push.example/x",
        "file:///etc/passwd",
        "https://push.example/x\r\nX: y",
        "https://push.example/" + "x" * 3000,
        "",
    ],
)
async def test_endpoints_that_lead_inside_are_no_addresses(push: PushRig, endpoint: str) -> None:
    somebody = {**push.someone(), "endpoint": endpoint}
    (result,) = await send(push.notifier(), [somebody])
    assert (result.outcome, result.reason) == (Outcome.REFUSED, Reason.BAD_ADDRESS)


async def test_an_allowed_origin_allows_nothing_beside_it(push: PushRig) -> None:
    good = push.someone()
    path = good["endpoint"].partition("/push/")[2]
    twins = [f"http://localhost:{push.sandbox.port}/push/{path}", f"https://127.0.0.1:{push.sandbox.port}/push/{path}"]
    results = await send(push.notifier(), [{**good, "endpoint": twin} for twin in twins])
    assert {result.reason for result in results} == {Reason.BAD_ADDRESS}
    assert push.taken() == 0


class Rebinding(AbstractResolver):
    """A name server that says a public address first and our own machine afterwards."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=ip, port=port, family=socket.AF_INET, proto=0, flags=0)
            for ip in self.answers.pop(0)
        ]

    async def close(self) -> None: ...


async def test_a_name_is_judged_by_the_addresses_that_are_then_used() -> None:
    resolver = PublicResolver(
        [("push", 80)], Rebinding(["8.8.8.8"], ["8.8.8.8", "10.0.0.1"], ["127.0.0.1"], ["10.0.0.1"])
    )
    assert [r["host"] for r in await resolver.resolve("push.example", 443)] == ["8.8.8.8"]
    assert [r["host"] for r in await resolver.resolve("push.example", 443)] == ["8.8.8.8"]
    with pytest.raises(ForbiddenAddress):
        await resolver.resolve("push.example", 443)
    assert [r["host"] for r in await resolver.resolve("push", 80)] == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1", True),
        ("100.64.0.1", False),
        ("192.168.1.1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("2002:7f00:1::", False),
        ("2002:808:808::", True),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("nonsense", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


async def test_a_redirect_is_not_followed(push: PushRig) -> None:
    asked: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/inside"})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", redirect)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    notifier = WebPushNotifier(
        WebPushSettings(vapid_key=VAPID_KEY, contact="mailto:a@b.example", allowed_origins=frozenset({origin}))
    )
    (result,) = await send(notifier, [{**push.someone(), "endpoint": f"{origin}/x"}])
    await runner.cleanup()
    assert (result.outcome, asked) == (Outcome.REFUSED, ["/x"])


@pytest.mark.parametrize(
    ("status", "says_when", "meaning"),
    [
        (404, False, (Outcome.REFUSED, Reason.SUBSCRIPTION_GONE)),
        (410, False, (Outcome.REFUSED, Reason.SUBSCRIPTION_GONE)),
        (400, False, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (401, False, (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (403, False, (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (413, False, (Outcome.REFUSED, Reason.CONTENT_REFUSED)),
        (429, True, (Outcome.DEFERRED, Reason.RATE_LIMITED)),
        (429, False, (Outcome.DEFERRED, Reason.RATE_LIMITED)),
        (503, True, (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (503, False, (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (500, True, (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
    ],
)
def test_what_a_status_means(status: int, says_when: bool, meaning: tuple[Outcome, Reason]) -> None:
    assert status_meaning(status, says_when) == meaning


async def test_a_key_of_somebody_else_is_not_the_recipients_fault(push: PushRig) -> None:
    somebody = push.someone()
    push.behave(somebody, Behaviour(Kind.REFUSE, code=403))
    (result,) = await send(push.notifier(), [somebody])
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, Reason.CREDENTIALS)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"p256dh": "", "auth": ""},
        {"p256dh": "AAAA", "auth": "AAAA"},
        {"p256dh": "B" + "A" * 86, "auth": "A" * 22},  # 65 bytes, but no point of the curve
        {"p256dh": "!" * 87, "auth": "A" * 22},
        {"p256dh": 5, "auth": None},
        None,
    ],
)
async def test_keys_that_are_none(push: PushRig, keys: Any) -> None:
    results = await send(push.notifier(), [{**push.someone(), "keys": keys}, push.someone()])
    assert [result.outcome for result in results] == [Outcome.REFUSED, Outcome.ACCEPTED]
    assert results[0].reason is Reason.BAD_ADDRESS


@pytest.mark.parametrize("text", ["长" * 5000, "\x01" * 5000, "👨‍👩‍👧‍👦" * 900, 'quote"\\' * 900])
async def test_a_long_text_is_cut_to_fit(push: PushRig, text: str) -> None:
    somebody = push.someone()
    (result,) = await send(push.notifier(), [somebody], short=text)
    assert result.outcome is Outcome.ACCEPTED
    (message,) = push.sandbox.sent_to(somebody)
    assert LARGEST_PAYLOAD - 12 <= len(message.payload) <= LARGEST_PAYLOAD
    body = message.data()["body"]
    assert body.endswith("…")
    assert text.startswith(body[:-1])
    assert not body[:-1].endswith("\u200d")


async def test_one_endless_link_does_not_shorten_the_others(push: PushRig) -> None:
    people = [push.someone(), push.someone()]
    batch = [deliveries(people)[0], deliveries(people, link="https://x/" + "x" * 5000)[1]]
    notifier = push.notifier()
    results = sorted(await notifier.send(rendered(), batch), key=lambda result: result.index)
    await notifier.close()
    assert [(r.outcome, r.reason) for r in results] == [
        (Outcome.ACCEPTED, Reason.NONE),
        (Outcome.REFUSED, Reason.CONTENT_REFUSED),
    ]
    assert push.sandbox.messages[0].data()["body"] == "请立即撤离到高处。确认:"


@given(st.text(max_size=200))
def test_a_topic_fits_the_rfc(message_id: str) -> None:
    made = topic(message_id)
    assert len(made) == 32
    assert made.replace("-", "").replace("_", "").isalnum()
    assert made.isascii()


@pytest.mark.parametrize("changes", [{"vapid_key": "nonsense"}, {"vapid_key": ""}, {"contact": "somebody"}])
def test_settings_that_cannot_be_right(changes: dict[str, str]) -> None:
    fields: dict[str, Any] = {"vapid_key": VAPID_KEY, "contact": "mailto:a@b.example", **changes}
    with pytest.raises(InvalidInput) as raised:
        WebPushNotifier(WebPushSettings(**fields))
    assert fields["vapid_key"] == "" or fields["vapid_key"] not in str(raised.value)


def test_settings_show_no_secret() -> None:
    settings = WebPushSettings(vapid_key=VAPID_KEY, contact="mailto:a@b.example")
    assert VAPID_KEY not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "1e400"}, LONGEST_ASKED_S),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Sat, 21 Nov 2026 12:00:30 GMT", "Date": "Sat, 21 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"Retry-After": "Sat, 21 Nov 2026 12:00:00 GMT", "Date": "Sat, 21 Nov 2026 12:00:30 GMT"}, 0.0),
        ({"Retry-After": "Sat, 21 Nov 2026 12:00:30 GMT", "Date": "yesterday"}, None),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT", "Date": "Sat, 21 Nov 2026 12:00:30 GMT"}, LONGEST_ASKED_S),
    ],
)
def test_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


@given(st.text(max_size=40))
def test_reading_when_to_come_back_never_raises(value: str) -> None:
    seconds = retry_after_s({"Retry-After": value})
    assert seconds is None or 0 <= seconds <= LONGEST_ASKED_S
