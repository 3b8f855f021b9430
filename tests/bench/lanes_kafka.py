"""A fan-out through Kafka by the program's own processes, on PostgreSQL: `project`, `relay`, and 1, 2, 4 of `work`.

The provider is a process that answers each message after 50 ms; a worker has so many connections to it, so what one
can do is bounded by the provider, as in life, and more workers do more. What is measured is the log's own time, from
the release to the last outcome. Workers are added and none is taken away: one that leaves keeps its partitions for a
while. The ceiling of one worker is a bare loop over the same library with as many connections.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import psycopg

from api.commands import Done
from domain.people import Channel
from domain.shards import ChunkRecorded
from domain.warnings import WarningReleased
from infra.config import DatabaseConfig
from infra.kafka.clients import consumer, ensured, producer
from infra.kafka.settings import KafkaConfig
from infra.kafka.state import measure
from infra.roles import Role
from infra.runtime import Runtime
from infra.stores import Stores
from tests.bench import loads
from tests.bench.figures import Figure, figure, short
from tests.bench.first_byte import p99_of, watched, when_first
from tests.bench.postgres import server
from tests.bench.report import NoPeer
from tests.bench.rig import ACCOUNT, SECOND, TOKEN, content, drafted, folder, populate
from tests.kafka.brokers import Cluster, Missing
from tests.ops.process import Serve
from tests.postgres_part import Server, environment

ANSWER_S = 0.05
PER_STATION = 25  # so that there are shards enough to be spread evenly
WORKERS = (1, 2, 4)
GOAL = 3.6
PARTITIONS = 12
SETTLED_S = 2.0  # after a worker has joined each lane's group
MOST_S = 1800.0
ASKED_S = 0.5  # between two looks at whether all is done: each reads what is not, on the cores that are measured
PEOPLE = 8  # told by each release whose first byte is waited for
PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"


class Town(msgspec.Struct):
    """An installation whose parts are processes of their own. `stores` is ours, by which we only ask and decide."""

    stores: Stores
    http: aiohttp.ClientSession
    """To the provider."""
    kafka: KafkaConfig
    database: Server
    settings: dict[str, str]
    kept: AsyncExitStack
    working: int = 0

    async def work(self, number: int) -> None:
        """Has so many workers run, each of which has its part of every lane."""
        while self.working < number:
            self.working += 1
            name = f"bench-{self.working}"
            await self.started("work", "--name", name)
        await self._joined(number)
        await asyncio.sleep(SETTLED_S)

    async def started(self, role: str, *options: str) -> None:
        running = await Serve.start(self.settings, *options, role=role)
        self.kept.push_async_callback(running.stop)
        await running.says(" at http")

    async def _joined(self, number: int) -> None:
        """Returns once this many members share each lane's partitions."""
        async with asyncio.timeout(120):
            while any(lane.workers < number for lane in (await measure(self.kafka)).lanes):  # noqa: ASYNC110
                await asyncio.sleep(0.5)

    async def finished(self, released: Done, most_s: float = MOST_S) -> None:
        """Returns once the views show that everybody was sent to."""
        views, warning_id = self.stores.views, released.id
        async with asyncio.timeout(most_s):
            while True:
                with views.reading() as db:
                    known = views.position >= released.position
                    if known and not views.plans.pending(db) and not views.deliveries.unfinished(db, warning_id):
                        return
                await asyncio.sleep(ASKED_S)


