"""A fault between an intent and its outcomes: what the worker knows by then is written down, whatever else fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from house import NOW, SMS, House, actor, annotate, house

from domain.errors import FenghuoError, NotFound, Unreachable
from domain.ids import relay_stream, shard_stream
from domain.outcomes import Outcome, Reason
from domain.rulepacks import Level
from domain.shards import ChunkIntended, ChunkRecorded, Purpose, ShardPlanned, ShardStopped
from infra.clock import ManualClock
from notifiers.channel import Rendered

GONE = Unreachable("views.unreachable", "The database is gone for a moment.")
FAULTS = [
    (GONE, Reason.UNREACHABLE),
    (NotFound("warning.unknown", "It is not in the views."), Reason.PROVIDER_ERROR),
    (OverflowError("a fault of ours"), Reason.PROVIDER_ERROR),
]


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


class Failing:
    """Texts that cannot be had for SMS, so many times; `begun` once they were asked for, `go` lets the fault come."""

    def __init__(self, h: House, fault: Exception, times: int) -> None:
        self.whole, self.fault, self.times, self.asked = h.runtime.texts.rendered, fault, times, 0
        self.go = asyncio.Event()
        self.go.set()
        h.runtime.texts.rendered = self.rendered  # type: ignore[method-assign]

    async def rendered(self, plan: ShardPlanned) -> Rendered:
        if plan.channel is SMS and plan.purpose is Purpose.NOTICE and self.asked < self.times:
            self.asked += 1
            await self.go.wait()
            raise self.fault
        return await self.whole(plan)


@pytest.mark.parametrize(("fault", "reason"), FAULTS)
async def test_who_had_no_words_is_in_no_doubt_and_is_told_later(
    tmp_path: Path, lines: list[Any], fault: Exception, reason: Reason
) -> None:
    async with house(tmp_path) as h:
        Failing(h, fault, 2)  # the station's head, and its people
        warning_id = await h.told(Level.RED, target="milan")
        for who in ("milan-zh", "milan-head"):
            assert h.rows(warning_id, who, channel=SMS) == [(Outcome.DEFERRED, reason, 1)]
        assert h.delivery(warning_id, "milan-zh")["doubt"] == 0
        assert ("milan-zh", SMS) not in h.sent()
        await h.pass_time(seconds=3)

        assert h.rows(warning_id, "milan-zh", channel=SMS)[1:] == [(Outcome.ACCEPTED, Reason.NONE, 2)]
        assert h.sent().count(("milan-zh", SMS)) == 1
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["shard_failed"] * 2  # a shard each


async def test_who_had_no_words_is_not_told_of_the_cancellation(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        Failing(h, GONE, 2)
        warning_id = await h.told(Level.RED, target="milan")
        await h.desk.cancel(actor("officer1"), warning_id, reason="mistake")
        await h.quiet()

        cancelled = h.planned(warning_id, Purpose.CANCEL)
        assert cancelled
        assert SMS not in {channel for _, channel in cancelled}


async def test_attempts_without_words_have_an_end(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with house(tmp_path, clock) as h:
        Failing(h, OverflowError("a fault of ours"), 1_000)
        warning_id = await h.told(Level.RED, target="milan", lasts=timedelta(seconds=15))
        for _ in range(6):
            await h.pass_time(seconds=5)

        rows = h.rows(warning_id, "milan-zh", channel=SMS)
        assert {row[:2] for row in rows[:-1]} == {(Outcome.DEFERRED, Reason.PROVIDER_ERROR)}
        assert [row[2] for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) <= 4
        shard_id, index = h.place(warning_id, "milan-zh", SMS)
        intents = [e for e in h.events(ChunkIntended) if e.shard_id == shard_id and index in e.indices]
        assert len(intents) == len(rows)
        assert h.view(lambda v, db: v.deliveries.unfinished(db, warning_id)) == []


async def test_who_had_no_words_is_tried_for_as_long_as_the_warning_is_valid(tmp_path: Path) -> None:
    async with house(tmp_path, ManualClock(NOW)) as h:
        failing = Failing(h, OverflowError("a fault of ours"), 1_000)
        warning_id = await h.told(Level.RED, target="milan", lasts=timedelta(hours=24))
        for _ in range(16):
            await h.pass_time(minutes=8)
        assert len(h.rows(warning_id, "milan-zh", channel=SMS)) > 12
        failing.times = 0  # somebody has mended it
        await h.pass_time(minutes=8)
        assert h.rows(warning_id, "milan-zh", channel=SMS)[-1][0] is Outcome.ACCEPTED


async def test_a_warning_that_is_cancelled_while_the_fault_comes_leaves_no_doubt(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        texts = Failing(h, GONE, 2)
        texts.go.clear()
        warning_id = await h.release(Level.RED, target="milan")
        await h.until(lambda: texts.asked == 2)
        shard_id, _ = h.place(warning_id, "milan-zh", SMS)
        await h.until(lambda: shard_id in {e.shard_id for e in h.events(ChunkIntended)})
        await h.desk.cancel(actor("officer1"), warning_id, reason="mistake")
        await h.until(lambda: shard_id in {e.shard_id for e in h.events(ShardStopped)})
        texts.go.set()
        await h.quiet()

        assert h.rows(warning_id, "milan-zh", channel=SMS) == [(Outcome.DEFERRED, Reason.UNREACHABLE, 1)]
        assert ("milan-zh", SMS) not in h.sent()
        assert SMS not in {channel for _, channel in h.planned(warning_id, Purpose.CANCEL)}


@pytest.mark.parametrize("fault", [GONE, RuntimeError("a fault of ours")])
async def test_what_was_sent_is_recorded_though_the_next_cannot_be_chosen(tmp_path: Path, fault: Exception) -> None:
    async with house(tmp_path, chunk=1) as h:
        chooser, asked = h.runtime.worker._chooser, []
        whole = chooser.choose

        def choose(plan, *rest):
            if plan.channel is SMS and "milan-zh" in plan.recipients:
                asked.append(plan.shard_id)
                if len(asked) == 2:
                    raise fault
            return whole(plan, *rest)

        chooser.choose = choose
        warning_id = await h.told(Level.RED, target="milan")
        for who in ("milan-both", "milan-zh"):
            assert h.rows(warning_id, who, channel=SMS) == [(Outcome.ACCEPTED, Reason.NONE, 1)]
            assert h.sent().count((who, SMS)) == 1


@pytest.mark.parametrize("fault", [None, RuntimeError("a fault of ours"), FenghuoError("relay.odd", "It is odd.")])
async def test_the_ledger_is_written_though_the_nodes_delivered_cannot_be(
    tmp_path: Path, fault: Exception | None
) -> None:
    async with house(tmp_path) as h:
        h.notifiers[SMS].hanging = {"milan-head"}
        h.notifiers[SMS].answers["milan-head"] = [Outcome.DELIVERED]
        warning_id = await h.release(Level.RED, target="milan")
        await h.until(lambda: ("milan-head", SMS) in h.sent())
        stream = shard_stream(h.place(warning_id, "milan-head", SMS)[0])

        def recorded() -> list[Outcome]:  # the log as a whole cannot be read any more
            ledger = [r.event for r in h.stores.log.stream(stream)]
            return [row.outcome for event in ledger if isinstance(event, ChunkRecorded) for row in event.rows]

        if fault is None:
            annotate(h.stores.log, relay_stream(warning_id, "milan"))
        else:

            async def note(_: ShardPlanned) -> None:
                raise fault

            h.runtime.worker._arrivals.note = note  # type: ignore[method-assign]
        h.notifiers[SMS].release()
        await h.until(recorded, seconds=10)

        assert recorded() == [Outcome.DELIVERED]
        assert h.runtime.worker._left == {}
        assert h.sent().count(("milan-head", SMS)) == 1
