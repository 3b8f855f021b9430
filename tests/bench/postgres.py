"""The log and the views on PostgreSQL, flushed at every commit, against COPY, INSERT and SELECT on the same server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg

from domain.people import Channel
from infra.config import DatabaseConfig
from infra.migrate import migrate
from infra.postgres import conninfo, views_schema
from infra.runtime import Runtime
from infra.storage import Storage, in_database
from infra.stores import Stores
from infra.vault import FileVault
from projections.follower import VIEWS, Views, wipe
from projections.postgres import postgres_views
from projections.projection import Projection
from projections.tree import Tree
from projections.warnings import Warnings
from tests.bench import loads
from tests.bench.figures import Figure, figure
from tests.bench.log import Accepting, Raw, appended, filled, folded
from tests.bench.report import NoPeer
from tests.bench.rig import folder, populate
from tests.postgres_part import Absent, Server

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
SCHEMA = "city"


@contextmanager
def server() -> Iterator[tuple[Server, DatabaseConfig]]:
    """A server of the benchmark's own that flushes as one in use does, with a schema on it. Raises NoPeer."""
    try:
        running = Server(DURABLE)
    except Absent as error:
        raise NoPeer(str(error)) from error
    try:
        migrate(running.url(), SCHEMA)
        yield running, DatabaseConfig(url=running.url(), db_schema=SCHEMA)  # type: ignore[arg-type]
    finally:
        running.remove()


@contextmanager
def _opened(raw: Callable[[Server, Sequence[tuple[Any, ...]], int], float]) -> Iterator[tuple[Storage, FileVault, Raw]]:
    with folder() as path, server() as (running, config):
        kept = in_database(config)
        yield kept, FileVault(path, keys=kept.keys), lambda rows, batch: raw(running, rows, batch)
        kept.close()


def _table(db: psycopg.Connection[Any]) -> None:
    db.execute(
        "CREATE TABLE IF NOT EXISTS raw_events (originator_id text, originator_version bigint, topic text,"
        " state bytea, notification_id bigserial, PRIMARY KEY (originator_id, originator_version))"
    )


COLUMNS = "raw_events (originator_id, originator_version, topic, state)"


def _copied(running: Server, rows: Sequence[tuple[Any, ...]], batch: int) -> float:
    """Events a second that COPY alone commits in batches of this size."""
    with psycopg.connect(running.url(), autocommit=True) as db:
        _table(db)
        began = time.perf_counter()
        for start in range(0, len(rows), batch):
            with db.cursor() as cursor, cursor.copy(f"COPY {COLUMNS} FROM STDIN") as copy:
                for row in rows[start : start + batch]:
                    copy.write_row(row)
        return len(rows) / (time.perf_counter() - began)


def _inserted(running: Server, rows: Sequence[tuple[Any, ...]], batch: int) -> float:
    """Events a second that INSERT alone commits, a statement for each and so many together."""
    with psycopg.connect(running.url()) as db:
        _table(db)
        db.commit()
        began = time.perf_counter()
        for start in range(0, len(rows), batch):
            db.cursor().executemany(f"INSERT INTO {COLUMNS} VALUES (%s, %s, %s, %s)", rows[start : start + batch])
            db.commit()
        return len(rows) / (time.perf_counter() - began)


async def append_many() -> list[Figure]:
    """Two figures: the second, `….insert`, is the same beside INSERT in place of COPY."""
    load = loads.now
    said = f"{load.clients} clients, {load.saves_each} saves each, {load.rounds} rounds"
    found = []
    for more, raw in (("", _copied), (".insert", _inserted)):
        name = f"append.pg.c{load.clients}{more}"
        one = await appended(name, load.clients, load.saves_each, _opened(raw), rounds=load.rounds)
        found.append(msgspec.structs.replace(one, load=said))
    return found


async def replay() -> list[Figure]:
    """Folds the log of `replay` into views of the same server, empty each time: all of them, and two by themselves, the
    lightest and the heaviest."""
    people, fan_outs = loads.now.replayed
    with folder() as path, server() as (_, config):
        async with Stores(path, database=config) as stores:
            await populate(stores, Channel.SMS, people, lambda n: {"phone": f"+39347{n:07d}"})
            await stores.catch_up()
            runtime = Runtime(stores, {Channel.SMS: Accepting()}, "http://127.0.0.1:1")
            await runtime.start()
            await filled(runtime, people, fan_outs)
            await runtime.stop(drain_s=5)
            pairs: dict[str, list[tuple[float, float]]] = {}
            for _ in range(loads.now.rounds):
                for name, kinds in (("", VIEWS), (".warnings", (Warnings,)), (".tree", (Tree,))):
                    views = await asyncio.to_thread(_empty, stores, config, kinds)
                    pairs.setdefault(name, []).append(await asyncio.to_thread(folded, stores, views))
            events = await stores.log.last_position()
    said = f"{events:,} events: {people:,} people, {fan_outs} fan-outs; {loads.now.rounds} rounds"
    return [
        figure(f"replay.pg{name}", "events/s", found, load=said, goal="100,000 events/s")
        for name, found in pairs.items()
    ]


def _empty(stores: Stores, config: DatabaseConfig, kinds: Sequence[type[Projection]]) -> Views:
    wipe(stores.views.engine)
    return Views(postgres_views(conninfo(config.url.get_secret_value()), views_schema(config.db_schema)), kinds)
