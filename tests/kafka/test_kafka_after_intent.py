"""A shard that fails once its intent is durable: its own events are no news of it, and no reason to let it go."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import datetime
from typing import Any

import pytest

from domain import shards
from domain.errors import Unreachable
from domain.ids import shard_stream
from domain.people import Channel
from domain.ports import Append
from domain.rulepacks import Lane
from domain.shards import Shard
from infra.clock import ManualClock
from infra.kafka import dead
from infra.kafka.clients import Part
from infra.kafka.messages import Due, read_due, read_letter
from infra.kafka.queue import KafkaQueue, _Held
from infra.kafka.settings import KafkaConfig
from notifiers.worker import Waiting, Worker
from tests.engine.house import NOW
from tests.kafka.fleet import ORIGIN, Fleet, Member, fleet, until
from tests.kafka.meant import Meant
from tests.kafka.test_kafka_lanes import NORMAL, announced, until_dead

FAULT = RuntimeError("nobody foresaw this")
SOON_S = 10.0  # before a lease ends, and before anybody looks for what is overdue


class Failing:
    """One shard that a worker cannot send while `fault` is set. `tries`: how often it tried."""

    def __init__(self, member: Member, shard_id: str, fault: Exception) -> None:
        self.fault: Exception | None = fault
        self.tries = 0
        self._shard_id = shard_id
        self._real = member.worker._sender.send
        member.worker._sender.send = self.send  # type: ignore[method-assign]

    async def send(self, state: Shard, *more: Any) -> Any:
        if state.plan.shard_id == self._shard_id:
            self.tries += 1
            if self.fault is not None:
                raise self.fault
        return await self._real(state, *more)


def last(f: Fleet, shard_id: str) -> int:
    """The position of a shard's last event."""
    return max(r.position for r in f.stores.log.read_now(0, 1000) if r.stream == shard_stream(shard_id))


@pytest.fixture
def twice(kafka: KafkaConfig, meant: Meant) -> KafkaConfig:
    meant.events |= {"shard_failed", "laid_aside"}
    return kafka.model_copy(update={"failures": 2, "resend_s": 0.5})


async def test_a_shard_that_always_fails_is_laid_aside_and_left_alone_until_it_is_re_driven(tmp_path, twice):
    async with fleet(tmp_path, twice) as f:
        one = f.join("one", NORMAL)
        bad, *good = await f.plan(3)
        failing = Failing(one, bad, FAULT)
        f.relay()
        (letter,) = await until_dead(twice, 1)
        await f.all_done(good)
        assert (letter.shard_id, letter.failures, letter.reason) == (bad, 2, "RuntimeError after 2 tries")
        assert (letter.position, failing.tries) == (last(f, bad), 2)

        before = len(await announced(twice))
        f.pass_lease()
        await asyncio.sleep(1.5)  # several times the pause after which a shard that nobody began is announced again
        assert len(await announced(twice)) == before
        assert failing.tries == 2

        failing.fault = None
        await dead.redrive(twice, [bad])
        await f.all_done([bad])
        f.fair([bad, *good])
        assert await dead.letters(twice) == []


@pytest.mark.parametrize("fault", [FAULT, Unreachable("views.unreachable", "The views could not be read.")])
async def test_a_fault_that_passes_leaves_the_shard_to_the_worker_that_holds_it(tmp_path, twice, fault):
    async with fleet(tmp_path, twice.model_copy(update={"failures": 100, "resend_s": 3000})) as f:
        one = f.join("one", NORMAL)
        bad, *good = await f.plan(3)
        failing = Failing(one, bad, fault)
        f.relay()
        await until(lambda: failing.tries == 2, SOON_S)
        failing.fault = None
        await f.all_done([bad, *good], SOON_S)
        f.fair([bad, *good])


async def test_a_shard_that_lies_aside_is_announced_once_it_is_stopped(tmp_path, twice):
    async with fleet(tmp_path, twice) as f:
        one = f.join("one", NORMAL)
        (bad,) = await f.plan(1)
        Failing(one, bad, FAULT)
        f.relay()
        (letter,) = await until_dead(twice, 1)
        stream = shard_stream(bad)
        state, version = await f.stores.log.load(stream, shards.evolve)
        await f.stores.log.append([Append(stream, version, shards.stop(state))], ORIGIN)
        f.pass_lease()
        news = last(f, bad)
        assert news > letter.position
        async with asyncio.timeout(SOON_S):
            while news not in [due.position for due in await announced(twice)]:  # noqa: ASYNC110  the brokers are asked
                await asyncio.sleep(0.05)


