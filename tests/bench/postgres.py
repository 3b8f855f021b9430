"""The log and the views on PostgreSQL, flushed at every commit, against COPY and SELECT alone on the same server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from domain.people import Channel
from infra.config import DatabaseConfig
from infra.migrate import migrate
from infra.postgres import conninfo, views_schema
from infra.runtime import Runtime
from infra.storage import Storage, in_database
from infra.stores import Stores
from infra.vault import FileVault
from projections.follower import Views, wipe
from projections.postgres import postgres_views
from tests.bench.figures import Figure, figure
from tests.bench.log import CLIENTS, REPLAYED, ROUNDS, SAVES_EACH, Accepting, Raw, appended, filled, folded
from tests.bench.rig import folder, populate
from tests.postgres_part import Server

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
SCHEMA = "city"


@contextmanager
def _server() -> Iterator[tuple[Server, DatabaseConfig]]:
    server = Server(DURABLE)
    try:
        migrate(server.url(), SCHEMA)
        yield server, DatabaseConfig(url=server.url(), db_schema=SCHEMA)  # type: ignore[arg-type]
    finally:
        server.remove()


@contextmanager
def _opened() -> Iterator[tuple[Storage, FileVault, Raw]]:
    with folder() as path, _server() as (server, config):
        kept = in_database(config)
        yield kept, FileVault(path, keys=kept.keys), lambda rows, batch: _raw(server, rows, batch)
        kept.close()


def _raw(server: Server, rows: Sequence[tuple[Any, ...]], batch: int) -> float:
    """Events a second that COPY alone commits in batches of this size."""
    with psycopg.connect(server.url(), autocommit=True) as db:
        db.execute(
            "CREATE TABLE IF NOT EXISTS raw_events (originator_id text, originator_version bigint, topic text,"
            " state bytea, notification_id bigserial, PRIMARY KEY (originator_id, originator_version))"
        )
        began = time.perf_counter()
        for start in range(0, len(rows), batch):
            with (
                db.cursor() as cursor,
                cursor.copy("COPY raw_events (originator_id, originator_version, topic, state) FROM STDIN") as copy,
            ):
                for row in rows[start : start + batch]:
                    copy.write_row(row)
        return len(rows) / (time.perf_counter() - began)


async def append_many() -> Figure:
    return await appended("append.pg.c200", CLIENTS, SAVES_EACH, _opened())


async def replay() -> Figure:
    """Folds the log of `replay` into views of the same server, empty each time."""
    with folder() as path, _server() as (_, config):
        async with Stores(path, database=config) as stores:
            people, _ = REPLAYED
            await populate(stores, Channel.SMS, people, lambda n: {"phone": f"+39347{n:07d}"})
            runtime = Runtime(stores, {Channel.SMS: Accepting()}, "http://127.0.0.1:1")
            await runtime.start()
            await filled(runtime)
            await runtime.stop(drain_s=5)
            pairs = []
            for _ in range(ROUNDS):
                views = await asyncio.to_thread(_empty, stores, config)
                pairs.append(await asyncio.to_thread(folded, stores, views))
    return figure("replay.pg", "events/s", pairs)


def _empty(stores: Stores, config: DatabaseConfig) -> Views:
    wipe(stores.views.engine)
    return Views(postgres_views(conninfo(config.url.get_secret_value()), views_schema(config.db_schema)))
