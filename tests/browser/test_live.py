"""The live stream on a real server: nothing lost or repeated, rendered once for all, nobody stalled, a prompt end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from starlette.requests import Request

from api.pages.live import Hub
from api.pages.model import Who
from api.pages.routes import console
from domain.errors import NotSignedIn
from tests.browser.fakes import DUTY, Memory, application, serving


@pytest.fixture
def memory() -> Memory:
    made = Memory()
    made.fill()
    made.add_warning()
    return made


ROW = re.compile(r'data-node="([^"]+)".*?data-position="(\d+)"')


class Reader:
    """One EventSource: frames of the stream, its last id, and the rows it was shown."""

    def __init__(self, url: str, since: int = 0, warning_id: str = "w-1") -> None:
        self.path = f"{url}/console/warnings/{warning_id}/stream?since={since}&lang=zh"
        self.last: int | None = None
        self.rows: list[tuple[str, int]] = []
        self.text = ""

    async def read(self, client: httpx.AsyncClient, frames: int) -> None:
        """Connects, with Last-Event-ID if it has one, and leaves after `frames` events."""
        headers = {} if self.last is None else {"Last-Event-ID": str(self.last)}
        async with client.stream("GET", self.path, headers=headers) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            event: dict[str, list[str]] = {}
            async for line in response.aiter_lines():
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    event.setdefault(name, []).append(value)
                elif "data" in event:
                    self._took(event)
                    event = {}
                    frames -= 1
                    if frames == 0:
                        return
                else:
                    event = {}

    def _took(self, event: dict[str, list[str]]) -> None:
        assert event["event"] == ["state"]
        position = int(event["id"][0])
        assert self.last is None or position > self.last
        self.last = position
        self.text = "\n".join(event["data"])
        self.rows += [(node, int(at)) for node, at in ROW.findall(self.text)]


@contextlib.asynccontextmanager
async def running(memory: Memory, **values: Any) -> AsyncIterator[tuple[str, Hub, httpx.AsyncClient]]:
    hub = Hub(memory, **{"pace_s": 0.01, **values})
    async with serving(application(memory, hub=hub), hub) as url:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=10, limits=limits, trust_env=False) as client:
            yield url, hub, client


async def test_nothing_is_lost_or_repeated_over_reconnects(memory: Memory) -> None:
    start = memory.at
    stations = [node.node_id for node in memory.nodes.values() if node.kind == "station"]
    chance = random.Random(7)
    async with running(memory) as (url, _hub, client):
        reader = Reader(url, since=start)

        async def happen() -> None:
            for _ in range(150):
                memory.set(chance.choice(stations), told=chance.randrange(40), state="told")
                await memory.moved()
                await asyncio.sleep(chance.random() * 0.01)

        happening = asyncio.create_task(happen())
        while not happening.done() or reader.last != memory.at:
            with contextlib.suppress(TimeoutError):  # nothing more may come: then it leaves all the same
                async with asyncio.timeout(0.3):
                    await reader.read(client, frames=chance.randrange(1, 4))
            await asyncio.sleep(chance.random() * 0.05)  # what happens meanwhile is not lost
    assert len(reader.rows) == len(set(reader.rows)), "a row was shown twice as it was"
    latest = dict(reader.rows)  # the last that was shown of each
    assert latest == {node.node_id: node.position for node in memory.nodes.values() if node.position > start}


async def test_the_last_event_id_stands_above_the_pages_position(memory: Memory) -> None:
    start = memory.at
    memory.set("ruian", state="told")
    between = memory.at
    memory.set("yueqing", state="told")
    async with running(memory) as (url, _hub, client):
        fresh, returned = Reader(url, since=start), Reader(url, since=start)
        returned.last = between
        await fresh.read(client, 1)
        await returned.read(client, 1)
    assert [node for node, _ in fresh.rows] == ["ruian", "yueqing"]
    assert [node for node, _ in returned.rows] == ["yueqing"]


async def test_a_position_the_log_never_had_gets_everything(memory: Memory) -> None:
    async with running(memory) as (url, _hub, client):
        reader = Reader(url, since=10**9)
        await reader.read(client, 1)
    assert 'id="tree-body"' in reader.text
    assert len(reader.rows) == len(memory.nodes)


async def test_a_change_is_rendered_once_for_all_who_watch(memory: Memory) -> None:
    async with running(memory) as (url, hub, client):
        readers = [Reader(url, since=memory.at) for _ in range(30)]
        reading = [asyncio.create_task(reader.read(client, 1)) for reader in readers]
        await until(lambda: sum(len(channel.watchers) for channel in hub.channels.values()) == 30)
        reads = memory.tree_reads
        memory.set("ruian", state="acknowledged")
        await memory.moved()
        await asyncio.gather(*reading)
        assert {reader.text for reader in readers} == {readers[0].text}
        assert "已确认" in readers[0].text
        assert memory.tree_reads == reads + 1
        await until(lambda: not hub.channels)


async def test_other_scopes_have_channels_of_their_own(memory: Memory) -> None:
    async with running(memory) as (url, hub, client):
        zh, en = Reader(url, since=memory.at), Reader(url, since=memory.at)
        en.path = en.path.replace("lang=zh", "lang=en")
        reading = [asyncio.create_task(reader.read(client, 1)) for reader in (zh, en)]
        await until(lambda: sum(len(channel.watchers) for channel in hub.channels.values()) == 2)
        assert len(hub.channels) == 2
        memory.set("ruian", state="acknowledged")
        await memory.moved()
        await asyncio.gather(*reading)
    assert "瑞安市外办" in zh.text
    assert "Rui&#39;an FAO" in en.text


async def test_what_a_view_ran_ahead_with_is_said_again(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case opens while the channel reads its first view, after a page of the same position was made without it."""
    start, asked = memory.at, memory.help

    def help_meanwhile(*args: Any) -> Any:
        monkeypatch.undo()
        memory.ask_help("ruian", "case-meanwhile")
        return asked(*args)

    monkeypatch.setattr(memory, "help", help_meanwhile)
    async with running(memory) as (url, _hub, client):
        reader = Reader(url, since=start)
        await reader.read(client, 1)
    assert "case-meanwhile" in reader.text


