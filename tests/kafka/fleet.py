"""Workers beside each other on one log, fed by the table's queue or by Kafka, with channels that can be made to hang.

`fair` is what must hold after every fault: everybody was sent to, and nobody twice without a doubt in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from domain import shards
from domain.events import fold
from domain.ids import shard_stream
from domain.outcomes import Outcome
from domain.people import Channel
from domain.ports import Append, Origin
from domain.rulepacks import Lane
from domain.shards import ChunkRecorded, Circle, Purpose, ShardPlanned
from infra.clock import ManualClock
from infra.engine.queue import ViewContacts, ViewQueue, ViewTexts
from infra.kafka.begun import Begun
from infra.kafka.dispatch import Dispatcher
from infra.kafka.overdue import Overdue
from infra.kafka.queue import KafkaQueue
from infra.kafka.settings import KafkaConfig
from infra.stores import Stores
from notifiers.channel import Delivery, Notifier, Rendered, Result
from notifiers.links import Links
from notifiers.worker import LEASE_S, Queue, Worker
from tests.engine.house import NOW, PEOPLE, SMS, stores

TOLD = tuple(who for who, (_, _, _, channels) in PEOPLE.items() if SMS in channels)
CHUNK = 2
ORIGIN = Origin(actor="system:planner", correlation_id="fleet")


class Sink:
    """What all channels of all workers handed over, as (shard, index). `slow_s`: how long a provider takes."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.by: dict[str, list[str]] = {}  # the shards that each worker sent something of
        self.slow_s = 0.0


class Line:
    """One worker's channel into the sink. While `hangs` is set, nothing that is handed over gets an answer."""

    def __init__(self, sink: Sink, member: str, channel: Channel) -> None:
        self.channel, self.chunk = channel, CHUNK
        self._sink, self._member = sink, member
        self._go = asyncio.Event()
        self._go.set()

    def hang(self) -> None:
        self._go.clear()

    def answer(self) -> None:
        self._go.set()

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        for delivery in deliveries:
            shard_id, _, index = delivery.message_id.rpartition(".")
            self._sink.sent.append((shard_id, int(index)))
            self._sink.by.setdefault(self._member, []).append(shard_id)
        if self._sink.slow_s:
            await asyncio.sleep(self._sink.slow_s)
        await self._go.wait()
        return [Result(index=d.index, outcome=Outcome.ACCEPTED, provider_ref=d.message_id) for d in deliveries]

    async def close(self) -> None:
        pass


class Member:
    """One worker with its queue."""

    def __init__(self, name: str, worker: Worker, queue: Queue, line: Line, parts: list[asyncio.Task[None]]) -> None:
        self.name, self.worker, self.queue, self.line, self._parts = name, worker, queue, line, parts

    async def leave(self) -> None:
        """Ends as it should: what is under way is recorded."""
        self.line.answer()
        await self.worker.drain(10)
        await self._end()

    async def crash(self) -> None:
        """Ends as if its process were killed: nothing more is recorded or committed."""

        async def nothing(*_: Any) -> None:
            return

        if isinstance(self.queue, KafkaQueue):
            self.queue.commit = nothing  # type: ignore[method-assign]
        await self.worker.drain(0)
        await self._end()

    async def _end(self) -> None:
        for part in self._parts:
            part.cancel()
        await asyncio.gather(*self._parts, return_exceptions=True)
        self._parts.clear()


