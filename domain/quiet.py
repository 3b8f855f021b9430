"""Quiet hours: until when a person is not to be woken, by the clock on their own wall."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from domain.people import Channel

WAKING = frozenset({Channel.SMS, Channel.VOICE, Channel.WEBPUSH, Channel.CHAT})
"""Channels that make a noise beside a bed. A mail waits to be read and a webhook is read by a program."""


def quiet_until(now: datetime, zone: ZoneInfo, hours: tuple[int, int]) -> datetime | None:
    """When the quiet hours end in which `now` lies, in UTC; None where it lies in none.

    `hours` is (from, to) by the wall clock of `zone`, over midnight where `to` is not after `from`; the same hour twice
    is no quiet at all. They begin and end by the clock on the day a zone changes its time, too.
    """
    start, end = hours
    if start == end:
        return None
    local = now.astimezone(zone)
    if not (start <= local.hour < end if start < end else local.hour >= start or local.hour < end):
        return None
    day = local.date() if local.hour < end else local.date() + timedelta(days=1)
    # An hour that the clock skips (fold 0) is the moment of the skip; one that comes twice is its first.
    return datetime.combine(day, time(end), zone).astimezone(UTC)
