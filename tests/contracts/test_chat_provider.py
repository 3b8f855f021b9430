"""Chat through apprise against a service on loopback: what is sent, what an answer means, where it may not connect."""

from __future__ import annotations

import asyncio
import builtins
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from conftest import deliveries, rendered, until

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from infra.sandbox.server import SandboxServer
from notifiers import chat
from notifiers.channel import Result
from notifiers.chat import ChatNotifier, ChatSettings, chat_target


class Ntfy:
    """A service that takes ntfy's JSON; `answer` is its status, None hangs, 0 breaks the connection."""

    def __init__(self) -> None:
        self.server = SandboxServer("127.0.0.1", 0)
        self.server.app.router.add_route("*", "/{rest:.*}", self.take)
        self.got: list[dict[str, Any]] = []
        self.answer: int | None = 200

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(await request.json())
        if self.answer is None:
            return await self.server.hang(request)
        if self.answer == 0:
            return self.server.reset(request)
        return web.Response(status=self.answer, headers={"Location": "http://127.0.0.1:1/"})

    def url(self, topic: str = "duty") -> str:
        return f"ntfy://127.0.0.1:{self.server.port}/{topic}"

    def notifier(self, **changes: Any) -> ChatNotifier:
        fields: dict[str, Any] = {"allowed_origins": frozenset({self.server.url}), "timeout_s": 20.0, "threads": 8}
        return ChatNotifier(ChatSettings(**{**fields, **changes}))


@pytest.fixture
async def ntfy() -> AsyncIterator[Ntfy]:
    made = Ntfy()
    await made.server.start()
    yield made
    await made.server.stop()


async def send(notifier: ChatNotifier, addresses: list[Any], **changes: Any) -> list[Result]:
    try:
        results = await notifier.send(rendered(**changes), deliveries(addresses))
    finally:
        await notifier.close()
    assert sorted(result.index for result in results) == list(range(len(addresses)))
    return sorted(results, key=lambda result: result.index)


async def test_the_words_arrive_with_each_ones_own_link(ntfy: Ntfy) -> None:
    results = await send(ntfy.notifier(), [ntfy.url(f"room{n}") for n in range(20)])
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    said = {message["topic"]: message for message in ntfy.got}
    assert len(said) == 20
    for n in range(20):
        assert said[f"room{n}"]["title"] == "台风红色预警 🌀"
        assert f"https://fenghuo.example/a/{n:04d}?k=1&t=2" in said[f"room{n}"]["message"]


@pytest.mark.parametrize("status", [403, 429, 500])
async def test_a_failure_that_nobody_explains_is_in_doubt(ntfy: Ntfy, status: int) -> None:
    ntfy.answer = status
    (result,) = await send(ntfy.notifier(), [ntfy.url()])
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)


async def test_a_connection_that_breaks_is_in_doubt(ntfy: Ntfy) -> None:
    ntfy.answer = 0
    (result,) = await send(ntfy.notifier(), [ntfy.url()])
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)


async def test_no_answer_in_time_is_in_doubt_and_gives_the_thread_back(ntfy: Ntfy) -> None:
    ntfy.answer = None
    notifier = ntfy.notifier(timeout_s=1.0, threads=1)
    first, second = await notifier.send(rendered(), deliveries([ntfy.url("a"), ntfy.url("b")]))
    assert (first.outcome, first.reason) == (Outcome.UNKNOWN, Reason.TIMEOUT)
    assert second.outcome in (Outcome.UNKNOWN, Outcome.DEFERRED)
    ntfy.answer = 200
    (third,) = await send(notifier, [ntfy.url("c")])
    assert third.outcome is Outcome.ACCEPTED


async def test_nobody_listening_means_nothing_was_sent(ntfy: Ntfy) -> None:
    await ntfy.server.stop()
    (result,) = await send(ntfy.notifier(), [ntfy.url()])
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, Reason.UNREACHABLE)


async def test_a_redirect_is_not_followed(ntfy: Ntfy) -> None:
    ntfy.answer = 307
    (result,) = await send(ntfy.notifier(), [ntfy.url() + "?redirect=yes"])
    assert result.outcome is Outcome.UNKNOWN
    assert len(ntfy.got) == 1


