"""The log by itself: saves a second alone and in a crowd, against raw sqlite3; and folding it into views."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from domain.answers import Answer
from domain.events import Metadata, Recorded
from domain.ids import relay_stream
from domain.outcomes import Outcome
from domain.people import Channel
from domain.ports import Append, Origin
from domain.relays import RelayAcknowledged
from infra.clock import SystemClock
from infra.log.mapper import EventMapper
from infra.log.store import EventLog
from infra.runtime import Runtime
from infra.storage import Storage, in_files
from infra.stores import Stores, new_id
from infra.vault import FileVault
from notifiers.channel import Delivery, Rendered, Result
from projections.follower import Views
from projections.sqlite import sqlite_views
from tests.bench.figures import Figure, figure
from tests.bench.rig import fan_out, folder, installation

ROUNDS = 5
REPLAYED = 2000, 3  # people, fan-outs
SAVES_ALONE = 500
CLIENTS = 200
SAVES_EACH = 50
ORIGIN = Origin(actor="person-1", correlation_id="bench")
INSERT = "INSERT INTO stored_events VALUES (?, ?, ?, ?)"


def _event(n: int) -> RelayAcknowledged:
    return RelayAcknowledged(warning_id="0" * 32, node_id=f"station-{n}", by=f"person-{n}", channel="sms")


async def _save(log: EventLog, clients: int, each: int, round_: int) -> float:
    """Saves a second; every client waits for one to be durable before the next."""

    async def client(n: int) -> None:
        stream = relay_stream(f"{round_:032x}", f"station-{n}")
        for version in range(each):
            await log.append([Append(stream, version, [_event(n)])], ORIGIN)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for n in range(clients):
            group.create_task(client(n))
    return clients * each / (time.perf_counter() - began)


def _stored(mapper: EventMapper, count: int, round_: int) -> list[tuple[Any, ...]]:
    rows = []
    for n in range(count):
        metadata = Metadata(
            event_id=new_id(), recorded_at=SystemClock().now(), actor=ORIGIN.actor, correlation_id=ORIGIN.correlation_id
        )
        s = mapper.to_stored_event(Recorded(relay_stream(f"{round_:032x}", f"raw-{n}"), 1, metadata, _event(n)))
        rows.append((s.originator_id, s.originator_version, s.topic, s.state))
    return rows


def _raw(path: Path, rows: Sequence[tuple[Any, ...]], batch: int) -> float:
    """Events a second that sqlite3 alone commits in batches of this size, flushed each time."""
    with sqlite3.connect(path, isolation_level=None) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(
            "CREATE TABLE IF NOT EXISTS stored_events (originator_id TEXT, originator_version INTEGER, topic TEXT,"
            " state BLOB, PRIMARY KEY (originator_id, originator_version)) WITHOUT ROWID"
        )
        began = time.perf_counter()
        for start in range(0, len(rows), batch):
            db.execute("BEGIN IMMEDIATE")
            if batch == 1:
                db.execute(INSERT, rows[start])
            else:
                db.executemany(INSERT, rows[start : start + batch])
            db.execute("COMMIT")
        took = time.perf_counter() - began
    db.close()
    return len(rows) / took


Raw = Callable[[Sequence[tuple[Any, ...]], int], float]
"""Events a second that the database alone commits: rows, and how many are committed together."""


@contextmanager
def _on_files() -> Iterator[tuple[Storage, FileVault, Raw]]:
    with folder() as path:
        kept = in_files(path)
        yield kept, FileVault(path, keys=kept.keys), lambda rows, batch: _raw(path / "raw.sqlite", rows, batch)
        kept.close()


async def appended(
    name: str,
    clients: int,
    each: int,
    opened: AbstractContextManager[tuple[Storage, FileVault, Raw]],
    rounds: int = ROUNDS,
) -> Figure:
    """Saves by so many clients at once, in turn with what the database does by itself in batches of the same size."""
    with opened as (kept, vault, raw):
        mapper = EventMapper(vault)
        log = EventLog(kept.log, mapper, SystemClock(), new_id)
        await log.start()
        await _save(log, clients, max(1, each // 10), 0)
        pairs = []
        for round_ in range(1, rounds + 1):
            before = log.batches
            value = await _save(log, clients, each, round_)
            batch = max(1, round(clients * each / (log.batches - before)))
            pairs.append((value, await asyncio.to_thread(raw, _stored(mapper, clients * each, round_), batch)))
        await log.close()
        vault.close()
    return figure(name, "saves/s", pairs)


async def append_one() -> Figure:
    return await appended("append.c1", 1, SAVES_ALONE, _on_files())


async def append_many() -> Figure:
    return await appended("append.c200", CLIENTS, SAVES_EACH, _on_files())


# Replay --------------------------------------------------------------------------------------------------------------


class Accepting:
    """A channel that takes everything at once."""

    channel = Channel.SMS
    chunk = 100

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        return [
            Result(index=d.index, outcome=Outcome.ACCEPTED, provider_ref=f"SM{d.message_id[:32]}") for d in deliveries
        ]

    async def close(self) -> None:
        pass


async def replay() -> Figure:
    """Folds a log of registrations, three fan-outs, answers and cases into views on disk."""
    people, _ = REPLAYED
    async with installation(
        Channel.SMS, people, {Channel.SMS: Accepting()}, lambda n: {"phone": f"+39347{n:07d}"}
    ) as runtime:
        await filled(runtime, *REPLAYED)
        stores = runtime.stores
        pairs = [
            await asyncio.to_thread(folded, stores, Views(sqlite_views(stores.folder / f"replay-{n}.sqlite")))
            for n in range(ROUNDS)
        ]
    return figure("replay", "events/s", pairs)


async def filled(runtime: Runtime, people: int, rounds: int) -> None:
    """Fan-outs, each of which half of the people answer."""
    for _ in range(rounds):
        await fan_out(runtime, people)
        await _answered(runtime, people // 2)


async def _answered(runtime: Runtime, count: int) -> None:
    stores = runtime.stores
    with stores.views.reading() as db:
        warning_id = stores.views.warnings.page(db, before=None, limit=1)[0]["warning_id"]
    for start in range(0, count, 100):
        async with asyncio.TaskGroup() as group:
            for n in range(start, start + 100):
                answer = Answer.HELP if n % 50 == 0 else Answer.SAFE
                group.create_task(
                    stores.desk.answer(
                        warning_id=warning_id, person_id=f"person-{n:05d}", answer=answer, channel="sms", words="1"
                    )
                )


def folded(stores: Stores, views: Views) -> tuple[float, float]:
    """(events folded a second into empty views, events read and decoded a second)."""
    began = time.perf_counter()
    after = events = 0
    while batch := stores.log.read_now(after, 500):
        after, events = batch[-1].position, events + len(batch)
    ceiling = events / (time.perf_counter() - began)
    began = time.perf_counter()
    views.catch_up(stores.log.read_now)
    value = events / (time.perf_counter() - began)
    views.close()
    return value, ceiling
