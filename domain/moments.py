"""Within which years all lies that warnings and rosters speak of.

A time far outside is a mistake, or stands for "without end"; and at the ends of the calendar there are times that are
none in another zone, which would stop whoever reads them. What counts by another calendar is in: 2568 is a year of ours
to some who publish warnings.
"""

from __future__ import annotations

from datetime import datetime

FIRST_YEAR, LAST_YEAR = 2000, 2999


def within_reason(*moments: datetime | None) -> bool:
    return all(at is None or FIRST_YEAR <= at.year <= LAST_YEAR for at in moments)
