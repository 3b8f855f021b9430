"""What a provider may be used for: countries, kinds of numbers, and how much a day may cost.

Premium-rate and other special numbers are refused whatever the settings say: a list of contacts with such a number in
it would make somebody rich. The spend limit is for mistakes; a warning of the extreme lane is sent above it, and
that is logged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import msgspec
import phonenumbers
import structlog
from phonenumbers import PhoneNumberType

from domain.outcomes import Outcome, Reason
from domain.people import Channel
from domain.ports import Clock
from domain.rulepacks import Lane
from notifiers.channel import LINK, Delivery, Rendered, Result
from notifiers.segments import segments

_log = structlog.get_logger("fenghuo.limits")

MICRO = 1_000_000  # costs are whole millionths of the provider's currency: sums of floats drift
SPECIAL = frozenset(
    {
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.TOLL_FREE,
        PhoneNumberType.PERSONAL_NUMBER,
        PhoneNumberType.PAGER,
        PhoneNumberType.UAN,
        PhoneNumberType.VOICEMAIL,
    }
)
"""Kinds of numbers that no person to be warned has, and that can cost any amount."""
SPECIAL_CODES = frozenset({"800", "808", "979"})
"""Calling codes of such numbers that belong to no country: freephone, shared cost, premium rate (ITU-T E.164.1)."""
COSTS = frozenset({Outcome.ACCEPTED, Outcome.DELIVERED, Outcome.UNKNOWN})
"""What a provider may charge for."""


DAYS = 7  # that are remembered


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`countries`: regions by ISO 3166 (`001`: numbers of no country); empty: all. `prices`: millionths of `currency` a
    segment or call, by the beginning of the number (`+86`; the longest counts, `` for all others). `per_day`: how many
    of these may be spent a day (UTC); None: any."""

    countries: frozenset[str] = frozenset()
    prices: dict[str, int] = msgspec.field(default_factory=dict)
    per_day: int | None = None
    currency: str = ""


class Budget:
    """What a provider was used for today. It begins with what the log says (`restore`)."""

    def __init__(self, provider: str, limits: Limits, clock: Clock) -> None:
        self._provider = provider
        self._limits = limits
        self._clock = clock
        self._day = day_of(clock.now())
        self._spent = {self._day: 0}
        self._said: set[tuple[date, bool]] = set()

    @property
    def limits(self) -> Limits:
        return self._limits

    def spent(self) -> int:
        """Today's, with what is under way."""
        self._turn()
        return self._spent[self._day]

    def restore(self, day: date, spent: int) -> None:
        self._turn()
        if day == self._day:
            self._spent[day] = max(self._spent[day], spent)

    def screen(
        self, deliveries: Sequence[Delivery], weights: Sequence[int], lane: Lane
    ) -> tuple[list[tuple[Delivery, int, int]], list[Result]]:
        """(delivery, weight, cost) of those that may go, their cost reserved; and the refusals of the others."""
        self._turn()
        allowed: list[tuple[Delivery, int, int]] = []
        refused: list[Result] = []
        for delivery, weight in zip(deliveries, weights, strict=True):
            number = delivery.address if isinstance(delivery.address, str) else ""
            if permitted(number, self._limits.countries):
                cost = weight * self.price(number)
                if self._affords(cost, lane):
                    self._spent[self._day] += cost
                    allowed.append((delivery, weight, cost))
                    continue
            refused.append(Result(index=delivery.index, outcome=Outcome.REFUSED, reason=Reason.NOT_ALLOWED))
        return allowed, refused

    def settled(self, cost: int, outcome: Outcome) -> int:
        """What a message did cost; gives back what it did not."""
        if outcome in COSTS:
            return cost
        self._spent[self._day] = max(0, self._spent[self._day] - cost)
        return 0

    def price(self, number: str) -> int:
        prices = self._limits.prices
        if not prices:
            return 0
        return next((prices[number[:n]] for n in range(min(len(number), 9), -1, -1) if number[:n] in prices), 0)

    def _affords(self, cost: int, lane: Lane) -> bool:
        limit = self._limits.per_day
        if limit is None or self._spent[self._day] + cost <= limit:
            return True
        exempt = lane is Lane.EXTREME
        if (self._day, exempt) not in self._said:  # once a day each, not once a message
            self._said.add((self._day, exempt))
            _log.warning(
                "spend_limit_exceeded" if exempt else "spend_limit_reached",
                provider=self._provider,
                lane=lane.value,
                spent=self._spent[self._day] / MICRO,
                limit=limit / MICRO,
                currency=self._limits.currency,
            )
        return exempt

    def _turn(self) -> None:
        """To the day that the clock says. One that is put back to before all that is known opens no new day; one that
        was ahead for a while and is put right does not hold the days that follow."""
        today = day_of(self._clock.now())
        if today != self._day and any(day <= today for day in self._spent):
            self._day = today
            self._spent.setdefault(today, 0)
            for day in sorted(self._spent.keys() - {today})[:-DAYS]:
                del self._spent[day]


def permitted(number: str, countries: frozenset[str]) -> bool:
    """Whether our own rules let a number (E.164) be used. What is no number is left to the channel to refuse."""
    code = next((number[1:n] for n in (2, 3, 4) if number[:1] == "+" and _regions(number[1:n])), "")
    if not code:
        return not countries
    if code in SPECIAL_CODES:
        return False
    regions = _regions(code)
    # The library takes 50 to 90 us to tell region and kind: it is asked only where this leaves a doubt.
    if regions <= countries or not countries:
        return not _special(code).fullmatch(number, len(code) + 1) or _permitted(number, countries)
    return bool(regions & countries) and _permitted(number, countries)


@lru_cache(maxsize=20_000)
def _permitted(number: str, countries: frozenset[str]) -> bool:
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return not countries
    # A number that its numbering plan does not know counts for the first country of its calling code.
    code = parsed.country_code or 0
    region = phonenumbers.region_code_for_number(parsed) or phonenumbers.region_code_for_country_code(code)
    return (not countries or region in countries) and phonenumbers.number_type(parsed) not in SPECIAL


@lru_cache
def _regions(code: str) -> frozenset[str]:
    """The regions of a calling code; none where there is no such code."""
    return frozenset(phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code), ()) if code.isdigit() else ())


_KINDS = ("premium_rate", "shared_cost", "toll_free", "personal_number", "pager", "uan", "voicemail")  # as SPECIAL


@lru_cache
def _special(code: str) -> re.Pattern[str]:
    """What a national number looks like that is of a special kind in some region of a calling code."""
    patterns = []
    for region in sorted(_regions(code)):
        found: Any = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
        kinds = (getattr(found, name, None) for name in _KINDS)
        patterns += [kind.national_number_pattern for kind in kinds if kind and kind.national_number_pattern]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)")


def weigher(channel: Channel) -> Callable[[Rendered, Sequence[Delivery]], list[int]]:
    """How many tokens each message of a batch takes, and how many times its price it costs."""
    if channel is not Channel.SMS:
        return lambda _, deliveries: [1] * len(deliveries)

    def by_segments(rendered: Rendered, deliveries: Sequence[Delivery]) -> list[int]:
        known: dict[int, int] = {}  # links differ by letters of the basic alphabet alone, so their length decides
        weights = []
        for delivery in deliveries:
            length = len(delivery.link)
            if length not in known:
                known[length] = max(1, segments(rendered.short.replace(LINK, delivery.link)))
            weights.append(known[length])
        return weights

    return by_segments


def day_of(at: datetime) -> date:
    """The day that a cost counts for."""
    return at.astimezone(UTC).date()
