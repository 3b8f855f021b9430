"""Opens the log's database: SQLite in WAL by default, flushed to disk at every commit."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from eventsourcing.persistence import ApplicationRecorder
from eventsourcing.popo import POPOApplicationRecorder
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteConnection, SQLiteConnectionPool, SQLiteDatastore

from domain.errors import Unreachable

CLOSE_S = 10.0  # how long closing waits for those who still read


class _Pool(SQLiteConnectionPool):
    """The library's pool with `synchronous=FULL` said aloud: an accepted event survives the loss of power."""

    def close(self) -> None:
        """Waits for threads that still read: a connection that is closed under one of them crashes the program."""
        with self._put_condition:  # held to the end, so that nobody gets a connection in between
            if not self.closed:
                self._put_condition.wait_for(lambda: not self._in_use, CLOSE_S)
                self._in_use.clear()  # one that is stuck is left to the end of the process
            super().close()

    def _create_connection(self) -> SQLiteConnection:
        connection = super()._create_connection()
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=FULL")
        return connection


class _Datastore(SQLiteDatastore):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_timeout=30, originator_id_type="text", pool_size=8, pool_timeout=30)
        self.pool = _Pool(db_name=str(path), lock_timeout=30, pool_size=8, pool_timeout=30)


def sqlite_log(path: Path) -> ApplicationRecorder:
    """The recorder on a file; makes it where it is missing. Raises Unreachable where the file is no such database."""
    try:
        recorder = SQLiteApplicationRecorder(_Datastore(path), events_table_name="stored_events")
        recorder.create_table()
    except Exception as error:
        raise Unreachable(
            "log.open_failed", f"The log {path.name} cannot be opened: {error}.", "Check the folder and its rights."
        ) from error
    return recorder


def memory_log() -> ApplicationRecorder:
    """A log that is gone with the process: for unit tests and for replaying into nothing."""
    return POPOApplicationRecorder()


def check_sqlite(path: Path) -> list[str]:
    """What SQLite's own integrity check has to say; empty where all is well."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return [str(row[0]) for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
    except sqlite3.Error as error:  # too broken even to be looked through
        return [str(error)]
