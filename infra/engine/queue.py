"""The embedded dispatch queue: the shards view, read by lanes; and the words and contacts that sending needs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.content import Text
from domain.errors import NotFound
from domain.events import Recorded
from domain.people import Channel
from domain.ports import Clock, Known
from domain.rulepacks import LANES, Lane
from domain.shards import Circle, Purpose, ShardPlanned
from infra.engine.follower import Follower
from infra.engine.setback import Setback
from notifiers.channel import Rendered
from notifiers.pause import first_of
from notifiers.render import render
from notifiers.trial import render_trial
from notifiers.worker import Waiting
from projections.follower import Views
from projections.warnings import state_of

OFFERED = 500  # shards, with their recipients, that wait here to be taken: brokers may be away for long


class ViewQueue:
    """The worker's queue on the shards view. A lease is an event of the shard, so two workers never share one.

    Retries are due by the wall clock. Where that was set back, those written before are offered at once: each comes
    early by its own wait at most, and once, since its next one is written by the new clock. None waits for the hour
    by which the clock was set. `recorded` says when the log was last written to: a clock may be set back between runs.
    Who is offered nearly everything looks into the view again only after `rest_s`.
    """

    def __init__(
        self,
        views: Views,
        follower: Follower,
        clock: Clock,
        recorded: Callable[[], datetime | None] = lambda: None,
        lanes: Collection[Lane] = LANES,
        rest_s: float = 0.0,
    ) -> None:
        self._rest_s = rest_s
        self._lanes = frozenset(lanes)
        self._views = views
        self._follower = follower
        self._clock = clock
        self._setback = Setback(clock, recorded)
        self._seen = -1
        self._offered: deque[Waiting] = deque(maxlen=OFFERED)
        self._offer = asyncio.Event()

    def offer(self, planned: Sequence[Recorded]) -> None:
        """Shards that are durable and not in the view yet. What is not taken at once comes by way of the view."""
        for recorded in planned:
            if isinstance(plan := recorded.event, ShardPlanned):
                self._offered.append(Waiting(plan.shard_id, plan.lane, plan.channel, recorded.position, fresh=plan))
        self._offer.set()

    def done(self, waiting: Waiting, fault: Exception | None) -> None:
        """Nothing is to be noted: what became of the shard is in the log, and so in the view."""

    def take(self, now: datetime, worker: str, limit: int) -> list[Waiting]:
        self._offer.clear()
        found: list[Waiting] = []
        while self._offered:
            found.append(self._offered.popleft())
        self._seen = self._views.position
        self._setback.look(self._seen)
        stale = self._setback.upto
        with self._views.reading() as db:
            rows = self._views.deliveries.queue(db, now, worker, limit, stale)
        found += [
            Waiting(shard_id, LANES[lane], Channel(channel), position, position <= stale)
            for shard_id, lane, channel, position in rows
        ]
        mine = [waiting for waiting in found if waiting.lane in self._lanes]
        return sorted(mine, key=lambda waiting: LANES.index(waiting.lane))

    async def wait(self, now: datetime) -> None:
        due = await asyncio.to_thread(self._next_due, now)
        waits: list[Coroutine[Any, Any, Any]] = [self._moved(), self._offer.wait()]
        if due is not None:
            waits.append(self._clock.sleep_until(self._setback.moment(due)))
        await first_of(*waits)

    async def _moved(self) -> None:
        await self._follower.moved(self._seen)
        await asyncio.sleep(self._rest_s)

    def _next_due(self, now: datetime) -> datetime | None:
        with self._views.reading() as db:
            return self._views.deliveries.next_due(db, now)


class ViewTexts:
    """Renders a warning once for each purpose, circle and language, and keeps what it rendered."""

    def __init__(self, views: Views, clock: Clock) -> None:
        self._views = views
        self._clock = clock
        self._kept: dict[tuple[str, int, Purpose, Circle, str, Lane], Rendered] = {}

    async def rendered(self, plan: ShardPlanned) -> Rendered:
        return await asyncio.to_thread(self._rendered, plan)

    def _rendered(self, plan: ShardPlanned) -> Rendered:
        if plan.purpose is Purpose.TEST:  # about no warning
            return render_trial(plan, self._clock.now())
        with self._views.reading() as db:
            version = self._views.warnings.version(db, plan.warning_id)
            key = (plan.warning_id, version, plan.purpose, plan.circle, plan.language, plan.lane)
            words = self._kept.get(key)  # another thread may empty what is kept
            row = self._views.warnings.one(db, plan.warning_id) if words is None else None
        if words is not None:
            return words
        if row is None:
            raise NotFound("warning.unknown", f"Warning {plan.warning_id} is not in the views.")
        if len(self._kept) > 500:
            self._kept.clear()
        words = self._kept[key] = render(
            state_of(row),
            purpose=plan.purpose,
            circle=plan.circle,
            language=plan.language,
            now=self._clock.now(),
            lane=plan.lane,
            cancel_texts=msgspec.convert(row["cancel_texts"] or [], tuple[Text, ...]),
            cancel_reason=row["cancel_reason"] or "",
        )
        return words


class ViewContacts:
    """Sealed contacts from the directory view."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def of(self, person_ids: Sequence[str], node_id: str | None) -> Known:
        with self._views.reading() as db:
            sealed = self._views.directory.sealed(db, person_ids)
            if node_id is None:
                return Known(sealed)
            stays = self._views.whereabouts.of(db, person_ids)
            tree = self._views.directory.hierarchy(db)
        zones = (tree.nodes[above].zone for above in tree.ancestors(node_id) if above in tree.nodes)
        return Known(sealed, stays, tuple(zones))
