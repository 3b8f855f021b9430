"""A log on each backend, and a few events of the log's own test vocabulary to put into it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from eventsourcing.persistence import ApplicationRecorder

from domain.commands import Accepted, CommandAccepted
from domain.events import Event
from domain.ports import Append, Origin
from infra.clock import ManualClock
from infra.log.mapper import EventMapper
from infra.log.recorders import memory_log, sqlite_log
from infra.log.store import EventLog
from infra.storage import in_database
from infra.vault import FileVault

NOW = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
ORIGIN = Origin(actor="ann", correlation_id="c1")

BACKENDS = ("memory", "sqlite", "postgresql")


@contextmanager
def backend(request: pytest.FixtureRequest, folder: Path) -> Iterator[ApplicationRecorder]:
    """An empty recorder of the kind that the fixture's parameter names."""
    if request.param == "memory":
        yield memory_log()
    elif request.param == "sqlite":
        yield sqlite_log(folder / "log.sqlite")
    else:
        with request.getfixturevalue("postgres").schema() as config:
            kept = in_database(config)
            yield kept.log
            kept.views.dispose()


def said(word: str) -> Event:
    """An event that carries one word."""
    return CommandAccepted(accepted=Accepted(fingerprint=word, result=""))


def words(state: tuple[str, ...] | None, event: Event) -> tuple[str, ...] | None:
    """Folds a stream of `said` into its words."""
    return (*(state or ()), word(event))


def word(event: Event) -> str:
    assert isinstance(event, CommandAccepted)
    return event.accepted.fingerprint


def to(stream: str, *spoken: str, after: int = 0) -> Append:
    return Append(stream, after, [said(each) for each in spoken])


@asynccontextmanager
async def opened(folder: Path, recorder: ApplicationRecorder) -> AsyncIterator[EventLog]:
    """A log at work, with a clock that stands still and event ids counted from 1."""
    vault = FileVault(folder)
    numbers = iter(range(1, 100_000))
    log = EventLog(recorder, EventMapper(vault), ManualClock(NOW), lambda: f"e{next(numbers)}")
    await log.start()
    try:
        yield log
    finally:
        await log.close()
        vault.close()
        if hasattr(recorder, "datastore"):
            recorder.datastore.close()


class Holding:
    """A recorder that inserts when it is told to: what is asked for meanwhile becomes one batch."""

    def __init__(self, recorder: ApplicationRecorder) -> None:
        self._recorder = recorder
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.inserts: list[int] = []

    def insert_events(self, stored, **more):
        self.entered.release()
        self.go.acquire()
        self.inserts.append(len(stored))
        return self._recorder.insert_events(stored, **more)

    def __getattr__(self, name):
        return getattr(self._recorder, name)
