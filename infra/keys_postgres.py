"""The vault's rows on PostgreSQL. Destroyed keys are counted, and the count is asked for before a key is used.

What PostgreSQL deletes stays in its files until VACUUM, and in archived write-ahead logs for as long as these are kept:
wrapped by the master key, which is nowhere in the database.

Whoever changes addresses takes the one row of `noting` first, and keys are made in the order of their names: of two
that change the same rows in different orders, each would have what the other waits for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import DictRow

from infra.keys import TABLES
from infra.postgres import Database


class PostgresKeys:
    """The rows in the tables that `fenghuo migrate` made. Thread-safe."""

    asking_s = 0.02  # asking is a round trip, and an import seals thousands in a row

    def __init__(self, database: Database) -> None:
        self._database = database
        name = {table: database.name(table) for table in ("person_key", "addresses", "noting", "secret")}

        def made(statement: str) -> sql.Composed:
            return sql.SQL(statement).format(**name)

        self._version = made("SELECT forgotten FROM {noting}")
        self._wrapped = made("SELECT key_id, wrapped FROM {person_key} WHERE key_id = ANY(%s)")
        self._add = made(
            "INSERT INTO {person_key} SELECT * FROM unnest(%s::text[], %s::bytea[]) ON CONFLICT DO NOTHING"
        )
        self._destroy = made(
            "INSERT INTO {person_key} VALUES (%s, NULL) ON CONFLICT (key_id) DO UPDATE SET wrapped = NULL"
        )
        self._drop = made("DELETE FROM {addresses} WHERE person_id = %s")
        self._count = made("UPDATE {noting} SET forgotten = forgotten + 1")
        self._mark = made("UPDATE {noting} SET mark = mark + 1 RETURNING mark")
        self._note = made(
            "INSERT INTO {addresses} SELECT digest, person_id, %s"
            " FROM unnest(%s::bytea[], %s::text[]) AS given (digest, person_id)"
            " ON CONFLICT (digest, person_id) DO UPDATE SET noted = excluded.noted"
        )
        self._turn = made("SELECT 1 FROM {noting} FOR UPDATE")
        self._unnote = made("DELETE FROM {addresses} WHERE person_id = ANY(%s) AND noted < %s")
        self._noted = made("SELECT person_id FROM {addresses} WHERE digest = %s ORDER BY noted DESC, person_id")
        self._catch_up = made(
            "UPDATE {noting} SET mark = greatest(mark, (SELECT coalesce(max(noted), 0) FROM {addresses}))"
        )
        self._secret = made("SELECT wrapped FROM {secret} WHERE name = %s")
        self._keep = made("INSERT INTO {secret} VALUES (%s, %s) ON CONFLICT DO NOTHING")

    def version(self) -> int:
        row = self._database.run(lambda db: db.execute(self._version).fetchone())
        return 0 if row is None else int(row["forgotten"])

    def wrapped(self, key_ids: Sequence[str]) -> dict[str, bytes | None]:
        rows = self._database.run(lambda db: db.execute(self._wrapped, (list(key_ids),)).fetchall())
        return {row["key_id"]: row["wrapped"] for row in rows}

    def add(self, keys: Sequence[tuple[str, bytes]]) -> None:
        ordered = sorted(keys)
        ids, wrapped = [key_id for key_id, _ in ordered], [each for _, each in ordered]
        self._database.run(lambda db: db.execute(self._add, (ids, wrapped)))

    def destroy(self, key_id: str) -> None:
        def act(db: Connection[DictRow]) -> None:
            with db.transaction():
                db.execute(self._count)
                db.execute(self._destroy, (key_id,))
                db.execute(self._drop, (key_id,))

        self._database.run(act)

    def note(self, addresses: Sequence[tuple[bytes, str]]) -> int:
        given = dict.fromkeys(addresses)  # one statement may not touch a row twice

        def act(db: Connection[DictRow]) -> int:
            with db.transaction():
                row = db.execute(self._mark).fetchone()
                assert row is not None
                db.execute(self._note, (row["mark"], [digest for digest, _ in given], [who for _, who in given]))
                return int(row["mark"])

        return self._database.run(act)

    def unnote(self, person_ids: Sequence[str], before: int) -> None:
        def act(db: Connection[DictRow]) -> None:
            with db.transaction():
                db.execute(self._turn)
                db.execute(self._unnote, (list(person_ids), before))

        self._database.run(act)

    def noted(self, digest: bytes) -> list[str]:
        rows = self._database.run(lambda db: db.execute(self._noted, (digest,)).fetchall())
        return [row["person_id"] for row in rows]

    def secret(self, name: str) -> bytes | None:
        row = self._database.run(lambda db: db.execute(self._secret, (name,)).fetchone())
        return None if row is None else bytes(row["wrapped"])

    def keep_secret(self, name: str, wrapped: bytes) -> bytes:
        self._database.run(lambda db: db.execute(self._keep, (name, wrapped)))
        return self.secret(name) or wrapped

    def count(self, table: str) -> int:
        query = sql.SQL("SELECT count(*) AS n FROM {}").format(self._database.name(table))
        row = self._database.run(lambda db: db.execute(query).fetchone())
        return 0 if row is None else int(row["n"])

    def portions(self, table: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        columns = TABLES[table]
        query = sql.SQL("SELECT {} FROM {}").format(_listed(columns), self._database.name(table))
        with self._database.connection() as db, db.transaction(), db.cursor("portions") as cursor:
            cursor.execute(query)
            while portion := cursor.fetchmany(size):
                yield [tuple(row[column] for column in columns) for row in portion]

    def take_over(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        columns = TABLES[table]
        copy = sql.SQL("COPY {} ({}) FROM STDIN").format(self._database.name(table), _listed(columns))
        with self._database.connection() as db, db.transaction():
            with db.cursor() as cursor, cursor.copy(copy) as into:
                for row in rows:
                    into.write_row(row)
            db.execute(self._catch_up)

    def close(self) -> None:
        """The connections are the log's as well, which is closed last."""


def _listed(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
