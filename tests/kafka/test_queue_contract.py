"""What every queue owes the workers, on the table and on Kafka: nothing lost, nor sent twice unseen, lanes in order."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from domain.ids import shard_stream
from domain.rulepacks import Lane
from infra.kafka.settings import KafkaConfig
from notifiers.worker import FLIGHT
from tests.engine.house import annotate
from tests.kafka.fleet import CHUNK, NOW, TOLD, fleet, until

IN_FLIGHT = FLIGHT * CHUNK  # messages that one worker has under way in a lane while nobody answers


@pytest.fixture(params=["sqlite+table", "postgresql+table", "postgresql+kafka"])
def queue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> KafkaConfig | None:
    stores, _, by = request.param.partition("+")
    if stores == "postgresql":
        request.getfixturevalue("postgres")
    monkeypatch.setenv("FENGHUO_TEST_STORES", stores)
    if by == "table":
        return None
    config: KafkaConfig = request.getfixturevalue("kafka")
    return config.model_copy(update={"resend_s": 0.5})


async def test_all_that_is_planned_is_taken_and_sent_once(tmp_path, queue):
    async with fleet(tmp_path, queue) as f:
        f.relay()
        f.join("one")
        f.join("two")
        planned = await f.plan(30) + await f.plan(5, Lane.EXTREME)
        await f.all_done(planned)
        f.fair(planned)
        assert len(f.sink.sent) == len(planned) * len(TOLD)


async def test_higher_lanes_come_first(tmp_path, queue):
    async with fleet(tmp_path, queue) as f:
        planned = await f.plan(8) + await f.plan(3, Lane.EXTREME)
        f.relay()
        member = f.join("one")
        member.line.hang()
        await until(lambda: len(member.queue.take(NOW, "one", 100)) == len(planned))
        lanes = [found.lane for found in member.queue.take(NOW, "one", 100)]
        assert lanes == [Lane.EXTREME] * 3 + [Lane.NORMAL] * 8


async def test_none_is_lost_when_a_worker_is_killed_with_sends_under_way(tmp_path, queue):
    async with fleet(tmp_path, queue) as f:
        f.relay()
        one = f.join("one")
        one.line.hang()
        planned = await f.plan(20)
        await until(lambda: len(f.sink.sent) >= IN_FLIGHT)
        await one.crash()
        f.pass_lease()
        f.join("two")
        await f.all_done(planned)
        f.fair(planned)
        assert f.unknown(), "what the first one sent without an answer is in doubt"


async def test_none_is_lost_and_nothing_is_in_doubt_when_a_worker_leaves_as_it_should(tmp_path, queue):
    async with fleet(tmp_path, queue) as f:
        f.relay()
        f.sink.slow_s = 0.05
        one = f.join("one")
        planned = await f.plan(40)
        await until(lambda: len(f.sink.sent) >= 20)
        f.join("two")
        await one.leave()
        await f.all_done(planned)
        f.fair(planned)
        assert not f.unknown()


async def test_a_shard_that_two_take_is_sent_once(tmp_path, queue):
    async with fleet(tmp_path, queue) as f:
        one, two = f.join("one"), f.join("two")
        await asyncio.gather(one.worker.drain(1), two.worker.drain(1))  # they are told by hand what to do,
        await asyncio.gather(one._parts[-1], two._parts[-1])  # and nothing once they have seen that
        one.worker._draining = two.worker._draining = False
        planned = await f.plan(10)
        both = [member.worker.drive(shard_id) for shard_id in planned for member in (one, two)]
        await asyncio.gather(*both, return_exceptions=True)
        f.fair(planned)
        assert len(f.sink.sent) == len(planned) * len(TOLD)


async def test_a_worker_that_wakes_after_its_lease_undoes_nothing(tmp_path, queue):
    async with fleet(tmp_path, queue) as f:
        f.relay()
        one = f.join("one")
        one.line.hang()
        planned = await f.plan(6)
        await until(lambda: len(f.sink.sent) >= IN_FLIGHT)
        f.pass_lease()
        f.join("two")
        if queue is not None:  # it lost its place in the group, as one does that is asleep
            one.queue.commit = _asleep  # type: ignore[method-assign]
            for part in one._parts[:1]:
                part.cancel()
        await until(lambda: set(f.sink.by.get("two", [])) == set(planned), seconds=40)
        one.line.answer()
        await f.all_done(planned)
        f.fair(planned)


async def test_what_only_a_newer_program_can_read_is_left_to_it_and_holds_up_nothing(tmp_path, queue):
    async with fleet(tmp_path, queue) as f:
        with structlog.testing.capture_logs() as lines:
            odd, *others = await f.plan(6)
            annotate(f.stores.log, shard_stream(odd), "shard.annotated.v1")
            f.relay()
            one = f.join("one")
            await f.all_done(others)
            await until(lambda: odd in one.worker._left)
            if queue is not None:  # it is let go, and so committed, though it is announced again and again
                await until(
                    lambda: not any(lane.held or lane.offsets.to_commit() for lane in one.queue._lanes.values())
                )
        assert {shard_id for shard_id, _ in f.sink.sent} == set(others)
    said = [line["event"] for line in lines]
    assert (said.count("event_unknown"), said.count("shard_failed"), said.count("laid_aside")) == (1, 0, 0)


async def _asleep(*_):
    return
