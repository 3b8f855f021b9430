"""A circuit breaker for one provider: after failures of the provider's own it is left alone, then tried with a few.

A pure state machine: time comes in, nothing is waited for. closed: everything goes through. open: nothing does, until
a time. half_open: one probe is under way; its answer closes or opens it again, for twice as long as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from domain.outcomes import Outcome, Reason
from notifiers.channel import Result

OPENS_AFTER = 5  # in a row, after which a provider is left alone
FIRST_S = 10.0  # seconds for which it is left alone the first time; doubles
LONGEST_S = 300.0
PROBE_S = 60.0  # seconds after which a probe without an answer is given up
OURS = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.CREDENTIALS,
        Reason.PROVIDER_ERROR,
        Reason.TIMEOUT,
        Reason.CONNECTION_LOST,
    }
)
"""Reasons that speak against the provider and not against one recipient. Being busy is not among them: it answered."""


class State(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Pass(StrEnum):
    """What a provider may be asked now."""

    ALL = "all"
    PROBE = "probe"  # a few, and the rest once they went well
    NONE = "none"


class Breaker(msgspec.Struct):
    """One provider's. `since` is when the state began, `reason` the last failure's, `until` when it is tried again."""

    since: datetime
    state: State = State.CLOSED
    reason: Reason = Reason.NONE
    until: datetime | None = None
    failures: int = 0  # in a row
    openings: int = 0  # in a row, without a success between them

    def ask(self, now: datetime) -> Pass:
        """Whether something may be sent now. PROBE is answered to one caller alone, who must report with `heard`."""
        if self.state is State.CLOSED:
            return Pass.ALL
        if self.until is not None and now < self.until and not self._jumped(now):
            return Pass.NONE
        self._turn(State.HALF_OPEN, now)
        self.until = now + timedelta(seconds=PROBE_S)
        return Pass.PROBE

    def heard(self, results: Iterable[Result], now: datetime, *, probe: bool = False) -> None:
        """What became of a batch, in the order in which it was settled.

        While it is not closed the probe's answer alone counts: others were sent before it opened.
        """
        if probe and self.state is State.HALF_OPEN:
            self._probed(list(results), now)
            return
        for result in results:
            if self.state is not State.CLOSED:
                return
            if not speaks_against(result):
                self.failures = 0
                continue
            self.failures += 1
            self.reason = result.reason
            if self.failures >= OPENS_AFTER:
                self._open(now)

    def _probed(self, results: list[Result], now: datetime) -> None:
        if any(not speaks_against(result) for result in results):
            self._turn(State.CLOSED, now)
            self.until, self.failures, self.openings = None, 0, 0
            return
        if results:
            self.reason = results[-1].reason
        self._open(now)

    def _open(self, now: datetime) -> None:
        self._turn(State.OPEN, now)
        self.until = now + timedelta(seconds=min(LONGEST_S, FIRST_S * 2 ** min(self.openings, 10)))
        self.openings += 1

    def _turn(self, state: State, now: datetime) -> None:
        if self.state is not state:
            self.state, self.since = state, now

    def _jumped(self, now: datetime) -> bool:
        """The clock was put back: what was to last minutes would last for hours."""
        return now < self.since - timedelta(seconds=1)


def speaks_against(result: Result) -> bool:
    """Whether a result is a failure of the provider itself."""
    return result.outcome in (Outcome.DEFERRED, Outcome.UNKNOWN) and result.reason in OURS
