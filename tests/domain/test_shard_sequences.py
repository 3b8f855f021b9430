"""A shard under any interleaving of workers, crashes, retries and a withdrawal: nobody is lost or sent to twice."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from given import NOW
from hypothesis import given, settings
from hypothesis import strategies as st
from test_shard_ledger import PLAN

from domain import shards
from domain.errors import Refused
from domain.events import Event, fold
from domain.outcomes import Outcome, Row
from domain.shards import ChunkIntended, ChunkRecorded, ShardStopped

LEASE_S = 300
SIZE = 5
BIG = msgspec.structs.replace(PLAN, recipients=tuple("abcde"))
outcomes = st.sampled_from([Outcome.ACCEPTED, Outcome.REFUSED, Outcome.DEFERRED, Outcome.UNKNOWN])
steps = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(["one", "two"]), st.integers(1, 3), st.lists(outcomes, max_size=3)),
    st.tuples(st.just("crash"), st.sampled_from(["one", "two"]), st.integers(1, 3)),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, LEASE_S])),
    st.tuples(st.just("stop")),
)


def take(events: list[Event], worker: str, now) -> shards.Shard:
    """What a worker writes on taking the shard. Raises Refused where it may not."""
    events += shards.lease(fold(shards.evolve, events), worker=worker, now=now, until=now + timedelta(seconds=LEASE_S))
    state = fold(shards.evolve, events)
    events += shards.in_doubt(state, retry_at=None if state.stopped else now)
    return fold(shards.evolve, events)


def play(sequence) -> list[Event]:
    events: list[Event] = [BIG]
    now = NOW
    for step in sequence:
        try:
            match step:
                case ("wait", seconds):
                    now += timedelta(seconds=seconds)
                case ("stop",):
                    events += shards.stop(fold(shards.evolve, events))
                case ("crash", worker, chunk):
                    state = take(events, worker, now)
                    events += shards.intend(state, tuple(state.ready(now)[:chunk])) if state.ready(now) else []
                case ("send", worker, chunk, answers):
                    state = take(events, worker, now)
                    ready = tuple(state.ready(now)[:chunk])
                    if not ready:
                        continue
                    events += shards.intend(state, ready)
                    state = fold(shards.evolve, events)
                    rows = tuple(
                        Row(
                            i,
                            outcome,
                            state.attempts.get(i, 0) + 1,
                            retry_at=now + timedelta(seconds=5)
                            if outcome in (Outcome.DEFERRED, Outcome.UNKNOWN)
                            else None,
                        )
                        for i, outcome in zip(ready, answers, strict=False)
                    )
                    events += shards.record(state, rows) if rows else []
        except Refused:
            continue
    return events


@settings(max_examples=120, deadline=None)
@given(st.lists(steps, max_size=25))
def test_every_recipient_is_waiting_or_settled_and_open_is_what_has_an_intent_without_outcome(sequence):
    events = play(sequence)
    opened: set[int] = set()
    settled: set[int] = set()
    state = None
    for event in events:
        state = shards.evolve(state, event)
        match event:
            case ChunkIntended(indices=indices):
                assert set() == set(indices) & (opened | settled)
                opened |= set(indices)
            case ChunkRecorded(rows=rows):
                assert {row.index for row in rows} <= opened
                opened -= {row.index for row in rows}
                settled |= {row.index for row in rows if row.retry_at is None}
        assert (opened, set(range(SIZE)) - settled) == (state.open, set(state.due))
        assert (True, set()) == (state.open <= state.due.keys(), set(state.ready(NOW.replace(year=2030))) & opened)


@settings(max_examples=120, deadline=None)
@given(st.lists(steps, max_size=25))
def test_no_intent_follows_a_stop(sequence):
    kinds = [type(event) for event in play(sequence)]

    assert True is (kinds.count(ShardStopped) <= 1)
    assert (kinds[kinds.index(ShardStopped) :].count(ChunkIntended) if ShardStopped in kinds else 0) == 0


@settings(max_examples=120, deadline=None)
@given(st.lists(steps, max_size=25))
def test_attempts_are_counted_one_by_one(sequence):
    attempts: dict[int, list[int]] = {}
    for event in play(sequence):
        if isinstance(event, ChunkRecorded):
            for row in event.rows:
                attempts.setdefault(row.index, []).append(row.attempt)

    assert {i: list(range(1, len(each) + 1)) for i, each in attempts.items()} == attempts
