"""The lanes on a real broker: when offsets move, how much is held, what is laid aside, and messages old or odd."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from domain.errors import NotFound, Unreachable
from domain.rulepacks import Lane
from infra.kafka import dead
from infra.kafka.clients import Part, commit, consumer, ensured, producer, whole
from infra.kafka.messages import Due, encode, read_due
from infra.kafka.queue import KafkaQueue
from infra.kafka.settings import KafkaConfig
from tests.engine.house import SMS
from tests.kafka.fleet import TOLD, Fleet, Member, fleet, until

NORMAL = (Lane.NORMAL,)


async def committed(config: KafkaConfig, lane: Lane = Lane.NORMAL) -> int:
    """How many messages of a lane are committed, over all partitions."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=config.bootstrap)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(config.group(lane))
    finally:
        await admin.close()
    return sum(max(0, found.offset) for found in offsets.values())


async def until_committed(config: KafkaConfig, count: int) -> None:
    async with asyncio.timeout(20):
        while await committed(config) != count:  # noqa: ASYNC110  the brokers are asked
            await asyncio.sleep(0.05)


async def announced(config: KafkaConfig, lane: Lane = Lane.NORMAL) -> list[Due]:
    return [read_due(record.value) for record in await whole(config, config.lane(lane))]


async def least_announced(config: KafkaConfig) -> int:
    return min(Counter(due.shard_id for due in await announced(config)).values(), default=0)


def held(member: Member) -> int:
    assert isinstance(member.queue, KafkaQueue)
    return member.queue._lanes[Lane.NORMAL].count


async def put(config: KafkaConfig, *messages: tuple[str, bytes]) -> None:
    """(key, value) onto the normal lane."""
    await ensured(config, {config.lane(Lane.NORMAL): {}}, config.partitions)
    async with producer(config) as sending:
        for key, value in messages:
            await sending.send_and_wait(config.lane(Lane.NORMAL), value, key=key.encode())


def message(shard_id: str, position: int) -> tuple[str, bytes]:
    return shard_id, encode(Due(shard_id, Lane.NORMAL, SMS, position))


async def test_offsets_move_once_outcomes_are_durable_and_not_before(tmp_path, kafka):
    async with fleet(tmp_path, kafka) as f:
        f.relay()
        one = f.join("one", NORMAL)
        one.line.hang()
        planned = await f.plan(3)
        await until(lambda: len(f.sink.sent) == 6 and held(one) == 3)
        await one.queue.commit(one.queue._lanes[Lane.NORMAL], _Never())  # there is nothing to commit
        assert await committed(kafka) == 0
        one.line.answer()
        await f.all_done(planned)
        await until_committed(kafka, 3)
        f.fair(planned)


class _Never:
    def assignment(self) -> set[Part]:
        return set()


async def test_a_worker_that_is_started_again_reads_what_it_had_not_finished(tmp_path, kafka):
    """Under its old name it need not wait for its own lease to end, nor for anybody to announce the shard again."""
    async with fleet(tmp_path, kafka.model_copy(update={"resend_s": 3000})) as f:
        f.relay()
        one = f.join("one", NORMAL)
        one.line.hang()
        planned = await f.plan(3)
        await until(lambda: len(f.sink.sent) == 6)
        await one.crash()
        f.join("one", NORMAL)
        await f.all_done(planned)
        f.fair(planned)
        assert len(f.unknown()) == 6


async def test_a_worker_goes_on_with_what_it_began_though_another_has_its_partitions(tmp_path, kafka):
    """That one was refused the shards and has committed their messages; nobody announces them while the lease runs."""
    async with fleet(tmp_path, kafka.model_copy(update={"resend_s": 3000})) as f:
        f.relay()
        one = f.join("one", NORMAL)
        one.line.hang()
        planned = await f.plan(3)
        await until(lambda: len(f.sink.sent) == 6)
        await one.crash()
        f.join("two", NORMAL)
        await until_committed(kafka, 3)
        assert not f.finished(planned)
        f.join("one", NORMAL)
        await f.all_done(planned)
        f.fair(planned)
        assert f.sink.by.keys() == {"one"}


