"""Signed checkpoints on PostgreSQL, in the schema of the log that they are of."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import Connection, sql
from psycopg.rows import DictRow

from infra.log.checkpoints import Kept
from infra.postgres import Database


class PostgresCheckpoints:
    """Checkpoints in the table that `fenghuo migrate` made. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        table = database.name("checkpoint")
        self._select = sql.SQL("SELECT size, position, frontier, note FROM {}").format(table)
        self._insert = sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING").format(table)

    def latest(self) -> Kept | None:
        found = self._ask(self._select + sql.SQL(" ORDER BY size DESC LIMIT 1"))
        return found[0] if found else None

    def all(self) -> list[Kept]:
        return self._ask(self._select + sql.SQL(" ORDER BY size"))

    def add(self, checkpoints: Sequence[Kept]) -> None:
        def act(db: Connection[DictRow]) -> None:
            for each in checkpoints:
                db.execute(self._insert, each)

        self._database.run(act)

    def _ask(self, statement: sql.Composed) -> list[Kept]:
        return [Kept(**row) for row in self._database.run(lambda db: db.execute(statement).fetchall())]

    def close(self) -> None:
        """The connections are the log's as well, which is closed last."""
