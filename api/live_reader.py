"""One reader of the live stream of stations: a bounded queue, and frames handed to the server without a detour."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Generator
from datetime import datetime
from typing import Any

from starlette.types import Send

TAKES_S = 30.0  # how long a connection may stay full before its reader is ended
BEHIND = b": you do not keep up; come back with Last-Event-ID\n\n"


class Reader:
    """One open stream: what waits to be written to it, and what it may see until when.

    `tops` are the nodes whose subtrees it sees; `by` the credential, the grants and the person that this rests on.
    While nothing waits, a frame is handed to the server at once, without waking the stream's own task: that task takes
    over where the connection's buffer is full.
    """

    __slots__ = ("_backlog", "_frames", "_over", "_rest", "_send", "_waiter", "after", "by", "tops", "until")

    def __init__(self, tops: frozenset[str], by: frozenset[str], until: datetime, backlog: int) -> None:
        self.tops, self.by, self.until = tops, by, until
        self.after = 0  # the position up to which it has everything
        self._frames: deque[bytes] = deque()
        self._send: Send | None = None  # the server's, while all that was given before is written
        self._rest: Rest | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self._backlog = backlog

    def offer(self, frame: bytes) -> bool:
        """False when it does not keep up; it is then told so, ended, and gets nothing more."""
        if self._over:
            return False
        if self._send is not None:
            self._rest = Rest.of(self._send(body(frame)))
            if self._rest is not None:  # it does not read as fast as we write: from here on it has a queue
                self._send = None
                self._wake()
            return True
        if len(self._frames) >= self._backlog:
            self._frames.clear()
            self._frames.append(BEHIND)
            self.end()
            return False
        self._frames.append(frame)
        self._wake()
        return True

    def end(self) -> None:
        self._over = True
        self._wake()

    @property
    def idle(self) -> bool:
        return not self._frames and self._rest is None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def write(self, send: Send) -> bytes:
        """Writes what is offered until the end; returns what is left to be said then.

        A reader that takes nothing any more has come to its end, whether or not more is offered.
        """
        while True:
            if self._rest is not None:
                rest, self._rest = self._rest, None
                if not await _taken(rest):
                    return BEHIND
            elif self._over:
                return b"".join(self._frames)
            elif self._frames:
                waiting = b"".join(self._frames)
                self._frames.clear()
                if not await _taken(send(body(waiting))):
                    return BEHIND
            else:
                self._send, self._waiter = send, asyncio.get_running_loop().create_future()
                try:
                    await self._waiter
                finally:
                    self._send = None


class Rest:
    """What is left of a coroutine that was begun elsewhere and came upon something to wait for."""

    def __init__(self, begun: Any, first: Any) -> None:
        self._begun, self._first = begun, first

    @classmethod
    def of(cls, awaitable: Any) -> Rest | None:
        """Runs a coroutine as far as it goes without waiting; None where that is its end. Raises what it raises."""
        begun = awaitable.__await__()
        try:
            return cls(begun, next(begun))
        except StopIteration:
            return None

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            yield self._first
        except BaseException as error:
            try:
                waits = self._begun.throw(error)
            except StopIteration:
                return
            yield waits
        yield from self._begun


async def _taken(sending: Awaitable[None]) -> bool:
    """False where the connection stays full."""
    try:
        async with asyncio.timeout(TAKES_S):
            await sending
    except TimeoutError:
        return False
    return True


def body(data: bytes) -> dict[str, Any]:
    """A piece of the response as ASGI has it; more follows."""
    return {"type": "http.response.body", "body": data, "more_body": True}
