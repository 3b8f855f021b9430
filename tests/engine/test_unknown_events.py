"""An event of a newer program in the log of a running one: who meets it stops, says so once, leaves it to others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from house import ANNOTATED as TOPIC
from house import NOW, House, actor, annotate, content, house, stores

from domain.errors import UnknownEvent
from domain.ids import node_stream, relay_stream, warning_stream
from infra.clock import ManualClock
from infra.engine import timekeeper
from infra.engine.left import Left
from infra.engine.planner import Planner
from infra.log.store import EventLog
from infra.state import measure


def events(lines: list, level: str = "") -> list[str]:
    return [line["event"] for line in lines if level in ("", line["log_level"])]


async def test_the_views_stand_before_it_and_are_read_as_of_there(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with house(tmp_path) as h:
            warning_id = await h.told()
            position = annotate(h.stores.log, node_stream("village"))
            await h.until(lambda: h.stores.follower.parked)
            done = await h.desk.draft(actor("officer1"), content())
            assert done.position > position, "what is not about it is accepted"
            for _ in range(3):
                await asyncio.to_thread(h.stores.log._notify)
            state = await asyncio.to_thread(measure, h.stores)
            assert (state.views_position, state.parked.position, state.parked.topic) == (position - 1, position, TOPIC)
            assert h.view(lambda v, db: v.warnings.one(db, warning_id))["status"] == "released"
            assert h.stores.follower.failures == 0
    assert events(lines).count("views_parked") == events(lines).count("event_unknown") == 1
    assert [line for line in lines if line["log_level"] == "error" and line["event"] != "views_parked"] == []


async def test_it_starts_where_it_stood_and_goes_on_once_another_has_folded_it(tmp_path: Path) -> None:
    async with stores(tmp_path) as opened:
        position = annotate(opened.log, node_stream("village"))
        later = await opened.desk.draft(actor("officer1"), content())
        assert await opened.catch_up() == position - 1
    async with house(tmp_path) as h:
        await h.until(lambda: h.stores.follower.parked)
        assert (h.stores.views.position, h.stores.follower.parked.position) == (position - 1, position)
        with h.stores.views._changing() as db:  # as a newer program does to whom it means nothing for these views
            db.exec_driver_sql(f"UPDATE view_positions SET position = {position}")
        await h.until(lambda: h.stores.views.position >= later.position and h.stores.follower.parked is None)
        assert h.view(lambda v, db: v.warnings.one(db, later.id))


async def test_a_command_about_it_is_refused_and_others_are_not(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        first, second = await h.draft(), await h.draft()
        annotate(h.stores.log, warning_stream(first))
        with pytest.raises(UnknownEvent) as refusal:
            await h.desk.release(actor("officer2"), first)
        assert (refusal.value.code, refusal.value.topic, refusal.value.exit_status) == ("log.unknown_event", TOPIC, 1)
        assert (await h.desk.release(actor("officer2"), second)).position


async def test_a_step_that_it_stands_before_is_left_and_the_others_are_taken(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    with structlog.testing.capture_logs() as lines:
        async with house(tmp_path, clock) as h:
            warning_id = await h.told()
            annotate(h.stores.log, relay_stream(warning_id, "milan"), "relay.annotated.v1")
            clock.move(timedelta(hours=1))
            key = ("timer", "escalate", warning_id, "milan")
            await h.until(lambda: key in h.runtime.left)
            await h.until(lambda: _escalated(h, warning_id) >= {"madrid", "village"})
            before = events(lines).count("event_unknown")
            clock.move(timedelta(minutes=5))
            await asyncio.sleep(0.3)
            assert "milan" not in _escalated(h, warning_id)
            assert len(h.runtime.left) == 1
    assert before == events(lines).count("event_unknown") == 1
    assert "timer_failed" not in events(lines)


async def test_however_many_steps_are_left_to_others_the_next_is_taken(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(timekeeper, "AT_ONCE", 4)  # of six: the views stand, and show also what is done as due
    clock = ManualClock(NOW)
    with structlog.testing.capture_logs():
        async with house(tmp_path, clock) as h:
            warning_id = await h.told()
            for node in ("milan", "madrid"):
                annotate(h.stores.log, relay_stream(warning_id, node), "relay.annotated.v1")
            clock.move(timedelta(hours=1))
            await h.until(lambda: len(h.runtime.left) == 2)
            await h.until(lambda: "village" in _escalated(h, warning_id))


def _escalated(h: House, warning_id: str) -> set[str]:
    """Nodes of which some step was taken, the log read where it can be."""
    select = h.stores.log.recorder.select_events
    streams = {node: select(relay_stream(warning_id, node)) for node in ("milan", "madrid", "village")}
    return {node for node, found in streams.items() if any(e.topic == "relay.escalated.v1" for e in found)}


class Unknowing:
    """A log in which every stream that is decided on holds such an event."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def __getattr__(self, name: str):
        return getattr(self._log, name)

    async def execute(self, stream: str, *_):
        raise UnknownEvent(topic=TOPIC, stream=stream, version=2, recorded_at=NOW)


async def test_a_plan_that_it_stands_before_is_left_and_not_made_again_and_again(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with stores(tmp_path) as opened:
            released = await opened.desk.draft(actor("officer1"), content())
            await opened.catch_up()
            await opened.desk.release(actor("officer2"), released.id)
            await opened.catch_up()
            left = Left()
            parts = (opened.views, opened.follower, opened.clock, opened.vault)
            with opened.views.reading() as db:
                (trigger,) = opened.views.plans.pending(db)
            await Planner(opened.log, *parts).plan(trigger)
            await opened.catch_up()
            await opened.desk.cancel(actor("officer1"), released.id, reason="over")
            await opened.catch_up()
            planning = asyncio.create_task(Planner(Unknowing(opened.log), *parts, left=left).run())
            async with asyncio.timeout(30):
                while not left:  # noqa: ASYNC110  it works in threads
                    await asyncio.sleep(0.01)
            opened.follower._notify()
            await asyncio.sleep(0.05)
            assert len(left) == 1
            assert not planning.done()
            planning.cancel()
            await asyncio.gather(planning, return_exceptions=True)
    assert "plan_failed" not in events(lines)
