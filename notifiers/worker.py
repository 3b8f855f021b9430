"""The worker: takes shards from the queue and drives them to their end, writing down the intent before each send.

For each chunk the outcomes of the last one and the intent of the next are one append, so a shard costs about one commit
a chunk. What a crash leaves between an intent and its outcomes is written down as unknown by the next holder, and sent
again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from domain import shards
from domain.errors import FenghuoError, Refused, Unreachable, VersionConflict
from domain.events import Event
from domain.ids import shard_stream
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.ports import Append, Clock, Contacts, Log, Origin, Vault
from domain.rulepacks import Lane
from domain.shards import Purpose, Shard, ShardPlanned
from notifiers.channel import Delivery, Notifier, Rendered, Result
from notifiers.links import Links
from notifiers.retry import next_try

LEASE_S = 300.0
SLOTS = 32  # shards at work at the same time in each lane and channel: bulk delays nobody above, nor a dead provider
FLIGHT = 3  # chunks of recipients that are under way at the same time in each lane and channel: see _Flight
ADDRESS: dict[Channel, str] = {Channel.SMS: "phone", Channel.EMAIL: "email", Channel.WEBPUSH: "push"}

_log = structlog.get_logger("fenghuo.worker")


class Queue(Protocol):
    """Where work comes from."""

    def take(self, now: datetime, worker: str, limit: int) -> list[tuple[str, Lane, Channel]]:
        """Shards with something to send now, highest lane first, of each lane and channel at most `limit`."""

    async def wait(self, now: datetime) -> None:
        """Returns when there may be more to take."""


class Texts(Protocol):
    """The words to send."""

    async def rendered(self, plan: ShardPlanned) -> Rendered:
        """The message of a shard's batch."""


