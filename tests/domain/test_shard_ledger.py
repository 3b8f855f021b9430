"""A shard's ledger: who holds it, what was intended, what became of it, and what a crash leaves in doubt."""

from __future__ import annotations

from datetime import timedelta

import pytest
from given import EXPIRES, NOW, code_of

from domain import shards
from domain.errors import Refused
from domain.events import Event, fold
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.rulepacks import Lane
from domain.shards import (
    ChunkIntended,
    ChunkRecorded,
    Circle,
    Purpose,
    Shard,
    ShardLeased,
    ShardPlanned,
    ShardStopped,
)

LATER = NOW + timedelta(seconds=300)
PLAN = ShardPlanned(
    shard_id="s1",
    warning_id="w1",
    node_id="milan",
    circle=Circle.PEOPLE,
    purpose=Purpose.NOTICE,
    channel=Channel.SMS,
    language="zh",
    lane=Lane.HIGH,
    recipients=("a", "b", "c"),
    valid_until=EXPIRES,
)
LEASED = ShardLeased(shard_id="s1", worker="one", until=LATER)


def shard(*events: Event) -> Shard:
    state = fold(shards.evolve, [PLAN, *events])
    assert state is not None
    return state


def intended(*indices: int) -> ChunkIntended:
    return ChunkIntended(shard_id="s1", indices=indices)


def recorded(*rows: Row) -> ChunkRecorded:
    return ChunkRecorded(shard_id="s1", rows=rows)


def sent(index: int, attempt: int = 1) -> Row:
    return Row(index, Outcome.ACCEPTED, attempt)


def deferred(index: int, attempt: int = 1, seconds: int = 2) -> Row:
    return Row(index, Outcome.DEFERRED, attempt, Reason.PROVIDER_BUSY, "", NOW + timedelta(seconds=seconds))


def test_at_first_everybody_is_ready_in_order():
    assert (shard().ready(NOW), shard().next_due(), shard().finished) == ([0, 1, 2], None, False)


def test_a_worker_leases_the_shard():
    assert shards.lease(shard(), worker="one", now=NOW, until=LATER) == [LEASED]


def test_a_lease_keeps_others_out_until_it_ends():
    def lease(worker, now):
        held = shard(LEASED, intended(0))
        return shards.lease(held, worker=worker, now=now, until=now + timedelta(seconds=300))

    assert code_of(Refused, lambda: lease("two", LATER - timedelta(seconds=1))) == "shard.leased"
    assert [event.worker for event in lease("two", LATER)] == ["two"]
    assert [event.worker for event in lease("one", NOW)] == ["one"]


def test_a_lease_keeps_nobody_out_once_nothing_is_under_way():
    resting = shard(LEASED, intended(0, 1, 2), recorded(sent(0), sent(1), deferred(2)))
    (leased,) = shards.lease(resting, worker="two", now=NOW + timedelta(seconds=2), until=LATER)
    assert leased.worker == "two"


def test_the_second_holder_keeps_the_first_one_out():
    second = ShardLeased(shard_id="s1", worker="two", until=LATER + timedelta(seconds=300))
    state = shard(LEASED, intended(0), second)

    assert (
        code_of(Refused, lambda: shards.lease(state, worker="one", now=LATER, until=LATER + timedelta(seconds=9)))
        == "shard.leased"
    )


def test_a_finished_shard_is_not_leased():
    state = shard(LEASED, intended(0, 1, 2), recorded(sent(0), sent(1), sent(2)))

    assert True is state.finished
    assert code_of(Refused, lambda: shards.lease(state, worker="one", now=NOW, until=LATER)) == "shard.finished"


def test_a_shard_that_does_not_exist_is_not_leased():
    assert code_of(Refused, lambda: shards.lease(None, worker="one", now=NOW, until=LATER)) == "shard.unknown"


def test_whom_an_intent_names_is_no_longer_ready():
    assert shard(intended(0, 1)).ready(NOW) == [2]


def test_outcomes_settle_or_set_a_time():
    state = shard(LEASED, intended(0, 1, 2), recorded(sent(0), deferred(1, seconds=2), deferred(2, seconds=9)))

    assert [state.ready(NOW + timedelta(seconds=s)) for s in (1.9, 2, 9)] == [[], [1], [1, 2]]
    assert NOW + timedelta(seconds=2) == state.next_due()
    assert (state.attempts, state.finished) == ({0: 1, 1: 1, 2: 1}, False)


def test_an_outcome_without_intent_is_refused():
    assert code_of(Refused, lambda: shards.record(shard(intended(0)), (sent(0), sent(1)))) == "shard.not_intended"
    assert [recorded(sent(0))] == shards.record(shard(intended(0)), (sent(0),))


def test_what_a_crash_left_open_is_unknown_and_tried_again():
    state = shard(LEASED, intended(0, 1, 2), recorded(deferred(1)), intended(1))

    (event,) = shards.in_doubt(state, retry_at=NOW)
    assert (
        recorded(
            Row(0, Outcome.UNKNOWN, 1, Reason.CRASH, "", NOW),
            Row(1, Outcome.UNKNOWN, 2, Reason.CRASH, "", NOW),
            Row(2, Outcome.UNKNOWN, 1, Reason.CRASH, "", NOW),
        )
        == event
    )
    assert shard(LEASED, intended(0, 1, 2), recorded(deferred(1)), intended(1), event).ready(NOW) == [0, 1, 2]


def test_where_nothing_is_open_nothing_is_in_doubt():
    assert shards.in_doubt(shard(LEASED, intended(0), recorded(sent(0))), retry_at=NOW) == []


def test_who_comes_for_what_is_in_doubt_of_a_stopped_shard_holds_nobody():
    stopped = shard(LEASED, intended(0), *shards.stop(shard(LEASED, intended(0))))

    assert shards.hold(stopped, {}) == []
    assert code_of(Refused, lambda: shards.hold(stopped, {1: LATER})) == "shard.stopped"
    (event,) = shards.in_doubt(stopped, retry_at=None)
    assert (settled := shards.evolve(stopped, event)) is not None
    assert settled.finished


def test_a_stop_ends_all_intents_but_lets_outcomes_in():
    state = shard(LEASED, intended(0), *shards.stop(shard(LEASED, intended(0))))

    assert (state.ready(LATER), state.finished) == ([], False)
    assert code_of(Refused, lambda: shards.intend(state, (1,))) == "shard.stopped"
    assert [recorded(sent(0))] == shards.record(state, (sent(0),))
    assert (
        True
        is shard(LEASED, intended(0), ShardStopped(shard_id="s1", reason=Reason.STOPPED), recorded(sent(0))).finished
    )


@pytest.mark.parametrize(
    "history",
    [
        (ShardStopped(shard_id="s1", reason=Reason.STOPPED),),
        (intended(0, 1, 2), recorded(sent(0), sent(1), sent(2))),
    ],
    ids=["stopped", "finished"],
)
def test_stopping_what_is_over_changes_nothing(history):
    assert shards.stop(shard(*history)) == []


def test_a_shard_that_does_not_exist_is_not_stopped():
    assert code_of(Refused, lambda: shards.stop(None)) == "shard.unknown"
