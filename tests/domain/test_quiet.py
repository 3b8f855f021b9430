"""Quiet hours: by the person's own clock, right on the days when clocks change, and no attempt in a shard's ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from given import DRAFTED, EXPIRES, NOW, PACK, RELEASED, code_of, pack, person, warning
from hypothesis import given
from hypothesis import strategies as st

from domain import planning, rulepacks, shards
from domain.errors import InvalidInput, Refused
from domain.events import Event, fold
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel, Role
from domain.quiet import WAKING, quiet_until
from domain.rulepacks import Level
from domain.shards import ChunkRecorded, Purpose, Shard, ShardHeld, ShardPlanned

NIGHT = (22, 7)
ZONES = ["Asia/Shanghai", "Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]


def until(zone: str, local: str, hours: tuple[int, int] = NIGHT, fold: int = 0) -> str | None:
    """As `quiet_until`, in local time in and out."""
    there = ZoneInfo(zone)
    now = datetime.fromisoformat(local).replace(tzinfo=there, fold=fold)
    end = quiet_until(now.astimezone(UTC), there, hours)
    return None if end is None else end.astimezone(there).isoformat()


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2026-07-01T21:59:59", None),
        ("2026-07-01T22:00:00", "2026-07-02T07:00:00+08:00"),
        ("2026-07-01T23:59:59", "2026-07-02T07:00:00+08:00"),
        ("2026-07-02T00:00:00", "2026-07-02T07:00:00+08:00"),
        ("2026-07-02T06:59:59", "2026-07-02T07:00:00+08:00"),
        ("2026-07-02T07:00:00", None),
    ],
)
def test_the_night_is_over_midnight(local, expected):
    assert until("Asia/Shanghai", local) == expected


@pytest.mark.parametrize(
    ("hours", "local", "expected"),
    [
        ((13, 15), "2026-07-01T12:59:00", None),
        ((13, 15), "2026-07-01T14:00:00", "2026-07-01T15:00:00+08:00"),
        ((13, 15), "2026-07-01T15:00:00", None),
        ((22, 0), "2026-07-01T23:00:00", "2026-07-02T00:00:00+08:00"),
        ((22, 0), "2026-07-02T00:00:00", None),
        ((0, 7), "2026-07-02T00:00:00", "2026-07-02T07:00:00+08:00"),
        ((7, 7), "2026-07-02T07:00:00", None),
    ],
)
def test_the_hours_are_those_of_the_rule_pack(hours, local, expected):
    assert until("Asia/Shanghai", local, hours) == expected


@pytest.mark.parametrize(
    ("local", "hours", "fold", "expected"),
    [
        ("2026-03-28T23:00:00", NIGHT, 0, "2026-03-29T07:00:00+02:00"),  # an hour shorter
        ("2026-10-24T23:00:00", NIGHT, 0, "2026-10-25T07:00:00+01:00"),  # an hour longer
        ("2026-03-29T01:59:00", (22, 2), 0, "2026-03-29T03:00:00+02:00"),  # two o'clock does not come
        ("2026-03-29T03:00:00", (22, 2), 0, None),
        ("2026-10-25T01:59:00", (22, 2), 0, "2026-10-25T02:00:00+02:00"),  # two o'clock comes twice: the first
        ("2026-10-25T02:30:00", (22, 2), 0, None),
        ("2026-10-25T02:30:00", (22, 2), 1, None),
        ("2026-10-25T02:30:00", (22, 3), 0, "2026-10-25T03:00:00+01:00"),
        ("2026-10-25T02:30:00", (22, 3), 1, "2026-10-25T03:00:00+01:00"),
    ],
)
def test_a_night_in_which_the_clock_changes_ends_by_the_clock(local, hours, fold, expected):
    assert until("Europe/Rome", local, hours, fold) == expected


def test_a_morning_on_a_day_that_did_not_exist():
    """Samoa went from the 29th to the 31st of December 2011."""
    assert until("Pacific/Apia", "2011-12-29T23:00:00") == "2011-12-31T07:00:00+14:00"


moments = st.integers(0, 5_000_000).map(lambda minutes: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes))


@given(moments, st.sampled_from(ZONES), st.integers(0, 23), st.integers(0, 23))
def test_quiet_hours_end_later_today_or_tomorrow_and_then_nobody_sleeps(now, zone, start, end):
    there = ZoneInfo(zone)
    over = quiet_until(now, there, (start, end))
    if over is None:
        return
    assert now < over <= now + timedelta(hours=25)
    assert quiet_until(over, there, (start, end)) is None
    assert (over.astimezone(there).hour, over.astimezone(there).minute) in [(end, 0), (end + 1, 0), (end, 30)]


# Who is let sleep -----------------------------------------------------------------------------------------------------

STATE = warning(DRAFTED, RELEASED)
CITIZEN = person("p", channels=tuple(Channel))
HEAD = person("h", role=Role.HEAD, channels=tuple(Channel))


def planned(level: Level, purpose: Purpose = Purpose.NOTICE) -> dict[tuple[str, Channel], ShardPlanned]:
    rule = msgspec.structs.replace(PACK.levels[level], one_by_one=False)
    told = [*planning.people_told([CITIZEN], rule), *planning.staff_told([HEAD], rule)]
    voice = [msgspec.structs.replace(t, channel=Channel.VOICE) for t in told[:1]]
    made = planning.plan(
        [*told, *voice], trigger_event_id="e1", warning=STATE, rule=rule, purpose=purpose, quiet=PACK.quiet
    )
    return {(shard.recipients[0], shard.channel): shard for shard in made}


def test_people_are_let_sleep_by_what_makes_a_noise_and_staff_by_nothing():
    made = planned(Level.YELLOW)

    assert {key for key, shard in made.items() if shard.quiet} == {("p", channel) for channel in WAKING}
    assert {shard.quiet for shard in made.values()} == {NIGHT, None}
    assert {shard.wakes for shard in made.values()} == {False}
    assert {channel for who, channel in made if who == "h"} == set(Channel) - {Channel.VOICE}


@pytest.mark.parametrize("level", [Level.ORANGE, Level.RED])
def test_a_severe_level_wakes_them(level):
    made = planned(level)

    assert {key for key, shard in made.items() if shard.wakes} == {("p", channel) for channel in WAKING}


def test_without_hours_in_the_pack_nobody_is_let_sleep():
    old = msgspec.structs.replace(PACK, quiet=None)
    rule = old.levels[Level.YELLOW]
    told = list(planning.people_told([CITIZEN], rule))
    made = planning.plan(told, trigger_event_id="e", warning=STATE, rule=rule, purpose=Purpose.NOTICE, quiet=old.quiet)

    assert {(shard.quiet, shard.wakes) for shard in made} == {(None, False)}


def test_a_pack_from_before_quiet_hours_has_none():
    stored = msgspec.to_builtins(PACK)
    del stored["quiet"]

    assert msgspec.convert(stored, rulepacks.RulePack).quiet is None
    assert PACK.quiet == NIGHT


@pytest.mark.parametrize("hours", [(24, 7), (22, -1)])
def test_hours_that_no_clock_shows_are_refused(hours):
    wrong = msgspec.structs.replace(pack(), rule_pack_id="p2", quiet=hours)

    assert code_of(InvalidInput, lambda: rulepacks.adopt(None, wrong)) == "rulepack.quiet"


# The ledger -----------------------------------------------------------------------------------------------------------

PLAN = planned(Level.YELLOW)["p", Channel.SMS]
TWO = msgspec.structs.replace(PLAN, recipients=("a", "b"))
MORNING = NOW + timedelta(hours=5)


def ledger(*events: Event) -> Shard:
    state = fold(shards.evolve, [TWO, *events])
    assert state is not None
    return state


def test_who_is_let_sleep_waits_for_the_morning_and_that_is_no_attempt():
    (held,) = shards.hold(ledger(), {1: MORNING})
    state = ledger(held)

    assert held == ShardHeld(
        shard_id=TWO.shard_id, rows=(Row(1, Outcome.DEFERRED, 0, Reason.QUIET_HOURS, "", MORNING),)
    )
    assert (state.ready(NOW), state.ready(MORNING), state.next_due()) == ([0], [0, 1], MORNING)
    assert (state.attempts, state.open, state.finished) == ({}, frozenset(), False)


def test_a_retry_that_falls_into_the_night_keeps_its_count():
    busy = Row(0, Outcome.DEFERRED, 3, Reason.PROVIDER_BUSY, "", NOW)
    (held,) = shards.hold(ledger(ChunkRecorded(shard_id=TWO.shard_id, rows=(busy,))), {0: MORNING})

    assert isinstance(held, ShardHeld)
    assert held.rows[0].attempt == 3


def test_nobody_is_let_sleep_who_is_being_sent_to_or_was_told():
    (intended,) = shards.intend(ledger(), (0,))
    done = ChunkRecorded(shard_id=TWO.shard_id, rows=(Row(0, Outcome.ACCEPTED, 1),))

    for state in (ledger(intended), ledger(intended, done)):
        assert code_of(Refused, lambda state=state: shards.hold(state, {0: MORNING})) == "shard.not_waiting"
    assert shards.hold(ledger(), {}) == []


def test_a_shard_that_was_stopped_waits_for_no_morning():
    (stopped,) = shards.stop(ledger())

    assert code_of(Refused, lambda: shards.hold(ledger(stopped), {0: MORNING})) == "shard.stopped"
    assert EXPIRES > MORNING  # what is let sleep is within the warning's validity: see the worker's tests
