"""The log port on the `eventsourcing` library: its recorder and event store, with a group-commit writer in front.

Pending appends of all callers are merged into one insert, so that one disk flush serves many. A conflict stays with the
append that caused it. An append returns only when the recorder has committed.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from eventsourcing.application import AggregateNotFoundError, Repository
from eventsourcing.persistence import (
    ApplicationRecorder,
    EventStore,
    IntegrityError,
    PersistenceError,
    StoredEvent,
)

from domain.errors import FenghuoError, UnknownEvent, Unreachable, VerificationFailed, VersionConflict
from domain.events import Event, Metadata, Recorded
from domain.ports import Append, Clock, Origin
from infra.log.mapper import EventMapper
from infra.traces import span

State = TypeVar("State")

BATCH_EVENTS = 500
BATCH_BYTES = 4 * 1024 * 1024
POLL_S = 1.0  # a wake-up may come from another process, which cannot tell us


class _Folded(msgspec.Struct):
    """A state with its version, as the library's repository wants an aggregate to be."""

    state: Any
    version: int


class _Pending:
    __slots__ = ("done", "recorded", "size", "stored")

    def __init__(
        self, recorded: list[Recorded], stored: list[StoredEvent], done: asyncio.Future[list[Recorded]]
    ) -> None:
        self.recorded = recorded
        self.stored = stored
        self.size = sum(len(s.state) for s in stored)
        self.done = done


