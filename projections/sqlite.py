"""The views' database on SQLite: how its engines are opened, for those who read and for the one who writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

READING_KIB, WRITING_KIB = 2_048, 32_768  # pages that SQLite keeps for each connection that reads, and for the writer

OF_THE_DISK = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
QUIET: dict[str, Any] = {"hide_parameters": True}
"""For every engine of the views: what a failed statement was to write stands in no error, and so in no log line."""


def sqlite_views(path: Path | None) -> Engine:
    """An engine on a file (WAL; not flushed at each commit, since a view that is lost is rebuilt), or in memory."""
    if path is None:
        engine = create_engine("sqlite://", **QUIET, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        url = URL.create("sqlite", database=str(path))  # written as text, a path with ? or % would be another one
        engine = create_engine(
            url, **QUIET, pool_size=8, max_overflow=32, connect_args={"timeout": 30, "check_same_thread": False}
        )
    return _listened_to(engine, READING_KIB)


def own_connection(engine: Engine) -> Engine:
    """An engine of the one writer. The pages that SQLite keeps are of use to who writes alone: to all others they are
    out of date with the next batch, so theirs is small, and the writer does not lend its connection."""
    if engine.dialect.name == "postgresql":  # see projections/postgres.py: what it reads after it has the lock is new
        return engine.execution_options(isolation_level="READ COMMITTED")
    if engine.url.database in (None, "", ":memory:"):
        return engine
    writer = create_engine(
        engine.url, **QUIET, pool_size=1, max_overflow=0, connect_args={"timeout": 30, "check_same_thread": False}
    )
    return _listened_to(writer, WRITING_KIB)


def of_the_disk(error: SQLAlchemyError) -> sqlite3.Error | None:
    """What SQLite says where it failed for the disk, or for who holds the file, and not for what the file holds."""
    said = getattr(error, "orig", None)  # whose code has its details above the lowest byte
    if isinstance(said, sqlite3.Error) and getattr(said, "sqlite_errorcode", 0) & 0xFF in OF_THE_DISK:
        return said
    return None


def _listened_to(engine: Engine, cache_kib: int) -> Engine:
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are ours: see below
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(f"PRAGMA cache_size=-{cache_kib}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # sqlite3 would begin at the first write. A reader wants one snapshot from its first query on; a writer wants
        # the lock before it reads, since what it read could be outdated once it got the lock.
        write = connection.get_execution_options().get("fenghuo_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
