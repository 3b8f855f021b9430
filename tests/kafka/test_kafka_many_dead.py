"""However many shards lie aside, those that came later are announced and taken: they lie in nobody's way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from domain.people import Channel
from domain.rulepacks import Lane
from infra.kafka import dispatch, overdue
from infra.kafka.clients import ensured, producer
from infra.kafka.dead import COMPACT, DeadWatch
from infra.kafka.messages import Letter, encode
from infra.kafka.settings import KafkaConfig
from notifiers.worker import Waiting
from tests.engine.house import NOW
from tests.kafka.fleet import Fleet, fleet
from tests.kafka.test_kafka_lanes import NORMAL

LIMIT = 4
MANY = 3 * LIMIT


def letter(shard_id: str, position: int = 10**6) -> Letter:
    return Letter(
        letter_id=shard_id,
        lane=Lane.NORMAL,
        reason="RuntimeError after 5 tries",
        at=NOW,
        body=b"{}",
        shard_id=shard_id,
        position=position,
        failures=5,
    )


async def lay_aside(config: KafkaConfig, shard_ids: Sequence[str]) -> None:
    await ensured(config, {config.dead: COMPACT}, 1)
    async with producer(config) as sending:
        for shard_id in shard_ids:
            await sending.send_and_wait(config.dead, encode(letter(shard_id)), key=shard_id.encode())


@pytest.fixture
async def buried(tmp_path, kafka: KafkaConfig, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    """A fleet whose oldest shards all lie aside."""
    monkeypatch.setattr(dispatch, "AHEAD", LIMIT)
    monkeypatch.setattr(overdue, "MOST", LIMIT)
    impatient = kafka.model_copy(update={"overdue_s": 0.6})
    async with fleet(tmp_path, impatient) as f:
        await lay_aside(impatient, await f.plan(MANY))
        yield f


async def test_a_later_shard_is_announced(buried):
    later = await buried.plan(1)
    buried.relay()
    buried.join("one", NORMAL, overdue_s=3000)
    await buried.all_done(later, 10)
    buried.fair(later)
    assert {shard_id for shard_id, _ in buried.sink.sent} == set(later)


async def test_a_later_shard_that_is_overdue_is_taken(buried):
    one = buried.join("one", NORMAL)
    await one.queue._overdue._dead.loaded.wait()
    later = await buried.plan(1)
    await buried.all_done(later, 10)
    buried.fair(later)


class Table:
    """So many shards are due in each lane and channel; the first that are asked for come."""

    def __init__(self, due: int) -> None:
        self.due = due
        self.limits: list[int] = []

    def take(self, now: object, worker: str, limit: int) -> list[Waiting]:
        self.limits.append(limit)
        kinds = [(lane, channel) for lane in (Lane.EXTREME, Lane.NORMAL) for channel in (Channel.SMS, Channel.EMAIL)]
        return [
            Waiting(f"{lane}-{channel}-{n}", lane, channel, 3)
            for lane, channel in kinds
            for n in range(min(self.due, limit))
        ]


def test_as_many_are_taken_as_without_the_dead_and_no_more_are_read_than_there_are_dead():
    watch, table = DeadWatch(KafkaConfig(bootstrap="127.0.0.1:1")), Table(100)
    dead = [f"{Lane.NORMAL}-{Channel.SMS}-{n}" for n in range(5)]
    watch._letters = {shard_id: letter(shard_id) for shard_id in dead}
    watch._letters["lane-0-17"] = None  # those of no shard are in no table
    found = watch.take(table, NOW, "relay", 10)
    sms = [waiting.shard_id for waiting in found if (waiting.lane, waiting.channel) == (Lane.NORMAL, Channel.SMS)]
    assert sms == [f"{Lane.NORMAL}-{Channel.SMS}-{n}" for n in range(5, 15)]
    assert len(found) == 4 * 10
    assert table.limits == [15]


def test_a_shard_of_which_there_is_news_is_taken():
    watch, table = DeadWatch(KafkaConfig(bootstrap="127.0.0.1:1")), Table(1)
    old, news = f"{Lane.NORMAL}-{Channel.SMS}-0", f"{Lane.EXTREME}-{Channel.SMS}-0"
    watch._letters = {old: letter(old, position=3), news: letter(news, position=2)}
    taken = {waiting.shard_id for waiting in watch.take(table, NOW, "relay", 10)}
    assert news in taken
    assert old not in taken
