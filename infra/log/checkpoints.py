"""Where signed checkpoints are kept: a file of SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from infra.turns import Turns


class Kept(NamedTuple):
    """A checkpoint: how many events it covers, the position of the last, the tree's frontier there, the signed note."""

    size: int
    position: int
    frontier: str
    note: str


class Checkpoints(Protocol):
    def latest(self) -> Kept | None: ...

    def all(self) -> list[Kept]:
        """From the smallest on."""

    def add(self, checkpoints: Sequence[Kept]) -> None:
        """Keeps them; where there is one of the same size, that one stays."""

    def close(self) -> None: ...


class SqliteCheckpoints:
    """Checkpoints in `proof.sqlite`. Thread-safe. Raises Unreachable where the file fails."""

    def __init__(self, path: Path) -> None:
        self._using = Turns(path, "proof.failed")  # one connection for all: nobody closes it under another
        with self._using:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS checkpoint"
                " (size INTEGER PRIMARY KEY, position INTEGER, frontier TEXT, note TEXT)"
            )

    def latest(self) -> Kept | None:
        found = self._ask("SELECT size, position, frontier, note FROM checkpoint ORDER BY size DESC LIMIT 1")
        return found[0] if found else None

    def all(self) -> list[Kept]:
        return self._ask("SELECT size, position, frontier, note FROM checkpoint ORDER BY size")

    def add(self, checkpoints: Sequence[Kept]) -> None:
        for each in checkpoints:
            self._ask("INSERT OR IGNORE INTO checkpoint VALUES (?, ?, ?, ?)", each)

    def _ask(self, statement: str, values: tuple[Any, ...] = ()) -> list[Kept]:
        with self._using:
            return [Kept(*row) for row in self._db.execute(statement, values)]

    def close(self) -> None:
        with self._using:
            self._db.close()
