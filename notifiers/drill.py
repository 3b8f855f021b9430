"""Drills that reach nobody outside: every message is taken in this program and receipted a moment later.

Each channel of a running installation stands behind one of these, so that no provider ever sees a sandboxed drill,
whatever the settings name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog

from domain.errors import FenghuoError
from domain.outcomes import Outcome, Row
from domain.ports import Clock
from notifiers.channel import Delivery, Notifier, Rendered, Result

MOMENT = timedelta(seconds=1)  # from taking a message to its receipt
PROVIDER = "drill"
Record = Callable[[str, Row], Awaitable[None]]
Count = Callable[[str, Outcome, int], None]

_log = structlog.get_logger("fenghuo.drill")


class DrillNotifier:
    """A channel whose sandboxed messages stay here. `record` takes receipts; `count` hears of channel, outcome, number
    of every message of a drill, whichever way it went.
    """

    def __init__(self, real: Notifier, record: Record, clock: Clock, count: Count = lambda *_: None) -> None:
        self.channel = real.channel
        self._real = real
        self._record = record
        self._clock = clock
        self._count = count
        self._receipting: set[asyncio.Task[None]] = set()

    @property
    def chunk(self) -> int:
        return self._real.chunk

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        if not rendered.sandboxed:
            results = await self._real.send(rendered, deliveries)
            if rendered.drill:
                for result in results:
                    self._count(self.channel.value, result.outcome, 1)
            return results
        task = asyncio.create_task(self._receipt([d.message_id for d in deliveries]), name="drill-receipts")
        self._receipting.add(task)
        task.add_done_callback(self._receipting.discard)
        self._count(self.channel.value, Outcome.ACCEPTED, len(deliveries))
        return [
            Result(
                index=d.index, outcome=Outcome.ACCEPTED, provider_ref=f"{PROVIDER}-{d.message_id}", provider=PROVIDER
            )
            for d in deliveries
        ]

    async def close(self) -> None:
        for task in self._receipting:
            task.cancel()
        await asyncio.gather(*self._receipting, return_exceptions=True)
        await self._real.close()

    async def _receipt(self, message_ids: Sequence[str]) -> None:
        await self._clock.sleep_until(self._clock.now() + MOMENT)
        receipts = [self._delivered(message_id) for message_id in message_ids]
        for done in await asyncio.gather(*receipts, return_exceptions=True):
            if isinstance(done, FenghuoError):
                _log.warning("drill_receipt_lost", code=done.code)

    async def _delivered(self, message_id: str) -> None:
        shard_id, _, index = message_id.partition(".")
        await self._record(shard_id, Row(int(index), Outcome.DELIVERED, 0))
