"""Shards are offered to the worker as they were planned, and not read again: what was written since is found out."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from house import SMS, house

from domain import shards
from domain.ids import shard_stream
from domain.ports import Append, Origin
from domain.rulepacks import Level
from domain.shards import ShardLeased, ShardPlanned
from infra.engine.queue import OFFERED, ViewQueue
from notifiers.worker import LEASE_S

ORIGIN = Origin(actor="system:test", correlation_id="offered")


async def test_a_shard_goes_out_without_being_read(tmp_path, monkeypatch):
    async with house(tmp_path) as h:
        read: list[str] = []
        load = h.stores.log.load

        async def noted(stream, evolve):
            read.append(stream)
            return await load(stream, evolve)

        monkeypatch.setattr(h.stores.log, "load", noted)
        warning_id = await h.release(Level.RED, target="milan")
        await h.quiet()
        assert h.sent() == h.planned(warning_id)
        assert not {shard_stream(shard_id) for shard_id in h.shards(warning_id)} & set(read)


async def test_offers_that_nobody_takes_do_not_pile_up(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.release(Level.RED, target="milan")
        await h.quiet()
        queue = ViewQueue(h.stores.views, h.stores.follower, h.clock)
        planned = h.recorded(ShardPlanned)
        for _ in range(OFFERED):
            queue.offer(planned)
        taken = queue.take(h.clock.now(), "one", 1)
        assert len(taken) == OFFERED
        assert {found.shard_id for found in taken} == set(h.shards(warning_id))


@pytest.mark.parametrize("since", ["leased", "stopped"])
async def test_what_was_written_since_is_found_out_before_anything_is_sent(tmp_path, since: str):
    """Another process was first, or it is over: the intent does not fit, and nobody is told."""
    async with house(tmp_path) as h:
        red = await h.release(Level.RED, target="milan")
        await h.quiet()
        sent = h.sent()
        plan = msgspec.structs.replace(h.shards(red)[h.place(red, "milan-zh", SMS)[0]], shard_id="again")
        state, now = shards.evolve(None, plan), h.clock.now()
        if since == "leased":
            written = shards.lease(state, worker="two", now=now, until=now + timedelta(seconds=LEASE_S))
            written += shards.intend(state, (0,))
        else:
            written = shards.stop(state)
        await h.stores.log.append([Append(shard_stream("again"), 0, [plan, *written])], ORIGIN)

        await h.runtime.worker.drive("again", fresh=plan)

        assert h.sent() == sent
        assert [e.worker for e in h.events(ShardLeased) if e.shard_id == "again"] == ["two"] * (since == "leased")