@asynccontextmanager
async def _town(people: int, delay_s: float) -> AsyncIterator[Town]:
    """Raises NoPeer where Kafka or PostgreSQL cannot be had."""
    async with AsyncExitStack() as kept:
        path = kept.enter_context(folder())
        database, config = kept.enter_context(server())
        cluster = _cluster()
        kept.callback(cluster.stop)
        cluster.launch()
        await cluster.first_group()
        provider = await kept.enter_async_context(watched(delay_s))
        kafka = KafkaConfig(bootstrap=cluster.bootstrap, partitions=PARTITIONS)
        stores = await kept.enter_async_context(Stores(path, database=config))
        stations = max(1, people // PER_STATION)
        await populate(stores, Channel.SMS, people, lambda n: {"phone": f"+39347{n:07d}"}, stations)
        await stores.catch_up()
        runtime = Runtime(stores, {}, "http://127.0.0.1:1", role=Role.SERVE)
        await runtime.start()
        kept.push_async_callback(runtime.stop, 5)
        http = await kept.enter_async_context(aiohttp.ClientSession(provider))
        settings = _settings(path, config, cluster.bootstrap, provider)
        town = Town(stores, http, kafka, database, settings, kept)
        await town.started("project")
        await town.started("relay")
        yield town


def _cluster() -> Cluster:
    try:
        return Cluster(1)
    except Missing as missing:
        raise NoPeer(str(missing)) from missing


def _settings(path: Path, database: DatabaseConfig, bootstrap: str, provider: str) -> dict[str, str]:
    return {
        **environment(database),
        "FENGHUO_DATA_DIR": str(path),
        "FENGHUO_PUBLIC_URL": "http://127.0.0.1:1",
        "FENGHUO_LOG_LEVEL": "error",
        "FENGHUO_KAFKA__BOOTSTRAP": bootstrap,
        "FENGHUO_KAFKA__PARTITIONS": str(PARTITIONS),
        "FENGHUO_SMS__ACCOUNT_SID": ACCOUNT,
        "FENGHUO_SMS__AUTH_TOKEN": TOKEN,
        "FENGHUO_SMS__SENDER": "+15005550006",
        "FENGHUO_SMS__BASE_URL": provider,
        "FENGHUO_SMS__CONCURRENCY": str(loads.now.connections),
    }


# How many workers do how much ----------------------------------------------------------------------------------------


async def workers() -> list[Figure]:
    people, connections = loads.now.kafka_people, loads.now.connections
    rounds = max(1, loads.now.rounds // 2)
    rates: dict[int, float] = {}
    async with _town(people, ANSWER_S) as town:
        bare = await _bare(town.http, connections, min(people, connections * 100))
        for number in WORKERS:
            await town.work(number)
            await _sent(town, PER_STATION, "station0")  # connections are open and code is warm from here on
            rates[number] = statistics.median([await _sent(town, people, "office") for _ in range(rounds)])
    said = (
        f"{people:,} recipients, {PER_STATION} in a shard, {connections} connections a worker, answers after"
        f" {ANSWER_S * 1000:.0f} ms, {PARTITIONS} partitions, {rounds} rounds"
    )
    return [
        Figure(
            name=f"kafka.w{number}",
            value=short(rates[number]),
            unit="recipients/s",
            ceiling=short(bare if number == 1 else rates[1]),
            ratio=round(rates[number] / (bare if number == 1 else rates[1]), 2),
            load=f"{said}; beside {'a bare loop' if number == 1 else 'one worker'}",
            goal=f"{GOAL} x one worker" if number == WORKERS[-1] else "",
        )
        for number in WORKERS
    ]


async def _sent(town: Town, people: int, target: str) -> float:
    """Recipients a second, by the log, of one warning to this part of the tree."""
    stores = town.stores
    before = await stores.log.last_position()
    warning_id = await drafted(stores, content(target=target))
    await town.finished(await stores.desk.release(SECOND, warning_id))
    released, ends, after = None, [], before
    while batch := await stores.log.read(after, 500):
        after = batch[-1].position
        for recorded in batch:
            if isinstance(recorded.event, WarningReleased):
                released = recorded.metadata.recorded_at
            if isinstance(recorded.event, ChunkRecorded):
                ends += [recorded.metadata.recorded_at] * len(recorded.event.rows)
    if released is None or len(ends) != people:
        raise AssertionError(f"{len(ends)} of {people} were sent to")
    ends.sort()
    middle = (ends[people * 9 // 10] - ends[people // 10]).total_seconds()
    sys.stderr.write(
        f"kafka: {town.working} workers, {people} recipients: first outcome after"
        f" {(ends[0] - released).total_seconds():.2f} s, last {(ends[-1] - released).total_seconds():.2f} s"
        f"{f', {people * 0.8 / middle:.0f}/s in between' if middle else ''}\n"
    )
    return people / (ends[-1] - released).total_seconds()


async def _bare(http: aiohttp.ClientSession, connections: int, messages: int) -> float:
    """Messages a second that a loop sends which does nothing else."""
    numbers = iter(range(messages))

    async def one() -> None:
        for n in numbers:
            async with http.post(
                PATH, data={"To": f"+39347{n:07d}", "From": "+15005550006", "Body": "x" * 200}
            ) as answer:
                await answer.read()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
    return messages / (time.perf_counter() - began)


# How soon the first byte goes out ------------------------------------------------------------------------------------


async def first_byte() -> Figure:
    """From the answer to a release to its first byte at the provider, through `relay`, Kafka and one `work`."""
    async with _town(PEOPLE, 0.0) as town:
        await town.work(1)
        http, stores = town.http, town.stores

        async def released() -> float:
            warning_id = await drafted(stores)
            done = await stores.desk.release(SECOND, warning_id)
            began = time.monotonic()
            first = await when_first(http, began)
            await town.finished(done)
            await when_first(http, None)
            return (first - began) * 1000

        bare = _bare_way(town)
        await released()
        await anext(bare)
        pairs = []
        for _ in range(max(1, loads.now.rounds // 2)):
            values = [await released() for _ in range(loads.now.releases)]
            ceilings = [await anext(bare) for _ in range(loads.now.releases)]
            pairs.append((p99_of(values), p99_of(ceilings)))
        await bare.aclose()
    said = f"{loads.now.releases} releases to {PEOPLE} people in each of {len(pairs)} rounds"
    return figure("kafka.accepted_to_first_byte.p99", "ms", pairs, load=said)


async def _bare_way(town: Town) -> AsyncIterator[float]:
    """A flushed INSERT, a message through Kafka that all replicas have, and one POST."""
    config = town.kafka.model_copy(update={"topic_prefix": "bare"})
    topic = config.feed
    await ensured(config, {topic: {}}, 1)
    async with (
        await psycopg.AsyncConnection.connect(town.database.url(), autocommit=True) as db,
        producer(config) as sending,
        consumer(config, "bare") as reading,
    ):
        reading.subscribe([topic])
        await db.execute("CREATE TABLE accepted (state bytea)")
        await sending.send_and_wait(topic, b"first")
        await reading.getone()
        while True:
            began = time.monotonic()
            await db.execute("INSERT INTO accepted VALUES (%s)", (b"x" * 300,))
            await sending.send_and_wait(topic, b"x" * 100)
            await reading.getone()
            async with town.http.post(PATH, data={"To": "x", "Body": "x" * 200}) as answer:
                await answer.read()
            yield (await when_first(town.http, began) - began) * 1000
