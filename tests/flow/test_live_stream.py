"""The live stream of stations: what concerns them and nothing else, nothing lost on coming back, ended in good time."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from problems import denied, problem
from setting import SHARED, Errors
from town import Town
from townsfolk import SETUP, TREE

from api import live, live_hub, live_reader
from api.commands import Actor
from api.live_hub import BACKLOG, Hub
from api.live_reader import BEHIND, Reader
from domain.errors import Unreachable
from domain.grants import GrantRole

pytestmark = SHARED


def hub(town: Town) -> Hub:
    found: Hub = town.live.server._app.state.live
    return found


class Ear:
    """One open stream, read line by line."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> tuple[int, str, dict[str, Any]] | None:
        """The next event as (id, name, data); None where the stream has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(30):
            async for line in self._lines:
                if line == "" and "data" in fields:
                    return int(fields["id"]), fields["event"], json.loads(fields["data"])
                name, _, value = line.partition(": ")
                fields[name] = value
        return None

    async def id(self) -> int:
        """The position to come back with, which is said before any event."""
        async with asyncio.timeout(30):
            async for line in self._lines:
                if line.startswith("id: "):
                    return int(line[4:])
        raise AssertionError("the stream ended")

    async def comment(self) -> str:
        async with asyncio.timeout(30):
            async for line in self._lines:
                if line.startswith(": "):
                    return line[2:]
        raise AssertionError("the stream ended")


@asynccontextmanager
async def listening(town: Town, who: str, path: str = "/v1/live", **headers: str) -> AsyncIterator[Ear]:
    if who not in town.tokens:
        town.tokens[who] = await town.token(who)
    headers["Authorization"] = f"Bearer {town.tokens[who]}"
    async with town.http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        ear = Ear(answer.aiter_lines())
        assert (await ear.comment()).startswith("from ")
        yield ear


@asynccontextmanager
async def stalled(town: Town, who: str) -> AsyncIterator[socket.socket]:
    """A connection of somebody who takes nothing, full; they see `who`'s station alone."""
    await town.get(who, "/v1/warnings")
    host, port = town.live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as made:
        made.setblocking(False)
        asked = f"GET /v1/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {town.tokens[who]}\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(made, asked.encode())
        tops = frozenset({who.partition("-")[0]})
        await town.until(lambda: tops in hub(town).readers)
        (reader,) = hub(town).readers[tops]
        while reader.offer(b": " + b"x" * 1_000_000 + b"\n\n"):  # noqa: ASYNC110  until it does not keep up
            await asyncio.sleep(0)
        yield made


async def over(town: Town) -> None:
    await town.quiet()
    town.read_all()


async def test_a_station_hears_what_concerns_it_and_nothing_else(town: Town) -> None:
    async with listening(town, "milan-head") as milan, listening(town, "rome-head") as rome:
        north = await town.release(target={"nodes": ["milan"]})
        both = await town.release(target={"nodes": ["office"]}, level="red")
        position, name, data = await milan.next() or pytest.fail("ended")
        assert (name, data["warning_id"], data["status"]) == ("warning.released", north, "released")
        assert data["content"]["texts"][0]["headline"] == "洪水将至"
        assert len(data["number"]) == 6
        assert position in {r.position for r in town.recorded()}
        for ear in (milan, rome):
            _, _, data = await ear.next() or pytest.fail("ended")
            assert (data["warning_id"], data["level"]) == (both, "red")
        await town.post("officer1", f"/v1/warnings/{north}/cancel", {"reason": "false alarm"})
        _, name, data = await milan.next() or pytest.fail("ended")
        assert (name, data["warning_id"], data["reason"]) == ("warning.cancelled", north, "false alarm")
        await town.post("officer1", f"/v1/warnings/{both}/cancel", {"reason": "over"})
        _, name, data = await rome.next() or pytest.fail("ended")
        assert (name, data["warning_id"]) == ("warning.cancelled", both)
    await over(town)


