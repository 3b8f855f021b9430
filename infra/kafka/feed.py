"""The feed: every event of the log, published to one topic in the log's order, keyed by stream. See docs/feed.md.

How far it has come is itself a message, in a compacted topic beside the feed, written once the events before it are
acknowledged by all replicas in step. It lies there, and in no table of ours, so that it shares the feed's fate: it
survives the views being deleted, another machine takes over with nothing but the log, and where the brokers lost
everything the feed begins again at the first event instead of leaving a hole that nobody sees.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from domain.errors import FenghuoError, Refused, UnknownEvent
from infra.engine.left import Left
from infra.kafka.clients import LARGEST, Producer, answered, ensured, producer, whole
from infra.kafka.cloudevents import HEADERS, encoded
from infra.kafka.settings import KafkaConfig
from infra.log.store import EventLog

_log = structlog.get_logger("fenghuo.feed")

LONGEST_BACKOFF_S = 15.0
FIRST_BACKOFF_S = 0.2
PACE_S = 0.1  # between batches that are not full: a request for each commit would cost more than its events
FOREVER = {"cleanup.policy": "delete", "retention.ms": "-1", "max.message.bytes": str(LARGEST)}
LATEST = {"cleanup.policy": "compact", "segment.ms": str(3600 * 1000)}
KEY = b"feed"


class Reached(msgspec.Struct, frozen=True):
    """How far the feed has come: the position of the last event that is acknowledged."""

    position: int


class FeedRelay:
    """Publishes until cancelled. `published` is the position up to which the feed is known to be whole.

    After a crash it repeats what it had sent since it last wrote down its position: a batch at most. Two of them at the
    same time publish everything twice, under the same ids. At an event of a newer program it stops.
    """

    def __init__(self, log: EventLog, config: KafkaConfig, left: Left | None = None) -> None:
        self._log = log
        self._config = config
        self._source = config.source or f"urn:fenghuo:{config.topic_prefix}"
        self._left = left if left is not None else Left()
        self._parked_at = 0
        self.published = 0

    async def run(self) -> None:
        backoff = FIRST_BACKOFF_S
        while True:
            before = self.published
            try:
                await self._publish()
            except UnknownEvent as unknown:  # nobody here knows which of its fields are personal
                if unknown.position != self._parked_at:
                    _log.error("feed_parked", topic=unknown.topic, position=unknown.position, code=unknown.code)
                self._parked_at = unknown.position
                self._left.add("feed", str(unknown.position))
            except FenghuoError as error:
                if self.published > before:
                    backoff = FIRST_BACKOFF_S
                _log.error("feed_stopped", code=error.code, said=str(error), position=self.published)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_S)

    async def _publish(self) -> None:
        config = self._config
        await ensured(config, {config.feed: FOREVER}, config.partitions)
        await ensured(config, {config.feed_position: LATEST}, 1)
        self.published = await reached(config)
        end = await self._log.last_position()
        if self.published > end:
            raise Refused(
                "feed.ahead",
                f"The feed stands at {self.published} and the log ends at {end}: another log was published there.",
                "Give this one a kafka.topic_prefix of its own.",
            )
        # A new one after each fault: what the old one still held is refused by the brokers once a batch before it is
        # missing, so that no event can overtake an earlier one of its stream.
        async with producer(config) as sending:
            while True:
                growth = self._log.growth()
                events = await self._batch(sending)
                if not events:
                    await growth.wait()
                elif events < config.batch:
                    await asyncio.sleep(PACE_S)

    async def _batch(self, sending: Producer) -> int:
        """Publishes what comes next; how many events that were."""
        config = self._config
        batch = await self._log.read(self.published, config.batch)
        if not batch:
            return 0
        with answered():
            taken = []
            for recorded in batch:
                key, value = encoded(recorded, self._source)
                at = int(recorded.metadata.recorded_at.timestamp() * 1000)
                taken.append(await sending.send(config.feed, value, key=key, headers=HEADERS, timestamp_ms=at))
            await asyncio.gather(*taken)
            position = batch[-1].position
            await sending.send_and_wait(config.feed_position, msgspec.json.encode(Reached(position)), key=KEY)
        self.published = position
        return len(batch)


async def reached(config: KafkaConfig) -> int:
    """How far the feed has come, as the last relay wrote it down; 0 where none did. Raises Unreachable."""
    found = await whole(config, config.feed_position, last=1)  # compaction never takes the last one
    return msgspec.json.decode(found[-1].value, type=Reached).position if found else 0
