"""A durable fan-out on PostgreSQL over three channels that take everything at once: plan, intents and outcomes written.

Views are folded by a `project` of its own, as on any machine of more than one core; all else is one process. The time
is the log's own: from the release to the last outcome, as recorded. Its ceiling is COPY of the same events, in one
transaction for 500 of them, on the same server. The views, which follow, are told of on standard error.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg

from domain.events import Recorded
from domain.people import Channel
from domain.planning import PlanMade
from domain.shards import ChunkIntended, ChunkRecorded, ShardPlanned
from domain.warnings import WarningReleased
from infra.config import DatabaseConfig
from infra.postgres import views_schema
from infra.runtime import Runtime
from infra.stores import Stores
from tests.bench import loads
from tests.bench.figures import Figure, figure
from tests.bench.memory import PER_STATION, Null
from tests.bench.postgres import SCHEMA, server
from tests.bench.rig import fan_out, folder, populate
from tests.ops.process import Serve
from tests.postgres_part import Server, environment

CHANNELS = (Channel.SMS, Channel.EMAIL, Channel.WEBPUSH)
GOAL_S = 5.0
BATCH = 500
MOST_S = 3600.0
PUSH = {"endpoint": "https://push.example/x", "keys": {"p256dh": "x" * 87, "auth": "x" * 22}}


def address(n: int) -> dict[str, Any]:
    return {"phone": f"+39347{n:07d}", "email": f"p{n}@example.org", "push": PUSH}


async def measured() -> Figure:
    people = loads.now.people
    with folder() as path, server() as (running, config):
        async with Stores(path, database=config) as stores, _projecting(path, config):
            await populate(stores, CHANNELS, people, address, max(1, people // PER_STATION))
            await stores.catch_up()
            runtime = Runtime(stores, {channel: Null(channel) for channel in CHANNELS}, "http://127.0.0.1:1")
            await runtime.start()
            try:
                pairs = [await _one(runtime, running, people) for _ in range(max(1, loads.now.rounds // 2))]
            finally:
                await runtime.stop(drain_s=5)
    name = f"fanout.pg.{people // 1000}k" if people >= 1000 else f"fanout.pg.{people}"
    said = f"{people:,} recipients x {len(CHANNELS)} channels, {len(pairs)} rounds"
    return figure(name, "s", pairs, load=said, goal=f"under {GOAL_S:.0f} s for 100,000")


@asynccontextmanager
async def _projecting(path: Path, database: DatabaseConfig) -> AsyncIterator[None]:
    """Has the views folded by a process of its own: as it was there first, `all` stands by."""
    settings = {
        **environment(database),
        "FENGHUO_DATA_DIR": str(path),
        "FENGHUO_PUBLIC_URL": "http://127.0.0.1:1",
        "FENGHUO_LOG_LEVEL": "error",
    }
    running = await Serve.start(settings, role="project")
    try:
        await running.says(" at http")
        yield
    finally:
        await running.stop()


async def _one(runtime: Runtime, running: Server, people: int) -> tuple[float, float]:
    """(seconds from the release to the last outcome, seconds of COPY alone)."""
    stores, messages = runtime.stores, people * len(CHANNELS)
    kept = await asyncio.to_thread(_kept, running)
    before, began = await stores.log.last_position(), time.process_time()
    rate = await fan_out(runtime, messages, most_s=MOST_S)
    cpu_s = time.process_time() - began
    log, views, written = (
        (after - was) / messages for was, after in zip(kept, await asyncio.to_thread(_kept, running), strict=True)
    )
    events = await asyncio.to_thread(_events, stores, before)
    released = next(r for r in events if isinstance(r.event, WarningReleased)).metadata.recorded_at
    planned, intended, recorded = (_last(events, kind) - released for kind in (PlanMade, ChunkIntended, ChunkRecorded))
    outcomes = sum(len(r.event.rows) for r in events if isinstance(r.event, ChunkRecorded))
    shards = sum(isinstance(r.event, ShardPlanned) for r in events)
    if outcomes != messages:
        raise AssertionError(f"{outcomes} outcomes of {messages} messages")
    sys.stderr.write(
        f"fanout: planned after {planned.total_seconds():.2f} s, last intent {intended.total_seconds():.2f} s, last"
        f" outcome {recorded.total_seconds():.2f} s, in the views {messages / rate:.2f} s; {shards} shards,"
        f" {len(events):,} events, {cpu_s / messages * 1e6:.0f} us of processor a message;"
        f" bytes a message: {log:.0f} of the log, {views:.0f} of the views, {written:.0f} of the server's journal\n"
    )
    return recorded.total_seconds(), await asyncio.to_thread(_copied, running, stores, before)


def _kept(running: Server) -> tuple[float, float, float]:
    """Bytes of the log's table with its indexes, of all views with theirs, and written to the journal so far."""
    of = (
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
    )
    with psycopg.connect(running.url(), autocommit=True) as db:
        asked = (
            f"{of} WHERE relkind = 'r' AND nspname = '{SCHEMA}' AND relname = 'stored_events'",
            f"{of} WHERE relkind = 'r' AND nspname = '{views_schema(SCHEMA)}'",
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')",
        )
        log, views, journal = (float(db.execute(each).fetchall()[0][0]) for each in asked)
    return log, views, journal


def _events(stores: Stores, after: int) -> list[Recorded]:
    found: list[Recorded] = []
    while batch := stores.log.read_now(after, BATCH):
        after = batch[-1].position
        found += batch
    return found


def _last(events: list[Recorded], kind: type) -> Any:
    return max(r.metadata.recorded_at for r in events if isinstance(r.event, kind))


def _copied(running: Server, stores: Stores, after: int) -> float:
    """Seconds in which COPY alone writes what a fan-out wrote."""
    rows = []
    while batch := stores.log.recorder.select_notifications(after, BATCH, inclusive_of_start=False):
        after = batch[-1].id
        rows += [(n.originator_id, n.originator_version, n.topic, n.state) for n in batch]
    with psycopg.connect(running.url(), autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS bare")
        db.execute(
            "CREATE TABLE bare (originator_id text, originator_version bigint, topic text, state bytea,"
            " notification_id bigserial, PRIMARY KEY (originator_id, originator_version))"
        )
        began = time.perf_counter()
        for start in range(0, len(rows), BATCH):
            with (
                db.cursor() as cursor,
                cursor.copy("COPY bare (originator_id, originator_version, topic, state) FROM STDIN") as copy,
            ):
                for row in rows[start : start + BATCH]:
                    copy.write_row(row)
        return time.perf_counter() - began
