"""Somebody sets the clock by an hour, ahead or back, while a warning is under way through the running program."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from town import NOW, Town, running, town
from townsfolk import PEOPLE, SMS, phone_of
from wrongdoers import TAKEN, explained, kinds, ledger

from domain.outcomes import Outcome, Reason
from domain.people import Role
from domain.relays import RelayEscalated
from domain.shards import ReceiptsRecorded
from infra.clock import ManualClock
from infra.config import Settings
from infra.runtime import Stores
from infra.sandbox.behaviour import Behaviour, Kind
from infra.serve import serving

HOUR = timedelta(hours=1)
JUMPS = pytest.mark.parametrize("jump", [-HOUR, HOUR], ids=["back", "ahead"])
BY_SMS = [p for p, (_, role, _, channels) in PEOPLE.items() if SMS in channels and role is not Role.DEPUTY]


@JUMPS
async def test_what_is_to_be_tried_again_waits_no_hour(tmp_path: Path, jump: timedelta) -> None:
    async with town(tmp_path / "data") as made:
        for person_id in BY_SMS:
            made.sandbox.sms.behave(phone_of(person_id), Behaviour(Kind.DEFER, times=1))
        warning_id = await made.release(level="red")
        await made.quiet()
        busy = (Outcome.DEFERRED, Reason.RATE_LIMITED)
        assert {p: kinds(rows) for p, rows in ledger(made, SMS, warning_id).items()} == dict.fromkeys(BY_SMS, [busy])
        made.clock.jump(jump)
        await made.quiet()
        for _ in range(6):
            await made.pass_time(seconds=2)
        for person_id, rows in ledger(made, SMS, warning_id).items():
            assert kinds(rows) == [busy, TAKEN], person_id
            explained(rows, len(made.inbox(person_id, SMS)))
        made.read_all()


@JUMPS
async def test_receipts_after_the_clock_was_set_count_and_nobody_is_told_twice(
    tmp_path: Path, jump: timedelta
) -> None:
    async with town(tmp_path / "data") as made:
        head = phone_of("milan-head")
        made.sandbox.sms.behave(head, Behaviour(Kind.SLOW, delay_s=0.5))
        warning_id = await made.release(level="red")
        await made.until(lambda: made.sandbox.sms.sent_to(head))
        made.clock.jump(jump)
        await made.quiet()
        for person_id, rows in ledger(made, SMS, warning_id).items():
            if rows[0].attempt == 1 and person_id in BY_SMS:
                assert len(made.inbox(person_id, SMS)) == len(rows) == 1, person_id
        received = {(r.event.shard_id, row.index) for r in made.recorded(ReceiptsRecorded) for row in r.event.rows}
        assert len(received) == len(made.sandbox.sms.messages)
        made.read_all()


@JUMPS
async def test_a_silent_station_is_escalated_once_a_step(tmp_path: Path, jump: timedelta) -> None:
    async with town(tmp_path / "data") as made:
        await made.release(target={"nodes": ["rome"]})
        await made.quiet()
        made.clock.jump(jump)
        await made.quiet()
        taken = steps(made)
        assert len(taken) <= (0 if jump < timedelta(0) else 4), "a clock set back makes no step early"
        for _ in range(4):
            await made.pass_time(minutes=15)
        assert len(steps(made)) == len(set(steps(made)))
        assert set(steps(made)) >= {"deputy", "parent"}
        before = steps(made)
        made.clock.jump(-jump)  # it was a mistake
        await made.quiet()
        assert steps(made) == before
        made.read_all()


def steps(town: Town) -> list[str]:
    return [r.event.action for r in town.recorded(RelayEscalated) if r.event.node_id == "rome"]
