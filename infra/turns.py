"""Threads share a connection to a file of SQLite in turns; what fails in a turn reaches everybody as Unreachable."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from domain.errors import Unreachable


class Turns:
    """`with turns:` is one thread's turn on the connection; within it the same thread may begin another.

    Raises Unreachable with `code` for whatever SQLite says no to.
    """

    def __init__(self, path: Path, code: str) -> None:
        self._name, self._code = path.name, code
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._lock.release()
        if isinstance(error, sqlite3.Error):
            raise Unreachable(
                self._code,
                f"{self._name} cannot be read or written: {error}.",
                "Is there room on the disk, and does it answer? A damaged file is restored from its backup.",
            ) from error
