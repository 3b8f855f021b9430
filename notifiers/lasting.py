"""How long a message is of use: what a warning says until it ends, and that it was withdrawn for a day after that.

Who was told of it may go on believing it, so a withdrawal is worth having though the warning would be over by now.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from domain.shards import Purpose
from notifiers.retry import MOST_ATTEMPTS

LEAST = timedelta(minutes=1)  # what a provider has for a message, however late it comes
WITHDRAWAL = timedelta(days=1)  # after the warning's end
WITHDRAWAL_LEAST = timedelta(hours=6)  # the same for a withdrawal, should that day be over, too
LATE = timedelta(hours=1)  # the longest wait between two tries of a withdrawal that comes so late
_LAST = datetime.max.replace(tzinfo=UTC) - WITHDRAWAL


def ttl_s(purpose: Purpose, valid_until: datetime, now: datetime) -> int:
    """Seconds until a message that is sent now is of no use."""
    least = WITHDRAWAL_LEAST if purpose is Purpose.CANCEL else LEAST
    return int(max(least, _end(purpose, valid_until) - now).total_seconds())


def tried_until(purpose: Purpose, valid_until: datetime, now: datetime, attempt: int) -> datetime:
    """Before when the attempt after number `attempt` must be due.

    A withdrawal that comes when its day is over is tried all the same, but not for ever: from MOST_ATTEMPTS on that end
    counts alone, which stays where it is.
    """
    end = _end(purpose, valid_until)
    late = purpose is Purpose.CANCEL and attempt < MOST_ATTEMPTS
    return max(end, now + LATE) if late else end


def _end(purpose: Purpose, valid_until: datetime) -> datetime:
    return min(valid_until, _LAST) + WITHDRAWAL if purpose is Purpose.CANCEL else valid_until