async def test_offices_hear_what_concerns_the_stations_below_them_and_drafts_are_not_heard(town: Town) -> None:
    async with listening(town, "county1") as north, listening(town, "county2") as south:
        await town.draft(target={"nodes": ["milan"]})
        first = await town.release(target={"nodes": ["milan"]})
        second = await town.release(target={"nodes": ["madrid"]})
        assert (await north.next() or pytest.fail("ended"))[2]["warning_id"] == first
        assert (await south.next() or pytest.fail("ended"))[2]["warning_id"] == second
    await over(town)


async def test_an_update_says_which_took_which_ones_place(town: Town) -> None:
    async with listening(town, "milan-head") as ear:
        old = await town.release()
        assert (await ear.next() or pytest.fail("ended"))[1] == "warning.released"
        new = await town.release(updates=old, level="red")
        said = [await ear.next() or pytest.fail("ended") for _ in range(2)]
        assert {(name, data["warning_id"], data["updates"], data["updated_by"]) for _, name, data in said} == {
            ("warning.released", new, old, None),
            ("warning.updated", old, None, new),
        }
    await over(town)


async def test_who_comes_back_misses_nothing_and_hears_nothing_twice(town: Town) -> None:
    async with listening(town, "milan-head") as ear:
        first = await town.release()
        position, _, _ = await ear.next() or pytest.fail("ended")
    second = await town.release()
    await town.post("officer1", f"/v1/warnings/{first}/cancel", {"reason": "over"})
    await town.release(target={"nodes": ["madrid"]})
    async with listening(town, "milan-head", **{"Last-Event-ID": str(position)}) as ear:
        said = [await ear.next() or pytest.fail("ended") for _ in range(2)]
        assert [(name, data["warning_id"]) for _, name, data in said] == [
            ("warning.released", second),
            ("warning.cancelled", first),
        ]
        third = await town.release()
        _, _, data = await ear.next() or pytest.fail("ended")
        assert data["warning_id"] == third
        last = (await town.get("auditor1", "/v1/log?limit=1")).json()["last"]
    async with listening(town, "milan-head", "/v1/live?since=0", **{"Last-Event-ID": str(last)}) as ear:
        fourth = await town.release()
        _, _, data = await ear.next() or pytest.fail("ended")
        assert data["warning_id"] == fourth
    await over(town)


async def test_from_the_beginning_is_what_is_in_force(town: Town) -> None:
    ended, stands = await town.release(), await town.release()
    await town.post("officer1", f"/v1/warnings/{ended}/cancel", {"reason": "over"})
    found = []
    for since in (0, 2**40):  # a position that this log never had is another log's
        async with listening(town, "milan-head", f"/v1/live?since={since}") as ear:
            while not found or found[-1] != stands:
                _, name, data = await ear.next() or pytest.fail("ended")
                assert name == "warning.released"
                found.append(data["warning_id"])
            assert ended not in found
            found.clear()
    await over(town)


async def test_releases_and_readers_that_come_and_go_at_the_same_time(town: Town) -> None:
    """A reader that reconnects after each event sees every warning once, in order, whatever happens in between."""
    await town.get("milan-head", "/v1/warnings")
    start = town.stores.log.last_position_now()

    async def releases() -> list[str]:
        return [await town.release(target={"nodes": ["milan"]}) for _ in range(8)]

    releasing = asyncio.create_task(releases())
    heard: list[tuple[int, str]] = []
    while len(heard) < 8:
        after = heard[-1][0] if heard else start
        async with listening(town, "milan-head", **{"Last-Event-ID": str(after)}) as ear:
            position, _, data = await ear.next() or pytest.fail("ended")
            heard.append((position, data["warning_id"]))
    assert [warning_id for _, warning_id in heard] == await releasing
    await over(town)


async def test_the_stream_is_for_those_who_may_read(town: Town) -> None:
    assert denied(await town.get("milan-zh", "/v1/live"))
    problem(await town.http.get("/v1/live"), 401, "token.missing")
    for wrong in ("x", "-1", "9" * 20):
        answer = await town.get("milan-head", "/v1/live", headers={"Last-Event-ID": wrong})
        problem(answer, 422, "stream.last_event_id")
    problem(await town.get("milan-head", "/v1/live?since=-1"), 422, "request.invalid")
    await town.until(lambda: hub(town)._users == 0)


