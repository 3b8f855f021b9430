"""When timers of silence are due by the time that has passed, whatever the wall clock was set to meanwhile."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from domain.ports import Clock
from infra.clock import both


class Seen(NamedTuple):
    """A timer as it was first seen: due by the wall clock at `due_at`, by elapsed time at `deadline`."""

    deadline: float
    key: tuple[str, str, str]
    due_at: datetime


class Patience:
    """Timers by their deadlines in elapsed time. Held in memory: a restart begins it anew.

    What is first seen of a relay says when it was opened in elapsed time, and all its later steps are counted from
    there. The longest that a first sight is waited for is the time between its step and the one before it: an opening
    that lies further ahead was recorded before the clock was set back.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: list[Seen] = []
        self._opened: dict[tuple[str, str, str], float] = {}
        self.position = 0

    def see(self, timers: Sequence[dict[str, Any]]) -> None:
        """Takes timers that were set or moved on since `position`, which follows them."""
        now, elapsed = both(self._clock)
        for timer in timers:
            self.position = max(self.position, timer["position"])
            steps, done = timer["steps"], timer["done"]
            key = (timer["kind"], timer["warning_id"], timer["node_id"])
            if key not in self._opened:
                longest = steps[done] - (steps[done - 1] if done else 0)
                left = min((timer["due_at"] - now).total_seconds(), longest)
                self._opened[key] = elapsed + left - steps[done]
            heapq.heappush(self._waiting, Seen(self._opened[key] + steps[done], key, timer["due_at"]))

    def over(self, limit: int = 500) -> list[Seen]:
        """Takes out those whose deadline has come, earliest first. What is not settled yet is to be kept."""
        elapsed = self._clock.elapsed()
        found: list[Seen] = []
        while self._waiting and self._waiting[0].deadline <= elapsed and len(found) < limit:
            found.append(heapq.heappop(self._waiting))
        return found

    def settled(self, key: tuple[str, str, str]) -> None:
        """This relay is silent no more, or nothing is left to try."""
        self._opened.pop(key, None)

    def keep(self, seen: Seen) -> None:
        heapq.heappush(self._waiting, seen)

    def left(self) -> timedelta | None:
        """Until the earliest deadline; none where nothing is waited for."""
        if not self._waiting:
            return None
        return timedelta(seconds=max(0.0, self._waiting[0].deadline - self._clock.elapsed()))
