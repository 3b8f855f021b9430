"""The log on PostgreSQL: the library's recorder, whose writers take turns by a lock on the table of events.

Positions are given out under that lock, one after the other from the last one that is committed: so they have no gaps,
nobody who follows the log passes one that is filled later, and a missing one is a sign of tampering. The library's own
insert goes through psycopg's pipeline mode, where thousands of events hang while the lock is held; COPY does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import structlog
from eventsourcing.persistence import InterfaceError, Notification, OperationalError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Connection, sql
from psycopg.rows import DictRow

from infra.postgres import LOCK_S, Database, lost

R = TypeVar("R")

_log = structlog.get_logger("fenghuo.log")

AGAIN_S = 1.0  # until the wake-ups of other processes are listened to again
TOGETHER_S = 0.03  # what others append within this time is heard of once: each process hears of each commit


def _once_more(read: Callable[..., R]) -> Callable[..., R]:
    """Reads again where the connection turned out to be lost. The library's own ten attempts would take a minute."""
    plain: Callable[..., R] = read.__wrapped__  # type: ignore[attr-defined]

    @wraps(plain)
    def again(self: PostgresLog, *args: Any, **options: Any) -> R:
        try:
            return plain(self, *args, **options)
        except (InterfaceError, OperationalError) as error:
            if not lost(error.__cause__ or error):
                raise
            self.datastore.pool.check()
            return plain(self, *args, **options)

    return again


class _Datastore(PostgresDatastore):
    """The library's datastore on the pool that the vault and the proof use as well."""

    def __init__(self, database: Database) -> None:
        super().__init__("", "", "", "", "", schema=database.schema, lock_timeout=LOCK_S, originator_id_type="text")
        self.pool = database.pool  # type: ignore[assignment]

    def register_type_adapters(self) -> None:
        """None are needed: events are not inserted as a composite type."""


class PostgresLog(PostgresApplicationRecorder):
    """The recorder on the tables that `fenghuo migrate` made."""

    def __init__(self, database: Database) -> None:
        super().__init__(_Datastore(database), events_table_name="stored_events")
        self._database = database
        self.channel = f"{database.schema}.events"
        # A function that is its owner's locks the table for a role that may only add to it.
        self._begin = sql.SQL("BEGIN; SELECT {}() AS last").format(database.name("lock_log"))
        self._copy = sql.SQL(
            "COPY {} (originator_id, originator_version, topic, state, notification_id) FROM STDIN (FORMAT BINARY)"
        ).format(database.name("stored_events"))
        self._commit = sql.SQL("NOTIFY {}; COMMIT").format(sql.Identifier(self.channel))
        self._is_there = sql.SQL(
            "SELECT notification_id FROM {} WHERE originator_id = %s AND originator_version = %s AND state = %s"
        ).format(database.name("stored_events"))

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int]:
        """The positions of the events, which are committed. Raises the library's IntegrityError for a version that is
        taken, OperationalError where the database is gone."""
        if not stored_events:
            return []
        for last in (False, True):
            asked = _Asked()
            try:
                with self.datastore.get_connection() as connection:
                    return self._insert(connection, stored_events, asked)
            except (InterfaceError, OperationalError) as error:
                if not lost(error.__cause__ or error) or (last and not asked.commit):
                    raise
                self.datastore.pool.check()
                # Nobody heard whether that was committed. Ours are told from others' by their bytes: ids are in them.
                if asked.commit and (found := self._found(stored_events[0])) is not None:
                    return range(found, found + len(stored_events))
                if last:
                    raise
        raise AssertionError("not reached")

    def _insert(self, db: Connection[DictRow], events: Sequence[StoredEvent], asked: _Asked) -> Sequence[int]:
        first = self._lock(db) + 1
        with db.cursor() as cursor, cursor.copy(self._copy) as copy:
            copy.set_types(["text", "int8", "text", "bytea", "int8"])
            for position, event in enumerate(events, first):
                copy.write_row((event.originator_id, event.originator_version, event.topic, event.state, position))
        asked.commit = True
        db.execute(self._commit, prepare=False)
        return range(first, first + len(events))

    def _lock(self, db: Connection[DictRow]) -> int:
        """Begins a transaction that holds the lock; the last position."""
        with db.cursor() as cursor:
            cursor.execute(self._begin, prepare=False)
            cursor.nextset()
            row = cursor.fetchone()
        assert row is not None
        return int(row["last"])

    def _found(self, event: StoredEvent) -> int | None:
        """Where an event stands, once nobody writes: who was cut off may still be committing until then."""
        with self.datastore.get_connection() as db:
            self._lock(db)
            key = (event.originator_id, event.originator_version, event.state)
            row = db.execute(self._is_there, key).fetchone()
            db.execute("ROLLBACK")
        return None if row is None else int(row["notification_id"])

    _select_events: Callable[..., Sequence[StoredEvent]] = _once_more(PostgresApplicationRecorder.select_events)
    select_notifications: Callable[..., Sequence[Notification]] = _once_more(
        PostgresApplicationRecorder.select_notifications
    )
    max_notification_id = _once_more(PostgresApplicationRecorder.max_notification_id)

    def select_events(self, originator_id: UUID | str, **options: Any) -> Sequence[StoredEvent]:
        if "\x00" in str(originator_id):  # which PostgreSQL cannot hold, so there is no such stream
            return []
        return self._select_events(originator_id, **options)

    async def hear_others(self, grown: Callable[[], None]) -> None:
        """Calls `grown` whenever a process appended, until cancelled. While there is no connection nobody is told."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._database.conninfo, autocommit=True) as db:
                    await db.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self.channel)))
                    grown()
                    while True:
                        async for _ in db.notifies(stop_after=1):
                            pass  # all that came together are one
                        grown()
                        await asyncio.sleep(TOGETHER_S)
            except psycopg.Error as error:
                _log.warning("not_listening", error=type(error).__name__, again_in_s=AGAIN_S)
            await asyncio.sleep(AGAIN_S)


class _Asked:
    """How far an insert came: whether it asked for the commit."""

    commit = False
