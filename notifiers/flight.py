"""How many recipients may be between their intent and their outcome: after a crash all of these are in doubt.

They are sent to again then, so there should be no more of them than keep a channel busy.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Flight:
    """Places for `limit` recipients of one lane and channel. First come, first served.

    Who finds all of them free goes even if they want more: there may have been more when they came.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def resize(self, limit: int) -> None:
        """More places, or fewer: those that are taken stay so until they are given back."""
        self._free += limit - self._limit
        self._limit = limit
        self._admit()

    def begin(self, count: int) -> bool:
        """Takes places for `count` recipients, if there are, and nobody was there before."""
        if self._waiting or not self._room(count):
            return False
        self._free -= count
        return True

    async def wait(self, count: int) -> None:
        """As `begin`, and waits for its turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.end(count)  # its turn came in the same moment
            else:
                self._admit()
            raise

    def end(self, count: int) -> None:
        self._free += count
        self._admit()

    def _room(self, count: int) -> bool:
        return count <= self._free or self._free >= self._limit

    def _admit(self) -> None:
        while self._waiting:
            count, turn = self._waiting[0]
            if not turn.cancelled():
                if not self._room(count):
                    return
                self._free -= count
                turn.set_result(None)
            self._waiting.popleft()