async def test_a_worker_holds_no_more_than_it_may_and_takes_all_in_the_end(tmp_path, kafka):
    async with fleet(tmp_path, kafka) as f:
        f.relay()
        one = f.join("one", NORMAL, held=5)
        one.line.hang()
        planned = await f.plan(40)
        await until(lambda: held(one) == 5)
        most = 0
        for _ in range(20):
            most = max(most, held(one))
            await asyncio.sleep(0.05)
        assert most == 5
        one.line.answer()
        await f.all_done(planned)
        f.fair(planned)


async def test_what_is_announced_twice_or_by_two_relays_is_sent_once(tmp_path, kafka):
    async with fleet(tmp_path, kafka.model_copy(update={"resend_s": 0.2})) as f:
        f.relay()
        f.relay()
        planned = await f.plan(12)
        async with asyncio.timeout(20):
            while await least_announced(kafka) < 4:  # noqa: ASYNC110  the brokers are asked
                await asyncio.sleep(0.05)
        f.join("one", NORMAL)
        f.join("two", NORMAL)
        await f.all_done(planned)
        f.fair(planned)
        assert len(f.sink.sent) == len(planned) * len(TOLD)


async def test_shards_are_spread_evenly_and_announced_again_where_they_were(tmp_path, kafka):
    impatient = kafka.model_copy(update={"resend_s": 0.3})
    async with fleet(tmp_path, impatient) as f:
        planned = await f.plan(3 * impatient.partitions)
        f.relay()
        async with asyncio.timeout(20):
            while await least_announced(impatient) < 2:  # noqa: ASYNC110  the brokers are asked
                await asyncio.sleep(0.05)
        places: dict[str, set[int]] = {}
        for record in await whole(impatient, impatient.lane(Lane.NORMAL)):
            places.setdefault(read_due(record.value).shard_id, set()).add(record.partition)
        assert set(places) == set(planned)
        assert {len(parts) for parts in places.values()} == {1}
        assert set(Counter(part for (part,) in places.values()).values()) == {3}


async def test_a_group_that_is_set_back_to_an_old_offset_sends_nothing_again(tmp_path, kafka):
    async with fleet(tmp_path, kafka) as f:
        f.relay()
        one = f.join("one", NORMAL)
        planned = await f.plan(10)
        await f.all_done(planned)
        await until_committed(kafka, 10)
        await one.leave()
        await asyncio.sleep(kafka.session_timeout_s + 0.5)  # the brokers give its place up
        async with consumer(kafka, kafka.group(Lane.NORMAL)) as reading:
            parts = [Part(kafka.lane(Lane.NORMAL), number) for number in range(kafka.partitions)]
            reading.assign(parts)
            assert await commit(reading, dict.fromkeys(parts, 0))
        assert await committed(kafka) == 0
        f.join("two", NORMAL)
        await until_committed(kafka, 10)
        f.fair(planned)
        assert len(f.sink.sent) == len(planned) * len(TOLD)


async def test_messages_out_of_order_and_of_shards_unknown_harm_nothing(tmp_path, kafka):
    async with fleet(tmp_path, kafka) as f:
        planned = await f.plan(8)
        stray = [message("f" * 32, 3), message(planned[0], 10_000), message(planned[1], 0)]
        await put(kafka, *stray, *(message(shard_id, n) for n, shard_id in enumerate(reversed(planned))), *stray)
        f.join("one", NORMAL)
        await f.all_done(planned)
        await until_committed(kafka, 14)
        f.fair(planned)
        assert len(f.sink.sent) == len(planned) * len(TOLD)


async def test_workers_that_come_and_go_in_mid_fan_out_lose_nothing(tmp_path, kafka):
    async with fleet(tmp_path, kafka.model_copy(update={"resend_s": 1.0})) as f:
        f.relay()
        f.sink.slow_s = 0.03
        one = f.join("one", NORMAL)
        planned = await f.plan(80)
        await until(lambda: len(f.sink.sent) > 40)
        two = f.join("two", NORMAL)
        await until(lambda: f.sink.by.get("two"))
        f.join("three", NORMAL)
        await one.leave()
        await until(lambda: f.sink.by.get("three"))
        await two.crash()
        f.pass_lease()
        await f.all_done(planned)
        f.fair(planned)


