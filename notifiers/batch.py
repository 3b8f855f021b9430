"""How a channel works through a batch: so many at a time, one result for each, nothing raised, no address logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from domain.outcomes import Outcome, Reason
from notifiers.channel import Delivery, Result

log = logging.getLogger("fenghuo.notifiers")


async def spread(
    deliveries: Sequence[Delivery],
    gate: asyncio.Semaphore,
    width: int,
    one: Callable[[Delivery], Awaitable[Result]],
) -> list[Result]:
    """Sends each delivery with `one`, at most `width` at a time, and no more than `gate` lets through over all batches.

    Returns one result for each delivery, in the order in which they were settled. Cancellation ends all of them.
    """
    results: list[Result] = []
    waiting = iter(deliveries)

    async def worker() -> None:
        for delivery in waiting:
            async with gate:
                results.append(await _guarded(one, delivery))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(width, len(deliveries))):
            group.create_task(worker())
    return results


async def _guarded(one: Callable[[Delivery], Awaitable[Result]], delivery: Delivery) -> Result:
    try:
        return await one(delivery)
    except Exception as error:  # a fault of ours must not take the rest of the batch with it
        # The type alone: the message of an exception may well quote the address or the text.
        log.error("sending failed unexpectedly: %s", type(error).__name__)
        return Result(index=delivery.index, outcome=Outcome.UNKNOWN, reason=Reason.PROVIDER_ERROR)


def accepted(delivery: Delivery, provider_ref: str = "") -> Result:
    return Result(index=delivery.index, outcome=Outcome.ACCEPTED, provider_ref=provider_ref)


def refused(delivery: Delivery, reason: Reason) -> Result:
    return Result(index=delivery.index, outcome=Outcome.REFUSED, reason=reason)


def deferred(delivery: Delivery, reason: Reason, retry_after_s: float | None = None) -> Result:
    return Result(index=delivery.index, outcome=Outcome.DEFERRED, reason=reason, retry_after_s=retry_after_s)


def in_doubt(delivery: Delivery, reason: Reason) -> Result:
    return Result(index=delivery.index, outcome=Outcome.UNKNOWN, reason=reason)


def sendable(text: str) -> str:
    """The text with lone surrogates, which no encoding can carry, replaced by question marks.

    A warning with one odd character in it is worth more than none.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text
