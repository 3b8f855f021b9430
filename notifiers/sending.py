"""One chunk of a shard: its words, handed to the channel for each address, and what became of each message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from domain.errors import Unreachable
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.ports import Clock
from domain.shards import Purpose, Shard, ShardPlanned, Spent
from notifiers.channel import Delivery, Notifier, Rendered, Result
from notifiers.choosing import Chosen
from notifiers.lasting import tried_until, ttl_s
from notifiers.links import Links
from notifiers.opened import UNREADABLE
from notifiers.quiet import woken
from notifiers.retry import next_try

EARLY = 9  # the attempt from which on the wait is the longest

_log = structlog.get_logger("fenghuo.worker")


class Texts(Protocol):
    """The words to send."""

    async def rendered(self, plan: ShardPlanned) -> Rendered:
        """The message of a shard's batch."""


class Sender:
    """`jitter()` gives numbers from 0 to 1 for the spread of retries."""

    def __init__(
        self,
        *,
        texts: Texts,
        links: Links,
        notifiers: dict[Channel, Notifier],
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._texts = texts
        self._links = links
        self._notifiers = notifiers
        self._clock = clock
        self._jitter = jitter

    async def words(self, plan: ShardPlanned) -> Rendered | None:
        """What to send; None where it is too late."""
        return None if self._over(plan) else await self._texts.rendered(plan)

    async def send(
        self,
        state: Shard,
        chosen: Chosen,
        rendered: Rendered | None,
    ) -> tuple[tuple[Row, ...], tuple[Spent, ...]]:
        """Sends, and says for each index what became of it and when it is tried again; and what that did cost."""
        plan, indices, addresses, at_night = state.plan, chosen.ready, chosen.addresses, chosen.at_night
        if rendered is None or self._over(plan):
            attempts = state.attempts
            late = (Row(i, Outcome.EXPIRED, attempts.get(i, 0) + 1, Reason.VALIDITY_OVER) for i in indices)
            return tuple(late), ()
        # The words may be kept from long ago; what is left of the validity is that of now.
        left_s = ttl_s(plan.purpose, plan.valid_until, self._clock.now())
        rendered = msgspec.structs.replace(rendered, ttl_s=left_s)
        deliveries = [
            Delivery(
                index=i,
                attempt=state.attempts.get(i, 0) + 1,
                message_id=f"{plan.shard_id}.{i}",
                address=address,
                link=self._links.link(plan.shard_id, i),
                callback=self._links.callback(plan.shard_id, i, plan.channel),
            )
            for i, address in addresses.items()
            if address is not UNREADABLE
        ]
        results = await self._hand_over(plan, rendered, [d for d in deliveries if d.index not in at_night])
        if at_night:
            by_night = woken(rendered, by_level=plan.wakes)
            results += await self._hand_over(plan, by_night, [d for d in deliveries if d.index in at_night])
        told = {result.index: result for result in results}
        for i in indices:
            if addresses.get(i) is UNREADABLE:  # an operator can mend it while the warning is valid
                told[i] = Result(index=i, outcome=Outcome.DEFERRED, reason=Reason.UNREADABLE)
        return tuple(self._row(state, i, told.get(i), i in addresses) for i in indices), _spent(results)

    def put_off(self, state: Shard, indices: Sequence[int], fault: Exception) -> tuple[Row, ...]:
        """What became of those for whom a fault left no words: nothing was sent, and they are tried again while the
        warning is valid. The fault is ours, and may be mended any time."""
        reason = Reason.UNREACHABLE if isinstance(fault, Unreachable) else Reason.PROVIDER_ERROR
        now, plan = self._clock.now(), state.plan
        rows = []
        for i in indices:
            attempt = state.attempts.get(i, 0) + 1
            early = min(attempt, EARLY)  # of which no reason is taken as lasting
            until = tried_until(plan.purpose, plan.valid_until, now, early)
            retry_at = next_try(Outcome.DEFERRED, reason, early, now, until, None, self._jitter())
            rows.append(Row(i, Outcome.DEFERRED, attempt, reason, "", retry_at))
        return tuple(rows)

    def _over(self, plan: ShardPlanned) -> bool:
        return self._clock.now() >= plan.valid_until and plan.purpose is not Purpose.CANCEL

    async def _hand_over(self, plan: ShardPlanned, rendered: Rendered, deliveries: list[Delivery]) -> list[Result]:
        try:
            return list(await self._notifiers[plan.channel].send(rendered, deliveries)) if deliveries else []
        except Exception:  # against the contract of a channel; who of them got it is not known
            _log.exception("channel_failed", channel=plan.channel.value, shard_id=plan.shard_id)
            return []

    def _row(self, state: Shard, index: int, result: Result | None, addressed: bool) -> Row:
        attempt = state.attempts.get(index, 0) + 1
        if not addressed:
            return Row(index, Outcome.REFUSED, attempt, Reason.NO_ADDRESS)
        if result is None:  # a channel that breaks its contract leaves us in doubt, and says so
            result = Result(index=index, outcome=Outcome.UNKNOWN, reason=Reason.PROVIDER_ERROR)
        now, plan = self._clock.now(), state.plan
        until = tried_until(plan.purpose, plan.valid_until, now, attempt)
        retry_at = next_try(result.outcome, result.reason, attempt, now, until, result.retry_after_s, self._jitter())
        return Row(index, result.outcome, attempt, result.reason, result.provider_ref, retry_at, result.provider)


def _spent(results: Sequence[Result]) -> tuple[Spent, ...]:
    """What the results of a chunk cost, by provider."""
    sums: dict[str, tuple[int, int]] = {}
    for result in results:
        if result.cost:
            segments, cost = sums.get(result.provider, (0, 0))
            sums[result.provider] = segments + result.segments, cost + result.cost
    return tuple(Spent(provider, *both) for provider, both in sorted(sums.items()))
