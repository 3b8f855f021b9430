"""The clock port: real time, and a clock that a test or a demo moves by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class SystemClock:
    """UTC from the machine. Sleeps in short steps, so that a clock that jumps is noticed within a second."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep_until(self, at: datetime) -> None:
        while (left := (at - self.now()).total_seconds()) > 0:  # noqa: ASYNC110  time has no event of its own
            await asyncio.sleep(min(left, 1.0))


class ManualClock:
    """Stands still until it is moved. Sleepers wake when the time they wait for has come."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return self._now

    def move(self, by: timedelta) -> None:
        self._now += by
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep_until(self, at: datetime) -> None:
        while self._now < at:
            await self._moved.wait()
