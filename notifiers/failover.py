"""Several providers of one channel, in order: what one certainly did not take goes to the next in the same attempt.

What is in doubt is not repeated here: it stays unknown, and its next attempt goes to whoever is in order then.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import structlog

from domain.outcomes import Outcome, Reason
from domain.people import Channel
from domain.ports import Clock
from domain.shards import Purpose
from notifiers.breaker import Breaker, Pass, State
from notifiers.channel import Delivery, Notifier, Rendered, Result
from notifiers.limits import Budget, weigher
from notifiers.rates import Pace

_log = structlog.get_logger("fenghuo.providers")

PROBE = 3  # recipients that a provider is tried with after it was left alone
CHUNK_S = 10.0  # seconds that a chunk may take at a provider's rate: so many may be in doubt after a crash


class Provider:
    """One account at one provider, by its name in the settings: its breaker, its rates and its limits.

    `breaks` is False where each message goes to a server of its own, whose failure says nothing about the others.
    """

    def __init__(
        self,
        name: str,
        notifier: Notifier,
        clock: Clock,
        *,
        pace: Pace | None = None,
        budget: Budget | None = None,
        breaks: bool = True,
    ) -> None:
        self.name = name
        self.notifier = notifier
        self.channel = notifier.channel
        self.clock = clock
        self.pace = pace or Pace(clock)
        self.budget = budget
        self.breaker = Breaker(since=clock.now())
        self._breaks = breaks
        self._weigh = weigher(notifier.channel)

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """One result for each, as Notifier.send. Those it was not asked about are deferred, with when it can be."""
        weights = self._weigh(rendered, deliveries)
        refused: list[Result] = []
        going = [(delivery, weight, 0) for delivery, weight in zip(deliveries, weights, strict=True)]
        if self.budget is not None:
            going, refused = self.budget.screen(deliveries, weights, rendered.lane)
        results: list[Result] = []
        try:
            if going:
                results = await self._sent(rendered, going)
        finally:
            settled = self._settled(going, results)
        return [msgspec.structs.replace(result, provider=self.name) for result in (*refused, *settled)]

    async def _sent(self, rendered: Rendered, going: list[tuple[Delivery, int, int]]) -> list[Result]:
        may = self.breaker.ask(self.clock.now()) if self._breaks else Pass.ALL
        if may is Pass.ALL:
            return await self._paced(rendered, going)
        if may is Pass.NONE:
            return self._not_asked(going)
        first, rest = going[:PROBE], going[PROBE:]
        results = await self._paced(rendered, first, probe=True)
        if self.breaker.state is State.CLOSED:
            return results + (await self._paced(rendered, rest) if rest else [])
        return results + self._not_asked(rest)

    async def _paced(
        self, rendered: Rendered, going: list[tuple[Delivery, int, int]], *, probe: bool = False
    ) -> list[Result]:
        """Sends as there are tokens: what has its tokens is under way while the rest waits for more."""
        if self.pace.per_s is None:
            return await self._asked(rendered, going, probe=probe)
        parts: list[asyncio.Task[list[Result]]] = []
        left: list[Result] = []
        async with asyncio.TaskGroup() as group:
            while going:
                admitted = await self.pace.admit([weight for _, weight, _ in going], rendered.lane)
                if self._over(rendered):
                    left = [_expired(d) for d, _, _ in going]
                    break
                if not admitted:
                    left = [_deferred(d, Reason.RATE_LIMITED, 1.0) for d, _, _ in going]
                    break
                if self._breaks and not probe and self.breaker.state is not State.CLOSED:
                    left = self._not_asked(going)
                    break
                part, going = going[:admitted], going[admitted:]
                parts.append(group.create_task(self._asked(rendered, part, probe=probe)))
        if probe and not parts:
            self._heard([], probe=True)
        return [result for part in parts for result in part.result()] + left

    def _over(self, rendered: Rendered) -> bool:
        """Whether the warning ended while its messages waited for their turn. A withdrawal has no such end."""
        until = rendered.expires_at
        return until is not None and self.clock.now() >= until and rendered.purpose is not Purpose.CANCEL

    async def _asked(
        self, rendered: Rendered, going: Sequence[tuple[Delivery, int, int]], *, probe: bool
    ) -> list[Result]:
        deliveries = [self._called_back(delivery) for delivery, _, _ in going]
        try:
            results = await self.notifier.send(rendered, deliveries)
        except Exception:  # against the contract of a channel; who of them got it is not known
            _log.exception("provider_failed", provider=self.name, channel=self.channel.value)
            results = []
        told = {result.index for result in results}
        results += [
            Result(index=d.index, outcome=Outcome.UNKNOWN, reason=Reason.PROVIDER_ERROR)
            for d in deliveries
            if d.index not in told
        ]
        self._heard(results, probe=probe)
        return results

    def _heard(self, results: Sequence[Result], *, probe: bool) -> None:
        if not self._breaks:
            return
        before = self.breaker.state
        self.breaker.heard(results, self.clock.now(), probe=probe)
        if self.breaker.state is before:
            return
        say = _log.warning if self.breaker.state is State.OPEN else _log.info
        say(
            "provider_state",
            provider=self.name,
            channel=self.channel.value,
            state=self.breaker.state.value,
            before=before.value,
            reason=self.breaker.reason.value,
            until=self.breaker.until.isoformat() if self.breaker.until else None,
        )

    def _not_asked(self, going: Iterable[tuple[Delivery, int, int]]) -> list[Result]:
        # Not the reason for which it was opened: an attempt that was not made must not count as one more of those.
        until = self.breaker.until
        wait_s = max(0.0, (until - self.clock.now()).total_seconds()) if until is not None else None
        return [_deferred(delivery, Reason.UNREACHABLE, wait_s) for delivery, _, _ in going]

    def _called_back(self, delivery: Delivery) -> Delivery:
        """Its receipts are signed by this provider's own key, so their address says which one that is."""
        if not delivery.callback or self.name == self.channel.value:
            return delivery
        return msgspec.structs.replace(delivery, callback=f"{delivery.callback}?provider={self.name}")

    def _settled(self, going: Sequence[tuple[Delivery, int, int]], results: Sequence[Result]) -> list[Result]:
        """The results with what they cost. Whatever has none (a cancelled send) may have been charged for."""
        if self.budget is None:
            return list(results)
        costs = {delivery.index: (weight, cost) for delivery, weight, cost in going}
        settled = []
        for result in results:
            weight, cost = costs[result.index]
            spent = self.budget.settled(cost, result.outcome)
            settled.append(msgspec.structs.replace(result, segments=weight if spent else 0, cost=spent))
        return settled

    def described(self) -> dict[str, Any]:
        """What is shown of it: no address, no secret."""
        budget = self.budget
        return {
            "name": self.name,
            "channel": self.channel.value,
            "state": self.breaker.state.value,
            "since": self.breaker.since,
            "until": self.breaker.until,
            "reason": self.breaker.reason.value,
            "rates": [
                {"sender": sender, "per_s": rate.per_s, "burst": rate.burst}
                for sender, rate in sorted(self.pace.rates.items())
            ],
            "spent_today": budget.spent() if budget else 0,
            "spend_limit": budget.limits.per_day if budget else None,
            "currency": budget.limits.currency if budget else "",
        }


