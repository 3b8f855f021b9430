"""The contract of the log port, held by every backend: all or nothing, in order, durable, explained."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from eventsourcing.persistence import IntegrityError, OperationalError
from log_rig import BACKENDS, NOW, ORIGIN, Holding, backend, opened, said, to, word, words

from domain.errors import InvalidInput, Unreachable, VersionConflict
from domain.events import Metadata
from domain.ports import Append, Origin
from domain.rates import RateSet
from infra.log.store import BATCH_EVENTS, EventLog


@pytest.fixture(params=BACKENDS)
async def log(request: pytest.FixtureRequest, tmp_path: Path):
    with backend(request, tmp_path) as recorder:
        async with opened(tmp_path, recorder) as made:
            yield made


async def everything(log: EventLog) -> list[tuple[int, str, int, str]]:
    return [(r.position, r.stream, r.version, word(r.event)) for r in await log.read(0, 10_000)]


# Appending -----------------------------------------------------------------------------------------------------------


async def test_positions_count_the_events_and_versions_those_of_a_stream(log):
    first = await log.append([to("a", "1", "2"), to("b", "3")], ORIGIN)
    second = await log.append([to("a", "4", after=2)], ORIGIN)

    expected = [(1, "a", 1, "1"), (2, "a", 2, "2"), (3, "b", 1, "3"), (4, "a", 3, "4")]
    assert [(r.position, r.stream, r.version, word(r.event)) for r in first + second] == expected
    assert await everything(log) == expected
    assert await log.last_position() == 4


async def test_an_append_over_several_streams_is_stored_whole_or_not_at_all(log):
    await log.append([to("a", "1")], ORIGIN)

    with pytest.raises(VersionConflict):
        await log.append([to("b", "2"), to("a", "taken"), to("c", "3")], ORIGIN)

    assert await everything(log) == [(1, "a", 1, "1")]
    assert await log.load("b", words) == (None, 0)


async def test_an_append_of_nothing_writes_nothing(log):
    assert await log.append([], ORIGIN) == []
    assert await log.append([to("a")], ORIGIN) == []
    assert await log.last_position() == 0


async def test_more_events_than_one_insert_takes_are_stored_all_the_same(log):
    await log.append([to(f"s{n}", "x", "y") for n in range(700)], ORIGIN)

    assert await log.last_position() == 1400


async def test_every_event_says_who_when_why_and_by_what_right(log):
    origin = Origin(
        actor="ann", correlation_id="c1", causation_id="e0", grant_id="g1", rule_pack_id="r1", effective_at=NOW
    )
    await log.append([to("a", "1"), to("b", "2")], origin)

    assert [r.metadata for r in await log.read(0, 9)] == [
        Metadata(
            event_id=event_id,
            recorded_at=NOW,
            actor="ann",
            correlation_id="c1",
            causation_id="e0",
            effective_at=NOW,
            grant_id="g1",
            rule_pack_id="r1",
        )
        for event_id in ("e1", "e2")
    ]


# Merged writes -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=BACKENDS)
async def held(request: pytest.FixtureRequest, tmp_path: Path):
    """(log, its recorder) where inserts wait until they are let through."""
    with backend(request, tmp_path) as real:
        recorder = Holding(real)
        async with opened(tmp_path, recorder) as made:
            yield made, recorder
            recorder.go.release(10_000)


async def while_the_first_insert_waits(log: EventLog, recorder: Holding, *appends: Any) -> list[Any]:
    """Asks for all appends while an insert is under way, so that they become the next batch; what each came to."""
    async with asyncio.timeout(30):
        first = asyncio.create_task(log.append([to("first", "0")], ORIGIN))
        await asyncio.to_thread(recorder.entered.acquire)
        rest = [asyncio.create_task(log.append([append], ORIGIN)) for append in appends]
        await asyncio.sleep(0)
        recorder.go.release(10_000)
        await first
        return await asyncio.gather(*rest, return_exceptions=True)


async def test_what_is_asked_for_meanwhile_is_one_insert(held):
    log, recorder = held
    await while_the_first_insert_waits(log, recorder, *[to(f"s{n}", str(n)) for n in range(20)])

    assert recorder.inserts == [1, 20]
    assert [w for *_, w in await everything(log)] == ["0", *map(str, range(20))]


async def test_a_conflict_stays_with_its_cause(held):
    log, recorder = held
    done = await while_the_first_insert_waits(
        log, recorder, to("a", "1"), to("first", "too late"), to("b", "2"), to("a", "too late"), to("a", "3", after=1)
    )

    assert [type(d) for d in done] == [list, VersionConflict, list, VersionConflict, list]
    assert "first" in done[1].message
    assert sorted(w for *_, w in await everything(log)) == ["0", "1", "2", "3"]


async def test_closing_commits_what_waits_and_takes_nothing_more(held):
    log, recorder = held
    first = asyncio.create_task(log.append([to("a", "1")], ORIGIN))
    await asyncio.to_thread(recorder.entered.acquire)
    second = asyncio.create_task(log.append([to("b", "2")], ORIGIN))
    await asyncio.sleep(0)
    closing = asyncio.create_task(log.close())
    await asyncio.sleep(0)

    with pytest.raises(Unreachable) as refused:
        await log.append([to("c", "3")], ORIGIN)
    assert (refused.value.code, closing.done()) == ("log.closed", False)
    recorder.go.release(10_000)
    async with asyncio.timeout(30):
        await closing
    assert [r[0].position for r in (first.result(), second.result())] == [1, 2]
    assert await log.last_position() == 2


async def test_a_caller_that_goes_away_does_not_take_back_what_it_asked_for(held):
    log, recorder = held
    append = asyncio.create_task(log.append([to("a", "1")], ORIGIN))
    await asyncio.to_thread(recorder.entered.acquire)
    append.cancel()
    with pytest.raises(asyncio.CancelledError):
        await append
    recorder.go.release(10_000)
    await log.append([to("b", "2")], ORIGIN)

    assert [w for *_, w in await everything(log)] == ["1", "2"]


async def test_a_database_that_fails_is_unreachable_and_the_writer_goes_on(log, monkeypatch):
    real = log.recorder.insert_events

    def broken(stored):
        monkeypatch.setattr(log.recorder, "insert_events", real)
        raise OperationalError("disk I/O error")

    monkeypatch.setattr(log.recorder, "insert_events", broken)
    with pytest.raises(Unreachable) as failed:
        await log.append([to("a", "1")], ORIGIN)
    await log.append([to("a", "1")], ORIGIN)

    assert (failed.value.code, await log.last_position()) == ("log.write_failed", 1)


@pytest.mark.parametrize(
    ("fault", "told"), [(OperationalError("disk full"), Unreachable), (ValueError("bad"), ValueError)]
)
async def test_what_was_written_before_a_fault_of_another_append_is_accepted(log, monkeypatch, fault, told):
    await log.append([to("b", "1")], ORIGIN)
    real = log.recorder.insert_events

    def failing(stored):
        if [event.originator_id for event in stored] == ["c"]:
            raise fault
        return real(stored)

    monkeypatch.setattr(log.recorder, "insert_events", failing)
    written, taken, failed = await asyncio.gather(
        *(log.append([to(stream, "2")], ORIGIN) for stream in "abc"), return_exceptions=True
    )

    assert [(r.stream, r.version, word(r.event)) for r in written] == [("a", 1, "2")]
    assert isinstance(taken, VersionConflict)
    assert isinstance(failed, told)
    assert [found[1:] for found in await everything(log)] == [("b", 1, "1"), ("a", 1, "2")]


async def test_once_the_database_is_gone_nothing_is_tried_any_more(log, monkeypatch):
    await log.append([to("a", "1")], ORIGIN)
    tried = []

    def failing(stored):
        streams = [event.originator_id for event in stored]
        tried.append(streams)
        raise IntegrityError("taken") if "a" in streams else OperationalError("gone")

    monkeypatch.setattr(log.recorder, "insert_events", failing)
    found = await asyncio.gather(*(log.append([to(name, "2")], ORIGIN) for name in "abcd"), return_exceptions=True)

    assert [type(one) for one in found] == [VersionConflict, *[Unreachable] * 3]
    assert tried == [["a", "b", "c", "d"], ["a"], ["b"]]


async def test_an_append_that_cannot_be_stored_takes_no_other_with_it(log, monkeypatch):
    real = log.recorder.insert_events

    def failing(stored):
        if any(event.originator_id == "b" for event in stored):
            raise ValueError("not to be stored")
        return real(stored)

    monkeypatch.setattr(log.recorder, "insert_events", failing)
    found = await asyncio.gather(*(log.append([to(stream, "1")], ORIGIN) for stream in "abc"), return_exceptions=True)

    assert [isinstance(one, ValueError) for one in found] == [False, True, False]
    assert {w for _, w, *_ in await everything(log)} == {"a", "c"}


async def test_what_could_not_be_read_again_is_not_written(log):
    endless = RateSet(provider="sms", per_s=float("inf"), burst=1)
    with pytest.raises(InvalidInput) as refused:
        await log.append([Append("rate-sms", 0, [endless])], ORIGIN)

    assert refused.value.code == "log.unreadable"
    await log.append([to("a", "1")], ORIGIN)
    assert [w for *_, w in await everything(log)] == ["1"]


# Loading and deciding ------------------------------------------------------------------------------------------------


async def test_a_stream_is_loaded_with_its_version(log):
    await log.append([to("a", "1", "2"), to("b", "3")], ORIGIN)

    assert await log.load("a", words) == (("1", "2"), 2)
    assert await log.load("nothing", words) == (None, 0)
    assert [word(r.event) for r in log.stream("a")] == ["1", "2"]


async def test_a_decision_sees_the_state_and_may_decide_on_nothing(log):
    seen = []

    def decide(state):
        seen.append(state)
        return [said("once")] if state is None else []

    first = await log.execute("a", words, decide, ORIGIN)
    second = await log.execute("a", words, decide, ORIGIN)

    assert ([r.position for r in first], second, seen) == ([1], [], [None, ("once",)])


async def test_what_a_decision_raises_passes_through_and_nothing_is_written(log):
    def decide(_):
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await log.execute("a", words, decide, ORIGIN)
    assert await log.last_position() == 0


async def test_a_decision_is_taken_anew_when_somebody_else_was_first(log):
    rivals = ["x", "y"]

    def decide(state):
        if rivals:  # somebody writes between our reading and our writing
            stored = log.mapper.to_stored_event(
                msgspec.structs.replace(template, originator_version=len(state or ()) + 1, event=said(rivals.pop()))
            )
            log.recorder.insert_events([stored])
        return [said(f"after {len(state or ())}")]

    (template,) = await log.append([to("a", "0")], ORIGIN)
    await log.execute("a", words, decide, ORIGIN)

    assert await log.load("a", words) == (("0", "y", "x", "after 3"), 4)


async def test_fifty_writers_of_one_stream_all_get_through(log):
    async def speak(n: int) -> int:
        for tries in range(1, 200):  # `execute` itself gives up after five, and says so
            try:
                await log.execute("a", words, lambda _: [said(str(n))], ORIGIN)
            except VersionConflict:
                continue
            return tries
        raise AssertionError(f"writer {n} never got through")

    async with asyncio.timeout(30):
        await asyncio.gather(*[speak(n) for n in range(50)])

    state, version = await log.load("a", words)
    assert (sorted(map(int, state)), version) == (list(range(50)), 50)


# Following -----------------------------------------------------------------------------------------------------------


async def test_following_gives_what_is_there_and_wakes_for_what_comes(log):
    await log.append([to("a", "1"), to("b", "2")], ORIGIN)
    follow = log.follow(1)
    async with asyncio.timeout(30):
        assert [word(r.event) for r in await anext(follow)] == ["2"]
        waiting = asyncio.create_task(anext(follow))
        await asyncio.sleep(0)
        await log.append([to("c", "3")], ORIGIN)
        assert [(r.position, word(r.event)) for r in await waiting] == [(3, "3")]
    await follow.aclose()


async def test_what_was_written_here_is_followed_without_being_read(log, monkeypatch):
    await log.append([to("a", "1"), to("b", "2")], ORIGIN)
    follow = log.follow(2)
    waiting = asyncio.create_task(anext(follow))
    await asyncio.sleep(0)
    monkeypatch.setattr(log, "read_now", lambda after, limit: [])
    async with asyncio.timeout(30):
        written = await log.append([to("c", "3"), to("d", "4")], ORIGIN)
        assert await waiting == written
        assert [r.position for r in written] == [3, 4]
    await follow.aclose()


async def test_who_is_behind_reads_what_it_missed_and_nothing_twice(log):
    for n in range(1, 6):
        await log.append([to(f"s{n}", str(n))], ORIGIN)
    follow, found = log.follow(2), []
    async with asyncio.timeout(30):
        while len(found) < 3:
            found += await anext(follow)
        waiting = asyncio.create_task(anext(follow))
        with pytest.raises(VersionConflict):
            await log.append([to("s1", "taken")], ORIGIN)
        await log.append([to("s6", "6")], ORIGIN)
        found += await waiting
    assert [(r.position, word(r.event)) for r in found] == [(n, str(n)) for n in range(3, 7)]
    await follow.aclose()


async def test_a_large_append_is_followed_in_batches(log):
    follow, sizes = log.follow(0), []
    waiting = asyncio.create_task(anext(follow))
    await asyncio.sleep(0)
    await log.append([to("a", *map(str, range(BATCH_EVENTS + 1)))], ORIGIN)
    async with asyncio.timeout(30):
        sizes.append(len(await waiting))
        sizes.append(len(await anext(follow)))
    assert sizes == [BATCH_EVENTS, 1]
    await follow.aclose()


async def test_an_append_of_the_own_process_wakes_at_once(log):
    growth = log.growth()
    began = asyncio.get_running_loop().time()
    await log.append([to("a", "1")], ORIGIN)
    await growth.wait()

    assert asyncio.get_running_loop().time() - began < 0.9  # without the wake-up it would be a whole second


async def test_reading_starts_after_a_position_and_stops_at_a_limit(log):
    await log.append([to("a", *"12345")], ORIGIN)

    assert [word(r.event) for r in await log.read(1, 3)] == ["2", "3", "4"]
    assert await log.read(5, 3) == []


async def test_threads_may_read_while_the_log_is_written(log):
    errors: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                positions = [r.position for r in log.read_now(0, 1000)]
                assert positions == list(range(1, len(positions) + 1))
            except Exception as error:
                errors.append(error)
                return

    readers = [asyncio.create_task(asyncio.to_thread(read)) for _ in range(2)]
    for n in range(50):
        await log.append([to(f"s{n}", "x", "y")], ORIGIN)
    done.set()
    await asyncio.gather(*readers)

    assert errors == []


async def test_whoever_is_cancelled_just_as_the_log_grows_ends(log):
    async def for_ever() -> None:
        while True:
            await log.growth().wait()

    for n in range(30):
        waiting = asyncio.create_task(for_ever())
        await asyncio.sleep(0)
        append = asyncio.create_task(log.append([to(f"s{n}", "x")], ORIGIN))
        append.add_done_callback(lambda _, waiting=waiting: waiting.cancel())
        await append
        async with asyncio.timeout(30):
            with pytest.raises(asyncio.CancelledError):
                await waiting
