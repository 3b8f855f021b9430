"""What a worker had begun when it ended, for when it is started again under its name.

Its partitions may be another's by now. That one was refused these shards, since their lease runs, and has committed
their messages: until the lease ends, only whoever began them may go on with them, and nobody would tell it to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from domain import shards
from domain.ids import shard_stream
from domain.ports import Clock, Log
from domain.rulepacks import Lane
from infra.engine.follower import Follower
from infra.engine.queue import ViewQueue
from notifiers.worker import SLOTS, Waiting
from projections.follower import Views


class Begun:
    """The shards that a worker left open."""

    def __init__(
        self, log: Log, views: Views, follower: Follower, clock: Clock, lanes: Collection[Lane], worker: str
    ) -> None:
        self._log, self._views, self._follower, self._clock = log, views, follower, clock
        self._lanes, self._worker = lanes, worker

    async def shards(self) -> list[Waiting]:
        """Asks the table once the views show all that the log has now. Raises Unreachable."""
        last = await self._log.last_position()
        while not await self._follower.reached(last):
            pass
        queue = ViewQueue(self._views, self._follower, self._clock, lanes=self._lanes)
        found = await asyncio.to_thread(queue.take, self._clock.now(), self._worker, SLOTS)
        return [waiting for waiting in found if await self._is_ours(waiting.shard_id)]

    async def _is_ours(self, shard_id: str) -> bool:
        shard, _ = await self._log.load(shard_stream(shard_id), shards.evolve)
        return shard is not None and bool(shard.open) and shard.worker == self._worker
