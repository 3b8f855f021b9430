"""The connections to a mail server: opened while there is work for them, kept for the next, given up when dead.

A server that cannot be reached is told once to all who wait, not to each after a timeout of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import aiosmtplib

from domain.outcomes import Outcome, Reason
from notifiers.replies import Meaning, connect_failure
from notifiers.smtp import Line

DOWN_S = 1.0  # seconds for which a server that could not be reached is not tried again
SPARE_S = 0.01  # seconds by which a loop's timer may be early
IDLE_S = 60.0  # seconds after which a kept connection is not trusted any more; servers drop them after 30 to 300
log = logging.getLogger("fenghuo.notifiers")


class Lines:
    """At most `most` lines, which `connect` makes. `waiting()` is how many mails there are for them; `give_up` tells
    all of those that no connection can be had, and why."""

    def __init__(
        self,
        most: int,
        connect: Callable[[Lines], Awaitable[Line]],
        waiting: Callable[[], int],
        give_up: Callable[[Meaning], None],
    ) -> None:
        self._most = most
        self._connect = connect
        self._waiting = waiting
        self._give_up = give_up
        self._lines: set[Line] = set()
        self._idle: list[tuple[float, Line]] = []  # with the time when it became so
        self._opening: set[asyncio.Task[None]] = set()
        self._pause_until = 0.0  # no further connection is tried before
        self._down: Meaning | None = None  # what the last failure to connect meant, until one succeeds
        self._closings = 0

    def staff(self) -> None:
        """Sets idle lines to work and opens more, as far as there is work."""
        now = time.monotonic()
        while self._idle and self._waiting():
            since, line = self._idle.pop()
            if line.open and now - since < IDLE_S:
                line.begin()
            else:
                line.drop()
        waiting = self._waiting()
        if not waiting:
            return
        # After a failure, those under way are waited for: when all have failed, so have the mails that wait for them.
        if now >= self._pause_until and not (self._down and self._opening):
            room = self._most - len(self._lines) - len(self._opening)
            for _ in range(min(room, waiting - len(self._opening))):
                task = asyncio.get_running_loop().create_task(self._open(self._closings), name="email-connection")
                self._opening.add(task)
                task.add_done_callback(self._opened)
        if self._down is not None and not self._lines and not self._opening:
            self._give_up(self._down)

    def distrust(self) -> None:
        """One kept line was dead: the others that rest most likely are as well."""
        idle, self._idle = self._idle, []
        for _, line in idle:
            line.drop()

    async def close(self) -> None:
        """Says goodbye on idle lines; the others close when they have done what they are at."""
        self._closings += 1
        self._pause_until, self._down = 0.0, None
        if not self._waiting():
            for task in self._opening:
                task.cancel()
        idle, self._idle = self._idle, []
        for line in self._lines:
            line.retiring = True
        await asyncio.gather(*(line.quit() for _, line in idle), *self._opening, return_exceptions=True)

    # What lines say (smtp.Keeper) ------------------------------------------------------------------------------------

    def free(self, line: Line) -> None:
        self._idle.append((time.monotonic(), line))

    def gone(self, line: Line) -> None:
        self._lines.discard(line)
        self._idle = [(since, other) for since, other in self._idle if other is not line]
        self.staff()

    # Opening ---------------------------------------------------------------------------------------------------------

    async def _open(self, closings: int) -> None:
        try:
            line = await self._connect(self)
        except (aiosmtplib.SMTPException, OSError) as error:
            self._down = connect_failure(error)
            self._pause_until = time.monotonic() + DOWN_S
            # The other lines may all end during the pause, and then nobody else would look for the mails that wait.
            asyncio.get_running_loop().call_later(DOWN_S + SPARE_S, self.staff)
            return
        self._down = None
        self._lines.add(line)
        if closings != self._closings and not self._waiting():
            line.retiring = True
        line.begin()

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection failed unexpectedly: %s", type(error).__name__)
            self._down = (Outcome.DEFERRED, Reason.UNREACHABLE)
        if self._down is not None and not self._lines and not self._opening:
            self._give_up(self._down)
        self.staff()
