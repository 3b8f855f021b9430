"""Notices a wall clock that was set back: what was put down before goes by the clock of then, and waits no longer.

What is due by the wall clock stands in the log or in a view with the time of the clock that was right then. After the
clock was set back by an hour that moment is an hour away; `upto` and `before` say of which rows this is so, and by how
much.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from domain.ports import Clock
from infra.clock import both

SLACK = timedelta(seconds=1)  # a wall clock that is behind by less was corrected, not set back


class Setback:
    """`recorded` says when the log was last written to: a clock may be set back between two runs."""

    def __init__(self, clock: Clock, recorded: Callable[[], datetime | None] = lambda: None) -> None:
        self._clock = clock
        self._recorded = recorded
        self._looked: tuple[float, datetime] | None = None  # by elapsed time and by the wall clock
        self.upto = 0  # what was written up to this position may be due by a clock that was set back since
        self.ahead = timedelta(0)  # by how much that clock would be ahead of the present one

    def look(self, position: int) -> datetime:
        """The wall clock. `position`: how far the views stand, which is what a step back that is seen now is about."""
        now, elapsed = both(self._clock)
        if self._looked is None:
            expected = self._recorded() or now
        else:
            expected = self._looked[1] + timedelta(seconds=elapsed - self._looked[0])
        if now < expected - SLACK:
            self.upto = position
            self.ahead += expected - now
        elif self._looked is not None and now > expected + SLACK:  # and ahead again: it may have been a mistake
            self.ahead = max(timedelta(0), self.ahead - (now - expected))
        self._looked = elapsed, now
        return now

    def moment(self, due: datetime) -> datetime:
        """`due`; or where the wall clock was set back since the last look, what it shows once as much time has passed
        as was to be waited then."""
        now, elapsed = both(self._clock)
        looked, then = self._looked or (elapsed, now)
        return min(due, now + (due - then) - timedelta(seconds=elapsed - looked))
