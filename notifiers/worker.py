"""The worker: takes shards from the queue and drives them to their end, writing down the intent before each send.

For each chunk the outcomes of the last one and the intent of the next are one append, so a shard costs about one commit
a chunk. What a crash leaves between an intent and its outcomes is written down as unknown by the next holder, and sent
again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import structlog

from domain import shards
from domain.errors import FenghuoError, Refused, UnknownEvent, Unreachable, VersionConflict
from domain.events import Event
from domain.ids import shard_stream
from domain.outcomes import Outcome, Row
from domain.people import Channel
from domain.ports import Append, Clock, Contacts, Log, Origin, Vault
from domain.rulepacks import Lane
from domain.shards import Shard, ShardPlanned, Spent
from notifiers.arrival import Arrivals
from notifiers.channel import Notifier, Rendered
from notifiers.choosing import Chooser, Chosen
from notifiers.flight import Flight
from notifiers.head_start import HeadStart
from notifiers.links import Links
from notifiers.pause import ended, first_of
from notifiers.sending import Sender, Texts

LEASE_S = 300.0  # how long what a worker has begun is its own, should it say nothing more
EXTREME_LEASE_S = 90.0  # the same where minutes count: more repeats after a long stall, less silence after a death
SLOTS = 32  # shards at work at the same time in each lane and channel: bulk delays nobody above, nor a dead provider
REMEMBERED = 10_000  # shards of which is known how far they were written
BEHIND_S = 0.02  # a pause for the queue to catch up, where it named a shard that has nothing to do
FLIGHT = 3  # chunks of recipients that are under way at the same time in each lane and channel: see flight.py

_log = structlog.get_logger("fenghuo.worker")


class Waiting(NamedTuple):
    """A shard that has something to send. `position`: the last event of it that the queue knows. `stale`: its retries
    are due by a clock that was set back. `fresh`: all that was in its stream when the queue heard of it."""

    shard_id: str
    lane: Lane
    channel: Channel
    position: int
    stale: bool = False
    fresh: ShardPlanned | None = None


class Queue(Protocol):
    """Where work comes from. It may be a moment behind the log."""

    def take(self, now: datetime, worker: str, limit: int) -> list[Waiting]:
        """Shards with something to send now, highest lane first, of each lane and channel at most `limit`."""

    async def wait(self, now: datetime) -> None:
        """Returns when there may be more to take."""

    def done(self, waiting: Waiting, fault: Exception | None) -> None:
        """Nobody works any more at what was taken: what became of it is durable, or a fault kept it from that. With a
        fault `position` is that of the last event of it that the worker knows, its own ones included."""


class Worker:
    """Runs until cancelled or drained. `jitter()` gives numbers from 0 to 1 for the spread of retries."""

    def __init__(
        self,
        *,
        log: Log,
        queue: Queue,
        texts: Texts,
        contacts: Contacts,
        vault: Vault,
        links: Links,
        notifiers: dict[Channel, Notifier],
        clock: Clock,
        jitter: Callable[[], float],
        worker_id: str = "embedded",
        slots: int = SLOTS,
        head_start: HeadStart | None = None,
    ) -> None:
        self._log = log
        self._queue = queue
        self._sender = Sender(texts=texts, links=links, notifiers=notifiers, clock=clock, jitter=jitter)
        self._notifiers = notifiers
        self._chooser = Chooser(contacts, vault)
        self._clock = clock
        self._worker_id = worker_id
        self._slots = slots
        self._head_start = head_start or HeadStart()
        self._active: dict[str, tuple[asyncio.Task[None], tuple[Lane, Channel]]] = {}
        self._written: OrderedDict[str, int] = OrderedDict()  # the last position of shards that were ours lately
        self._left: OrderedDict[str, None] = OrderedDict()  # shards that only a newer program can read
        self._flights: dict[tuple[Lane, Channel], Flight] = {}
        self._freed = asyncio.Event()
        self._draining = False
        self.origin = Origin(actor="system:worker", correlation_id=f"worker-{worker_id}")
        self._arrivals = Arrivals(log, self.origin)

    async def run(self) -> None:
        while not self._draining:
            self._freed.clear()  # before looking: a slot that is freed from here on is not missed
            held = Counter(kind for _, kind in self._active.values())
            started = 0
            now = self._clock.now()
            busy = frozenset(self._active)  # what ends while it is taken may have been taken as it was before
            limit = self._slots + len(busy) + len(self._left)
            for found in await asyncio.to_thread(self._queue.take, now, self._worker_id, limit):
                kind = (found.lane, found.channel)
                if found.shard_id in busy or found.shard_id in self._active or held[kind] >= self._slots:
                    continue
                if found.shard_id in self._left or found.position < self._written.get(found.shard_id, 0):
                    self._queue.done(found, None)
                    continue  # it is another's, or the queue is about to say what is left of it
                held[kind] += 1
                started += 1
                self._start(found, kind)
            if not started:
                await self._pause(now)

    async def drain(self, limit_s: float) -> None:
        """Takes nothing more, and gives what is under way `limit_s` seconds to be recorded."""
        self._draining = True
        self._freed.set()
        tasks = [task for task, _ in self._active.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=limit_s)
            await ended(late)

    async def _pause(self, now: datetime) -> None:
        await first_of(self._queue.wait(now), self._freed.wait())

    def _start(self, found: Waiting, kind: tuple[Lane, Channel]) -> None:
        shard_id = found.shard_id
        task = asyncio.create_task(self._guarded(found), name=f"shard-{shard_id}")
        self._active[shard_id] = (task, kind)

        def ended(_: asyncio.Task[None]) -> None:
            self._active.pop(shard_id, None)
            self._freed.set()

        task.add_done_callback(ended)

    async def _guarded(self, found: Waiting) -> None:
        fault: Exception | None = None
        structlog.contextvars.bind_contextvars(correlation_id=self.origin.correlation_id)  # of this task alone
        try:
            with self._head_start.running(found.lane):
                await self._head_start.past(found.lane)
                await self.drive(found.shard_id, stale=found.stale, fresh=found.fresh)
        except Refused:
            await asyncio.sleep(BEHIND_S)  # finished, stopped or held by another worker
        except UnknownEvent as error:  # logged when it was met
            fault = error
            self._leave(found.shard_id)
        except FenghuoError as error:
            fault = error
            _log.error("shard_failed", shard_id=found.shard_id, code=error.code)
            await asyncio.sleep(1)  # it stays in the queue; this keeps a lasting fault from spinning
        except Exception as error:
            fault = error
            _log.exception("shard_failed", shard_id=found.shard_id)
            await asyncio.sleep(1)
        if fault is not None:  # what was written of it is not the end of it: nothing that is said of it now is old
            found = found._replace(position=max(found.position, self._written.pop(found.shard_id, 0)))
        self._queue.done(found, fault)

    def _leave(self, shard_id: str) -> None:
        """Leaves a shard to workers of a newer program: this one learns nothing while it runs."""
        self._left[shard_id] = None
        if len(self._left) > REMEMBERED:
            self._left.popitem(last=False)

    # One shard -------------------------------------------------------------------------------------------------------

    async def drive(self, shard_id: str, *, stale: bool = False, fresh: ShardPlanned | None = None) -> None:
        """Sends all that is due of one shard; with `stale` all that will be. Raises Refused where there is
        nothing to do or it is not ours.

        A `fresh` one is not read: should anything else have been written of it, the first append does not fit.
        """
        stream = shard_stream(shard_id)
        if fresh is not None:
            state, version = shards.evolve(None, fresh), 1
        else:
            state, version = await self._log.load(stream, shards.evolve)
        if state is None:
            raise Refused("shard.unknown", "There is no such shard.")
        kind = (state.plan.lane, state.plan.channel)
        chunk = self._notifiers[state.plan.channel].chunk
        flight = self._flights.setdefault(kind, Flight(FLIGHT * chunk))
        flight.resize(FLIGHT * chunk)
        width = max(1, min(chunk, len(state.due)))
        waited = not flight.begin(width)
        if waited:
            await flight.wait(width)
            fewer = max(1, min(width, self._notifiers[state.plan.channel].chunk))  # at a rate that was set meanwhile
            flight.end(width - fewer)
            width = fewer
        try:
            if waited:
                state, version = await self._log.load(stream, shards.evolve)  # what was read may be old by now
            if stale and state is not None:
                state = state.hurried(self._clock.now())
            await self._drive(stream, state, version, width)
        finally:
            flight.end(width)

    async def _drive(self, stream: str, state: Shard | None, version: int, width: int) -> None:
        now = self._clock.now()
        lease = timedelta(seconds=EXTREME_LEASE_S if state and state.plan.lane is Lane.EXTREME else LEASE_S)
        events = shards.lease(state, worker=self._worker_id, now=now, until=now + lease)
        if state is None or self._draining or not (state.open or state.ready(now)):
            await asyncio.sleep(BEHIND_S)  # what is left is not due yet
            return
        events += shards.in_doubt(state, retry_at=None if state.stopped else now)
        sent: tuple[Row, ...] = ()
        spent: tuple[Spent, ...] = ()
        while True:
            ahead = _folded(state, events)
            try:
                chosen = await self._choose(ahead, width, more=bool(sent))
            except Exception:
                await self._record_late(stream, state, version, sent, spent)  # no doubt about what was sent
                raise
            events += shards.hold(ahead, chosen.held)
            if chosen.ready:
                events += shards.intend(ahead, chosen.ready)
            if not events:
                return
            try:
                preparing = await self._intended(stream, version, events, ahead.plan, chosen, sure=bool(sent))
            except VersionConflict:
                # Stopped by a cancellation, or taken over. What was sent is recorded still; what was not, is not sent.
                state, version = await self._log.load(stream, shards.evolve)
                if state is None:
                    return
                if state.stopped or state.worker != self._worker_id:
                    await self._record_late(stream, state, version, sent, spent)
                    return
                sent = tuple(row for row in sent if row.index in state.open)
                events = shards.record(state, sent, spent) if sent else []
                continue
            state, version = _folded(state, events), version + len(events)
            if preparing is None:
                return
            words = await self._words(preparing, stream, state, version, chosen)
            self._head_start.sending(state.plan.lane)
            sent, spent = await self._sender.send(state, chosen, words)
            await self._arrived(ahead.plan, sent)
            events = shards.record(state, sent, spent)
            now = self._clock.now()
            ahead = _folded(state, events)
            # There is no lease on what is finished, and what became of the last chunk is to be written all the same.
            left = timedelta(0) if ahead.leased_until is None else ahead.leased_until - now
            if not ahead.finished and left < lease / 2:
                events += shards.lease(ahead, worker=self._worker_id, now=now, until=now + lease)

    async def _record_late(
        self,
        stream: str,
        state: Shard | None,
        version: int,
        sent: tuple[Row, ...],
        spent: tuple[Spent, ...],
        *,
        held: bool = False,
    ) -> None:
        """Records what is not recorded yet of a shard that may be ours no longer, whatever its holder writes meanwhile;
        with `held` only while it is ours: another holder has begun anew, and what it sends is in doubt until it says.
        """
        while state is not None and (ours := tuple(row for row in sent if row.index in state.open)):
            if held and state.worker != self._worker_id:
                return
            with contextlib.suppress(VersionConflict):
                await self._write(stream, version, shards.record(state, ours, spent), sure=True)
                return
            state, version = await self._log.load(stream, shards.evolve)

    async def _choose(self, shard: Shard, width: int, *, more: bool) -> Chosen:
        """Whom to send to next, as the chooser says; nobody while draining, nor `more` while others go first."""
        now = self._clock.now()
        ends = self._draining or (more and self._head_start.before(shard.plan.lane))
        due = () if ends else shard.ready(now)
        width = max(1, min(width, self._notifiers[shard.plan.channel].chunk))  # a rate may be set meanwhile
        return await asyncio.to_thread(self._chooser.choose, shard.plan, due, width, now) if due else Chosen()

    async def _write(self, stream: str, version: int, events: Sequence[Event], *, sure: bool) -> None:
        """Appends; with `sure` it waits out a log that cannot be written, since the sends cannot be taken back."""
        while True:
            try:
                recorded = await self._log.append([Append(stream, version, events)], self.origin)
                self._note(stream.partition("-")[2], recorded[-1].position)
                return
            except Unreachable as error:
                if not sure or self._draining:
                    raise
                _log.error("outcomes_wait", stream=stream, code=error.code)
                await asyncio.sleep(1)

    async def _arrived(self, plan: ShardPlanned, rows: Sequence[Row]) -> None:
        """Where the channel says itself that it arrived: before the ledger does, so that no crash comes in between."""
        while any(row.outcome is Outcome.DELIVERED for row in rows):
            try:
                await self._arrivals.note(plan)
                return
            except (Unreachable, VersionConflict) as error:
                if self._draining:
                    return
                _log.error("arrival_waits", shard_id=plan.shard_id, code=error.code)
                await asyncio.sleep(1)
            except FenghuoError as error:  # as of a newer program's event: the ledger is to be written all the same
                _log.error("arrival_not_noted", shard_id=plan.shard_id, code=error.code)
                return
            except Exception:
                _log.exception("arrival_not_noted", shard_id=plan.shard_id)
                return

    def _note(self, shard_id: str, position: int) -> None:
        self._written[shard_id] = position
        self._written.move_to_end(shard_id)
        if len(self._written) > REMEMBERED:
            self._written.popitem(last=False)

    async def _intended(
        self,
        stream: str,
        version: int,
        events: Sequence[Event],
        plan: ShardPlanned,
        chosen: Chosen,
        *,
        sure: bool,
    ) -> asyncio.Future[Rendered | None] | None:
        """Appends, and meanwhile gets ready the words that will be sent once the intent is durable; None: to nobody."""
        if not chosen.ready:
            await self._write(stream, version, events, sure=sure)
            return None
        preparing = asyncio.ensure_future(self._sender.words(plan))
        try:
            await self._write(stream, version, events, sure=sure)
        except BaseException:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)
            raise
        return preparing

    async def _words(
        self,
        preparing: asyncio.Future[Rendered | None],
        stream: str,
        state: Shard,
        version: int,
        chosen: Chosen,
    ) -> Rendered | None:
        """The words for those who were intended. Where there are none to be had nothing was sent: that is written down,
        so that nobody is in doubt and attempts have an end, and the fault goes on to who counts and logs it."""
        try:
            return await preparing
        except Exception as fault:
            rows = self._sender.put_off(state, chosen.ready, fault)
            await self._record_late(stream, state, version, rows, (), held=True)
            raise


def _folded(state: Shard, events: Sequence[Event]) -> Shard:
    for event in events:
        state = shards.evolve(state, event) or state
    return state
