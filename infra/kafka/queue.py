"""The worker's queue on Kafka: a consumer group for each lane, whose offsets move once outcomes are durable.

A shard stays here from the moment its message was read until the worker says that it is done with it; only then, and
once all before it in the partition are done with, is it committed. What a lost worker held is so read again by whoever
gets its partitions, and that one learns from the shard's own stream what is left to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog

from domain.errors import FenghuoError, UnknownEvent, VerificationFailed
from domain.ports import Clock
from domain.rulepacks import LANES, Lane
from infra.kafka.clients import Consumer, Listener, Part, answered, commit, consumer, ensured, producer
from infra.kafka.dead import COMPACT
from infra.kafka.dispatch import DAY
from infra.kafka.messages import Due, Letter, due, encode, read_due
from infra.kafka.offsets import Offsets
from infra.kafka.overdue import Overdue
from infra.kafka.settings import KafkaConfig
from notifiers.pause import ended
from notifiers.worker import Waiting

_log = structlog.get_logger("fenghuo.lanes")

POLL_MS = 200
COMMIT_S = 0.2
NOWHERE = Part("", 0)  # of what comes from no message: nothing is committed there
LAST_COMMIT_S = 2.0
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 15.0


class _Held(msgspec.Struct):
    part: Part
    offset: int
    due: Due


class _Return(msgspec.Struct):
    """A message that goes back to a topic before it counts as done with."""

    part: Part
    offset: int
    topic: str
    key: bytes
    body: bytes


class _Lane:
    """What one lane holds: messages by shard, in the order in which they came."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.held: dict[str, list[_Held]] = {}
        self.returns: list[_Return] = []
        self.offsets = Offsets()
        self.count = 0

    def put(self, held: _Held) -> None:
        self.held.setdefault(held.due.shard_id, []).append(held)
        self.count += 1

    def drop(self, shard_id: str, position: int) -> list[_Held]:
        """Takes out what was known of a shard up to a position."""
        there = self.held.get(shard_id, [])
        gone = [one for one in there if one.due.position <= position]
        left = [one for one in there if one.due.position > position]
        if left:
            self.held[shard_id] = left
        else:
            self.held.pop(shard_id, None)
        self.count -= len(gone)
        return gone

    def lose(self, parts: Iterable[Part]) -> None:
        """Partitions that are somebody else's now: what of them nobody has begun is theirs as well."""
        lost = set(parts)
        self.offsets.forget(lost)
        self.returns = [one for one in self.returns if one.part not in lost]
        for shard_id, there in list(self.held.items()):
            left = [one for one in there if one.part not in lost]
            self.count -= len(there) - len(left)
            if left:
                self.held[shard_id] = left
            else:
                del self.held[shard_id]


async def _nothing() -> list[Waiting]:
    return []


