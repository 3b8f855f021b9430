"""Reachability as commands and questions: the audit of the nodes that one may read, and test messages.

A test is one append: what was ordered, and the shards that carry it; the worker takes those like any others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from api.commands import Actor, Commands, Done, Once
from domain import reach
from domain.errors import NotFound
from domain.grants import Action
from domain.ids import derived, reach_test_stream, shard_stream
from domain.people import Channel
from domain.planning import Told
from domain.ports import Append, Origin
from domain.reach import UNTESTED_DAYS, ReachTestOrdered
from projections.reach import Audit, audit, to_test, told_of

VALID = timedelta(hours=24)  # how long a test message is tried
SCHEDULE = "system:reach"


class Reachability(Commands):
    def audit(self, node_ids: Sequence[str], days: int = UNTESTED_DAYS) -> Audit:
        """The findings at these nodes; whoever asks has been found to be allowed to."""
        with self.views.reading() as db:
            return audit(self.views, db, node_ids, now=self.clock.now(), days=days)

    def subtree(self, node_id: str | None = None) -> list[str]:
        """A node and all below it; every node for None. Raises NotFound."""
        with self.views.reading() as db:
            hierarchy = self.views.directory.hierarchy(db)
        if node_id is None:
            return list(hierarchy.nodes)
        if node_id not in hierarchy.nodes:
            raise NotFound("node.unknown", "There is no such node.")
        return list(hierarchy.subtree(node_id))

    async def order_test(
        self,
        actor: Actor,
        *,
        node_id: str,
        channel: Channel | None = None,
        untested_days: int = UNTESTED_DAYS,
        once: Once | None = None,
    ) -> tuple[Done, ReachTestOrdered | None]:
        """Sends a test to the contact points at or below a node that were not heard of; None where there are none."""
        origin = self.allow(actor, Action.REACH_TEST, [node_id])
        test_id = derived("reach-test", actor.person_id, once.key) if once else self.new_id()
        return await self._order(test_id, node_id, channel, untested_days, origin, once)

    async def order_canary(self, actor: Actor, points: Sequence[tuple[str, Channel]]) -> ReachTestOrdered:
        """Sends a test to these people over these channels, whenever they were heard of. Raises NotFound."""
        with self.views.reading() as db:
            people = self.views.directory.people_by_id(db, sorted({person_id for person_id, _ in points}))
        if not points or any(person_id not in people for person_id, _ in points):
            raise NotFound("person.unknown", "There is no such person.")
        told = [told_of(people[person_id], channel) for person_id, channel in points]
        origin = self.allow(actor, Action.REACH_TEST, sorted({t.node_id for t in told}))
        events, shards = reach.order(
            None,
            told,
            test_id=self.new_id(),
            node_id=told[0].node_id,
            channel=None,
            untested_days=1,
            valid_until=self.clock.now() + VALID,
            canary=True,
        )
        (ordered,) = (event for event in events if isinstance(event, ReachTestOrdered))
        appends = [Append(shard_stream(shard.shard_id), 0, [shard]) for shard in shards]
        stream = reach_test_stream(ordered.test_id)
        await self.log.append([Append(stream, 0, events), *appends], origin)
        return ordered

    async def order_scheduled(self, node_id: str, untested_days: int, turn: str) -> ReachTestOrdered | None:
        """The schedule's order of one turn; the same turn again orders nothing more."""
        origin = Origin(actor=SCHEDULE, correlation_id=f"reach-{turn}")
        test_id = derived("reach-scheduled", node_id, turn)
        _, ordered = await self._order(test_id, node_id, None, untested_days, origin, None, scheduled=True)
        return ordered

    async def _order(
        self,
        test_id: str,
        node_id: str,
        channel: Channel | None,
        untested_days: int,
        origin: Origin,
        once: Once | None,
        *,
        scheduled: bool = False,
    ) -> tuple[Done, ReachTestOrdered | None]:
        stream = reach_test_stream(test_id)

        async def decide() -> tuple[Sequence[Append], str]:
            state, version = await self.log.load(stream, reach.evolve)
            told = await asyncio.to_thread(self._to_test, node_id, channel, untested_days)
            events, shards = reach.order(
                state,
                told,
                test_id=test_id,
                node_id=node_id,
                channel=channel,
                untested_days=untested_days,
                valid_until=self.clock.now() + VALID,
                scheduled=scheduled,
            )
            appends = [Append(shard_stream(shard.shard_id), 0, [shard]) for shard in shards]
            return [Append(stream, version, events), *appends], test_id

        done = await self.commit(decide, origin, once)
        ordered, _ = await self.log.load(reach_test_stream(done.id), reach.evolve)
        return done, ordered

    def _to_test(self, node_id: str, channel: Channel | None, days: int) -> list[Told]:
        nodes = self.subtree(node_id)
        with self.views.reading() as db:
            return to_test(self.views, db, nodes, now=self.clock.now(), days=days, channel=channel)
