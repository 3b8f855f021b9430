"""The relay of the queue: what is due by the shards view is announced to the workers, on the topic of its lane.

The view remains the queue and the shard's own stream the arbiter: a message may be lost, come twice or late, and all
that follows is that a worker looks at a shard. So what nobody begins is announced again, ever more slowly, and two
relays at once announce everything twice and harm nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from itertools import count

import msgspec
import structlog

from domain.errors import FenghuoError
from domain.ports import Clock
from domain.rulepacks import LANES
from infra.kafka.clients import Producer, answered, ensured, producer
from infra.kafka.dead import DeadWatch
from infra.kafka.messages import Due, due, encode
from infra.kafka.settings import KafkaConfig
from notifiers.pause import ended, first_of
from notifiers.worker import Queue

_log = structlog.get_logger("fenghuo.dispatch")

NAME = "relay"  # no worker's: it holds no shard
AHEAD = 500  # shards of each lane and channel that are announced before workers begin them
REMEMBERED = 100_000
LONGEST_RESEND_S = 600.0
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 15.0
DAY = {"cleanup.policy": "delete", "retention.ms": str(24 * 3600 * 1000)}  # older ones were announced again since


class _Sent(msgspec.Struct):
    position: int
    part: int
    again_at: float
    wait_s: float


class Dispatcher:
    """Announces until cancelled. `queue` is the table's."""

    def __init__(self, queue: Queue, clock: Clock, config: KafkaConfig) -> None:
        self._queue = queue
        self._clock = clock
        self._config = config
        self._dead = DeadWatch(config)
        self._sent: OrderedDict[str, _Sent] = OrderedDict()
        self._turn = {lane: count() for lane in LANES}

    async def run(self) -> None:
        watching = asyncio.create_task(self._dead.run(), name="dead-letters")
        backoff = FIRST_BACKOFF_S
        try:
            while True:
                before = len(self._sent)
                try:
                    await self._dispatch()
                except FenghuoError as error:
                    _log.error("dispatch_stopped", code=error.code, said=str(error))
                backoff = FIRST_BACKOFF_S if len(self._sent) > before else min(backoff * 2, LONGEST_BACKOFF_S)
                await asyncio.sleep(backoff)
        finally:
            await ended([watching])

    async def _dispatch(self) -> None:
        config = self._config
        await ensured(config, {config.lane(lane): DAY for lane in LANES}, config.partitions)
        # Announcing what was laid aside is no harm, and no reason to keep a warning back.
        await first_of(self._dead.loaded.wait(), timeout_s=config.request_timeout_s)
        async with producer(config) as sending:
            while True:
                now = self._clock.now()
                waiting = await asyncio.to_thread(self._dead.take, self._queue, now, NAME, AHEAD)
                at = asyncio.get_running_loop().time()
                new = [found for found in map(due, waiting) if self._wanted(found, at)]
                if new:
                    await self._announce(sending, new)
                else:
                    await first_of(self._queue.wait(now), timeout_s=config.resend_s)

    def _wanted(self, found: Due, at: float) -> bool:
        sent = self._sent.get(found.shard_id)
        return sent is None or found.position > sent.position or at >= sent.again_at

    async def _part(self, sending: Producer, found: Due) -> int:
        """The partition on which a shard was announced, or else the next in turn. Left to their keys, one worker would
        have a tenth more than another, and a warning goes out as fast as the one who has most."""
        parts: list[int] = sorted(await sending.partitions_for(self._config.lane(found.lane)))
        sent = self._sent.get(found.shard_id)
        if sent is not None and sent.part in parts:
            return sent.part
        return parts[next(self._turn[found.lane]) % len(parts)]

    async def _announce(self, sending: Producer, new: list[Due]) -> None:
        config = self._config
        with answered():
            parts = [await self._part(sending, found) for found in new]
            taken = [
                await sending.send(config.lane(found.lane), encode(found), key=found.shard_id.encode(), partition=part)
                for found, part in zip(new, parts, strict=True)
            ]
            await asyncio.gather(*taken)
        at = asyncio.get_running_loop().time()
        for found, part in zip(new, parts, strict=True):
            sent = self._sent.get(found.shard_id)
            repeated = sent is not None and sent.position >= found.position
            wait_s = min(sent.wait_s * 2, LONGEST_RESEND_S) if sent and repeated else config.resend_s
            self._sent[found.shard_id] = _Sent(found.position, part, at + wait_s, wait_s)
            self._sent.move_to_end(found.shard_id)
        while len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)
