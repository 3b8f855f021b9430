"""A worker whose shard was taken over while it waited for an answer: what it sent is recorded all the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from domain import shards
from domain.ids import shard_stream
from domain.outcomes import Outcome
from domain.ports import Append
from notifiers.worker import LEASE_S
from tests.kafka.fleet import ORIGIN, Fleet, fleet, until


class Meddler:
    """A log on which another worker writes to the shard just before each of the first `times` appends."""

    def __init__(self, f: Fleet, shard_id: str, times: int) -> None:
        self._f, self._shard_id, self.left = f, shard_id, times

    def __getattr__(self, name: str):
        return getattr(self._f.stores.log, name)

    async def append(self, appends: Sequence[Append], *more):
        if self.left:
            self.left -= 1
            await lease(self._f, self._shard_id)
        return await self._f.stores.log.append(appends, *more)


async def lease(f: Fleet, shard_id: str) -> None:
    state, version = await f.stores.log.load(shard_stream(shard_id), shards.evolve)
    now = f.clock.now()
    leased = shards.lease(state, worker="two", now=now, until=now + timedelta(seconds=LEASE_S))
    await f.stores.log.append([Append(shard_stream(shard_id), version, leased)], ORIGIN)


async def test_what_was_sent_is_recorded_however_often_the_other_one_writes(tmp_path):
    async with fleet(tmp_path, None) as f:
        one = f.join("one")
        one.line.hang()
        [shard_id] = await f.plan(1)
        await until(lambda: f.sink.sent)
        sent = list(f.sink.sent)
        f.pass_lease()
        await lease(f, shard_id)
        one.worker._log = meddler = Meddler(f, shard_id, times=3)

        one.line.answer()
        await until(lambda: not f.state(shard_id).open)

        assert meddler.left == 0
        state = f.state(shard_id)
        assert (state.worker, state.open) == ("two", frozenset())
        recorded = [row for event in f.recorded() for row in event.rows]
        assert [(row.index, row.outcome) for row in recorded] == [(i, Outcome.ACCEPTED) for _, i in sent]
        assert f.sink.sent == sent
