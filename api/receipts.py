"""Takes receipts of providers: merges those that come together into one append, and returns once they are durable.

Receipts of a shard have a stream of their own beside its ledger, so they never conflict with the worker. The first
receipt for somebody of a node's staff is also the node's "delivered".
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from domain import shards
from domain.errors import NotFound, VersionConflict
from domain.events import Event
from domain.ids import receipts_stream, shard_stream
from domain.outcomes import Outcome, Row
from domain.ports import Append, Log, Origin
from domain.shards import ReceiptsRecorded, ShardPlanned
from notifiers.arrival import Arrivals

KEPT = 5_000  # shards whose receipts are remembered; a forgotten one is read again from the log
MOST = 500  # receipts in one append

ORIGIN = Origin(actor="system:receipts", correlation_id="receipts")


class _Seen(msgspec.Struct, frozen=True):
    """What is known of a shard's receipts: the last outcome by recipient index, and which messages did not arrive."""

    outcomes: dict[int, Outcome]
    failed: frozenset[tuple[int, str]] = frozenset()


def _evolve(state: _Seen | None, event: Event) -> _Seen | None:
    match event:
        case ReceiptsRecorded(rows=rows):
            before = state or _Seen({})
            return _Seen({**before.outcomes, **{row.index: row.outcome for row in rows}}, before.failed | _failed(rows))
    return state


class _Shard(msgspec.Struct):
    plan: ShardPlanned
    version: int
    outcomes: dict[int, Outcome]
    failed: set[tuple[int, str]]


class Receipts:
    def __init__(self, log: Log) -> None:
        self._log = log
        self._shards: OrderedDict[str, _Shard] = OrderedDict()
        self._arrivals = Arrivals(log, ORIGIN)
        self._waiting: list[tuple[str, Row, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def record(self, shard_id: str, row: Row) -> None:
        """Returns once the receipt is in the log. The same receipt again changes nothing.

        Raises NotFound for a shard or a recipient that does not exist.
        """
        shard = await self._shard(shard_id)
        if not 0 <= row.index < len(shard.plan.recipients):
            raise NotFound("receipt.unknown", "There is no such message.")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((shard_id, row, done))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush(), name="receipts")
        await asyncio.shield(done)

    async def _shard(self, shard_id: str) -> _Shard:
        if shard_id in self._shards:
            self._shards.move_to_end(shard_id)
            return self._shards[shard_id]
        state, _ = await self._log.load(shard_stream(shard_id), shards.evolve)
        if state is None:
            raise NotFound("receipt.unknown", "There is no such message.")
        seen, version = await self._log.load(receipts_stream(shard_id), _evolve)
        seen = seen or _Seen({})
        shard = _Shard(state.plan, version, dict(seen.outcomes), set(seen.failed))
        known = self._shards.setdefault(shard_id, shard)
        while len(self._shards) > KEPT:
            self._shards.popitem(last=False)
        return known

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            try:
                await self._write(batch)
            except Exception as error:
                for _, _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                        done.exception()  # its caller may have gone
                continue
            for _, _, done in batch:
                if not done.done():
                    done.set_result(None)

    async def _write(self, batch: list[tuple[str, Row, asyncio.Future[None]]]) -> None:
        rows: dict[str, dict[int, Row]] = {}
        for shard_id, row, _ in batch:
            shard = await self._shard(shard_id)
            before = shard.outcomes.get(row.index)
            failed_before = row.outcome is not Outcome.DELIVERED and (row.index, row.provider_ref) in shard.failed
            if before is Outcome.DELIVERED or failed_before:
                continue  # seen, or out of order: nothing undoes "delivered"
            kept = rows.setdefault(shard_id, {})
            if row.index not in kept or kept[row.index].outcome is not Outcome.DELIVERED:
                kept[row.index] = row
        appends: list[Append] = []
        for shard_id, by_index in rows.items():
            shard = await self._shard(shard_id)
            event = ReceiptsRecorded(shard_id=shard_id, rows=tuple(by_index.values()))
            appends.append(Append(receipts_stream(shard_id), shard.version, [event]))
        if not appends:
            return
        try:
            await self._log.append(appends, ORIGIN)
        except VersionConflict:
            # Another process takes receipts for the same shards: read them again, one at a time.
            for append in appends:
                self._shards.pop(append.stream.partition("-")[2], None)
                await self._log.execute(append.stream, _evolve, _again(append.events), ORIGIN)
        for shard_id, by_index in rows.items():
            known = self._shards.get(shard_id)
            if known is not None:
                known.version += 1
                known.outcomes.update({row.index: row.outcome for row in by_index.values()})
                known.failed |= _failed(by_index.values())
            shard = known or await self._shard(shard_id)
            if any(row.outcome is Outcome.DELIVERED for row in by_index.values()):
                await self._arrivals.note(shard.plan)


def _failed(rows: Iterable[Row]) -> set[tuple[int, str]]:
    return {(row.index, row.provider_ref) for row in rows if row.outcome is not Outcome.DELIVERED}


def _again(events: Sequence[Event]) -> Callable[[_Seen | None], list[Event]]:
    def decide(_: _Seen | None) -> list[Event]:
        return list(events)

    return decide
