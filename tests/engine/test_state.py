"""How an installation stands, as `fenghuo status` and the metrics say it: what waits, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from house import EMAIL, SMS, actor, house
from prometheus_client.core import Metric

from domain.errors import Unreachable
from domain.outcomes import Outcome, Reason
from domain.rulepacks import Lane, Level
from infra.gauges import KEEP_S, SLOW_S, StateCollector
from infra.state import LaneState, State, measure
from projections import backlog
from projections.timers import ESCALATE, EXPIRE


def lane(state: State, name: Lane) -> LaneState:
    return next(found for found in state.lanes if found.lane is name)


def silent(state: State, level: Level = Level.RED) -> tuple[int, int, float]:
    found = next(found for found in state.silence if found.level is level)
    return found.unacknowledged, found.chased, found.oldest_s


def timers(state: State, kind: str) -> tuple[int, int]:
    found = next(found for found in state.timers if found.kind == kind)
    return found.timers, found.due


async def test_nothing_waits_in_a_house_at_rest(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.quiet()
        state = measure(h.stores)
        assert state.position == state.views_position == h.stores.log.last_position_now()
        assert (state.lag_events, state.lag_s, state.plans_pending, state.plans_oldest_s) == (0, 0, 0, 0)
        assert [(x.waiting, x.sending, x.resting, x.retries, x.oldest_s) for x in state.lanes] == [(0, 0, 0, 0, 0)] * 4
        assert {silent(state, level) for level in Level} == {(0, 0, 0)}
        assert state.disk_size > state.disk_free > 0


async def test_silence_is_counted_by_level_until_somebody_acknowledges(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        warning_id = await h.told()
        opened, chased, oldest = silent(measure(h.stores))
        assert opened > 2
        assert (chased, oldest) == (0, 0)
        assert timers(measure(h.stores), ESCALATE)[0] > 0
        assert timers(measure(h.stores), EXPIRE) == (1, 0)

        await h.pass_time(minutes=20)
        _, chased, oldest = silent(measure(h.stores))
        assert chased > 0
        assert oldest == 20 * 60

        done = await h.desk.acknowledge(actor("milan-head"), warning_id, "milan")
        await h.stores.follower.reached(done.position)
        assert silent(measure(h.stores))[0] == opened - 1
        await h.desk.cancel(actor("officer1"), warning_id, reason="over", texts=())
        await h.quiet()
        assert silent(measure(h.stores)) == (0, 0, 0)


async def test_a_drill_is_no_silence(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.told(drill=True)
        assert silent(measure(h.stores)) == (0, 0, 0)


async def test_what_is_being_sent_and_what_rests_until_its_retry(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        h.notifiers[SMS].hanging = {"milan-zh"}
        deferred = {"outcome": Outcome.DEFERRED, "reason": Reason.BUSY, "retry_after_s": 600.0}
        h.notifiers[EMAIL].answers["milan-it"] = [deferred]
        await h.release()

        def busy() -> tuple[int, int, int, int]:
            state = lane(measure(h.stores), Lane.EXTREME)
            return state.waiting, state.sending, state.resting, state.retries

        await h.until(lambda: busy() == (0, 1, 1, 1))
        h.notifiers[SMS].release()
        await h.quiet()
        await h.pass_time(minutes=15)
        assert lane(measure(h.stores), Lane.EXTREME) == LaneState(
            lane=Lane.EXTREME, waiting=0, sending=0, resting=0, retries=0, oldest_s=0.0
        )


async def test_what_nobody_sends_and_nobody_follows_has_waited_since_it_was_written(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.runtime.worker.drain(5)
        await h.release()
        await h.until(lambda: lane(measure(h.stores), Lane.EXTREME).waiting > 1)
        await h.until(lambda: not h.view(lambda v, db: v.plans.pending(db)))  # nothing more is written
        h.clock.move(timedelta(seconds=40))
        assert lane(measure(h.stores), Lane.EXTREME).oldest_s == 40

        position = h.stores.views.position
        h.stores.views.position = position - 3  # as if the views had stopped there
        state = measure(h.stores)
        h.stores.views.position = position
        assert (state.lag_events, state.lag_s) == (3, 40)


def names(found: Iterator[Metric]) -> dict[str, float]:
    return {sample.name: sample.value for metric in found for sample in metric.samples}


async def test_stores_are_asked_once_in_a_while_however_often_they_are_scraped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    async with house(tmp_path) as h:
        real, slow = measure, backlog.stations_without_contact
        monkeypatch.setattr("infra.gauges.measure", lambda *a: asked.append("all") or real(*a))
        monkeypatch.setattr(backlog, "stations_without_contact", lambda *a: asked.append("slow") or slow(*a))
        moments = iter([0.0, KEEP_S - 1, KEEP_S, SLOW_S])
        collector = StateCollector(h.stores, h.runtime, lambda: next(moments))
        for expected in (["slow", "all"], [], ["all"], ["slow", "all"]):
            asked.clear()
            assert names(collector.collect())["fenghuo_state_readable"] == 1
            assert asked == expected


async def test_stores_that_cannot_be_read_are_said_and_the_rest_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> State:
        raise Unreachable("log.read_failed", "The log could not be read.")

    async with house(tmp_path) as h:
        monkeypatch.setattr("infra.gauges.measure", broken)
        found = names(StateCollector(h.stores, h.runtime).collect())
        assert found["fenghuo_state_readable"] == 0
        assert found["fenghuo_part_running"] == 1
        assert "fenghuo_log_position" not in found


async def test_a_station_whose_head_and_liaisons_lead_nowhere_has_no_contact(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        before = names(StateCollector(h.stores, h.runtime).collect())["fenghuo_stations_without_contact"]
        h.notifiers[EMAIL].answers["madrid-head"] = [{"outcome": Outcome.REFUSED, "reason": Reason.BAD_ADDRESS}]
        await h.told()
        after = names(StateCollector(h.stores, h.runtime).collect())["fenghuo_stations_without_contact"]
        assert after == before + 1
