"""Places for those who are being sent to: never more than there are, in turn, and none lost when somebody gives up."""

from __future__ import annotations

import asyncio

import pytest
from house import NOW, SMS, Scripted, house

from domain import shards
from domain.rates import Rate
from domain.rulepacks import Lane, Level
from domain.shards import ChunkIntended, ShardPlanned
from infra.clock import ManualClock
from notifiers.failover import FailoverNotifier, Provider
from notifiers.flight import Flight


async def _turns(*tasks: asyncio.Task[None]) -> list[bool]:
    """Which of the tasks have their places, once nothing moves any more."""
    for _ in range(3):
        await asyncio.sleep(0)
    return [task.done() and not task.cancelled() for task in tasks]


async def test_places_go_to_those_who_came_first():
    flight = Flight(10)
    assert flight.begin(8)
    assert not flight.begin(3)
    large, small = (asyncio.create_task(flight.wait(count)) for count in (3, 1))
    assert await _turns(large, small) == [False, False], "a small one does not overtake"
    assert not flight.begin(1), "nor one that never waited"

    flight.end(8)
    assert await _turns(large, small) == [True, True]
    assert flight.begin(6)
    assert not flight.begin(1)


@pytest.mark.parametrize("late", [False, True])
async def test_who_gives_up_keeps_no_place(late):
    flight = Flight(10)
    assert flight.begin(10)
    first, second = (asyncio.create_task(flight.wait(count)) for count in (10, 4))
    await _turns(first, second)

    if late:
        flight.end(10)  # its turn came in the same moment
    first.cancel()
    if not late:
        flight.end(10)
    assert await _turns(first, second) == [False, True]
    assert flight.begin(6)
    assert not flight.begin(1)


async def test_who_is_alone_goes_however_few_places_are_left():
    flight = Flight(300)
    assert all(flight.begin(100) for _ in range(3))
    wide, next_one, small = (asyncio.create_task(flight.wait(count)) for count in (100, 100, 10))
    flight.resize(30)
    for _ in range(2):
        flight.end(100)
    assert await _turns(wide, next_one, small) == [False, False, False]

    flight.end(100)
    assert await _turns(wide, next_one, small) == [True, False, False]
    assert not flight.begin(1)
    flight.end(100)
    assert await _turns(wide, next_one, small) == [True, True, False]
    flight.end(100)
    assert await _turns(wide, next_one, small) == [True, True, True]
    assert flight.begin(20)
    assert not flight.begin(1)


async def test_at_a_new_rate_chunks_are_smaller_for_those_who_wait_for_their_turn_too(tmp_path):
    clock, account = ManualClock(NOW), Scripted(SMS, chunk=2)
    provider = Provider("sms", account, clock)
    async with house(tmp_path, clock, real={SMS: FailoverNotifier([provider])}) as h:
        account.hanging = {"milan-head", "milan-zh", "milan-both"}
        for n in range(2):  # two people and the head of the station each: with that all places are taken
            await h.release(Level.RED, target="milan", event=f"Before {n}")
        await h.until(lambda: len(account.sent) == 6)
        waiting = await h.release(Level.RED, target="milan", event="Waiting")
        await h.until(lambda: len(h.runtime.worker._flights[Lane.EXTREME, SMS]._waiting) == 2)
        provider.pace.change("", Rate(0.1, 100))
        later = await h.release(Level.RED, target="milan", event="Later")
        await h.until(lambda: len(h.runtime.worker._flights[Lane.EXTREME, SMS]._waiting) == 4)
        account.release()
        await h.quiet()

        for warning_id in (waiting, later):
            shard_id, _ = h.place(warning_id, "milan-zh", SMS)
            assert [e.indices for e in h.events(ChunkIntended) if e.shard_id == shard_id] == [(0,), (1,)]
        assert h.runtime.worker._flights[Lane.EXTREME, SMS].begin(3), "all places were given back"


async def test_at_a_new_rate_what_is_left_of_a_shard_goes_in_smaller_chunks(tmp_path):
    clock, account = ManualClock(NOW), Scripted(SMS, chunk=2)
    provider = Provider("sms", account, clock)
    async with house(tmp_path, clock, real={SMS: FailoverNotifier([provider])}) as h:
        shard_id, _ = h.place(await h.told(Level.RED, target="milan"), "milan-zh", SMS)
        (plan,) = [e for e in h.events(ShardPlanned) if e.shard_id == shard_id]
        shard = shards.evolve(None, plan)

        async def chosen() -> tuple[int, ...]:
            return (await h.runtime.worker._choose(shard, 2, more=False)).ready

        assert await chosen() == (0, 1)
        provider.pace.change("", Rate(0.1, 100))
        assert await chosen() == (0,)