class Fleet:
    """`kafka` None: all take from the table."""

    def __init__(self, opened: Stores, clock: ManualClock, kafka: KafkaConfig | None) -> None:
        self.stores, self.clock, self.kafka = opened, clock, kafka
        self.sink = Sink()
        self.members: list[Member] = []
        self.background: list[asyncio.Task[None]] = []
        self._planned = 0

    def beside(self, part: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(part())
        self.background.append(task)
        return task

    def relay(self) -> asyncio.Task[None]:
        """One that announces to Kafka; nothing where all take from the table."""
        if self.kafka is None:
            return self.beside(self._nothing)
        return self.beside(Dispatcher(self._table(), self.clock, self.kafka).run)

    async def _nothing(self) -> None:
        return

    def _table(self) -> ViewQueue:
        return ViewQueue(self.stores.views, self.stores.follower, self.clock)

    def join(self, name: str, lanes: Sequence[Lane] = (Lane.EXTREME, Lane.NORMAL), **more: Any) -> Member:
        """A worker more; it begins at once."""
        parts: list[asyncio.Task[None]] = []
        queue: Queue
        if self.kafka is None:
            queue = self._table()
        else:
            begun = Begun(self.stores.log, self.stores.views, self.stores.follower, self.clock, lanes, name)
            named = self.kafka.model_copy(update={"member": name, **more})
            table = ViewQueue(self.stores.views, self.stores.follower, self.clock, lanes=lanes)
            overdue = Overdue(table, self.clock, named)
            queue = KafkaQueue(named, self.clock, lanes, begun.shards, overdue)
            parts.append(asyncio.create_task(queue.run()))
        line = Line(self.sink, name, SMS)
        notifiers: dict[Channel, Notifier] = {SMS: line}
        worker = Worker(
            log=self.stores.log,
            queue=queue,
            texts=ViewTexts(self.stores.views, self.clock),
            contacts=ViewContacts(self.stores.views),
            vault=self.stores.vault,
            links=Links("https://warn.example", self.stores.vault.secret("links")),
            notifiers=notifiers,
            clock=self.clock,
            jitter=lambda: 0.5,
            worker_id=name,
        )
        parts.append(asyncio.create_task(worker.run()))
        member = Member(name, worker, queue, line, parts)
        self.members.append(member)
        return member

    async def plan(self, count: int, lane: Lane = Lane.NORMAL) -> list[str]:
        """Shards of test messages to everybody with a phone; their ids."""
        made: list[str] = []
        appends: list[Append] = []
        for _ in range(count):
            self._planned += 1
            shard_id = f"{self._planned:032x}"
            planned = ShardPlanned(
                shard_id=shard_id,
                warning_id="trial",
                node_id="office",
                circle=Circle.PEOPLE,
                purpose=Purpose.TEST,
                channel=SMS,
                language="zh",
                lane=lane,
                recipients=TOLD,
                valid_until=NOW + timedelta(days=1),
            )
            appends.append(Append(shard_stream(shard_id), 0, [planned]))
            made.append(shard_id)
        recorded = await self.stores.log.append(appends, ORIGIN)
        await self.stores.follower.reached(recorded[-1].position)
        return made

    def state(self, shard_id: str) -> shards.Shard:
        found = fold(shards.evolve, [r.event for r in self.stores.log.stream(shard_stream(shard_id))])
        assert found is not None
        return found

    def finished(self, shard_ids: Sequence[str]) -> bool:
        return all(self.state(shard_id).finished for shard_id in shard_ids)

    async def all_done(self, shard_ids: Sequence[str], seconds: float = 40) -> None:
        await until(lambda: self.finished(shard_ids), seconds)

    def pass_lease(self) -> None:
        self.clock.move(timedelta(seconds=LEASE_S + 1))

    def unknown(self) -> Counter[tuple[str, int]]:
        return Counter(
            (written.shard_id, row.index)
            for written in self.recorded()
            for row in written.rows
            if row.outcome is Outcome.UNKNOWN
        )

    def recorded(self) -> list[ChunkRecorded]:
        """What became of the sends, in the order of the log."""
        found: list[ChunkRecorded] = []
        after = 0
        while batch := self.stores.log.read_now(after, 1000):
            after = batch[-1].position
            found += [r.event for r in batch if isinstance(r.event, ChunkRecorded)]
        return found

    def fair(self, shard_ids: Sequence[str]) -> None:
        sends, unknown = Counter(self.sink.sent), self.unknown()
        everybody = {(shard_id, i) for shard_id in shard_ids for i in range(len(TOLD))}
        assert everybody - sends.keys() == set(), "somebody was not sent to"
        unexplained = {who: n for who, n in sends.items() if n - 1 > unknown[who]}
        assert unexplained == {}, "somebody was sent to again and the log does not say why"
        assert self.finished(shard_ids)


@contextlib.asynccontextmanager
async def fleet(folder: Path, kafka: KafkaConfig | None) -> AsyncIterator[Fleet]:
    clock = ManualClock(NOW)
    async with stores(folder, clock) as opened:
        made = Fleet(opened, clock, kafka)
        made.beside(opened.follower.run)
        try:
            yield made
        finally:
            for member in made.members:
                await member.crash()
            for task in made.background:
                task.cancel()
            await asyncio.gather(*made.background, return_exceptions=True)


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110  what is waited for happens elsewhere
            await asyncio.sleep(0.02)
