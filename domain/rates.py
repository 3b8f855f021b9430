"""Rates: how many messages a second a provider, or one of its sender numbers, is given. Set by people, as events.

A token bucket: it fills by `per_s` and holds at most `burst`; a text message takes one token for each segment.
"""

from __future__ import annotations

import math
from datetime import datetime

import msgspec

from domain.errors import InvalidInput
from domain.events import Event, topic

FASTEST = 100_000.0  # a second: above this a rate limits nothing here
SLOWEST = 0.001
LARGEST_BURST = 1_000_000


class Rate(msgspec.Struct, frozen=True):
    """Tokens a second, and how many may be taken at once after a pause."""

    per_s: float
    burst: int = 1


@topic("rate.set")
class RateSet(Event, frozen=True, kw_only=True):
    """From here on a provider is asked no faster than this. `sender`: one of its numbers; empty: all of it together."""

    provider: str
    per_s: float
    burst: int
    sender: str = ""


Rates = dict[str, Rate]
"""What was set for one provider, by sender."""


def set_rate(state: Rates | None, *, provider: str, sender: str, rate: Rate) -> list[Event]:
    """Sets a rate; the same again changes nothing. Raises InvalidInput for one that cannot be meant."""
    if not math.isfinite(rate.per_s) or not SLOWEST <= rate.per_s <= FASTEST:
        raise InvalidInput("rate.per_s", f"A rate is {SLOWEST} to {FASTEST:,.0f} a second.")
    if not 1 <= rate.burst <= LARGEST_BURST:
        raise InvalidInput("rate.burst", f"A burst is 1 to {LARGEST_BURST:,}.")
    if (state or {}).get(sender) == rate:
        return []
    return [RateSet(provider=provider, sender=sender, per_s=rate.per_s, burst=rate.burst)]


def evolve(state: Rates | None, event: Event) -> Rates | None:
    match event:
        case RateSet():
            return {**(state or {}), event.sender: Rate(event.per_s, event.burst)}
    return state


class Bucket(msgspec.Struct, frozen=True):
    """A token bucket at a moment. `tokens` may be below zero: a message of more segments than the burst owes the rest.

    All functions return a new one; time comes in and may jump.
    """

    rate: Rate
    tokens: float
    at: datetime

    def refilled(self, now: datetime) -> Bucket:
        """As it is at `now`. A clock that was put back gives nothing and takes nothing."""
        passed = max(0.0, (now - self.at).total_seconds())
        return Bucket(self.rate, min(float(self.rate.burst), self.tokens + passed * self.rate.per_s), now)

    def allows(self, cost: int) -> bool:
        """Whether something of this cost may go now: what costs more than a full bucket goes when it is full."""
        return self.tokens + 1e-9 >= min(cost, self.rate.burst)

    def taken(self, cost: int) -> Bucket:
        return Bucket(self.rate, self.tokens - cost, self.at)

    def wait_s(self, cost: int) -> float:
        """Seconds until `allows(cost)`."""
        return max(0.0, (min(cost, self.rate.burst) - self.tokens) / self.rate.per_s)

    def at_rate(self, rate: Rate) -> Bucket:
        """The same bucket with another rate: what was saved stays, as far as it holds it."""
        return Bucket(rate, min(self.tokens, float(rate.burst)), self.at)


def full(rate: Rate, now: datetime) -> Bucket:
    return Bucket(rate, float(rate.burst), now)
