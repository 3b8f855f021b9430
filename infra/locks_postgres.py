"""Locks by name on PostgreSQL: advisory locks of a session, which the server gives back when the session ends."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from domain.errors import Unreachable

TAKEN = """
SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (classid::bigint << 32 | objid::bigint) = hashtextextended(%s, 0)
"""
ANSWER_S = 3  # a server, or a holder, that says nothing for so long is taken to be gone


class AdvisoryLock:
    """A lock on a connection of its own: a pool would lend it to others."""

    def __init__(self, conninfo: str, name: str) -> None:
        self._conninfo = make_conninfo(
            conninfo,
            connect_timeout=ANSWER_S,
            keepalives_idle=1,
            keepalives_interval=1,
            keepalives_count=ANSWER_S,
            tcp_user_timeout=ANSWER_S * 1000,
            options=f"-c statement_timeout={ANSWER_S}s",
        )
        self._name = name
        self._db: psycopg.Connection[Any] | None = None
        self._using = threading.Lock()

    def take(self) -> bool:
        with self._using:
            if self._db is not None:
                return True
            try:
                db = self._connected()
                try:
                    for setting in ("tcp_keepalives_idle = 1", "tcp_keepalives_interval = 1"):
                        db.execute(f"SET {setting}")
                    db.execute(f"SET tcp_keepalives_count = {ANSWER_S}")
                    db.execute(f"SET tcp_user_timeout = '{ANSWER_S}s'")
                    found = db.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (self._name,)).fetchone()
                except BaseException:
                    db.close()
                    raise
            except psycopg.Error as error:
                raise _gone() from error
            if found is None or not found[0]:
                db.close()
                return False
            self._db = db
            return True

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._conninfo, autocommit=True, application_name=f"fenghuo {self._name}"[:63])

    def taken(self) -> bool:
        with self._using:
            try:
                with contextlib.closing(self._connected()) as db:
                    return db.execute(TAKEN, (self._name,)).fetchone() is not None
            except psycopg.Error as error:
                raise _gone() from error

    def held(self) -> bool:
        with self._using:
            if self._db is None:
                return False
            try:
                self._db.execute("SELECT 1")
            except psycopg.Error:
                self._drop()
                return False
            return True

    def give_back(self) -> None:
        with self._using:
            self._drop()

    def _drop(self) -> None:
        if self._db is not None:
            with contextlib.suppress(psycopg.Error):
                self._db.close()
            self._db = None


def _gone() -> Unreachable:
    return Unreachable("lock.unreachable", "The database does not answer; no lock can be had.")
