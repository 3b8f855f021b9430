"""Webhooks: what is signed, what statuses mean, and URLs that lead where this program must not go."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from conftest import PushRig, WebhookRig, deliveries, rendered
from hypothesis import given
from hypothesis import strategies as st

from domain.outcomes import Outcome, Reason
from domain.rulepacks import Lane, Level
from domain.shards import Purpose
from infra.sandbox.behaviour import Behaviour, Kind
from notifiers import net, targets, webhook
from notifiers.channel import Result
from notifiers.signing import secret_of, signature
from notifiers.targets import public_target
from notifiers.webhook import WebhookNotifier, WebhookSettings, status_meaning

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
INSIDE = [
    "http://hooks.example/x",
    "https://127.0.0.1/x",
    "https://127.1/x",
    "https://2130706433/x",
    "https://0x7f000001/x",
    "https://0177.0.0.1/x",
    "https://localhost/x",
    "https://[::1]/x",
    "https://[::]/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://[::ffff:7f00:1]/x",
    "https://[64:ff9b::a00:1]/x",
    "https://[2002:7f00:1::]/x",
    "https://10.0.0.1/x",
    "https://172.16.0.1/x",
    "https://192.168.0.1/x",
    "https://100.64.0.1/x",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/x",
    "https://[fe80::1]/x",
    "https://0.0.0.0/x",
    "https://255.255.255.255/x",
    "https://user:pass@hooks.example/x",
    "https://user@hooks.example/x",
    "https://hooks.example:22/x",
    "https://hooks.example:25/x",
    "https://hooks.example:99999/x",
    "https://hooks..example/x",
    "https:///x",
    "//hooks.example/x",
    "file:///etc/passwd",
    "gopher://hooks.example/x",
    "https://hooks.example/x\r\nX: y",
    "https://hooks.example/\u202e",
    "https://hooks.example/" + "x" * 3000,
    "",
]


async def send(notifier: WebhookNotifier, addresses: list[Any], **changes: Any) -> list[Result]:
    results = await notifier.send(rendered(**changes), deliveries(addresses))
    await notifier.close()
    return sorted(results, key=lambda result: result.index)


async def test_the_receiver_reads_what_a_program_needs_and_nothing_about_the_person(hooks: WebhookRig) -> None:
    somebody = hooks.someone()
    at = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
    (result,) = await send(
        hooks.notifier(), [somebody], warning_id="a" * 32, number="123456", level=Level.ORANGE, lane=Lane.HIGH,
        drill=True, purpose=Purpose.CANCEL, rendered_at=at, expires_at=at + timedelta(hours=1), ttl_s=90_000,
    )  # fmt: skip
    assert result.outcome is Outcome.DELIVERED
    (hook,) = hooks.sandbox.sent_to(somebody)
    assert hook.message_id == f"{0:032x}"
    assert hook.data() == {
        "type": "warning.cancel",
        "timestamp": "2026-07-01T08:00:00+00:00",
        "data": {
            "warning_id": "a" * 32,
            "number": "123456",
            "level": "orange",
            "lane": "high",
            "drill": True,
            "language": "zh",
            "subject": "台风红色预警 🌀",
            "text": "请立即撤离到高处。🌀\n\n.单独的点\n确认:https://fenghuo.example/a/0000?k=1&t=2\n",
            "short": "请立即撤离到高处。确认:https://fenghuo.example/a/0000?k=1&t=2",
            "link": "https://fenghuo.example/a/0000?k=1&t=2",
            "expires_at": "2026-07-01T09:00:00+00:00",
        },
    }


async def test_a_repeat_is_the_same_bytes_with_a_new_time(hooks: WebhookRig) -> None:
    somebody, now, at = hooks.someone(), [0.0], datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
    notifier = WebhookNotifier(WebhookSettings(allowed_origins=frozenset({hooks.sandbox.url})), now=lambda: now[0])
    for attempt in (1, 2):
        now[0] = datetime.now(UTC).timestamp() + attempt
        words = rendered(rendered_at=at, expires_at=at + timedelta(hours=1), ttl_s=3600 // attempt)
        await notifier.send(words, deliveries([somebody], attempt))
    await notifier.close()
    first, second = hooks.sandbox.sent_to(somebody)
    assert (first.body, first.message_id) == (second.body, second.message_id)


async def test_a_receiver_with_another_secret_does_not_take_it(hooks: WebhookRig) -> None:
    (result,) = await send(hooks.notifier(), [{**hooks.someone(), "secret": SECRET}])
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, Reason.CREDENTIALS)
    assert hooks.taken() == 0


def test_the_signature_is_that_of_the_specification() -> None:
    # The example of the Standard Webhooks specification.
    secret = secret_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    said = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "secret",
    [None, 5, "", "whsec_", "whsec_AAAA", "whsec_" + "A" * 31, "whsec_!!!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
     "whsec_" + base64.b64encode(b"x" * 23).decode(), "whsec_" + base64.b64encode(b"x" * 65).decode()],
)  # fmt: skip
async def test_a_secret_that_is_too_short_or_none(hooks: WebhookRig, secret: Any) -> None:
    with pytest.raises(ValueError, match="not a webhook secret") as raised:
        secret_of(secret)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    (result,) = await send(hooks.notifier(), [{**hooks.someone(), "secret": secret}])
    assert (result.outcome, result.reason) == (Outcome.REFUSED, Reason.BAD_ADDRESS)


@pytest.mark.parametrize("url", INSIDE)
async def test_urls_that_lead_inside_are_no_addresses(hooks: WebhookRig, url: str) -> None:
    (result,) = await send(hooks.notifier(), [{"url": url, "secret": SECRET}])
    assert (result.outcome, result.reason) == (Outcome.REFUSED, Reason.BAD_ADDRESS)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0x7f.1", "0177.0.0.01", "a.example.1", "1."])
def test_an_address_in_disguise_is_not_even_registered(host: str) -> None:
    with pytest.raises(ValueError, match="not public"):
        public_target(f"https://{host}/x")


@pytest.mark.parametrize("url", ["https://hooks.example/x", "https://hooks.example:8443/", "https://8.8.8.8/x"])
def test_urls_that_lead_outside(url: str) -> None:
    assert str(public_target(url)) == url


@given(st.text(max_size=60))
def test_judging_a_url_gives_a_url_or_a_value_error(text: str) -> None:
    for url in (text, f"https://{text}", f"https://hooks.example/{text}"):
        try:
            found = public_target(url)
        except ValueError:
            continue
        assert found.scheme == "https"
        assert found.user is None


async def test_an_allowed_origin_allows_nothing_beside_it(hooks: WebhookRig) -> None:
    good = hooks.someone()
    path = good["url"].partition("/hooks/")[2]
    port = hooks.sandbox.url.rpartition(":")[2]
    twins = [
        f"http://localhost:{port}/hooks/{path}",
        f"https://127.0.0.1:{port}/hooks/{path}",
        f"http://user@127.0.0.1:{port}/hooks/{path}",
        f"http://[::ffff:127.0.0.1]:{port}/hooks/{path}",
    ]
    results = await send(hooks.notifier(), [{**good, "url": twin} for twin in twins])
    assert {result.reason for result in results} == {Reason.BAD_ADDRESS}
    assert hooks.taken() == 0


class Rebinding(AbstractResolver):
    """A name server that says a public address at the first question and our own machine at each later one."""

    asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        ip = "192.0.2.1" if self.asked == 1 else "127.0.0.1"
        return [ResolveResult(hostname=host, host=ip, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None: ...


@pytest.mark.parametrize("channel", ["webhook", "webpush"])
async def test_a_name_that_leads_inside_when_it_is_connected_to(
    hooks: WebhookRig, push: PushRig, monkeypatch: pytest.MonkeyPatch, channel: str
) -> None:
    """Rebinding through the channel's own session, on real sockets: something listens there, and nothing reaches it."""
    server = await asyncio.start_server(lambda *_: connected.append(1), "127.0.0.1", 0)
    connected: list[int] = []
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(targets, "PORTS", frozenset({port}))
    names = Rebinding()
    monkeypatch.setattr(net, "ThreadedResolver", lambda: names)
    notifier: Any = hooks.notifier() if channel == "webhook" else push.notifier()
    address: Any = {"url": f"https://hooks.example:{port}/x", "secret": SECRET}
    if channel == "webpush":
        address = {**push.someone(), "endpoint": f"https://push.example:{port}/x"}
    monkeypatch.setattr(net, "is_public", lambda ip: ip != "127.0.0.1")  # the first answer looks public
    names.asked = 1  # it was asked before, when the address was registered
    results = await notifier.send(rendered(), deliveries([address]))
    await notifier.close()
    server.close()
    assert (results[0].outcome, results[0].reason) == (Outcome.REFUSED, Reason.BAD_ADDRESS)
    assert names.asked == 2
    assert connected == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(hooks: WebhookRig, status: int) -> None:
    asked: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, headers={"Location": "/inside"})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", redirect)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    notifier = WebhookNotifier(WebhookSettings(allowed_origins=frozenset({origin})))
    (result,) = await send(notifier, [{"url": f"{origin}/x", "secret": SECRET}])
    await runner.cleanup()
    assert (result.outcome, asked) == (Outcome.REFUSED, ["/x"])


