"""When to try again: one pure function of the outcome, the attempt and the time."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from domain.outcomes import Outcome, Reason

FIRST_S = 2.0  # seconds before the second attempt
LONGEST_S = 300.0  # seconds between two attempts at the most
WAITS: dict[Reason, tuple[float, float]] = {
    Reason.RATE_LIMITED: (1.0, 60.0),  # nothing is wrong but our haste
    Reason.CREDENTIALS: (15.0, LONGEST_S),  # somebody has to mend it: five attempts within seconds would be no help
}
"""The first and the longest wait for reasons that have others than FIRST_S and LONGEST_S."""
HOPELESS_AFTER: dict[Reason, int] = {Reason.CREDENTIALS: 5, Reason.PROVIDER_ERROR: 12}
"""Attempts after which a reason that should have passed by then is taken as lasting."""
PATIENT = frozenset({Reason.RATE_LIMITED})
"""Reasons that never become hopeless: at a slow rate a message waits for its turn as long as it is valid."""
MOST_ATTEMPTS = 40


def next_try(
    outcome: Outcome,
    reason: Reason,
    attempt: int,
    now: datetime,
    valid_until: datetime,
    retry_after_s: float | None = None,
    jitter: float = 0.5,
) -> datetime | None:
    """When attempt number `attempt + 1` is due, or None where there shall be none.

    Deferred and unknown outcomes are tried again: a repeat does less harm than silence. The wait doubles from the
    reason's first to its longest, spread by `jitter` (0 to 1, given by the caller) between half and one and a half of
    it; what the provider asked for (`retry_after_s`) is the least, whatever it is. Nothing is tried after
    `valid_until`: see lasting.py.
    """
    if outcome not in (Outcome.DEFERRED, Outcome.UNKNOWN):
        return None
    if reason not in PATIENT and attempt >= HOPELESS_AFTER.get(reason, MOST_ATTEMPTS):
        return None
    first, longest = WAITS.get(reason, (FIRST_S, LONGEST_S))
    wait = min(longest, first * 2.0 ** min(attempt - 1, 16)) * (0.5 + jitter)
    if retry_after_s is not None and not math.isnan(retry_after_s):
        wait = max(wait, retry_after_s)
    if wait >= (valid_until - now).total_seconds():  # before adding: no calendar holds what some providers ask for
        return None
    at = now + timedelta(seconds=wait)
    return at if at < valid_until else None
