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


class HeadStart:
    """Of one process, shared by its planner and its worker."""

    def __init__(self, longest_s: float = HEAD_START_S) -> None:
        self._longest_s = longest_s
        self._running = 0
        self._until = 0.0
        self._over = asyncio.Event()

    @contextlib.contextmanager
    def running(self, lane: Lane) -> Iterator[None]:
        """The time of a plan or a shard of this lane. While one of the extreme lane runs, the others hold still: for
        the longest time at most, counted from the last one that began."""
        if lane is not Lane.EXTREME:
            yield
            return
        self._running += 1
        self._until = asyncio.get_running_loop().time() + self._longest_s
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._over.set()
                self._over = asyncio.Event()

    def before(self, lane: Lane) -> bool:
        """Whether this lane is to hold still now."""
        return lane is not Lane.EXTREME and self._running > 0 and asyncio.get_running_loop().time() < self._until

    async def past(self, lane: Lane) -> None:
        """Returns once this lane may go on."""
        while self.before(lane):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._until):
                    await self._over.wait()
