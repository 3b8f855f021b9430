"""A provider's rates: how many go when, whose turn it is, and what changes while people wait."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.events import fold
from domain.rates import Bucket, Rate, evolve, full, set_rate
from domain.rulepacks import LANES, Lane
from infra.clock import ManualClock
from notifiers.rates import LONGEST_WAIT_S, Pace

NOW = datetime(2026, 7, 1, 8, tzinfo=UTC)
rates = st.builds(Rate, st.floats(0.01, 1000), st.integers(1, 50))
steps = st.lists(st.tuples(st.floats(-5, 30), st.integers(1, 9)), max_size=60)


@given(rates, steps)
def test_never_more_than_the_rate_and_one_burst_whatever_the_clock_does(rate: Rate, moves: list[tuple[float, int]]):
    bucket, now, taken, passed = full(rate, NOW), NOW, 0, 0.0
    for seconds, cost in moves:
        now += timedelta(seconds=seconds)
        passed += max(0.0, seconds)
        bucket = bucket.refilled(now)
        if bucket.allows(cost):
            bucket, taken = bucket.taken(cost), taken + cost
    largest = max((cost for _, cost in moves), default=0)
    assert taken <= passed * rate.per_s + rate.burst + max(0, largest - rate.burst) + 1e-6


@given(rates, st.integers(1, 200))
def test_after_the_wait_that_it_names_it_allows_it(rate: Rate, cost: int):
    empty = Bucket(rate, 0.0, NOW)
    later = NOW + timedelta(seconds=empty.wait_s(cost) + 1e-5)
    assert empty.refilled(later).allows(cost)


def test_the_last_rate_counts_and_the_same_again_is_no_event():
    first = set_rate(None, provider="sms", sender="", rate=Rate(5, 2))
    second = set_rate(fold(evolve, first), provider="sms", sender="+1", rate=Rate(1, 1))
    state = fold(evolve, [*first, *second])
    assert state == {"": Rate(5, 2), "+1": Rate(1, 1)}
    assert set_rate(state, provider="sms", sender="+1", rate=Rate(1, 1)) == []


@pytest.mark.parametrize(
    "rate", [Rate(0), Rate(-1), Rate(float("nan")), Rate(float("inf")), Rate(1, 0), Rate(1, 10**9)]
)
def test_a_rate_that_cannot_be_meant_is_refused(rate: Rate):
    with pytest.raises(InvalidInput):
        set_rate(None, provider="sms", sender="", rate=rate)


async def turn() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_the_higher_lane_goes_first_whoever_came_first():
    clock, order = ManualClock(NOW), []
    pace = Pace(clock, "", {"": Rate(1, 1)})

    async def one(lane: Lane) -> None:
        assert await pace.admit([1], lane) == 1
        order.append(lane)

    await one(Lane.NORMAL)  # the bucket is empty from here on
    order.clear()
    waits = [asyncio.create_task(one(lane)) for lane in (Lane.DRILL, Lane.NORMAL, Lane.HIGH, Lane.EXTREME)]
    await turn()
    assert order == []
    for n in range(1, 5):
        clock.move(timedelta(seconds=1))
        await turn()
        assert order == list(LANES[:n])
    await asyncio.gather(*waits)
    await pace.close()


async def test_the_slower_of_provider_and_number_counts_and_long_messages_take_their_segments():
    clock = ManualClock(NOW)
    pace = Pace(clock, "+1", {"": Rate(100, 100), "+1": Rate(1, 4), "+2": Rate(0.01, 1)})
    assert await pace.admit([1, 2, 2, 1], Lane.NORMAL) == 2
    clock.move(timedelta(seconds=1))
    assert await pace.admit([2, 1], Lane.NORMAL) == 1
    waiting = asyncio.create_task(pace.admit([9], Lane.NORMAL))  # more than a burst: it goes when the bucket is full
    await turn()
    for _ in range(3):
        clock.move(timedelta(seconds=1))
        await turn()
        assert not waiting.done()
    clock.move(timedelta(seconds=1))
    assert await waiting == 1
    await pace.close()


async def test_a_new_rate_holds_for_those_who_wait_already():
    clock = ManualClock(NOW)
    pace = Pace(clock, "", {"": Rate(0.01, 1)})
    assert await pace.admit([1], Lane.NORMAL) == 1
    waiting = asyncio.create_task(pace.admit([1], Lane.NORMAL))
    await turn()
    assert pace.change("", Rate(10, 1))
    assert not pace.change("", Rate(10, 1))
    await turn()
    clock.move(timedelta(seconds=0.1))
    assert await waiting == 1
    assert not pace.change("+another", Rate(1, 1))
    await pace.close()


async def test_who_waits_too_long_is_told_so_and_who_is_cancelled_takes_nothing():
    clock = ManualClock(NOW)
    pace = Pace(clock, "", {"": Rate(0.001, 1)})
    assert await pace.admit([1], Lane.NORMAL) == 1
    gone, waiting = (asyncio.create_task(pace.admit([1], Lane.NORMAL)) for _ in range(2))
    await turn()
    gone.cancel()
    clock.move(timedelta(seconds=LONGEST_WAIT_S))
    assert await waiting == 0
    clock.move(timedelta(seconds=1000))
    assert await pace.admit([1], Lane.NORMAL) == 1
    await pace.close()
