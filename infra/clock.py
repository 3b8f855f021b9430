"""The clock port: real time, and a clock that a test or a demo moves by hand.

Two times: `now` is what the wall clock says, and it may be set; `elapsed` is how much time has passed, and nobody can
set that. What the log records is the first. What must not wait longer because somebody set a clock goes by the second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.ports import Clock

SAME_MOMENT_S = 0.1
LONGEST_NAP_S = 1.0  # within this a wall clock that jumped ahead is noticed


class SystemClock:
    """UTC from the machine; elapsed time counts through a suspended machine where the system can (Linux)."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> float:
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    def sleep_until(self, at: datetime) -> Coroutine[Any, Any, None]:
        return self._sleep(at, self.elapsed() + (at - self.now()).total_seconds())

    async def _sleep(self, at: datetime, awake: float) -> None:
        while (left := min((at - self.now()).total_seconds(), awake - self.elapsed())) > 0:  # noqa: ASYNC110  time has no event
            await asyncio.sleep(min(left, LONGEST_NAP_S))


class ManualClock:
    """Stands still until it is moved. Sleepers wake when the time they wait for has come, or has passed."""

    def __init__(self, start: datetime) -> None:
        self._at = (start, 0.0)  # by the wall clock and by elapsed time: one value, since threads look while it moves
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return self._at[0]

    def elapsed(self) -> float:
        return self._at[1]

    def move(self, by: timedelta) -> None:
        """Time passes."""
        self._set(by, by.total_seconds())

    def jump(self, by: timedelta) -> None:
        """Somebody sets the wall clock, ahead or back; no time passes."""
        self._set(by, 0.0)

    def _set(self, by: timedelta, elapsed: float) -> None:
        self._at = (self._at[0] + by, self._at[1] + elapsed)
        self._moved.set()
        self._moved = asyncio.Event()

    def sleep_until(self, at: datetime) -> Coroutine[Any, Any, None]:
        return self._sleep(at, self.elapsed() + (at - self.now()).total_seconds())

    async def _sleep(self, at: datetime, awake: float) -> None:
        while self.now() < at and self.elapsed() < awake:
            await self._moved.wait()


def both(clock: Clock) -> tuple[datetime, float]:
    """The wall clock and elapsed time of one moment: read again where the thread was held up in between."""
    while True:
        before, now, after = clock.elapsed(), clock.now(), clock.elapsed()
        if after - before < SAME_MOMENT_S:
            return now, before
