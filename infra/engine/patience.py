"""When timers of silence are due by the time that has passed, whatever the wall clock was set to meanwhile."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from domain.ports import Clock


class Seen(NamedTuple):
    """A timer as it was first seen: due by the wall clock at `due_at`, by elapsed time at `deadline`."""

    deadline: float
    key: tuple[str, str, str]
    due_at: datetime


class Patience:
    """Timers by their deadlines in elapsed time. Held in memory: a restart begins it anew.

    The longest that a timer is waited for is the time between its step and the one before it: an opening that lies in
    the future was recorded before the clock was set back.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: list[Seen] = []
        self.position = 0

    def see(self, timers: Sequence[dict[str, Any]]) -> None:
        """Takes timers that were set or moved on since `position`, which follows them."""
        now, elapsed = self._clock.now(), self._clock.elapsed()
        for timer in timers:
            self.position = max(self.position, timer["position"])
            steps, done = timer["steps"], timer["done"]
            longest = steps[done] - (steps[done - 1] if done else 0)
            left = min((timer["due_at"] - now).total_seconds(), longest)
            key = (timer["kind"], timer["warning_id"], timer["node_id"])
            heapq.heappush(self._waiting, Seen(elapsed + left, key, timer["due_at"]))

    def over(self, limit: int = 500) -> list[Seen]:
        """Takes out those whose deadline has come, earliest first. What is not settled yet is to be kept."""
        elapsed = self._clock.elapsed()
        found: list[Seen] = []
        while self._waiting and self._waiting[0].deadline <= elapsed and len(found) < limit:
            found.append(heapq.heappop(self._waiting))
        return found

    def keep(self, seen: Seen) -> None:
        heapq.heappush(self._waiting, seen)

    def left(self) -> timedelta | None:
        """Until the earliest deadline; none where nothing is waited for."""
        if not self._waiting:
            return None
        return timedelta(seconds=max(0.0, self._waiting[0].deadline - self._clock.elapsed()))