INSIDE = [
    "ntfy://127.0.0.1/duty",
    "ntfys://127.0.0.1/duty",
    "ntfys://[::1]/duty",
    "ntfys://10.0.0.1/duty",
    "ntfys://169.254.169.254/latest",
    "ntfys://hooks.example:22/duty",
    "matrixs://user:pass@192.168.0.1/#room",
    "matrix://user:pass@matrix.example/#room",
    "json://hooks.example/x",
    "xml://hooks.example/x",
    "file:///etc/passwd",
    "syslog://localhost",
    "mailto://user:pass@mail.example",
    "https://hooks.example/x",
    "ntfys://hooks.example/duty\r\nx",
    "ntfys://",
    "ntfys://" + "x" * 3000,
    "",
    None,
    5,
    {"url": "ntfys://hooks.example/duty"},
]


@pytest.mark.parametrize("address", INSIDE)
async def test_addresses_that_are_not_allowed(ntfy: Ntfy, address: Any) -> None:
    with pytest.raises(ValueError, match="not"):
        chat_target(address)
    (result,) = await send(ntfy.notifier(), [address])
    assert (result.outcome, result.reason) == (Outcome.REFUSED, Reason.BAD_ADDRESS)


@pytest.mark.parametrize(
    "address",
    ["ntfys://hooks.example/duty", "ntfys://duty", "matrixs://user:pass@matrix.example/#room", "feishu://token",
     "lark://token", "wecombot://key", "dingtalk://secret@token/13800000000"],
)  # fmt: skip
def test_addresses_that_are_allowed(address: str) -> None:
    assert chat_target(address) is False


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "127.1"])
async def test_a_name_that_leads_inside_is_refused_as_it_connects(
    ntfy: Ntfy, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(chat, "PORTS", frozenset({ntfy.server.port}))
    (result,) = await send(ntfy.notifier(), [f"ntfys://{host}:{ntfy.server.port}/duty?mode=private"])
    assert (result.outcome, result.reason) == (Outcome.REFUSED, Reason.BAD_ADDRESS)
    assert ntfy.got == []


async def test_rebinding_is_refused_at_the_moment_of_connecting(ntfy: Ntfy, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def lookup(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(chat, "PORTS", frozenset({ntfy.server.port}))
    (result,) = await send(ntfy.notifier(), [f"ntfys://hooks.example:{ntfy.server.port}/duty"])
    assert (result.outcome, result.reason) == (Outcome.REFUSED, Reason.BAD_ADDRESS)
    assert asked == ["hooks.example"]
    assert ntfy.got == []


async def test_a_text_too_long_gives_way_to_the_short_one(ntfy: Ntfy) -> None:
    (result,) = await send(ntfy.notifier(), [ntfy.url()], text="长" * 1_000_000)
    assert result.outcome is Outcome.ACCEPTED
    assert ntfy.got[0]["message"].startswith("请立即撤离到高处。确认:https://fenghuo.example/a/0000")
    (result,) = await send(ntfy.notifier(), [ntfy.url()], text="长" * 1_000_000, short="长" * 1_000_000)
    assert (result.outcome, result.reason) == (Outcome.REFUSED, Reason.CONTENT_REFUSED)


async def test_cancelling_breaks_what_is_under_way(ntfy: Ntfy) -> None:
    ntfy.answer = None
    notifier = ntfy.notifier(timeout_s=60.0)
    sending = asyncio.create_task(notifier.send(rendered(), deliveries([ntfy.url()])))
    await until(lambda: len(ntfy.got) == 1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    ntfy.answer = 200
    (result,) = await send(notifier, [ntfy.url()])
    assert result.outcome is Outcome.ACCEPTED


async def test_no_log_line_holds_an_address_or_a_text(ntfy: Ntfy, caplog: pytest.LogCaptureFixture) -> None:
    notifier = ntfy.notifier()
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    ntfy.answer = 403
    await send(notifier, [ntfy.url("secret-room"), "ntfy://tk_secret@127.0.0.1/x"])
    logged = "\n".join(f"{record.getMessage()} {record.exc_text} {record.args}" for record in caplog.records)
    for private in ("secret", "撤离", "台风", "fenghuo.example/a/"):
        assert private not in logged


async def test_without_the_extra_the_start_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name.partition(".")[0] in {"apprise", "alibabacloud_dysmsapi20170525"}:
            raise ImportError(name)
        return importing(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidInput) as raised:
        ChatNotifier(ChatSettings())
    assert (raised.value.code, "fenghuo[chat]" in raised.value.remedy) == ("chat.extra", True)
