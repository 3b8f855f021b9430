"""Brokers that are killed in mid-fan-out: one alone and started again, one of three, and all of them for a while.

Whatever is lost on the way, the table announces again; the feed is whole in the end.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from domain.rulepacks import Lane
from infra.kafka.clients import whole
from infra.kafka.feed import FeedRelay
from infra.kafka.settings import KafkaConfig
from tests.kafka.brokers import Cluster
from tests.kafka.conftest import config
from tests.kafka.fleet import Fleet, fleet, until
from tests.kafka.meant import Meant
from tests.kafka.test_kafka_feed import in_order

pytestmark = pytest.mark.timeout(240)
LANES = (Lane.NORMAL,)
STOPPED = {"dispatch_stopped", "lane_stopped", "feed_stopped", "dead_letters_unread"}


async def in_mid_fan_out(f: Fleet) -> list[str]:
    """Two workers at work on a plan of which some is sent."""
    f.relay()
    f.sink.slow_s = 0.05
    f.join("one", LANES)
    f.join("two", LANES)
    planned = await f.plan(60)
    await until(lambda: len(f.sink.sent) > 30)
    assert not f.finished(planned)
    return planned


async def published(relay: FeedRelay, f: Fleet, kafka: KafkaConfig) -> None:
    """The feed is whole: every event once at least, and first in its stream's order."""
    await until(lambda: relay.published >= f.stores.log.last_position_now(), 60)
    first: dict[str, dict[str, Any]] = {}  # by id, in the order in which they first came
    for record in await whole(kafka, kafka.feed):
        event = json.loads(record.value)
        first.setdefault(event["id"], event)
    events = f.stores.log.read_now(0, 100_000)
    assert {r.metadata.event_id: r.position for r in events} == {i: int(e["sequence"]) for i, e in first.items()}
    assert in_order(list(first.values())), "an event came before an earlier one of its stream"


@contextlib.asynccontextmanager
async def hurt(
    folder: Path, cluster: Cluster, meant: Meant, **settings: float
) -> AsyncIterator[tuple[Fleet, Callable[[int], Any]]]:
    """A fleet in mid-fan-out, and what plans so many shards more. In the end all is sent and published."""
    meant.events |= STOPPED
    kafka = config(cluster.bootstrap, resend_s=0.5, request_timeout_s=3, **settings)
    async with fleet(folder, kafka) as f:
        relay = FeedRelay(f.stores.log, kafka)
        f.beside(relay.run)
        planned = await in_mid_fan_out(f)

        async def more(count: int) -> list[str]:
            found = await f.plan(count)
            planned.extend(found)
            return found

        yield f, more
        await f.all_done(planned, 90)
        f.fair(planned)
        await published(relay, f, kafka)


async def test_the_only_broker_is_killed_and_started_again(tmp_path, own, meant: Meant):
    async with hurt(tmp_path, own, meant) as (_, more):
        (broker,) = own.brokers
        broker.kill()
        broker.start()
        await more(20)
        await broker.up()


async def test_while_all_brokers_are_down_workers_take_from_the_table(tmp_path, own, meant: Meant):
    async with hurt(tmp_path, own, meant, overdue_s=1) as (f, more):
        (broker,) = own.brokers
        broker.kill()
        planned = await more(20)
        await f.all_done(planned, 60)
        broker.start()
        await broker.up()


async def test_one_of_three_brokers_is_killed(tmp_path, three, meant: Meant):
    broker = three.brokers[1]
    async with hurt(tmp_path, three, meant) as (_, more):
        broker.kill()
        await more(20)
    broker.start()
    await broker.up()
