"""Waits by the machine's clock end when they should, also when somebody sets that clock meanwhile."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from infra import clock
from infra.clock import ManualClock, SystemClock
from infra.engine.setback import Setback
from tests.engine.house import NOW


class Set(SystemClock):
    """The machine's clock, after somebody has set it."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.mark.parametrize(
    ("left", "ahead"),
    [
        (timedelta(milliseconds=80), timedelta(hours=-1)),
        (timedelta(hours=1), timedelta(hours=2)),
        (timedelta(milliseconds=80), timedelta(0)),
    ],
    ids=["set back", "set ahead", "left alone"],
)
async def test_a_wait_ends_when_the_time_has_come_or_has_passed(monkeypatch, left, ahead):
    monkeypatch.setattr(clock, "LONGEST_NAP_S", 0.01)
    set_clock = Set()
    waiting = asyncio.create_task(set_clock.sleep_until(set_clock.now() + left))
    await asyncio.sleep(0)
    assert not waiting.done()
    set_clock.ahead = ahead
    async with asyncio.timeout(30):
        await waiting


def test_elapsed_time_only_grows():
    one = SystemClock()
    seen = [one.elapsed() for _ in range(1000)]

    assert seen == sorted(seen)


def test_what_was_found_due_is_waited_for_no_longer_than_it_was_to_be() -> None:
    time = ManualClock(NOW)
    setback = Setback(time)
    due = NOW + timedelta(seconds=300)
    setback.look(1)
    time.move(timedelta(seconds=100))
    assert setback.moment(due) == due
    time.jump(timedelta(hours=-1))
    assert setback.moment(due) == time.now() + timedelta(seconds=200)
    time.move(timedelta(seconds=150))
    assert setback.moment(due) == time.now() + timedelta(seconds=50)
    time.jump(timedelta(hours=2))
    assert setback.moment(due) == due < time.now()
