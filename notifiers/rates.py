"""Holds a provider to its rates: who sends waits for tokens, the higher lane first, and sends as they come.

A batch never waits until there are tokens for all of it: `admit` says how many of it may go now.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count

from domain.ports import Clock
from domain.rates import Bucket, Rate, full
from domain.rulepacks import LANES, Lane
from notifiers.pause import first_of

LONGEST_WAIT_S = 60.0  # seconds that a batch waits for its first token: above this it is better asked for again
CHECK_S = 1.0  # real seconds after which the clock is looked at again: it may have been put back


class Pace:
    """The buckets of one provider: of the provider itself (sender "") and of the number that it sends from."""

    def __init__(self, clock: Clock, sender: str = "", rates: dict[str, Rate] | None = None) -> None:
        self._clock = clock
        self.sender = sender
        now = clock.now()
        self._buckets: dict[str, Bucket] = {
            name: full(rate, now) for name, rate in (rates or {}).items() if name in ("", sender)
        }
        self._waiting: list[tuple[int, int, _Waiter]] = []
        self._number = count()
        self._serving: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.waited_s = 0.0  # seconds by the clock that batches waited for their turn, all told

    @property
    def waiting(self) -> int:
        """How many batches wait for their turn."""
        return sum(not waiter.turn.done() for _, _, waiter in list(self._waiting))

    @property
    def rates(self) -> dict[str, Rate]:
        return {name: bucket.rate for name, bucket in self._buckets.items()}

    @property
    def per_s(self) -> float | None:
        """The lowest of the rates; None where there is none."""
        return min((bucket.rate.per_s for bucket in self._buckets.values()), default=None)

    def change(self, sender: str, rate: Rate) -> bool:
        """Sets a rate while it runs; those who wait are served by it at once. False where it is nothing new."""
        if sender not in ("", self.sender):
            return False
        now, bucket = self._clock.now(), self._buckets.get(sender)
        if bucket is not None and bucket.rate == rate:
            return False
        self._buckets[sender] = full(rate, now) if bucket is None else bucket.refilled(now).at_rate(rate)
        self._changed.set()
        return True

    async def admit(self, costs: Sequence[int], lane: Lane) -> int:
        """How many, from the first, may be sent now; waits for its lane's turn and for the first one's tokens.

        0 where that took LONGEST_WAIT_S: others go first.
        """
        if not self._buckets:
            return len(costs)
        now = self._clock.now()
        waiter = _Waiter(costs, now + timedelta(seconds=LONGEST_WAIT_S))
        heapq.heappush(self._waiting, (LANES.index(lane), next(self._number), waiter))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve(), name="pace")
        else:
            self._changed.set()  # it may be of a higher lane than the one that is waited for
        try:
            return await waiter.turn
        finally:
            self.waited_s += max(0.0, (self._clock.now() - now).total_seconds())

    async def close(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        for _, _, waiter in self._waiting:
            waiter.turn.cancel()
        self._waiting.clear()

    async def _serve(self) -> None:
        while True:
            self._changed.clear()
            now = self._clock.now()
            self._buckets = {name: bucket.refilled(now) for name, bucket in self._buckets.items()}
            while self._waiting and self._waiting[0][2].turn.done():  # it was cancelled
                heapq.heappop(self._waiting)
            if not self._waiting:
                return
            first = self._waiting[0][2]
            if admitted := self._take(first.costs):
                heapq.heappop(self._waiting)
                first.turn.set_result(admitted)
                await asyncio.sleep(0)  # what it sends goes out before the next one's turn
                continue
            if self._expire(now):
                continue
            wait_s = max(bucket.wait_s(first.costs[0]) for bucket in self._buckets.values())
            await self._pause(min(wait_s, (first.until - now).total_seconds()))

    def _take(self, costs: Sequence[int]) -> int:
        admitted = 0
        for cost in costs:
            if not all(bucket.allows(cost) for bucket in self._buckets.values()):
                break
            self._buckets = {name: bucket.taken(cost) for name, bucket in self._buckets.items()}
            admitted += 1
        return admitted

    def _expire(self, now: datetime) -> bool:
        """Tells those who waited too long; whether there were any."""
        late = [entry for entry in self._waiting if now >= entry[2].until]
        if late:
            self._waiting = [entry for entry in self._waiting if now < entry[2].until]
            heapq.heapify(self._waiting)
        for _, _, waiter in late:
            if not waiter.turn.done():
                waiter.turn.set_result(0)
        return bool(late)

    async def _pause(self, seconds: float) -> None:
        """Until then by the clock, or until a rate changed or somebody came; never longer than CHECK_S of real time."""
        at = self._clock.now() + timedelta(seconds=max(seconds, 0.0005))
        await first_of(self._clock.sleep_until(at), self._changed.wait(), timeout_s=CHECK_S)


class _Waiter:
    """Somebody in the queue. `turn` gives how many of `costs` may go."""

    def __init__(self, costs: Sequence[int], until: datetime) -> None:
        self.costs = costs
        self.until = until
        self.turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