async def test_a_right_that_is_withdrawn_ends_the_stream(town: Town) -> None:
    done = await town.stores.registry.give_grant(
        SETUP, person_id="rome-zh", role=GrantRole.LIAISON, node_id="rome", bootstrap=True
    )
    await town.stores.follower.reached(done.position)
    async with listening(town, "rome-zh") as ear:
        await town.stores.registry.revoke_grant(SETUP, done.id, reason="moved")
        assert await ear.next() is None
    assert denied(await town.get("rome-zh", "/v1/live"))


async def test_a_token_that_is_withdrawn_or_over_ends_the_stream(town: Town) -> None:
    from api.registry import digest_of

    town.tokens["milan-head"] = await town.token("milan-head")
    async with listening(town, "milan-head") as ear, listening(town, "rome-head") as other:
        await town.stores.registry.revoke_token(digest_of(town.tokens.pop("milan-head")), SETUP, reason="lost")
        assert await ear.next() is None
        warning_id = await town.release()
        assert (await other.next() or pytest.fail("ended"))[2]["warning_id"] == warning_id
    await over(town)
    short = town.tokens["madrid-head"] = await town.token("madrid-head", timedelta(minutes=1))
    async with listening(town, "madrid-head") as ear:
        town.clock.move(timedelta(minutes=2))
        town.tokens.pop("madrid-head")
        await town.release(level="blue")
        assert await ear.next() is None
    assert short
    await over(town)


async def test_an_idle_line_gets_a_sign_of_life(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub(town), "_heartbeat_s", 0.05)
    async with listening(town, "milan-head") as ear:
        assert await ear.comment() == "alive"


async def test_a_reader_that_does_not_keep_up_is_told_and_ended_and_the_others_are_not(town: Town) -> None:
    async with listening(town, "rome-head") as quick, stalled(town, "milan-head") as slow:
        assert hub(town)._users == 2
        loop = asyncio.get_running_loop()
        warning_id = await town.release()  # somebody slow holds up nobody
        assert (await quick.next() or pytest.fail("ended"))[2]["warning_id"] == warning_id
        got = b""
        async with asyncio.timeout(20):
            while part := await loop.sock_recv(slow, 1 << 20):
                got = (got + part)[-200:]
                if got.endswith(b"0\r\n\r\n"):
                    break
        assert BEHIND in got
    await town.until(lambda: hub(town)._users == 0)
    await over(town)


async def test_hanging_up_is_noticed(town: Town) -> None:
    async with listening(town, "milan-head"):
        assert hub(town)._users == 1
    await town.until(lambda: hub(town)._users == 0)
    assert hub(town).readers == {}
    assert hub(town)._tasks == []


async def test_a_readers_queue_is_bounded() -> None:
    from datetime import UTC, datetime

    reader = Reader(frozenset({"milan"}), frozenset(), datetime.max.replace(tzinfo=UTC), BACKLOG)
    assert [reader.offer(b"x") for _ in range(BACKLOG + 2)] == [True] * BACKLOG + [False, False]
    written: list[Any] = []

    async def send(message: Any) -> None:
        written.append(message)

    assert (await reader.write(send), written) == (BEHIND, [])


