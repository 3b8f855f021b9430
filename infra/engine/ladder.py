"""Takes people to the next rung of their ladder when it is due. What is due is a view, so it survives a restart.

A step is an event beside the shard that it starts from, and says who is told over which channel; the planner makes
shards of it. Whoever stands in the stream of steps already is not taken there again, whatever the view says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import msgspec
import structlog

from domain import ladder
from domain.errors import FenghuoError, UnknownEvent
from domain.ids import ladder_stream
from domain.ladder import Why
from domain.people import Channel
from domain.ports import Clock, Origin
from domain.rulepacks import LevelRule
from domain.shards import Purpose
from domain.warnings import WarningState
from infra.engine.follower import Follower
from infra.engine.left import Left
from infra.engine.setback import Setback
from infra.log.store import EventLog
from notifiers.pause import first_of
from projections.follower import Views

_log = structlog.get_logger("fenghuo.ladder")

ACTOR = "system:ladder"
AT_ONCE = 20_000  # people who are taken further in one go
LONGEST_WAIT = timedelta(seconds=60)
SEEN_S = 1.0  # how long the views are waited for: under a fan-out they are never at the end of the log
BEHIND_S = 0.05  # a pause for the views, where they named somebody who was taken further already


class _Due(msgspec.Struct, frozen=True):
    """The people of one shard whose next rung is due for the same reason: by index the channels that are left."""

    warning: WarningState
    rule_pack_id: str
    shard_id: str
    purpose: Purpose
    rung: int
    why: Why
    climbing: dict[int, tuple[Channel, ...]]


class Ladder:
    """`looked` is the position of the views at which it last looked for who is due."""

    def __init__(self, log: EventLog, views: Views, follower: Follower, clock: Clock, left: Left | None = None) -> None:
        self._log = log
        self._views = views
        self._follower = follower
        self._clock = clock
        self._setback = Setback(clock, log.last_recorded_now)
        self._left = left if left is not None else Left()
        self.looked = -1

    async def run(self) -> None:
        while True:
            position = self._views.position
            next_due = await asyncio.to_thread(self._next_due, position)
            self.looked = position
            if next_due is None or next_due > self._clock.now():
                await self._wait(position, next_due)
                continue
            # A receipt or an answer that is in the log by now ends the climb: the views should have seen it.
            await self._follower.reached(await self._log.last_position(), SEEN_S)
            due = await asyncio.to_thread(self._due)
            found = [each for each in due if ("step", each.shard_id) not in self._left]
            if not found:
                await asyncio.sleep(SEEN_S if due else BEHIND_S)
                continue
            taken = await asyncio.gather(*[self._step(each) for each in found])
            if last := max(taken):
                await self._follower.reached(last, SEEN_S)
            else:
                await asyncio.sleep(BEHIND_S)  # taken further already, or ended; the views are about to say so

    async def _wait(self, position: int, next_due: datetime | None) -> None:
        """Until somebody is due or the views moved."""
        longest = self._clock.now() + LONGEST_WAIT
        until = min(self._setback.moment(next_due), longest) if next_due else longest
        await first_of(self._clock.sleep_until(until), self._follower.moved(position))

    def _next_due(self, position: int) -> datetime | None:
        self._setback.look(position)
        with self._views.reading() as db:
            return self._views.ladder.next_due(db, upto=self._setback.upto, ahead=self._setback.ahead)

    def _due(self) -> list[_Due]:
        with self._views.reading() as db:
            rows = self._views.ladder.due(
                db, self._clock.now(), AT_ONCE, upto=self._setback.upto, ahead=self._setback.ahead
            )
            who = sorted({row["person_id"] for row in rows})
            people = self._views.directory.people_by_id(db, who)
            dead = self._views.contact_points.unreachable(db, who, self._views.position)
            warnings = {row["warning_id"]: self._warning(db, row["warning_id"]) for row in rows}
        found: list[_Due] = []
        for (shard_id, rung, why), group in _grouped(rows):
            known = warnings[group[0]["warning_id"]]
            if known is None:
                continue
            warning, rule, rule_pack_id = known
            climbing: dict[int, tuple[Channel, ...]] = {}
            for row in group:
                person = people.get(row["person_id"])
                channels = [c for c in person.channels if (person.person_id, c) not in dead] if person else []
                climbing[row["idx"]] = ladder.next_rung(channels, rule, row["climb"].tried)
            purpose = Purpose(group[0]["purpose"])
            found.append(_Due(warning, rule_pack_id, shard_id, purpose, rung + 1, Why(why), climbing))
        return found

    def _warning(self, db: Any, warning_id: str) -> tuple[WarningState, LevelRule, str] | None:
        """A warning with the rules that it was released under."""
        row, warning = self._views.warnings.one(db, warning_id), self._views.warnings.state(db, warning_id)
        pack = self._views.directory.rule_pack_by_id(db, row["rule_pack_id"]) if row else None
        if warning is None or pack is None:
            _log.error("climb_without_rules", warning_id=warning_id)
            return None
        return warning, pack.levels[warning.content.level], pack.rule_pack_id

    async def _step(self, due: _Due) -> int:
        """Writes down a step; the position of it, 0 where nothing was left to do."""
        warning_id = due.warning.warning_id
        origin = Origin(actor=ACTOR, correlation_id=f"ladder-{warning_id}", rule_pack_id=due.rule_pack_id)
        structlog.contextvars.bind_contextvars(correlation_id=origin.correlation_id)  # of this task alone
        try:
            written = await self._log.execute(
                ladder_stream(due.shard_id),
                ladder.evolve,
                lambda state: ladder.step(
                    state,
                    warning=due.warning,
                    shard_id=due.shard_id,
                    purpose=due.purpose,
                    rung=due.rung,
                    why=due.why,
                    climbing=due.climbing,
                    now=self._clock.now(),
                ),
                origin,
            )
        except UnknownEvent:  # logged when it was met
            self._left.add("step", due.shard_id)
            return 0
        except FenghuoError as error:
            _log.error("step_failed", shard_id=due.shard_id, warning_id=warning_id, code=error.code)
            await asyncio.sleep(1)
            return 0
        return written[-1].position if written else 0


def _grouped(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[tuple[str, int, str], list[dict[str, Any]]]]:
    """Rows by (shard, rung, reason)."""

    def key(row: dict[str, Any]) -> tuple[str, int, str]:
        return (row["shard_id"], row["rung"], row["why"])

    for named, group in groupby(sorted(rows, key=key), key):
        yield named, list(group)