async def test_a_worker_that_is_started_again_lays_aside_anew_what_it_goes_on_with(tmp_path, twice):
    """It tries what it left, and what it writes of that is no reason to try for ever."""
    impatient = twice.model_copy(update={"overdue_s": 0.6})
    async with fleet(tmp_path, impatient) as f:
        f.relay()
        one = f.join("one", NORMAL)
        (bad,) = await f.plan(1)
        Failing(one, bad, FAULT)
        (first,) = await until_dead(impatient, 1)
        await one.crash()
        again = Failing(f.join("one", NORMAL), bad, FAULT)
        second = first
        async with asyncio.timeout(60):  # until the brokers give it its partitions it tries on, and writes no letter
            while not first.position < second.position == last(f, bad):
                await asyncio.sleep(0.2)
                (second,) = await dead.letters(impatient)
        await asyncio.sleep(4 * impatient.overdue_s)
        before = again.tries
        await asyncio.sleep(4 * impatient.overdue_s)
        assert again.tries == before
        assert [letter.failures for letter in await dead.letters(impatient)] == [2]


# Without a broker -----------------------------------------------------------------------------------------------------

FOUND = Waiting("s1", Lane.NORMAL, Channel.SMS, 7)
PART = Part("lane", 0)


@pytest.fixture
def queue() -> KafkaQueue:
    return KafkaQueue(KafkaConfig(bootstrap="127.0.0.1:1", failures=3), ManualClock(NOW))


def brought(queue: KafkaQueue, offset: int, failures: int) -> None:
    lane = queue._lanes[Lane.NORMAL]
    lane.offsets.read(PART, offset)
    lane.put(_Held(PART, offset, Due("s1", Lane.NORMAL, Channel.SMS, 7, failures=failures)))


async def test_a_shard_that_is_announced_between_its_failures_keeps_their_count(queue):
    brought(queue, 0, failures=1)
    brought(queue, 1, failures=0)
    queue.done(FOUND._replace(position=9), FAULT)
    (back,) = queue._lanes[Lane.NORMAL].returns
    due = read_due(back.body)
    assert (back.topic, due.failures, due.position) == ("fenghuo.dispatch.normal", 2, 9)


async def test_what_no_message_brought_is_tried_from_here_and_laid_aside_after_as_many_failures(queue, meant):
    meant.events |= {"laid_aside"}
    lane = queue._lanes[Lane.NORMAL]
    queue._put([FOUND])
    for position in (8, 9):
        queue.done(FOUND._replace(position=position), FAULT)
        queue._put([FOUND])  # found in the table meanwhile: its failures are not forgotten
        assert queue.take(NOW, "one", 10) == [FOUND._replace(position=position)]
    queue.done(FOUND._replace(position=10), FAULT)
    assert queue.take(NOW, "one", 10) == []
    for _ in range(3):  # no broker takes the letter, and it is tried again
        queue._put([FOUND])
        queue.done(FOUND._replace(position=11), FAULT)
    (back,) = lane.returns
    letter = read_letter(back.body)
    assert (back.topic, letter.failures, letter.position) == ("fenghuo.dispatch.dead", 3, 11)
    assert lane.offsets.to_commit() == {}


class Behind:
    """It names a shard, and names it once more as it was then, just after that has failed."""

    def __init__(self) -> None:
        self.takes = 0
        self._failed = threading.Event()

    def take(self, now: datetime, worker: str, limit: int) -> list[Waiting]:
        self.takes += 1
        if self.takes == 2:
            self._failed.wait(10)
            time.sleep(0.1)  # by then nobody is at it
        return [FOUND] if self.takes <= 2 else []

    async def wait(self, now: datetime) -> None:
        await asyncio.Event().wait()

    def done(self, waiting: Waiting, fault: Exception | None) -> None:
        self._failed.set()


async def test_what_fails_while_the_queue_is_asked_is_not_tried_as_the_queue_knew_it(meant):
    meant.events |= {"shard_failed"}
    behind, tried = Behind(), []
    unused: Any = None
    worker = Worker(
        log=unused,
        queue=behind,
        texts=unused,
        contacts=unused,
        vault=unused,
        links=unused,
        notifiers={},
        clock=ManualClock(NOW),
        jitter=lambda: 0.5,
    )

    async def drive(shard_id: str, **_: Any) -> None:
        tried.append(shard_id)
        raise FAULT

    worker.drive = drive  # type: ignore[method-assign]
    running = asyncio.create_task(worker.run())
    await until(lambda: behind.takes == 3)
    running.cancel()
    assert tried == ["s1"]