async def test_a_fault_while_following_ends_the_streams_and_the_next_ones_work(
    town: Town, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(town, "milan-head") as ear:
        with monkeypatch.context() as broken:
            broken.setattr(live_hub, "frame", lambda *_: 1 / 0)
            await town.release()
            assert await ear.next() is None
    assert "its readers reconnect" in caplog.text
    caplog.clear()
    async with listening(town, "milan-head") as ear:
        warning_id = await town.release()
        assert (await ear.next() or pytest.fail("ended"))[2]["warning_id"] == warning_id
    await over(town)


async def test_who_hangs_keeps_the_next_ones_from_nothing_after_a_fault(
    town: Town, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with stalled(town, "rome-head"):
        async with listening(town, "milan-head") as ear:
            with monkeypatch.context() as broken:
                broken.setattr(live_hub, "frame", lambda *_: 1 / 0)
                await town.release()
                assert await ear.next() is None
        caplog.clear()
        await town.until(lambda: hub(town)._users == 1)
        async with listening(town, "milan-head") as ear:
            warning_id = await town.release()
            assert (await ear.next() or pytest.fail("ended"))[2]["warning_id"] == warning_id
    await town.until(lambda: hub(town)._users == 0)
    await over(town)


async def test_who_takes_nothing_any_more_is_let_go(
    town: Town, errors: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors.expect("without completing response")  # as the server says that it hangs up
    monkeypatch.setattr(live_reader, "TAKES_S", 0.1)
    monkeypatch.setattr(live, "END_S", 0.1)
    async with stalled(town, "milan-head"):
        await town.until(lambda: hub(town)._users == 0, seconds=10)
        assert hub(town).readers == {}


async def test_a_log_that_cannot_be_read_for_a_moment_is_waited_for_and_said_once(
    town: Town, errors: Errors, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors.expect("waits for the log")
    monkeypatch.setattr(live_hub, "BACKOFF_S", 0.001)
    there, faults = hub(town)._changed, iter(range(5))

    async def changed(recorded: Any) -> None:
        if next(faults, None) is not None:
            raise Unreachable("log.read_failed", "The log could not be read.")
        await there(recorded)

    monkeypatch.setattr(hub(town), "_changed", changed)
    async with listening(town, "milan-head") as ear:
        for _ in range(2):
            warning_id = await town.release()
            assert (await ear.next() or pytest.fail("ended"))[2]["warning_id"] == warning_id
    assert caplog.text.count("waits for the log: log.read_failed") == 1
    await over(town)


async def test_a_log_that_stays_away_ends_the_streams_and_who_comes_back_misses_nothing(
    town: Town, errors: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors.expect("waits for the log")
    monkeypatch.setattr(live_hub, "BACKOFF_S", 0.001)
    monkeypatch.setattr(live_hub, "LONGEST_BACKOFF_S", 0.004)

    async def changed(_: Any) -> None:
        raise Unreachable("log.read_failed", "The log could not be read.")

    async with listening(town, "milan-head") as ear:
        start = await ear.id()
        with monkeypatch.context() as away:
            away.setattr(hub(town), "_changed", changed)
            warning_id = await town.release()
            assert await ear.next() is None
    async with listening(town, "milan-head", **{"Last-Event-ID": str(start)}) as ear:
        assert (await ear.next() or pytest.fail("ended"))[2]["warning_id"] == warning_id
    await over(town)


async def test_who_comes_in_just_as_the_following_fails_comes_back(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, admitted = asyncio.get_running_loop(), hub(town)._admitted

    async def fail() -> None:
        (run,) = (task for task in hub(town)._tasks if task.get_name() == "live stream")
        run.cancel()
        await asyncio.wait([run])

    def meanwhile(request: Any) -> Reader:
        found = admitted(request)
        asyncio.run_coroutine_threadsafe(fail(), loop).result()
        return found

    with monkeypatch.context() as failing:
        failing.setattr(hub(town), "_admitted", meanwhile)
        async with listening(town, "milan-head") as ear:
            assert await ear.next() is None
    async with listening(town, "milan-head") as ear:
        warning_id = await town.release()
        assert (await ear.next() or pytest.fail("ended"))[2]["warning_id"] == warning_id
    await over(town)


# Views that are behind the log ---------------------------------------------------------------------------------------

OFFICER = Actor(person_id="officer2", correlation_id="meanwhile")


@contextmanager
def behind(town: Town, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is folded meanwhile, since somebody else writes to the views; who enters waits for them but shortly."""
    monkeypatch.setattr(live_hub, "SHOWN_S", 0.1)
    with town.stores.views._changing():
        yield


async def test_who_comes_while_the_views_are_behind_is_told_so_and_misses_nothing_afterwards(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.get("milan-head", "/v1/warnings")
    draft = await town.draft()
    await town.quiet()
    back = {"Last-Event-ID": str(town.stores.log.last_position_now())}
    with behind(town, monkeypatch):
        await town.stores.desk.release(OFFICER, draft)
        for headers in (back, {}):
            problem(await town.get("milan-head", "/v1/live", headers=headers), 503, "stream.behind")
    assert (hub(town)._users, hub(town).readers) == (0, {})
    async with listening(town, "milan-head", **back) as ear:
        assert (await ear.next() or pytest.fail("ended"))[2]["warning_id"] == draft
    await over(town)


async def test_all_who_come_while_the_views_are_behind_wait_at_the_same_time(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.get("milan-head", "/v1/warnings")
    draft = await town.draft()
    await town.quiet()
    with behind(town, monkeypatch):
        monkeypatch.setattr(live_hub, "SHOWN_S", 1.0)
        await town.stores.desk.release(OFFICER, draft)
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*[town.get("milan-head", "/v1/live") for _ in range(10)])
    for answer in answers:
        problem(answer, 503, "stream.behind")
    await over(town)


async def test_who_comes_back_to_streams_that_go_on_while_the_views_are_behind_leaves_no_reader_there(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.get("milan-head", "/v1/warnings")
    drafts = [await town.draft(), await town.draft()]
    await town.quiet()
    back = {"Last-Event-ID": str(town.stores.log.last_position_now())}
    loop, admitted, stack = asyncio.get_running_loop(), hub(town)._admitted, ExitStack()

    async def go_on() -> None:
        stack.enter_context(behind(town, monkeypatch))
        await town.stores.desk.release(OFFICER, drafts[1])
        assert (await rome.next() or pytest.fail("ended"))[2]["warning_id"] == drafts[1]

    def meanwhile(request: Any) -> Reader:
        asyncio.run_coroutine_threadsafe(go_on(), loop).result()
        return admitted(request)

    async with listening(town, "rome-head") as rome:
        await town.post("officer2", f"/v1/warnings/{drafts[0]}/release")
        assert (await rome.next() or pytest.fail("ended"))[2]["warning_id"] == drafts[0]
        with stack, monkeypatch.context() as growing:
            growing.setattr(hub(town), "_admitted", meanwhile)
            problem(await town.get("milan-head", "/v1/live", headers=back), 503, "stream.behind")
            assert hub(town).readers.keys() == {frozenset({"rome"})}
        async with listening(town, "milan-head", **back) as milan:
            said = [await milan.next() or pytest.fail("ended") for _ in drafts]
            assert [data["warning_id"] for _, _, data in said] == drafts
    await over(town)


async def test_a_right_that_was_withdrawn_while_the_views_are_behind_lets_nobody_in(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = await town.stores.registry.give_grant(
        SETUP, person_id="rome-deputy", role=GrantRole.STATION_HEAD, node_id="rome", bootstrap=True
    )
    await town.stores.follower.reached(given.position)
    await town.get("rome-deputy", "/v1/warnings")
    async with listening(town, "milan-head"):
        with behind(town, monkeypatch):
            await town.stores.registry.revoke_grant(SETUP, given.id, reason="left")
            await town.until(lambda: hub(town)._rights_at == town.stores.log.last_position_now())
            problem(await town.get("rome-deputy", "/v1/live"), 503, "stream.behind")
    await town.quiet()
    assert denied(await town.get("rome-deputy", "/v1/live"))


async def test_open_streams_go_on_while_the_views_are_behind_and_know_of_a_station_registered_meanwhile(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = await town.draft(target={"nodes": ["office"], "countries": ["ES", "PT"]})
    lisbon = msgspec.structs.replace(TREE[3], node_id="lisbon", country="PT")
    async with listening(town, "county1") as north:
        with behind(town, monkeypatch):
            await town.stores.registry.register_nodes([lisbon], SETUP)
            await town.stores.desk.release(OFFICER, draft)
            assert (await north.next() or pytest.fail("ended"))[2]["warning_id"] == draft
    await over(town)