async def test_an_endless_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver writes until it is hung up on."""
    written = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                await writer.drain()
                written += 65536
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    notifier = WebhookNotifier(WebhookSettings(allowed_origins=frozenset({origin})))
    (result,) = await send(notifier, [{"url": f"{origin}/x", "secret": SECRET}])
    server.close()
    assert result.outcome is Outcome.DELIVERED
    assert written < 32 * 1024 * 1024


async def test_a_dribbling_answer_ends_with_the_time(hooks: WebhookRig) -> None:
    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(dribble, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    notifier = WebhookNotifier(WebhookSettings(allowed_origins=frozenset({origin}), timeout_s=1.0))
    (result,) = await send(notifier, [{"url": f"{origin}/x", "secret": SECRET}])
    server.close()
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, Reason.TIMEOUT)


async def test_no_certificate_that_is_trusted(hooks: WebhookRig) -> None:
    """A server that speaks no TLS where TLS is wanted: nothing was sent, so nothing is lost."""
    port = hooks.sandbox.url.rpartition(":")[2]
    origin = f"https://127.0.0.1:{port}"
    notifier = WebhookNotifier(WebhookSettings(allowed_origins=frozenset({origin})))
    (result,) = await send(notifier, [{"url": f"{origin}/x", "secret": SECRET}])
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, Reason.UNREACHABLE)


async def test_a_name_that_nobody_knows(hooks: WebhookRig) -> None:
    (result,) = await send(hooks.notifier(), [{"url": "https://hooks.invalid/x", "secret": SECRET}])
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, Reason.UNREACHABLE)


@pytest.mark.parametrize(
    ("status", "says_when", "meaning"),
    [
        (200, False, (Outcome.DELIVERED, Reason.NONE)),
        (204, False, (Outcome.DELIVERED, Reason.NONE)),
        (302, False, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (401, False, (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (404, False, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (410, False, (Outcome.REFUSED, Reason.SUBSCRIPTION_GONE)),
        (413, False, (Outcome.REFUSED, Reason.CONTENT_REFUSED)),
        (429, False, (Outcome.DEFERRED, Reason.RATE_LIMITED)),
        (503, True, (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (503, False, (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (500, True, (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
    ],
)
def test_what_a_status_means(status: int, says_when: bool, meaning: tuple[Outcome, Reason]) -> None:
    assert status_meaning(status, says_when) == meaning


@pytest.mark.parametrize("code", [429, 503])
async def test_when_to_come_back_is_passed_on(hooks: WebhookRig, code: int) -> None:
    somebody = hooks.someone()
    hooks.behave(somebody, Behaviour(Kind.DEFER, code=code, retry_after_s=7))
    (result,) = await send(hooks.notifier(), [somebody])
    assert (result.outcome, result.retry_after_s) == (Outcome.DEFERRED, 7.0)


async def test_a_link_with_quotes_stays_json(hooks: WebhookRig) -> None:
    somebody, link = hooks.someone(), 'https://x.example/"\\ü'
    notifier = hooks.notifier()
    await notifier.send(rendered(), deliveries([somebody], link=link))
    await notifier.close()
    assert hooks.sandbox.sent_to(somebody)[0].data()["data"]["link"] == link


async def test_what_is_too_large_is_refused(hooks: WebhookRig) -> None:
    (result,) = await send(hooks.notifier(), [hooks.someone()], text="x" * webhook.LARGEST_BODY)
    assert (result.outcome, result.reason, hooks.taken()) == (Outcome.REFUSED, Reason.CONTENT_REFUSED, 0)


def test_an_allowed_origin_that_is_none() -> None:
    with pytest.raises(ValueError, match="URL"):
        WebhookNotifier(WebhookSettings(allowed_origins=frozenset({"hooks.example"})))
    assert json.loads(webhook.body_of(rendered()))["timestamp"] is None
