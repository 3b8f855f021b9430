"""Does what time alone calls for: escalates silence, has unclear answers read, ends validity.

Timers are a view, so they survive a restart.

A step of an escalation is due so many seconds after the recorded opening, and each is taken once: the relay's stream
says which were. Two clocks are asked whether it is time, and the first that says so counts. The wall clock: time in
which the program did not run, or the machine was asleep, is silence like any other, so one set ahead by an hour makes
steps come early (a call too soon costs less than one too late). And the time that has passed since the timer was first
seen here: so a wall clock set back by an hour delays no step while the program runs; after a restart it delays the next
one by that step's own time at most, never by the hour. The end of a warning's validity is a time on the wall clock,
written in the warning, and goes by that clock alone.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import structlog

from domain import answers, relays, warnings
from domain.errors import FenghuoError, UnknownEvent
from domain.ids import answer_stream, relay_stream, warning_stream
from domain.ports import Clock, Origin
from infra.engine.follower import Follower
from infra.engine.left import Left
from infra.engine.patience import Patience
from infra.log.store import EventLog
from notifiers.pause import first_of
from projections.follower import Views
from projections.timers import ESCALATE, REFER

_log = structlog.get_logger("fenghuo.timekeeper")

ACTOR = "system:timekeeper"
LONGEST_WAIT = timedelta(seconds=60)
AT_ONCE = 500  # timers
BEHIND_S, LONGEST_BEHIND_S = 0.05, 1.0  # a pause for the views, where they name what is settled; longer if they stand
LEFT_WAIT = timedelta(seconds=1)  # while a timer that is left to a newer program is the first of all


class Timekeeper:
    """`looked` is the position of the views at which it last saw to what is due."""

    def __init__(self, log: EventLog, views: Views, follower: Follower, clock: Clock, left: Left | None = None) -> None:
        self._log = log
        self._views = views
        self._follower = follower
        self._clock = clock
        self._patience = Patience(clock)
        self._left = left if left is not None else Left()
        self.looked = -1

    async def run(self) -> None:
        self._patience = Patience(self._clock)
        behind_s = BEHIND_S
        while True:
            position = self._views.position
            found, next_due = await asyncio.to_thread(self._due)
            due = [timer for timer in found if _key(timer) not in self._left]
            self.looked = position
            last = 0
            for timer in due:
                structlog.contextvars.bind_contextvars(correlation_id=_correlation(timer))
                try:
                    last = max(last, await self._fire(timer))
                except UnknownEvent:  # logged when it was met
                    self._left.add(*_key(timer))
                except FenghuoError as error:
                    _log.error("timer_failed", timer=timer["kind"], warning_id=timer["warning_id"], code=error.code)
                    await asyncio.sleep(1)
            if due:
                if last:
                    await self._follower.reached(last)
                else:
                    await asyncio.sleep(behind_s)  # settled already; the views are about to say so
                behind_s = BEHIND_S if last or self._views.position != position else min(behind_s * 2, LONGEST_BEHIND_S)
                continue
            await self._wait(position, next_due, LEFT_WAIT if found else LONGEST_WAIT)

    def _due(self) -> tuple[list[dict[str, Any]], datetime | None]:
        """(timers that are due, when the next is by the wall clock)"""
        now, timers = self._clock.now(), self._views.timers
        with self._views.reading() as db:
            self._patience.see(timers.changed_since(db, self._patience.position))
            most = AT_ONCE + len(self._left)  # what is left to others stays due, and comes first
            due = timers.due(db, now, most)
            known = {(t["kind"], t["warning_id"], t["node_id"]) for t in due}
            for seen in self._patience.over(most):
                timer = timers.one(db, *seen.key)
                if timer is None:
                    self._patience.settled(seen.key)
                    continue
                if timer["due_at"] != seen.due_at:
                    continue  # it has moved on to its next step
                self._patience.keep(seen)
                if seen.key not in known:
                    due.append(timer)
            return due, timers.next_due(db)

    async def _wait(self, position: int, next_due: datetime | None, longest: timedelta) -> None:
        """Until the next timer is due or the views moved: a new timer may be earlier."""
        now = self._clock.now()
        left = [longest]
        if next_due is not None and longest is LONGEST_WAIT:  # else it is that of a timer that is left to others
            left.append(next_due - now)
        if (patience := self._patience.left()) is not None and longest is LONGEST_WAIT:
            left.append(patience)
        until = now + min(left)
        await first_of(self._clock.sleep_until(until), self._follower.moved(position))

    def _rules(self, warning_id: str) -> str | None:
        """The rules that the warning was released under: its escalation goes by them, whatever came later."""
        with self._views.reading() as db:
            row = self._views.warnings.one(db, warning_id)
        return row["rule_pack_id"] if row else None

    async def _fire(self, timer: dict[str, Any]) -> int:
        """Acts on a timer; the position of what it wrote, 0 where nothing was left to do."""
        # What is due by the time that passed is due, though the wall clock was set back and does not say so yet.
        warning_id, now = timer["warning_id"], max(self._clock.now(), timer["due_at"])
        origin = Origin(
            actor=ACTOR,
            correlation_id=_correlation(timer),
            rule_pack_id=await asyncio.to_thread(self._rules, warning_id),
        )
        if timer["kind"] == ESCALATE:
            written = await self._log.execute(
                relay_stream(warning_id, timer["node_id"]),
                relays.evolve,
                lambda state: relays.escalate(state, at=now, by=ACTOR),
                origin,
            )
        elif timer["kind"] == REFER:
            written = await self._log.execute(
                answer_stream(warning_id, timer["node_id"]),
                answers.evolve,
                lambda state: answers.refer(state, warning_id=warning_id, person_id=timer["node_id"]),
                origin,
            )
        else:
            written = await self._log.execute(
                warning_stream(warning_id), warnings.evolve, lambda state: warnings.expire(state, at=now), origin
            )
        return written[-1].position if written else 0


def _key(timer: dict[str, Any]) -> tuple[str, ...]:
    return ("timer", timer["kind"], timer["warning_id"], timer["node_id"] or "")


def _correlation(timer: dict[str, Any]) -> str:
    return f"timer-{timer['warning_id']}"