class _Flight:
    """Bounds how many recipients of one lane and channel are between their intent and their outcome.

    After a crash all of these are in doubt and are sent to again, so there should be no more than keep the channel busy.
    First come, first served.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def begin(self, count: int) -> bool:
        """Takes places for `count` recipients, if there are, and nobody was there before."""
        if self._waiting or count > self._free:
            return False
        self._free -= count
        return True

    async def wait(self, count: int) -> None:
        """As `begin`, and waits for its turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.end(count)
            else:
                self._waiting = deque(w for w in self._waiting if w[1] is not turn)
                self._admit()
            raise

    def end(self, count: int) -> None:
        self._free += count
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            count, turn = self._waiting.popleft()
            self._free -= count
            turn.set_result(None)


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
    ) -> None:
        self._log = log
        self._queue = queue
        self._texts = texts
        self._contacts = contacts
        self._vault = vault
        self._links = links
        self._notifiers = notifiers
        self._clock = clock
        self._jitter = jitter
        self._worker_id = worker_id
        self._slots = slots
        self._active: dict[str, tuple[asyncio.Task[None], tuple[Lane, Channel]]] = {}
        self._flights: dict[tuple[Lane, Channel], _Flight] = {}
        self._freed = asyncio.Event()
        self._draining = False
        self.origin = Origin(actor="system:worker", correlation_id=f"worker-{worker_id}")

    async def run(self) -> None:
        while not self._draining:
            self._freed.clear()  # before looking: a slot that is freed from here on is not missed
            held = Counter(kind for _, kind in self._active.values())
            started = 0
            now = self._clock.now()
            limit = self._slots + len(self._active)
            for shard_id, lane, channel in await asyncio.to_thread(self._queue.take, now, self._worker_id, limit):
                if shard_id not in self._active and held[lane, channel] < self._slots:
                    held[lane, channel] += 1
                    started += 1
                    self._start(shard_id, (lane, channel))
            if not started:
                await self._pause(now)

    async def drain(self, limit_s: float) -> None:
        """Takes nothing more, and gives what is under way `limit_s` seconds to be recorded."""
        self._draining = True
        self._freed.set()
        tasks = [task for task, _ in self._active.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=limit_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _pause(self, now: datetime) -> None:
        waits = [asyncio.create_task(self._queue.wait(now)), asyncio.create_task(self._freed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _start(self, shard_id: str, kind: tuple[Lane, Channel]) -> None:
        task = asyncio.create_task(self._guarded(shard_id), name=f"shard-{shard_id}")
        self._active[shard_id] = (task, kind)

        def ended(_: asyncio.Task[None]) -> None:
            self._active.pop(shard_id, None)
            self._freed.set()

        task.add_done_callback(ended)

    async def _guarded(self, shard_id: str) -> None:
        try:
            await self.drive(shard_id)
        except Refused:
            return  # finished, stopped or held by another worker
        except FenghuoError as error:
            _log.error("shard_failed", shard_id=shard_id, code=error.code)
            await asyncio.sleep(1)  # it stays in the queue; this keeps a lasting fault from spinning
        except Exception:
            _log.exception("shard_failed", shard_id=shard_id)
            await asyncio.sleep(1)

    # One shard -------------------------------------------------------------------------------------------------------

    async def drive(self, shard_id: str) -> None:
        """Sends all that is due of one shard. Raises Refused where there is nothing to do or it is not ours."""
        stream = shard_stream(shard_id)
        state, version = await self._log.load(stream, shards.evolve)
        now = self._clock.now()
        events = shards.lease(state, worker=self._worker_id, now=now, until=now + timedelta(seconds=LEASE_S))
        if state is None or not (state.open or state.ready(now)):
            return  # the queue is a moment behind the log: what is left is not due yet
        events += shards.in_doubt(state, retry_at=None if state.stopped else now)
        notifier = self._notifiers[state.plan.channel]
        sent: tuple[Row, ...] = ()
        while True:
            ahead = _folded(state, events)
            ready = [] if self._draining else ahead.ready(self._clock.now())[: notifier.chunk]
            if ready:
                events += shards.intend(ahead, tuple(ready))
            if not events:
                return
            try:
                await self._write(stream, version, events, sure=bool(sent))
            except VersionConflict:
                # Stopped by a cancellation, or taken over. What was sent is recorded still; what was not, is not sent.
                state, version = await self._log.load(stream, shards.evolve)
                if state is None:
                    return
                ours = tuple(row for row in sent if row.index in state.open)
                events, sent = (shards.record(state, ours) if ours else []), ours
                if state.stopped or state.worker != self._worker_id:
                    if events:
                        await self._write(stream, version, events, sure=True)
                    return
                continue
            state, version = _folded(state, events), version + len(events)
            if not ready:
                return
            sent = await self._send(state, ready)
            events = shards.record(state, sent)
            now = self._clock.now()
            if state.leased_until is not None and (state.leased_until - now).total_seconds() < LEASE_S / 2:
                events += shards.lease(
                    _folded(state, events), worker=self._worker_id, now=now, until=now + timedelta(seconds=LEASE_S)
                )

    async def _write(self, stream: str, version: int, events: Sequence[Event], *, sure: bool) -> None:
        """Appends; with `sure` it waits out a log that cannot be written, since the sends cannot be taken back."""
        while True:
            try:
                await self._log.append([Append(stream, version, events)], self.origin)
                return
            except Unreachable as error:
                if not sure or self._draining:
                    raise
                _log.error("outcomes_wait", stream=stream, code=error.code)
                await asyncio.sleep(1)

    async def _send(self, state: Shard, indices: Sequence[int]) -> tuple[Row, ...]:
        """Opens the addresses, sends, and says for each index what became of it and when it is tried again."""
        plan = state.plan
        now = self._clock.now()
        if now >= plan.valid_until and plan.purpose is not Purpose.CANCEL:
            return tuple(Row(i, Outcome.EXPIRED, state.attempts.get(i, 0) + 1, Reason.VALIDITY_OVER) for i in indices)
        addresses = await asyncio.to_thread(self._addresses, plan, indices)
        deliveries = [
            Delivery(
                index=i,
                attempt=state.attempts.get(i, 0) + 1,
                message_id=f"{plan.shard_id}.{i}",
                address=address,
                link=self._links.link(plan.shard_id, i),
                callback=self._links.callback(plan.shard_id, i) if plan.channel is Channel.SMS else "",
            )
            for i, address in addresses.items()
        ]
        rendered = await self._texts.rendered(plan)
        try:
            results = await self._notifiers[plan.channel].send(rendered, deliveries) if deliveries else []
        except Exception:  # against the contract of a channel; who of them got it is not known
            _log.exception("channel_failed", channel=plan.channel.value, shard_id=plan.shard_id)
            results = []
        told = {result.index: result for result in results}
        return tuple(self._row(state, i, told.get(i), i in addresses) for i in indices)

    def _addresses(self, plan: ShardPlanned, indices: Sequence[int]) -> dict[int, Any]:
        persons = {i: plan.recipients[i] for i in indices}
        sealed = self._contacts.sealed(list(persons.values()))
        known = [i for i, person_id in persons.items() if person_id in sealed]
        found: dict[int, Any] = {}
        for i, fields in zip(known, self._vault.open_all([sealed[persons[i]] for i in known]), strict=True):
            address = (fields or {}).get(ADDRESS[plan.channel])
            if address:
                found[i] = address
        return found

    def _row(self, state: Shard, index: int, result: Result | None, addressed: bool) -> Row:
        attempt = state.attempts.get(index, 0) + 1
        if not addressed:
            return Row(index, Outcome.REFUSED, attempt, Reason.NO_ADDRESS)
        if result is None:  # a channel that breaks its contract leaves us in doubt, and says so
            result = Result(index=index, outcome=Outcome.UNKNOWN, reason=Reason.PROVIDER_ERROR)
        retry_at = next_try(
            result.outcome,
            result.reason,
            attempt,
            self._clock.now(),
            state.plan.valid_until,
            result.retry_after_s,
            self._jitter(),
        )
        return Row(index, result.outcome, attempt, result.reason, result.provider_ref, retry_at)


def _folded(state: Shard, events: Sequence[Event]) -> Shard:
    for event in events:
        state = shards.evolve(state, event) or state
    return state
