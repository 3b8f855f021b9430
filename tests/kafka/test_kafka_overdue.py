"""What no message brings is taken from the table; what brokers bring, and what was laid aside, is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.rulepacks import Lane
from infra.kafka.queue import KafkaQueue
from infra.kafka.settings import KafkaConfig
from tests.kafka.fleet import Member, fleet, until
from tests.kafka.meant import Meant
from tests.kafka.test_kafka_lanes import NORMAL, broken, held, until_dead

OVERDUE_S = 0.6
SEVERAL_S = 4 * OVERDUE_S


@pytest.fixture
def impatient(kafka: KafkaConfig) -> KafkaConfig:
    return kafka.model_copy(update={"overdue_s": OVERDUE_S, "failures": 1})


async def test_what_nobody_announces_is_sent_all_the_same(tmp_path, impatient):
    async with fleet(tmp_path, impatient) as f:
        f.join("one")
        f.join("two")
        planned = [*await f.plan(10), *await f.plan(10, Lane.EXTREME)]
        await f.all_done(planned)
        f.fair(planned)


async def test_a_worker_takes_its_own_lanes_alone(tmp_path, impatient):
    async with fleet(tmp_path, impatient) as f:
        f.join("one", NORMAL)
        normal, extreme = await f.plan(5), await f.plan(5, Lane.EXTREME)
        await f.all_done(normal)
        await asyncio.sleep(SEVERAL_S)
        assert not any(f.state(shard_id).worker for shard_id in extreme)
        f.join("two", (Lane.EXTREME,))
        await f.all_done(extreme)
        f.fair(normal + extreme)


async def test_a_lane_that_brings_something_is_waited_for(tmp_path, impatient):
    async with fleet(tmp_path, impatient) as f:
        relay = f.relay()
        one = f.join("one", NORMAL)
        one.line.hang()
        brought = await f.plan(3)
        await until(lambda: held(one) == len(brought))
        relay.cancel()
        later = await f.plan(5)
        await asyncio.sleep(SEVERAL_S)
        assert not any(f.state(shard_id).worker for shard_id in later)
        one.line.answer()
        await f.all_done(brought + later)
        f.fair(brought + later)


async def test_what_was_laid_aside_is_left_alone(tmp_path, impatient, meant: Meant):
    meant.events |= {"shard_failed", "laid_aside"}
    async with fleet(tmp_path, impatient) as f:
        f.relay()
        one = f.join("one", NORMAL)
        bad, good = await f.plan(2)
        broken(f, one, bad, RuntimeError("nobody foresaw this"))
        tried = _counted(one)
        await until_dead(impatient, 1)
        await f.all_done([good])
        await until(lambda: _knows_letters(one))
        await asyncio.sleep(2 * OVERDUE_S)  # what was taken before the letter came has been tried by then
        before = tried.count(bad)
        await asyncio.sleep(SEVERAL_S)
        assert tried.count(bad) == before >= 1
        assert f.finished([good])


def _counted(member: Member) -> list[str]:
    """The shards that a worker tries from here on, in their order."""
    real, tried = member.worker.drive, []

    async def drive(shard_id: str, **more: Any) -> None:
        tried.append(shard_id)
        await real(shard_id, **more)

    member.worker.drive = drive  # type: ignore[method-assign]
    return tried


def _knows_letters(member: Member) -> bool:
    assert isinstance(member.queue, KafkaQueue)
    overdue = member.queue._overdue
    return overdue is not None and bool(overdue._dead._letters)