# What is laid aside ---------------------------------------------------------------------------------------------------


async def until_dead(config: KafkaConfig, count: int) -> list[dead.Letter]:
    async with asyncio.timeout(30):
        while len(found := await dead.letters(config)) != count:  # noqa: ASYNC110  the brokers are asked
            await asyncio.sleep(0.1)
    return found


def broken(f: Fleet, member: Member, shard_id: str, fault: Exception) -> list[str]:
    """Makes a worker fail at one shard while the list that it returns is not cleared."""
    real, failing = member.worker.drive, [shard_id]

    async def drive(driven: str, **more: Any) -> None:
        if driven in failing:
            raise fault
        await real(driven, **more)

    member.worker.drive = drive  # type: ignore[method-assign]
    return failing


async def test_a_shard_that_fails_again_and_again_is_laid_aside_until_it_is_re_driven(tmp_path, kafka, meant):
    meant.events |= {"shard_failed", "laid_aside"}
    kafka = kafka.model_copy(update={"failures": 2, "resend_s": 0.5})
    async with fleet(tmp_path, kafka) as f:
        one = f.join("one", NORMAL)
        planned = await f.plan(5)
        bad, good = planned[2], [shard_id for shard_id in planned if shard_id != planned[2]]
        failing = broken(f, one, bad, RuntimeError("nobody foresaw this"))
        f.relay()
        (letter,) = await until_dead(kafka, 1)
        await f.all_done(good)

        assert (letter.letter_id, letter.shard_id, letter.lane, letter.failures) == (bad, bad, Lane.NORMAL, 2)
        assert letter.reason == "RuntimeError after 2 tries"
        count = len(await announced(kafka))
        await asyncio.sleep(1.5)  # several times the pause after which a shard that nobody began is announced again
        assert [due.shard_id for due in (await announced(kafka))[count:]].count(bad) <= 1

        failing.clear()
        with pytest.raises(NotFound):
            await dead.redrive(kafka, ["no such letter"])
        assert [done.letter_id for done in await dead.redrive(kafka, [bad])] == [bad]
        await f.all_done(planned)
        f.fair(planned)
        assert await dead.letters(kafka) == []


async def test_a_fault_that_will_pass_is_waited_out_and_lays_nothing_aside(tmp_path, kafka, meant):
    meant.events |= {"shard_failed"}
    kafka = kafka.model_copy(update={"failures": 1})
    async with fleet(tmp_path, kafka) as f:
        one = f.join("one", NORMAL)
        planned = await f.plan(3)
        failing = broken(f, one, planned[0], Unreachable("log.read_failed", "The log could not be read."))
        f.relay()
        await f.all_done(planned[1:])
        assert await dead.letters(kafka) == []
        assert not f.state(planned[0]).finished
        failing.clear()
        await f.all_done(planned)
        f.fair(planned)


async def test_a_message_that_nobody_can_read_is_laid_aside_and_the_rest_goes_on(tmp_path, kafka, meant):
    meant.events |= {"laid_aside"}
    async with fleet(tmp_path, kafka) as f:
        planned = await f.plan(4)
        await put(kafka, *(message(shard_id, 1) for shard_id in planned[:2]), ("x", b"\xffno message"), ("y", b"{}"))
        await put(kafka, *(message(shard_id, 1) for shard_id in planned[2:]))
        f.join("one", NORMAL)
        found = await until_dead(kafka, 2)
        await f.all_done(planned)
        await until_committed(kafka, 6)

        assert {letter.body for letter in found} == {b"\xffno message", b"{}"}
        assert all(letter.reason.startswith("It cannot be read") and not letter.shard_id for letter in found)
        assert all(letter.letter_id.startswith(kafka.lane(Lane.NORMAL)) for letter in found)
