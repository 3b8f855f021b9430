"""Keeps the views in step with the log while the program runs, and tells those who wait for a position."""

from __future__ import annotations

import asyncio
import contextlib
import math

import structlog

from domain.errors import FenghuoError, UnknownEvent
from infra.log.store import EventLog
from notifiers.pause import first_of
from projections.follower import Views

_log = structlog.get_logger("fenghuo.follower")

LONGEST_BACKOFF_S = 30.0
PACE_S = 0.1  # between two batches, unless somebody waits: many small ones take the interpreter from who is sending
PARKED_S = 1.0  # between two looks at whether another program went on beyond an event that is not known here
LOOK_S = 0.1  # between two looks at views that another process keeps in step
SOON_S = 0.01  # the same, while somebody waits or something new is on its way
QUIET_S = 0.5  # without anything new in the log
FOLDING_S = 0.3  # within which the other process has most likely folded what came then
EASED_S = 2.0  # how long bulk waits for the views at most, each time


class Follower:
    """Runs `Views.catch_up` in a thread whenever the log has grown: at once after a quiet time, and what follows soon
    is let come together. A fault is logged and tried again, ever slower.

    At an event of a newer program the views stop: `parked` is that event. They go on where another process folded it.
    """

    def __init__(self, log: EventLog, views: Views) -> None:
        self.log = log
        self.views = views
        self.failures = 0  # in a row
        self.parked: UnknownEvent | None = None
        self._moved = asyncio.Event()
        self._urgent = asyncio.Event()

    async def run(self) -> None:
        time = asyncio.get_running_loop().time
        backoff = 0.1
        folded_at = -math.inf
        told = -1  # the position that those who wait were told of; somebody else may have moved the views, too
        while True:
            grown = self.log.growth()
            self._urgent.clear()
            try:
                await asyncio.to_thread(self.views.catch_up, self.log.read_now)
                backoff, self.failures, self.parked = 0.1, 0, None
            except UnknownEvent as unknown:
                backoff, self.failures = 0.1, 0
                if self.parked is None or self.parked.position != unknown.position:
                    _log.error("views_parked", topic=unknown.topic, position=unknown.position, code=unknown.code)
                self.parked = unknown
                if self.views.position != told:
                    told = self.views.position
                    self._notify()
                await asyncio.sleep(PARKED_S)
                continue
            except FenghuoError as error:
                _log.error("views_stopped", code=error.code, retry_s=backoff)
            except Exception:
                _log.exception("views_stopped", retry_s=backoff)
            else:
                if self.views.position != told:
                    told = self.views.position
                    self._notify()
                    if time() < folded_at + QUIET_S:
                        await self._pace()
                    folded_at = time()
                await grown.wait()
                continue
            self.failures += 1
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_S)

    async def watch(self) -> None:
        """Stands in for `run` where another process keeps the views in step: notices how far they are.

        What comes after a quiet time, as a warning does, is folded at once over there, and looked for at once here.
        """
        time = asyncio.get_running_loop().time
        told = -1
        grew_at = soon_until = -math.inf
        while True:
            self._urgent.clear()
            grown = self.log.growth()
            await asyncio.to_thread(self.views.look)
            if self.views.position != told:
                told = self.views.position
                self._notify()
            if time() >= soon_until:
                quiet = time() > grew_at + QUIET_S
                await first_of(self._urgent.wait(), *([grown.heard()] if quiet else []), timeout_s=LOOK_S)
                if grown.happened:
                    grew_at = time()
                    soon_until = grew_at + FOLDING_S if quiet else soon_until
            await asyncio.sleep(SOON_S)

    async def _pace(self) -> None:
        """Lets more come together before the next batch."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PACE_S):  # not wait_for: on Python 3.11 it can swallow a cancellation
                await self._urgent.wait()

    def _notify(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def reached(self, position: int, timeout_s: float = 10.0) -> bool:
        """True once the views stand at `position` or later, False when that took too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.views.position < position:
                    self._urgent.set()
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    async def eased(self, position: int) -> None:
        """Returns once the views stand there, or where waiting for them would be of no use: they stopped, or crawl."""
        if not self.failures and self.parked is None:
            await self.reached(position, EASED_S)

    async def moved(self, after: int) -> int:
        """The views' position once it is above `after`."""
        while self.views.position <= after:
            await self._moved.wait()
        return self.views.position
