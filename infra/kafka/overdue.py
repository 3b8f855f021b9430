"""What is due by the table and no message brings: a worker whose lanes are idle takes it from there, a while later.

The brokers may be gone, the process that announces shards may be, or this worker may be cut off from either. A warning
waits for none of them. Several workers may take the same shard then; its stream says whose it is, as always.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import structlog

from domain.errors import FenghuoError
from domain.ports import Clock
from domain.rulepacks import Lane
from infra.kafka.dead import DeadWatch
from infra.kafka.settings import KafkaConfig
from notifiers.pause import ended
from notifiers.worker import Queue, Waiting

_log = structlog.get_logger("fenghuo.overdue")

LOOKS = 3  # in the time after which something is overdue
MOST = 500  # shards of each lane and channel that are known to be due


class Overdue:
    """`table` is the queue on the shards view, of nobody else."""

    def __init__(self, table: Queue, clock: Clock, config: KafkaConfig) -> None:
        self._table = table
        self._clock = clock
        self._config = config
        self._dead = DeadWatch(config)
        self._since: dict[tuple[str, int], float] = {}  # when a shard was first seen to be due as it is

    async def run(self, idle: Callable[[], Collection[Lane]], put: Callable[[list[Waiting]], None]) -> None:
        """Until cancelled. `idle`: the lanes of which nothing is held here; `put` takes what is overdue in them."""
        watching = asyncio.create_task(self._dead.run(), name="dead-letters")
        try:
            while True:
                await asyncio.sleep(self._config.overdue_s / LOOKS)
                try:
                    found = await self._look(idle())
                except FenghuoError as error:
                    _log.error("table_unread", code=error.code, said=str(error))
                    continue
                if found:
                    _log.warning("taken_from_the_table", shards=len(found))
                    put(found)
        finally:
            await ended([watching])

    async def _look(self, lanes: Collection[Lane]) -> list[Waiting]:
        """Raises Unreachable."""
        now, worker = self._clock.now(), self._config.named
        waiting = await asyncio.to_thread(self._dead.take, self._table, now, worker, MOST)
        at = asyncio.get_running_loop().time()
        self._since = {key: self._since.get(key, at) for key in ((found.shard_id, found.position) for found in waiting)}
        return [
            found
            for found in waiting
            if found.lane in lanes and at - self._since[found.shard_id, found.position] >= self._config.overdue_s
        ]
