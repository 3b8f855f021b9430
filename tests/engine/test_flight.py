"""Places for those who are being sent to: never more than there are, in turn, and none lost when somebody gives up."""

from __future__ import annotations

import asyncio

import pytest

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
