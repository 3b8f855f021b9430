"""Locks by name on PostgreSQL: advisory locks of a session, which the server gives back when the session ends."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from domain.errors import Unreachable

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
                db = psycopg.connect(self._conninfo, autocommit=True, application_name=f"fenghuo {self._name}"[:63])
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
                raise Unreachable("lock.unreachable", "The database does not answer; no lock can be had.") from error
            if found is None or not found[0]:
                db.close()
                return False
            self._db = db
            return True

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
