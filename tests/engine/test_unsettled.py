"""A cancellation that comes while messages are on their way: whoever may have one is told, late or not, and once."""

from __future__ import annotations

from pathlib import Path

from house import NOW, SMS, House, actor, house

from domain.outcomes import Outcome, Reason
from domain.rulepacks import Level
from domain.shards import Purpose, ShardLeased, ShardStopped
from infra.clock import ManualClock


async def hanging(h: House, who: str) -> str:
    """A warning whose SMS to somebody has no answer yet; the id."""
    h.notifiers[SMS].hanging = {who}
    warning_id = await h.release(Level.RED, target="milan")
    await h.until(lambda: (who, SMS) in h.sent())
    return warning_id


async def test_a_stopped_shard_with_something_in_doubt_is_settled_at_the_next_start(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with house(tmp_path, clock, chunk=1) as h:
        warning_id = await hanging(h, "milan-both")
        shard_id, _ = h.place(warning_id, "milan-both", SMS)
        await h.desk.cancel(actor("officer1"), warning_id, reason="mistake")
        await h.until(lambda: shard_id in {e.shard_id for e in h.events(ShardStopped)})
    async with house(tmp_path, clock, chunk=1) as h:
        await h.until(lambda: h.planned(warning_id, Purpose.CANCEL), seconds=20)
        await h.quiet()

        assert [r[:2] for r in h.rows(warning_id, "milan-both", channel=SMS)] == [(Outcome.UNKNOWN, Reason.CRASH)]
        assert ("milan-both", SMS) in h.planned(warning_id, Purpose.CANCEL)
        assert ("milan-both", SMS) in h.sent()
        assert h.view(lambda v, db: v.deliveries.unfinished(db, warning_id)) == []
        assert shard_id not in {row["shard_id"] for row in h.view(lambda v, db: v.deliveries.queue(db, NOW, "x", 9))}
        leases = [e for e in h.events(ShardLeased) if e.shard_id == shard_id]
        assert len(leases) == 2  # its own, and the one for what was in doubt
