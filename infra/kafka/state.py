"""How Kafka stands for an installation: what waits in each lane and for how many workers, the feed, dead letters.

`fenghuo status` asks for it, and the process that announces shards looks at it now and then for Prometheus.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from domain.errors import FenghuoError
from domain.rulepacks import LANES, Lane
from infra.kafka.clients import Part, administering, answered, consumer, parts_known
from infra.kafka.dead import letters
from infra.kafka.feed import reached
from infra.kafka.settings import KafkaConfig

_log = structlog.get_logger("fenghuo.kafka")

LOOK_S = 15.0


class KafkaLane(msgspec.Struct, frozen=True, kw_only=True):
    """A lane's topic. `lag`: messages that its group has not committed; `workers`: members of the group.

    A worker commits in the order of a partition, so the lag also counts what is done behind what is not.
    """

    lane: Lane
    lag: int
    workers: int


class KafkaState(msgspec.Struct, frozen=True, kw_only=True):
    """`feed_position`: of the last event that is known to be published, as the log counts; 0: none."""

    lanes: tuple[KafkaLane, ...]
    feed_position: int
    dead_letters: int


async def measure(config: KafkaConfig) -> KafkaState:
    """Asks the brokers. A topic that nobody made yet has nothing in it. Raises Unreachable."""
    groups = [config.group(lane) for lane in LANES]
    async with administering(config) as admin:
        parts = await parts_known(admin, [config.lane(lane) for lane in LANES])
        with answered():
            committed: dict[Part, int] = {}
            workers: Counter[str] = Counter()
            for group in groups:
                found = await admin.list_consumer_group_offsets(group)
                committed |= {part: at.offset for part, at in found.items()}
                # One by one: aiokafka 0.14 cannot read an answer about several groups.
                workers += _members(await admin.describe_consumer_groups([group]))
    lags = await _lags(config, parts, committed)
    lanes = (KafkaLane(lane=lane, lag=lags[config.lane(lane)], workers=workers[config.group(lane)]) for lane in LANES)
    return KafkaState(lanes=tuple(lanes), feed_position=await reached(config), dead_letters=len(await letters(config)))


async def _lags(config: KafkaConfig, parts: Sequence[Part], committed: dict[Part, int]) -> Counter[str]:
    """The messages of each topic that are not committed. Raises Unreachable."""
    found: Counter[str] = Counter()
    if not parts:
        return found
    async with consumer(config) as reading:
        with answered():
            ends: dict[Part, int] = await reading.end_offsets(parts)
            begins: dict[Part, int] = await reading.beginning_offsets(parts)
    for part in parts:
        found[part.topic] += max(0, ends[part] - max(committed.get(part, 0), begins[part]))
    return found


def _members(described: Sequence[Any]) -> Counter[str]:
    """How many members of each group the answers name; none where nobody ever joined."""
    return Counter({group: len(members) for answer in described for _, group, _, _, _, members, *_ in answer.groups})


class KafkaWatch:
    """Measures every LOOK_S seconds until cancelled. `latest` is None where the brokers could not be asked."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self.latest: KafkaState | None = None
        self.running = False

    async def run(self) -> None:
        self.running = True
        try:
            while True:
                try:
                    self.latest = await measure(self._config)
                except FenghuoError as error:
                    _log.warning("kafka_unreadable", code=error.code)
                    self.latest = None
                await asyncio.sleep(LOOK_S)
        finally:
            self.running, self.latest = False, None
