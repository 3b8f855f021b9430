"""The head start of the extreme lane: while an extreme warning begins, whatever is below it holds still for a moment.

All lanes of a process share its processor. A bulk that is being sent as fast as it can would make an extreme warning
wait for its turn at each step, from the plan to the first message. Where a provider's rate is what an extreme warning
waits for, nobody gains by waiting with it: the head start ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from domain.rulepacks import Lane

HEAD_START_S = 2.0
COMING_S = 0.5  # from a release to the beginning of its plan, at most
FIRST_S = 0.2  # from the first part of a plan to the first message, at most


class HeadStart:
    """Of one process, shared by its planner and its worker. `sends`: it has a worker."""

    def __init__(self, longest_s: float = HEAD_START_S, *, sends: bool = True) -> None:
        self._longest_s = longest_s
        self._sends = sends
        self._running = 0
        self._until = 0.0
        self._coming = 0.0  # until when a plan of the extreme lane is waited for
        self._over = asyncio.Event()
        self._sent = asyncio.Event()

    def expect(self, lane: Lane) -> None:
        """A warning of this lane is being released here: those below hold still until its plan begins."""
        if lane is Lane.EXTREME:
            self._coming = asyncio.get_running_loop().time() + min(COMING_S, self._longest_s)

    @contextlib.contextmanager
    def running(self, lane: Lane) -> Iterator[None]:
        """The time of a plan or a shard of this lane. While one of the extreme lane runs, the others hold still: for
        the longest time at most, counted from the last one that began."""
        if lane is not Lane.EXTREME:
            yield
            return
        self._running += 1
        self._coming = 0.0
        self._until = asyncio.get_running_loop().time() + self._longest_s
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._over.set()
                self._over = asyncio.Event()

    def sending(self, lane: Lane) -> None:
        """Messages of this lane go out now."""
        if lane is Lane.EXTREME:
            self._sent.set()
            self._sent = asyncio.Event()

    async def sent(self) -> None:
        """Returns once messages of the extreme lane go out here, or after a moment: they may wait for something."""
        if not self._sends:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                await self._sent.wait()

    def before(self, lane: Lane) -> bool:
        """Whether this lane is to hold still now."""
        return lane is not Lane.EXTREME and asyncio.get_running_loop().time() < self._ends()

    async def past(self, lane: Lane) -> None:
        """Returns once this lane may go on."""
        while self.before(lane):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._ends()):
                    await self._over.wait()

    def _ends(self) -> float:
        """By the loop's clock; in the past where nothing of the extreme lane begins."""
        return max(self._coming, self._until if self._running else 0.0)
