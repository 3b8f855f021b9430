"""Somebody sets the clock by an hour, ahead or back, while a warning is under way through the running program."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from town import NOW, Town, town
from townsfolk import PEOPLE, SMS, phone_of, populate
from wrongdoers import TAKEN, explained, kinds, ledger

from domain.outcomes import Outcome, Reason
from domain.people import Role
from domain.relays import RelayEscalated
from domain.shards import ReceiptsRecorded
from infra.clock import ManualClock
from infra.config import Settings
from infra.sandbox.behaviour import Behaviour, Kind
from infra.serve import serving
from infra.stores import Stores

HOUR = timedelta(hours=1)
JUMPS = pytest.mark.parametrize("jump", [-HOUR, HOUR], ids=["back", "ahead"])
BY_SMS = [p for p, (_, role, _, channels) in PEOPLE.items() if SMS in channels and role is Role.CITIZEN]
"""Nobody escalates to these: what they get is the warning itself."""


@JUMPS
async def test_what_is_to_be_tried_again_waits_no_hour(tmp_path: Path, jump: timedelta) -> None:
    async with town(tmp_path / "data") as made:
        for person_id in BY_SMS:
            made.sandbox.sms.behave(phone_of(person_id), Behaviour(Kind.DEFER, times=1))
        warning_id = await made.release(level="red")
        await made.quiet()
        busy = (Outcome.DEFERRED, Reason.RATE_LIMITED)
        rows = ledger(made, SMS, warning_id)
        assert {p: kinds(rows[p]) for p in BY_SMS} == {p: [busy] for p in BY_SMS}
        made.clock.jump(jump)
        await made.quiet()
        await in_time(made, lambda: all(made.inbox(p, SMS) for p in BY_SMS), seconds=2)  # the longest first wait is 1.5
        await made.quiet()
        rows = ledger(made, SMS, warning_id)
        for person_id in BY_SMS:
            assert kinds(rows[person_id]) == [busy, TAKEN], person_id
            explained(rows[person_id], len(made.inbox(person_id, SMS)))
        made.read_all()


async def test_a_retry_is_early_once_after_the_clock_was_set_back_and_then_goes_by_the_new_one(tmp_path: Path) -> None:
    async with town(tmp_path / "data") as made:
        busy = Behaviour(Kind.DEFER, retry_after_s=60, times=2)
        made.sandbox.sms.behave(phone_of("milan-zh"), busy)
        warning_id = await made.release(level="red")
        await made.quiet()
        made.clock.jump(-HOUR)
        await in_time(made, lambda: len(ledger(made, SMS, warning_id)["milan-zh"]) == 2, seconds=60)
        await made.quiet()
        (first, second) = ledger(made, SMS, warning_id)["milan-zh"]
        assert (first.retry_at, second.retry_at) != (None, None)
        assert second.retry_at is not None
        assert abs(second.retry_at - (made.clock.now() + timedelta(seconds=60))) <= timedelta(seconds=2)
        for _ in range(5):
            await made.pass_time(seconds=10)
        assert len(ledger(made, SMS, warning_id)["milan-zh"]) == 2
        await made.pass_time(seconds=30)
        rows = ledger(made, SMS, warning_id)["milan-zh"]
        assert kinds(rows)[-1] == TAKEN
        explained(rows, len(made.inbox("milan-zh", SMS)))
        made.read_all()


async def test_a_clock_set_back_between_two_runs_delays_no_retry(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    settings = Settings(data_dir=tmp_path, port=0, sandbox=True)
    async with (
        Stores(tmp_path, clock) as stores,
        serving(settings, stores) as live,
        httpx.AsyncClient(base_url=live.url, timeout=20) as http,
    ):
        first = Town(live, clock, http)
        first.push = await populate(stores, first.sandbox)
        first.sandbox.sms.behave(phone_of("milan-zh"), Behaviour(Kind.DEFER))
        warning_id = await first.release(level="red")
        await first.quiet()
    clock.jump(-HOUR)
    async with (
        Stores(tmp_path, clock) as stores,
        serving(settings, stores) as live,
        httpx.AsyncClient(base_url=live.url, timeout=20) as http,
    ):
        second = Town(live, clock, http)
        await second.until(lambda: second.sandbox.sms.sent_to(phone_of("milan-zh")))
        await second.quiet()
        rows = ledger(second, SMS, warning_id)["milan-zh"]
        assert kinds(rows) == [(Outcome.DEFERRED, Reason.RATE_LIMITED), TAKEN]


@JUMPS
async def test_receipts_after_the_clock_was_set_count_and_nobody_is_told_twice(tmp_path: Path, jump: timedelta) -> None:
    async with town(tmp_path / "data") as made:
        head = phone_of("milan-head")
        made.sandbox.sms.behave(head, Behaviour(Kind.SLOW, delay_s=0.5))
        warning_id = await made.release(level="red")
        await made.until(lambda: made.sandbox.sms.sent_to(head))
        made.clock.jump(jump)
        await made.quiet()
        rows = ledger(made, SMS, warning_id)
        for person_id in BY_SMS:
            assert (len(made.inbox(person_id, SMS)), kinds(rows[person_id])) == (1, [TAKEN]), person_id
        received = {(r.event.shard_id, row.index) for r in made.recorded(ReceiptsRecorded) for row in r.event.rows}
        assert len(received) == len(made.sandbox.sms.messages)
        made.read_all()


@JUMPS
async def test_a_silent_station_is_escalated_once_a_step(tmp_path: Path, jump: timedelta) -> None:
    async with town(tmp_path / "data") as made:
        await made.release(target={"nodes": ["rome"]})
        await made.quiet()
        timekeeper = made.live.runtime.timekeeper
        await made.until(lambda: timekeeper.looked == made.stores.views.position, "the timers to be known")
        made.clock.jump(jump)
        await made.quiet()
        if jump < timedelta(0):
            assert steps(made) == [], "none comes early"
        await in_time(made, lambda: len(steps(made)) == 4, seconds=4 * 900, step=60)
        made.clock.jump(-jump)  # it was a mistake
        await made.quiet()
        for _ in range(3):
            await made.pass_time(hours=1)
        assert sorted(steps(made)) == ["deputy", "direct", "parent", "voice"]
        made.read_all()


async def in_time(town: Town, condition: Callable[[], Any], seconds: int, step: int = 1) -> None:
    """Lets time pass little by little until it holds; it must within so many seconds, or nearly.

    Then the clock stands: a slow machine may take its time, and what waits for a later moment waits for ever.
    """
    for _ in range(2 * seconds // step + 2):
        if condition():
            return
        town.clock.move(timedelta(seconds=step))
        await town.quiet()
    await town.until(condition, f"what comes within {seconds} s and as much again")


def steps(town: Town) -> list[str]:
    return [r.event.action for r in town.recorded(RelayEscalated) if r.event.node_id == "rome"]
