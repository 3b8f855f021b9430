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