class KafkaQueue:
    """`notifiers.worker.Queue` for one worker process. `run` reads until cancelled, from the given lanes.

    At most `held` messages of a lane are here at a time: above that its partitions are paused. `begun` tells what this
    worker left open when it last ended: see begun.py. `overdue` finds what no message brings: see overdue.py.
    """

    def __init__(
        self,
        config: KafkaConfig,
        clock: Clock,
        lanes: Sequence[Lane] = LANES,
        begun: Callable[[], Awaitable[list[Waiting]]] = _nothing,
        overdue: Overdue | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._lanes = {lane: _Lane(lane) for lane in LANES if lane in lanes}
        self._begun = begun
        self._overdue = overdue
        self._own: dict[str, Due] = {}  # by shard, for which no message here stands: what was begun, or is overdue
        self._lock = threading.Lock()  # the worker takes in a thread of its own
        self._come = asyncio.Event()

    # What the worker asks --------------------------------------------------------------------------------------------

    def take(self, now: datetime, worker: str, limit: int) -> list[Waiting]:
        """What is here and not done with, also what was taken before: the worker knows what it is at."""
        self._come.clear()
        found: list[Waiting] = []
        with self._lock:
            for lane in self._lanes.values():
                counts: Counter[Any] = Counter()
                found += [own.waiting for own in self._own.values() if own.lane is lane.lane]
                for shard_id, there in lane.held.items():
                    if shard_id in self._own:
                        continue
                    last = max((one.due for one in there), key=lambda due: due.position)
                    if counts[last.channel] < limit:
                        counts[last.channel] += 1
                        found.append(last.waiting._replace(stale=any(one.due.stale for one in there)))
        return found

    async def wait(self, now: datetime) -> None:
        await self._come.wait()

    def done(self, waiting: Waiting, fault: Exception | None) -> None:
        """A fault that will pass (a log that cannot be reached, say) leaves the shard here. One that nobody foresaw
        counts: it is announced anew with one failure more (or stays here, where no message brought it), and laid aside
        after so many. What only a newer program can read is let go: the relay announces it again."""
        if isinstance(fault, UnknownEvent):
            fault = None
        passing = isinstance(fault, FenghuoError) and not isinstance(fault, VerificationFailed)
        lane = self._lanes.get(waiting.lane)
        if passing or lane is None:
            return
        with self._lock:
            own = self._own.pop(waiting.shard_id, None)
            gone = lane.drop(waiting.shard_id, waiting.position)
            known = [one.due for one in gone] + ([own] if own else [])
            if fault is not None and known:
                failures = 1 + max(one.failures for one in known)  # the relay, which may have come between, knows none
                again = msgspec.structs.replace(due(waiting), failures=failures)
                self._failed(lane, gone.pop() if gone else None, again, fault)
            for one in gone:
                lane.offsets.finished(one.part, one.offset)
        self._come.set()

    def _failed(self, lane: _Lane, held: _Held | None, again: Due, fault: Exception) -> None:
        body, key = encode(again), again.shard_id.encode()
        part, offset = (held.part, held.offset) if held else (NOWHERE, 0)
        if again.failures < self._config.failures:
            if held:
                lane.returns.append(_Return(part, offset, self._config.lane(again.lane), key, body))
            else:
                self._own[again.shard_id] = again
            return
        letter = Letter(
            letter_id=again.shard_id,
            lane=again.lane,
            reason=f"{type(fault).__name__} after {again.failures} tries",
            at=self._clock.now(),
            body=body,
            shard_id=again.shard_id,
            position=again.position,
            failures=again.failures,
        )
        # Brokers may be away for long: of what is tried again meanwhile only the last letter waits for them.
        lane.returns = [one for one in lane.returns if one.part != NOWHERE or one.key != key]
        lane.returns.append(self._laid_aside(part, offset, letter))

    def _laid_aside(self, part: Part, offset: int, letter: Letter) -> _Return:
        _log.error("laid_aside", letter_id=letter.letter_id, lane=letter.lane.value, reason=letter.reason)
        return _Return(part, offset, self._config.dead, letter.letter_id.encode(), encode(letter))

    # Reading ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        tasks = [asyncio.create_task(self._reading(lane), name=f"lane-{lane.lane}") for lane in self._lanes.values()]
        tasks.append(asyncio.create_task(self._going_on(), name="begun"))
        if self._overdue is not None:
            tasks.append(asyncio.create_task(self._overdue.run(self._idle, self._put), name="overdue"))
        try:
            await asyncio.gather(*tasks)
        finally:
            await ended(tasks)

    async def _going_on(self) -> None:
        """Takes up what this worker left, once."""
        while True:
            try:
                own = await self._begun()
            except FenghuoError as error:
                _log.error("begun_unread", code=error.code, said=str(error))
                await asyncio.sleep(LONGEST_BACKOFF_S)
                continue
            if own:
                _log.info("goes_on", shards=len(own))
                self._put(own)
            return

    def _put(self, own: Sequence[Waiting]) -> None:
        with self._lock:  # what is here already has its failures counted
            self._own = {waiting.shard_id: due(waiting) for waiting in own} | self._own
        self._come.set()

    def _idle(self) -> set[Lane]:
        with self._lock:
            return {lane.lane for lane in self._lanes.values() if not lane.count}

    async def _reading(self, lane: _Lane) -> None:
        backoff = FIRST_BACKOFF_S
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._read(lane)
            except FenghuoError as error:
                _log.error("lane_stopped", lane=lane.lane.value, code=error.code, said=str(error))
            if asyncio.get_running_loop().time() - began > LONGEST_BACKOFF_S:
                backoff = FIRST_BACKOFF_S
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_S)

    async def _read(self, lane: _Lane) -> None:
        config, topic = self._config, self._config.lane(lane.lane)
        await ensured(config, {topic: DAY}, config.partitions)
        await ensured(config, {config.dead: COMPACT}, 1)
        group, member = config.group(lane.lane), config.named
        async with consumer(config, group, member) as reading:
            reading.subscribe([topic], listener=_Rebalance(self, lane, reading))
            loop = asyncio.get_running_loop()
            committed_at = loop.time()
            try:
                while True:
                    room = config.held - lane.count
                    with answered():
                        parts = reading.assignment()
                        (reading.resume if room > 0 else reading.pause)(*parts)
                        batches = await reading.getmany(timeout_ms=POLL_MS, max_records=max(1, room))
                    for part, records in batches.items():
                        self._came(lane, part, records)
                    if lane.returns:
                        await self._give_back(lane)
                    if loop.time() - committed_at >= COMMIT_S:
                        await self.commit(lane, reading)
                        committed_at = loop.time()
            finally:
                await self.last_commit(lane, reading)
                self.lost(lane, reading.assignment())

    def _came(self, lane: _Lane, part: Part, records: Sequence[Any]) -> None:
        with self._lock:
            for record in records:
                lane.offsets.read(part, record.offset)
                try:
                    lane.put(_Held(part, record.offset, read_due(record.value)))
                except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
                    letter = Letter(
                        letter_id=f"{part.topic}-{part.partition}-{record.offset}",
                        lane=lane.lane,
                        reason=f"It cannot be read: {error}",
                        at=self._clock.now(),
                        body=record.value or b"",
                    )
                    lane.returns.append(self._laid_aside(part, record.offset, letter))
        self._come.set()

    async def _give_back(self, lane: _Lane) -> None:
        async with producer(self._config) as sending:
            while lane.returns:
                one = lane.returns[0]
                with answered():
                    await sending.send_and_wait(one.topic, one.body, key=one.key)
                with self._lock:
                    lane.offsets.finished(one.part, one.offset)
                    if lane.returns and lane.returns[0] is one:
                        del lane.returns[0]

    async def commit(self, lane: _Lane, reading: Consumer) -> None:
        """Raises Unreachable."""
        with self._lock:
            ours = reading.assignment()
            offsets = {part: offset for part, offset in lane.offsets.to_commit().items() if part in ours}
        if offsets and await commit(reading, offsets):
            with self._lock:
                lane.offsets.committed(offsets)

    async def last_commit(self, lane: _Lane, reading: Consumer) -> None:
        """Before partitions go to somebody else. What is not committed is read again, and found done."""
        with contextlib.suppress(FenghuoError, TimeoutError):
            async with asyncio.timeout(LAST_COMMIT_S):
                await self.commit(lane, reading)

    def lost(self, lane: _Lane, parts: Iterable[Part]) -> None:
        with self._lock:
            lane.lose(parts)


class _Rebalance(Listener):  # type: ignore[misc, unused-ignore]
    def __init__(self, queue: KafkaQueue, lane: _Lane, reading: Consumer) -> None:
        self._queue = queue
        self._lane = lane
        self._reading = reading

    async def on_partitions_revoked(self, revoked: Iterable[Part]) -> None:
        await self._queue.last_commit(self._lane, self._reading)
        self._queue.lost(self._lane, revoked)

    async def on_partitions_assigned(self, assigned: Iterable[Part]) -> None:
        pass