async def test_a_warning_that_ends_while_a_view_is_read_is_said_to_whoever_joins_then(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation lands between the channel's reading of the position and that of the warning: a page made at that
    position shows it in force, with the buttons."""
    start, tree = memory.at, memory.tree

    def cancelled_meanwhile(*args: Any, **more: Any) -> Any:
        monkeypatch.undo()
        memory.at += 1
        line = memory.lines["w-1"]
        memory.lines["w-1"] = msgspec.structs.replace(line, status="cancelled", position=memory.at)
        return tree(*args, **more)

    monkeypatch.setattr(memory, "tree", cancelled_meanwhile)
    async with running(memory) as (url, _hub, client):
        reader = Reader(url, since=start)
        await reader.read(client, 1)
        assert reader.last == memory.at
    assert "已撤销" in reader.text.partition('id="status"')[2]
    assert 'id="actions"' in reader.text
    assert "<form" not in reader.text


async def test_forms_are_left_alone_where_a_view_ran_ahead_with_something_else(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = memory.tree

    def help_meanwhile(*args: Any, **more: Any) -> Any:
        monkeypatch.undo()
        memory.ask_help("ruian", "case-meanwhile")
        return tree(*args, **more)

    start = memory.at
    monkeypatch.setattr(memory, "tree", help_meanwhile)
    async with running(memory) as (url, _hub, client):
        reader = Reader(url, since=start)
        await reader.read(client, 1)
    assert ("case-meanwhile" in reader.text, 'id="actions"' in reader.text) == (True, False)


async def test_words_that_are_revised_come_with_their_version_and_a_new_preview(memory: Memory) -> None:
    memory.add_warning("w-draft", "draft")
    start = memory.at
    async with running(memory) as (url, hub, client):
        watching = Reader(url, since=start, warning_id="w-draft")
        reading = asyncio.create_task(watching.read(client, 1))
        await until(lambda: hub.open == 1)
        await memory.revise("w-draft", "新的标题")
        await reading
        late = Reader(url, since=start, warning_id="w-draft")
        await late.read(client, 1)
    for reader in (watching, late):
        forms = reader.text.count("<form")
        assert (forms, reader.text.count('name="version" value="2"')) == (3, 3)
        said = reader.text.partition('<div id="said" hx-swap-oob="true">')[2].partition('id="contact-title"')[0]
        assert ("新的标题" in said, "已修订 1 次" in said) == (True, True)
        preview = reader.text.partition('<div id="preview-slot"')[2].partition(">")[0]
        assert 'data-version="2" hx-get="/console/warnings/w-draft/preview?lang=zh" hx-trigger="load"' in preview


async def test_what_leaves_words_and_forms_as_they_are_sends_neither(memory: Memory) -> None:
    """Somebody may be typing a reason, or reading."""
    async with running(memory) as (url, hub, client):
        reader = Reader(url, since=memory.at)
        reading = asyncio.create_task(reader.read(client, 1))
        await until(lambda: hub.open == 1)
        memory.ask_help("ruian", "case-1")
        await memory.moved()
        await reading
    pieces = ("help", "status", "said", "actions", "preview-slot")
    assert [name for name in pieces if f'id="{name}"' in reader.text] == ["help"]


async def test_hostile_lines_stay_inside_their_event(memory: Memory) -> None:
    memory.names["ruian"] = ("a\r\n\r\nid: 5\revent: x\n\n<script>", "")
    async with running(memory) as (url, _hub, client):
        reader = Reader(url, since=memory.at)
        reading = asyncio.create_task(reader.read(client, 1))
        await asyncio.sleep(0.1)
        memory.set("ruian", state="told")
        await memory.moved()
        await reading
    assert reader.last == memory.at
    assert "<script>" not in reader.text


async def test_a_client_that_does_not_read_stalls_nobody_and_is_cut_off(
    memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(memory, backlog=4, pace_s=0.001) as (url, hub, client):
        host, port = url.removeprefix("http://").split(":")
        loop = asyncio.get_running_loop()
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.setblocking(False)
        await loop.sock_connect(stuck, (host, int(port)))
        request = f"GET /console/warnings/w-1/stream?since=0&lang=zh HTTP/1.1\r\nHost: {host}\r\n\r\n"
        await loop.sock_sendall(stuck, request.encode())
        reader = Reader(url, since=memory.at)
        reading = asyncio.create_task(reader.read(client, 10**6))
        await until(lambda: sum(len(channel.watchers) for channel in hub.channels.values()) == 2)
        channel = next(iter(hub.channels.values()))
        for step in range(400):
            for node_id in list(memory.nodes)[13:60]:
                memory.set(node_id, told=step)
            await memory.moved()
            await until(lambda: reader.last == memory.at)
            if len(channel.watchers) == 1:
                break
        assert len(channel.watchers) == 1, "it was never cut off"
        reading.cancel()
        stuck.close()
    assert [record.message for record in caplog.records if record.name.startswith("api")] == []


async def test_heartbeats_keep_it_open_and_end_it_when_the_reader_may_no_longer(memory: Memory) -> None:
    signed_in = True

    def current(_request: Request) -> Who:
        if not signed_in:
            raise NotSignedIn("session.ended", "The session is over.")
        return DUTY

    hub = Hub(memory, heartbeat_s=0.05)
    app = FastAPI()
    app.include_router(console(memory, memory, current, hub=hub))
    async with serving(app, hub) as url, httpx.AsyncClient(trust_env=False) as client:
        seen = b""
        async with client.stream("GET", f"{url}/console/warnings/w-1/stream?since={memory.at}") as response:
            async for chunk in response.aiter_raw():
                seen += chunk
                if seen.count(b": still here") == 2:
                    signed_in = False
        assert seen.startswith(b"retry: ")
        assert seen.count(b": still here") >= 2
        await until(lambda: not hub.channels)


async def test_a_busy_stream_is_ended_when_the_reader_may_no_longer_as_well(memory: Memory) -> None:
    signed_in = True

    def current(_request: Request) -> Who:
        if not signed_in:
            raise NotSignedIn("session.ended", "The session is over.")
        return DUTY

    hub = Hub(memory, heartbeat_s=0.2, pace_s=0.001)
    app = FastAPI()
    app.include_router(console(memory, memory, current, hub=hub))
    async with serving(app, hub) as url, httpx.AsyncClient(trust_env=False) as client:
        reading = asyncio.create_task(Reader(url, since=memory.at).read(client, 10**6))
        async with asyncio.timeout(20):
            while not reading.done():  # always sooner than a heartbeat
                memory.set("ruian", told=memory.at)
                await memory.moved()
                await asyncio.sleep(0.01)
                signed_in = signed_in and memory.at < 120
        await reading


class Rights:
    """Who of a hub's readers may see what."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def scope(self, who: Who) -> str:
        return self.of.get(who.person_id, "all")


@contextlib.asynccontextmanager
async def two_watching(memory: Memory, hub: Hub) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    """A server whose readers say who they are, where `first` and then `second` have begun to watch."""
    app = FastAPI()

    def current(request: Request) -> Who:
        return Who(person_id=request.query_params["who"], label="", may=DUTY.may)

    app.include_router(console(memory, memory, current, hub=hub))
    async with serving(app, hub) as url, httpx.AsyncClient(timeout=10, trust_env=False) as client:
        yield url, client


async def test_who_is_read_as_may_see_less_and_another_is_read_as_from_then_on(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rights of the one who came first change just while a frame is read: what was read is shown to nobody."""
    rights, read_as = Rights(), list[str]()
    tree = memory.tree

    def withdrawn_meanwhile(who: Who, *args: Any, **more: Any) -> Any:
        read_as.append(who.person_id)
        rights.of[read_as[0]] = "less"
        return [] if rights.of.get(who.person_id) else tree(who, *args, **more)

    hub = Hub(memory, scope=rights.scope, pace_s=0.01)
    async with two_watching(memory, hub) as (url, client):
        readers = {name: Reader(url, since=memory.at) for name in ("first", "second")}
        for name, reader in readers.items():
            reader.path += f"&who={name}"
        reading = {name: asyncio.create_task(reader.read(client, 1)) for name, reader in readers.items()}
        await until(lambda: hub.open == 2)
        (channel,) = hub.channels.values()
        await until(channel._view.done)
        monkeypatch.setattr(memory, "tree", withdrawn_meanwhile)
        memory.set("ruian", state="told")
        await memory.moved()
        await asyncio.gather(*reading.values())
        assert sorted(read_as) == ["first", "second"]
        one, other = (readers[name] for name in read_as)
        assert one.rows == [], "whose rights are others gets no frame"
        assert [node for node, _ in other.rows] == ["ruian"]


async def test_a_view_that_fails_ends_its_streams_and_says_so(
    memory: Memory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise OSError("the views are away")

    async with running(memory) as (url, hub, client):
        reader = Reader(url, since=memory.at)
        reading = asyncio.create_task(reader.read(client, 1))
        await until(lambda: any(channel.watchers for channel in hub.channels.values()))
        with monkeypatch.context() as patch:
            patch.setattr(memory, "summary", broken)
            memory.set("ruian", state="told")
            await memory.moved()
            await reading  # the stream ended, without a frame
        assert reader.rows == []
        assert "its watchers reconnect" in caplog.text
        await reader.read(client, 1)  # and the browser, coming back, has it
        assert [node for node, _ in reader.rows] == ["ruian"]


async def test_the_server_stops_at_once_with_streams_open(memory: Memory) -> None:
    hub = Hub(memory)
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        async with serving(application(memory, hub=hub), hub) as url:
            readers = [asyncio.create_task(Reader(url, since=memory.at).read(client, 1)) for _ in range(5)]
            await until(lambda: sum(len(channel.watchers) for channel in hub.channels.values()) == 5)
            began = asyncio.get_running_loop().time()
        await asyncio.gather(*readers)  # each ended properly, none was torn
    assert asyncio.get_running_loop().time() - began < 2


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  (what is waited for is in the server, which tells nobody)
            await asyncio.sleep(0.005)
