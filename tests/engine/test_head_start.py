"""While an extreme warning begins, the lanes below it hold still, and no longer than that."""

from __future__ import annotations

import asyncio

import pytest
from house import MILAN, house

from domain.rulepacks import Lane, Level
from domain.shards import ChunkIntended, ChunkRecorded
from notifiers.head_start import HeadStart

BELOW = [Lane.HIGH, Lane.NORMAL, Lane.DRILL]


@pytest.mark.parametrize("lane", BELOW)
async def test_a_lane_below_holds_still_until_the_extreme_one_is_done(lane: Lane) -> None:
    head_start = HeadStart(longest_s=3600)
    with head_start.running(Lane.EXTREME):
        with head_start.running(Lane.EXTREME):
            waiting = asyncio.create_task(head_start.past(lane))
        await asyncio.sleep(0)
        assert head_start.before(lane)
        assert not waiting.done()
    await waiting
    assert not head_start.before(lane)


async def test_it_ends_by_itself_where_the_extreme_lane_waits_for_something_else() -> None:
    head_start = HeadStart(longest_s=0.01)
    with head_start.running(Lane.EXTREME):
        await head_start.past(Lane.NORMAL)
        assert not head_start.before(Lane.NORMAL)


@pytest.mark.parametrize("lane", BELOW)
async def test_no_other_lane_has_one(lane: Lane) -> None:
    head_start = HeadStart(longest_s=3600)
    with head_start.running(lane):
        assert not any(head_start.before(other) for other in Lane)
    with head_start.running(Lane.EXTREME):
        assert not head_start.before(Lane.EXTREME)


@pytest.mark.parametrize("lane", BELOW)
async def test_it_begins_with_the_release_and_goes_on_in_the_plan(lane: Lane) -> None:
    head_start = HeadStart(longest_s=3600)
    head_start.expect(Lane.EXTREME)
    waiting = asyncio.create_task(head_start.past(lane))
    await asyncio.sleep(0)
    assert head_start.before(lane)
    assert not head_start.before(Lane.EXTREME)
    with head_start.running(Lane.EXTREME):
        assert head_start.before(lane)
    await waiting
    assert not head_start.before(lane)


@pytest.mark.parametrize("lane", BELOW)
async def test_the_release_of_another_lane_holds_nobody(lane: Lane) -> None:
    head_start = HeadStart(longest_s=3600)
    head_start.expect(lane)
    assert not any(head_start.before(other) for other in Lane)


async def test_a_release_without_a_plan_here_holds_the_others_for_a_moment_alone() -> None:
    head_start = HeadStart(longest_s=0.01)
    head_start.expect(Lane.EXTREME)
    assert head_start.before(Lane.NORMAL)
    await head_start.past(Lane.NORMAL)
    assert not head_start.before(Lane.NORMAL)


async def test_the_rest_of_a_plan_waits_for_the_first_message_of_the_extreme_lane(monkeypatch) -> None:
    monkeypatch.setattr("notifiers.head_start.FIRST_S", 3600)
    head_start = HeadStart()
    waiting = asyncio.create_task(head_start.sent())
    await asyncio.sleep(0)
    head_start.sending(Lane.NORMAL)
    await asyncio.sleep(0)
    assert not waiting.done()
    head_start.sending(Lane.EXTREME)
    await waiting


async def test_and_for_a_moment_alone_where_there_is_none(monkeypatch) -> None:
    monkeypatch.setattr("notifiers.head_start.FIRST_S", 0.01)
    await HeadStart().sent()


async def test_nobody_waits_for_messages_where_no_worker_is(monkeypatch) -> None:
    monkeypatch.setattr("notifiers.head_start.FIRST_S", 3600)
    await HeadStart(sends=False).sent()


@pytest.mark.parametrize(("level", "held"), [(Level.RED, True), (Level.BLUE, False)])
async def test_a_release_of_the_extreme_lane_says_so_and_no_other(tmp_path, level: Level, held: bool) -> None:
    async with house(tmp_path) as h:
        said: list[Lane] = []
        h.stores.desk.releasing = said.append
        await h.release(level, target="milan")
        assert [lane is Lane.EXTREME for lane in said] == [held]
        await h.quiet()


async def test_bulk_goes_on_while_an_extreme_shard_gets_no_answer(tmp_path) -> None:
    """A provider that hangs holds its own lane, and the others for a moment alone."""
    async with house(tmp_path) as h:
        h.runtime.worker._head_start._longest_s = 0.05
        for notifier in h.notifiers.values():
            notifier.hanging = {who for who, _ in MILAN}
        red = await h.release(Level.RED, target="milan", event="Extreme")
        await h.until(lambda: {e.shard_id for e in h.events(ChunkIntended)} & h.shards(red).keys())
        blue = await h.release(Level.BLUE, target="madrid", event="Bulk")
        await h.until(lambda: {e.shard_id for e in h.events(ChunkRecorded)} & h.shards(blue).keys())
        assert not any(h.rows(red, who) for who, _ in MILAN)
        for notifier in h.notifiers.values():
            notifier.release()
        await h.quiet()
