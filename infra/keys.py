"""Where the vault keeps its rows: wrapped keys, digests of addresses, wrapped secrets. Nothing here can read them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from infra.turns import Turns

TABLES = {
    "person_key": ("key_id", "wrapped"),
    "addresses": ("digest", "person_id", "noted"),
    "secret": ("name", "wrapped"),
}
"""The tables of a vault and their columns, on every database."""
WAIT_S = 30  # for another process that writes
PATIENCE_MS = 200  # with those who read while a key is destroyed


class Keys(Protocol):
    """The rows of a vault. `asking_s`: for how long a version may be gone by where it costs something to ask."""

    asking_s: float

    def version(self) -> int:
        """Another number whenever another process may have destroyed a key."""

    def wrapped(self, key_ids: Sequence[str]) -> dict[str, bytes | None]:
        """Those that exist; None for a key that was destroyed."""

    def add(self, keys: Sequence[tuple[str, bytes]]) -> None:
        """Keeps (key id, wrapped key); those that exist, or were destroyed, stay as they are."""

    def destroy(self, key_id: str) -> None:
        """Destroys a key for good, and every address that was noted for its owner."""

    def note(self, addresses: Sequence[tuple[bytes, str]]) -> int:
        """Notes (digest, person id) in one transaction; the mark of this noting, higher than all before."""

    def unnote(self, person_ids: Sequence[str], before: int) -> None:
        """Drops what was noted for these people by notings before that mark."""

    def noted(self, digest: bytes) -> list[str]:
        """Whose address that is, the last noted first."""

    def secret(self, name: str) -> bytes | None: ...

    def keep_secret(self, name: str, wrapped: bytes) -> bytes:
        """Keeps a secret unless there is one of that name; the one that is kept."""

    # Moving house

    def count(self, table: str) -> int: ...

    def portions(self, table: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """Every row of one of TABLES, so many at a time."""

    def take_over(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Adds rows of another vault to this one, which was empty before."""

    def close(self) -> None: ...


class SqliteKeys:
    """The rows in a file of SQLite, for its owner alone. Thread-safe. Raises Unreachable where the file fails."""

    asking_s = 0.0  # asking costs next to nothing

    def __init__(self, path: Path) -> None:
        self._using = Turns(path, "vault.failed")
        self._lingering = False  # whether an old key may be in the write-ahead log still
        with self._using:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=WAIT_S)
            path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA secure_delete=ON")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS person_key (key_id TEXT PRIMARY KEY, wrapped BLOB) WITHOUT ROWID"
            )
            self._make_addresses()
            self._db.execute("CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, wrapped BLOB) WITHOUT ROWID")
            self._sweep()  # what an earlier process had to leave

    def _make_addresses(self) -> None:
        """The index of addresses. One number may be several people's; an older vault kept one for each."""
        with self._transaction():
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS addresses"
                " (digest BLOB NOT NULL, person_id TEXT NOT NULL, noted INTEGER NOT NULL,"
                " PRIMARY KEY (digest, person_id)) WITHOUT ROWID"
            )
            self._db.execute("CREATE INDEX IF NOT EXISTS addresses_person ON addresses (person_id)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS noting (one INTEGER PRIMARY KEY CHECK (one = 1), mark INTEGER)"
            )
            self._db.execute("INSERT OR IGNORE INTO noting VALUES (1, 0)")
            if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'address'").fetchone():
                self._db.execute("INSERT OR IGNORE INTO addresses SELECT digest, person_id, 0 FROM address")
                self._db.execute("DROP TABLE address")

    def _sweep(self, patience_ms: int = 0) -> None:
        """Empties the write-ahead log. As long as somebody reads from it that cannot be: then it is for later."""
        self._lingering = True
        self._db.execute(f"PRAGMA busy_timeout={patience_ms}")
        try:
            (busy, *_) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._lingering = bool(busy)
        except sqlite3.Error:  # what was written is written: this is for later as well
            return
        finally:
            self._db.execute(f"PRAGMA busy_timeout={WAIT_S * 1000}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._using:
            yield
            if self._lingering:
                self._sweep()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._writing():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # on a full disk SQLite has rolled back by itself
                    self._db.execute("ROLLBACK")
                raise

    def version(self) -> int:
        with self._using:
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def wrapped(self, key_ids: Sequence[str]) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        with self._using:
            for key_id in key_ids:
                row = self._db.execute("SELECT wrapped FROM person_key WHERE key_id = ?", (key_id,)).fetchone()
                if row is not None:
                    found[key_id] = row[0]
        return found

    def add(self, keys: Sequence[tuple[str, bytes]]) -> None:
        insert = "INSERT OR IGNORE INTO person_key VALUES (?, ?)"
        if len(keys) == 1:
            with self._writing():
                self._db.execute(insert, keys[0])
            return
        with self._transaction():
            self._db.executemany(insert, keys)

    def destroy(self, key_id: str) -> None:
        with self._using:
            with self._transaction():
                self._db.execute(
                    "INSERT INTO person_key VALUES (?, NULL) ON CONFLICT (key_id) DO UPDATE SET wrapped = NULL",
                    (key_id,),
                )
                self._db.execute("DELETE FROM addresses WHERE person_id = ?", (key_id,))
            self._sweep(PATIENCE_MS)

    def note(self, addresses: Sequence[tuple[bytes, str]]) -> int:
        with self._transaction():
            mark = int(self._db.execute("UPDATE noting SET mark = mark + 1 RETURNING mark").fetchone()[0])
            self._db.executemany(
                "INSERT INTO addresses VALUES (?, ?, ?)"
                " ON CONFLICT (digest, person_id) DO UPDATE SET noted = excluded.noted",
                [(digest, who, mark) for digest, who in addresses],
            )
        return mark

    def unnote(self, person_ids: Sequence[str], before: int) -> None:
        with self._transaction():
            self._db.executemany(
                "DELETE FROM addresses WHERE person_id = ? AND noted < ?", [(who, before) for who in person_ids]
            )

    def noted(self, digest: bytes) -> list[str]:
        query = "SELECT person_id FROM addresses WHERE digest = ? ORDER BY noted DESC, person_id"
        with self._using:
            return [str(row[0]) for row in self._db.execute(query, (digest,))]

    def secret(self, name: str) -> bytes | None:
        with self._using:
            row = self._db.execute("SELECT wrapped FROM secret WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep_secret(self, name: str, wrapped: bytes) -> bytes:
        with self._writing():
            self._db.execute("INSERT OR IGNORE INTO secret VALUES (?, ?)", (name, wrapped))
            return self.secret(name) or wrapped

    def count(self, table: str) -> int:
        with self._using:
            return int(self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608  one of TABLES

    def portions(self, table: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        with self._using:
            rows = self._db.execute(f"SELECT {', '.join(TABLES[table])} FROM {table}")  # noqa: S608  one of TABLES
            while portion := rows.fetchmany(size):
                yield portion

    def take_over(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._transaction():
            places = ", ".join("?" for _ in TABLES[table])
            self._db.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608  one of TABLES
            self._db.execute("UPDATE noting SET mark = max(mark, (SELECT coalesce(max(noted), 0) FROM addresses))")

    def close(self) -> None:
        with self._using:
            if self._lingering:
                self._sweep()
                self._lingering = False  # from here on it is for who opens the file next
            self._db.close()
