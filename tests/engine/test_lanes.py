"""An extreme warning never waits behind bulk, however much of it gets no answer."""

from __future__ import annotations

from datetime import timedelta

from house import MILAN, PEOPLE, SMS, house

from domain.outcomes import Outcome
from domain.planning import PlanMade
from domain.rulepacks import Lane, Level
from domain.shards import ChunkIntended, ChunkRecorded, ShardPlanned


async def test_an_extreme_shard_starts_while_the_normal_lane_hangs(tmp_path):
    async with house(tmp_path) as h:
        staff = {who for who, (_, role, *_) in PEOPLE.items() if role.value not in ("citizen", "enterprise")}
        for notifier in h.notifiers.values():
            notifier.hanging = set(staff)
        for n in range(8):
            await h.release(Level.BLUE, event=f"Bulk {n}")
        await h.until(lambda: len(h.events(PlanMade)) == 8)
        normal = {plan.shard_id for plan in h.events(ShardPlanned) if plan.lane is Lane.NORMAL}

        def under_way() -> int:
            begun = {e.shard_id for e in h.events(ChunkIntended)} & normal
            return len(begun - {e.shard_id for e in h.events(ChunkRecorded)})

        await h.until(lambda: under_way() >= 32)
        extreme = await h.release(Level.RED, event="Extreme")
        await h.until(lambda: set(h.sent()) >= MILAN and h.rows(extreme, "milan-zh"))

        assert under_way() >= 32
        assert h.rows(extreme, "milan-zh")[0][0] is Outcome.ACCEPTED
        for notifier in h.notifiers.values():
            notifier.release()
        await h.quiet()
        assert len(h.events(ChunkRecorded)) == len(h.events(ShardPlanned))


async def test_a_retry_of_an_extreme_shard_comes_before_bulk(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["madrid-es"] = [Outcome.UNKNOWN]
        red = await h.told(Level.RED, target="madrid")
        for notifier in h.notifiers.values():
            notifier.hanging = {who for who in PEOPLE if who != "madrid-es"}
        for n in range(8):
            await h.release(Level.BLUE, event=f"Bulk {n}")
        await h.until(lambda: len(h.events(ChunkIntended)) >= 32)
        h.clock.move(timedelta(seconds=3))

        await h.until(lambda: len(h.rows(red, "madrid-es")) == 2)
        assert h.rows(red, "madrid-es")[1][0] is Outcome.ACCEPTED