class FailoverNotifier:
    """A channel made of providers, the preferred one first."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = tuple(providers)
        self.channel: Channel = self.providers[0].channel
        self._chunk = self.providers[0].notifier.chunk

    @property
    def chunk(self) -> int:
        """Fewer at a slow rate: what is handed over is intended in the log, and in doubt after a crash."""
        asked = next((p for p in self.providers if p.breaker.state is State.CLOSED), self.providers[0])
        per_s = asked.pace.per_s
        return self._chunk if per_s is None else max(1, min(self._chunk, math.ceil(per_s * CHUNK_S)))

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send. Each result names the provider that gave it."""
        if len(self.providers) == 1:
            return await self.providers[0].send(rendered, deliveries)
        settled: list[Result] = []
        open_: dict[int, _Open] = {delivery.index: _Open(delivery) for delivery in deliveries}
        for provider in self.providers:
            if not open_:
                break
            for result in await provider.send(rendered, [entry.delivery for entry in open_.values()]):
                if moves_on(result):
                    open_[result.index].add(result)
                else:
                    settled.append(result)
                    del open_[result.index]
        return settled + [entry.result() for entry in open_.values()]

    async def close(self) -> None:
        for provider in self.providers:
            await provider.pace.close()
            await provider.notifier.close()


def moves_on(result: Result) -> bool:
    """Whether the next provider may be asked: this one certainly did not take it, or may not be used for it."""
    return result.outcome is Outcome.DEFERRED or result.reason is Reason.NOT_ALLOWED


class _Open:
    """A delivery that nobody has taken yet, and what was said of it."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self._said: list[Result] = []

    def add(self, result: Result) -> None:
        self._said.append(result)

    def result(self) -> Result:
        """The soonest of the deferrals: by the ordinary policy where one asks for no wait. Refused where all refuse."""
        deferred = [result for result in self._said if result.outcome is Outcome.DEFERRED]
        return min(deferred or self._said[-1:], key=lambda result: result.retry_after_s or 0.0)


class Providers:
    """All providers of a running installation."""

    def __init__(self, providers: Iterable[Provider] = ()) -> None:
        self.all = tuple(providers)

    def named(self, name: str) -> Provider | None:
        return next((provider for provider in self.all if provider.name == name), None)

    def described(self) -> list[dict[str, Any]]:
        return [provider.described() for provider in self.all]


def providers_of(notifiers: Iterable[Notifier]) -> Providers:
    return Providers(p for n in notifiers if isinstance(n, FailoverNotifier) for p in n.providers)


def _expired(delivery: Delivery) -> Result:
    return Result(index=delivery.index, outcome=Outcome.EXPIRED, reason=Reason.VALIDITY_OVER)


def _deferred(delivery: Delivery, reason: Reason, retry_after_s: float | None) -> Result:
    return Result(index=delivery.index, outcome=Outcome.DEFERRED, reason=reason, retry_after_s=retry_after_s)
