"""When to try again: one pure function of the outcome, the attempt and the time."""

from __future__ import annotations

from datetime import datetime, timedelta

from domain.outcomes import Outcome, Reason

FIRST_S = 2.0  # seconds before the second attempt
LONGEST_S = 300.0  # seconds between two attempts at the most
HOPELESS_AFTER: dict[Reason, int] = {Reason.CREDENTIALS: 5, Reason.PROVIDER_ERROR: 12}
"""Attempts after which a reason that should have passed by then is taken as lasting."""
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

    Deferred and unknown outcomes are tried again: a repeat does less harm than silence. The wait doubles from
    2 s to 300 s, spread by `jitter` (0 to 1, given by the caller) between half and one and a half of it; what the
    provider asked for (`retry_after_s`) is the least. Nothing is tried after the warning's validity.
    """
    if outcome not in (Outcome.DEFERRED, Outcome.UNKNOWN):
        return None
    if attempt >= HOPELESS_AFTER.get(reason, MOST_ATTEMPTS):
        return None
    wait = min(LONGEST_S, FIRST_S * 2 ** (attempt - 1)) * (0.5 + jitter)
    at = now + timedelta(seconds=max(wait, retry_after_s or 0.0))
    return at if at < valid_until else None