class EventLog:
    """The log of one process. `start` before use, `close` after: what was accepted is committed by then.

    `new_id` gives event ids; it and the clock come from outside, so that a test can fix both.
    """

    def __init__(
        self,
        recorder: ApplicationRecorder,
        mapper: EventMapper,
        clock: Clock,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.recorder = recorder
        self.remote = hasattr(recorder, "hear_others")  # on a server, which may be away while the log is well
        self.mapper = mapper
        self.clock = clock
        self._new_id = new_id
        self._store: EventStore[str] = EventStore(mapper=mapper, recorder=recorder)  # type: ignore[arg-type]
        self._repository: Repository[str] = Repository(self._store)
        self._waiting: list[_Pending] = []
        self._tail: list[Recorded] = []  # what was written last: who follows the log need not read it again
        self._wake = asyncio.Event()
        self._grown = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None  # to the appends of other processes, where the recorder can
        self._write_thread = ThreadPoolExecutor(1, "log-writer")
        self._closing = False
        self.poll_s = POLL_S
        self.batches = 0  # inserts so far: with the number of appends it tells how well commits are shared
        self.write_s = 0.0  # seconds spent in inserts
        self.appended: Callable[[int, float], None] = lambda *_: None  # hears of events and seconds of each append

    async def start(self) -> None:
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="log-writer")
            if self.remote:
                hearing = self.recorder.hear_others(self._notify)  # type: ignore[attr-defined]
                self._listener = asyncio.create_task(hearing, name="log-listener")

    async def close(self) -> None:
        """Commits what waits, then ends the writer."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer
            self._writer = None
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
        self._write_thread.shutdown()

    # Writing ---------------------------------------------------------------------------------------------------------

    async def append(self, appends: Sequence[Append], origin: Origin) -> list[Recorded]:
        if self._closing or self._writer is None:
            raise Unreachable("log.closed", "The log is closing.", "Try again in a moment.")
        recorded: list[Recorded] = []
        now = self.clock.now()
        for append in appends:
            for offset, event in enumerate(append.events, start=1):
                metadata = Metadata(
                    event_id=self._new_id(),
                    recorded_at=now,
                    actor=origin.actor,
                    correlation_id=origin.correlation_id,
                    causation_id=origin.causation_id,
                    effective_at=origin.effective_at,
                    grant_id=origin.grant_id,
                    rule_pack_id=origin.rule_pack_id,
                )
                recorded.append(Recorded(append.stream, append.expected_version + offset, metadata, event))
        if not recorded:
            return []
        stored = [self.mapper.to_stored_event(r) for r in recorded]
        pending = _Pending(recorded, stored, asyncio.get_running_loop().create_future())
        began = time.perf_counter()
        self._waiting.append(pending)
        self._wake.set()
        # A caller that goes away does not take back what it asked for: the write goes on.
        with span("log.append", events=len(recorded), correlation_id=origin.correlation_id):
            written = await asyncio.shield(pending.done)
        self.appended(len(written), time.perf_counter() - began)
        return written

    async def execute(
        self,
        stream: str,
        evolve: Callable[[State | None, Event], State | None],
        decide: Callable[[State | None], Sequence[Event]],
        origin: Origin,
    ) -> list[Recorded]:
        for last in (False, False, False, False, True):
            state, version = await self.load(stream, evolve)
            events = decide(state)
            if not events:
                return []
            try:
                return await self.append([Append(stream, version, events)], origin)
            except VersionConflict:
                if last:
                    raise
        raise AssertionError("not reached")

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._take()
            try:
                outcomes = await loop.run_in_executor(self._write_thread, self._insert, batch)
            except Exception as error:  # a fault of the writer itself must reach every caller, and the writer goes on
                outcomes = [error] * len(batch)
            self._tail = []
            for pending, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    if not pending.done.done():
                        pending.done.set_exception(outcome)
                        pending.done.exception()  # the caller may be gone; that is no unhandled error
                    continue
                written = [
                    msgspec.structs.replace(r, position=p) for r, p in zip(pending.recorded, outcome, strict=True)
                ]
                self._tail += written
                if not pending.done.done():
                    pending.done.set_result(written)
            self._notify()

    def _take(self) -> list[_Pending]:
        events = size = count = 0
        for pending in self._waiting:
            events += len(pending.stored)
            size += pending.size
            if count and (events > BATCH_EVENTS or size > BATCH_BYTES):
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _insert(self, batch: list[_Pending]) -> list[list[int] | BaseException]:
        """In the writer's thread. One insert for all; where one of them is the fault, one for each, so the rest goes
        through."""
        began = time.perf_counter()
        try:
            self.batches += 1
            positions = iter(self._insert_events([s for p in batch for s in p.stored]))
            return [[next(positions) for _ in p.stored] for p in batch]
        except Exception as error:
            whole = isinstance(error, PersistenceError) and not isinstance(error, IntegrityError)
            if whole or len(batch) == 1:
                return [_failed(pending, error) for pending in batch]
            return self._one_by_one(batch)
        finally:
            self.write_s += time.perf_counter() - began

    def _one_by_one(self, batch: list[_Pending]) -> list[list[int] | BaseException]:
        """What fails here says nothing of those that are written already. Once the database does, nothing is tried."""
        outcomes: list[list[int] | BaseException] = []
        gone: Exception | None = None
        for pending in batch:
            try:
                if gone is not None:
                    raise gone
                self.batches += 1
                outcomes.append(list(self._insert_events(pending.stored)))
            except Exception as error:
                outcomes.append(_failed(pending, error))
                if isinstance(error, PersistenceError) and not isinstance(error, IntegrityError):
                    gone = error
        return outcomes

    def _insert_events(self, stored: list[StoredEvent]) -> Sequence[int]:
        return self.recorder.insert_events(stored) or ()

    def _notify(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    # Reading ---------------------------------------------------------------------------------------------------------

    async def load(
        self, stream: str, evolve: Callable[[State | None, Event], State | None]
    ) -> tuple[State | None, int]:
        return await asyncio.to_thread(self.load_now, stream, evolve)

    def load_now(self, stream: str, evolve: Callable[[State | None, Event], State | None]) -> tuple[State | None, int]:
        """As `load`, for callers that are in a thread of their own."""

        def project(folded: _Folded | None, events: Iterable[Any]) -> _Folded | None:
            for recorded in events:
                state = evolve(folded.state if folded else None, recorded.event)
                folded = _Folded(state, recorded.version)
            return folded

        try:
            with _reading():
                folded = self._repository.get(stream, projector_func=project, deepcopy_from_cache=False)  # type: ignore[type-var]
        except AggregateNotFoundError:
            return None, 0
        return (folded.state, folded.version) if folded else (None, 0)

    def stream(self, stream: str) -> list[Recorded]:
        """All events of one stream."""
        with _reading():
            stored = self.recorder.select_events(stream)
        return [self.mapper.to_domain_event(s) for s in stored]

    async def read(self, after: int, limit: int) -> list[Recorded]:
        return await asyncio.to_thread(self.read_now, after, limit)

    def read_now(self, after: int, limit: int) -> list[Recorded]:
        """As `read`, for callers that are in a thread of their own."""
        with _reading():
            notifications = self.recorder.select_notifications(after, limit, inclusive_of_start=False)
        found: list[Recorded] = []
        for notification in notifications:
            try:
                found.append(self.mapper.to_domain_event(notification, notification.id))
            except FenghuoError:
                if not found:
                    raise
                break  # what comes before it can be read; who goes on from there meets it
        return found

    def unknown_now(self, after: int) -> UnknownEvent | None:
        """The event that stops whoever has come to position `after`; None where there is none."""
        try:
            self.read_now(after, 1)
        except UnknownEvent as error:
            return error
        except VerificationFailed:  # damaged, which is another matter
            return None
        return None

    def recorded_at_now(self, after: int) -> datetime | None:
        """When the first event above a position was recorded, by the wall clock of that moment; None for no event."""
        with _reading():
            found = self.recorder.select_notifications(after, 1, inclusive_of_start=False)
        return self.mapper.recorded_at(found[0]) if found else None

    async def last_position(self) -> int:
        return await asyncio.to_thread(self.last_position_now)

    def last_position_now(self) -> int:
        with _reading():
            return self.recorder.max_notification_id() or 0

    def last_recorded_now(self) -> datetime | None:
        """When the last event was written, by the wall clock of that moment; None for an empty log."""
        return self.recorded_at_now(self.last_position_now() - 1)

    def growth(self) -> Growth:
        """Take it before reading; its `wait` returns when something was appended since, or after `poll_s`."""
        return Growth(self._grown, self.poll_s)

    async def follow(self, after: int) -> AsyncIterator[list[Recorded]]:
        while True:
            growth = self.growth()
            batch = self._next(after) or await self.read(after, BATCH_EVENTS)
            if batch:
                after = batch[-1].position
                yield batch
            else:
                await growth.wait()

    def _next(self, after: int) -> list[Recorded]:
        """What was written last, where it is all that follows position `after` and no more than is read at once."""
        tail = self._tail
        if not 0 < len(tail) <= BATCH_EVENTS:
            return []
        follows = tail[0].position == after + 1 and tail[-1].position == after + len(tail)
        return list(tail) if follows else []


class Growth:
    """A moment of the log, and the wait for what comes after it."""

    def __init__(self, grown: asyncio.Event, poll_s: float) -> None:
        self._grown = grown
        self._poll_s = poll_s

    @property
    def happened(self) -> bool:
        """Whether something was appended since, as far as it was heard of here."""
        return self._grown.is_set()

    async def heard(self) -> None:
        """Returns once something that was appended is heard of here, and not before."""
        await self._grown.wait()

    async def wait(self) -> None:
        """Returns when the log has grown here, or after `poll_s` seconds: another process may have written."""
        try:
            async with asyncio.timeout(self._poll_s):  # not wait_for: on Python 3.11 it can swallow a cancellation
                await self._grown.wait()
        except TimeoutError:
            return


class _reading:  # noqa: N801  reads like the function that it is
    """Says Unreachable where the recorder could not be read."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, PersistenceError):
            raise Unreachable("log.read_failed", f"The log could not be read: {_first_line(error)}.") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _failed(pending: _Pending, error: Exception) -> BaseException:
    """What the caller is told."""
    if isinstance(error, IntegrityError):
        return _conflict(pending, error)
    if not isinstance(error, PersistenceError):
        return error
    fault = Unreachable(
        "log.write_failed", f"The log could not be written: {_first_line(error)}.", "Nothing was accepted."
    )
    fault.__cause__ = error
    return fault


def _conflict(pending: _Pending, error: Exception) -> VersionConflict:
    streams = ", ".join(dict.fromkeys(r.stream for r in pending.recorded))
    conflict = VersionConflict("log.conflict", f"Somebody else was first in {streams}.", "Read it again.")
    conflict.__cause__ = error
    return conflict
