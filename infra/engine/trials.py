"""Orders test messages by the calendar, where the settings ask for it. When it last did stands in the log."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from api.reachability import Reachability
from domain.ports import Clock
from infra.engine.follower import Follower
from projections.follower import Views

_log = structlog.get_logger("fenghuo.reach")

LONGEST_WAIT = timedelta(hours=1)


class ReachTests:
    """`days`: between two turns, and without a receipt before a contact point is tested."""

    def __init__(self, reachability: Reachability, views: Views, follower: Follower, clock: Clock, days: int) -> None:
        self._reachability = reachability
        self._views = views
        self._follower = follower
        self._clock = clock
        self._days = days

    async def run(self) -> None:
        while True:
            now = self._clock.now()
            turns = await asyncio.to_thread(self._turns)
            for node_id, turn, due in turns:
                if due <= now:
                    await self._test(node_id, turn)
            if not any(due <= now for *_, due in turns):
                await self._clock.sleep_until(min([due for *_, due in turns] + [now + LONGEST_WAIT]))

    def _turns(self) -> list[tuple[str, str, datetime]]:
        """Of each top node: what its next turn is called, after the one before it, and when it is due."""
        found: list[tuple[str, str, datetime]] = []
        with self._views.reading() as db:
            for node in self._views.directory.hierarchy(db).nodes.values():
                if node.parent is not None:
                    continue
                last = self._views.contact_points.last_scheduled(db, node.node_id)
                if last is None:
                    found.append((node.node_id, "first", self._clock.now()))
                else:  # what was too much for one order is the next turn's, at once
                    wait = timedelta() if last["remaining"] else timedelta(days=self._days)
                    found.append((node.node_id, str(last["test_id"]), last["ordered_at"] + wait))
        return found

    async def _test(self, node_id: str, turn: str) -> None:
        ordered = await self._reachability.order_scheduled(node_id, self._days, turn)
        if ordered is not None:
            _log.info("reach_test", node_id=node_id, points=ordered.points, left=ordered.left)
        await self._follower.reached(await self._reachability.log.last_position())
