"""The duty roster's commands: plan a node's roster, take its duty over; and the question who is on duty.

Every method raises NotPermitted where no grant allows it, Refused or InvalidInput where a rule says no.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from api.commands import Actor, Commands, Done, Once
from domain import roster
from domain.errors import InvalidInput
from domain.grants import Action
from domain.ids import roster_stream
from domain.moments import FIRST_YEAR, LAST_YEAR, within_reason
from domain.people import Person
from domain.ports import Append
from domain.private import Private
from domain.roster import Shift, Turn

MAX_NOTE = 2_000  # characters
LONGEST_SPAN = timedelta(days=400)  # that is shown at a time


class RosterShown(msgspec.Struct, frozen=True, kw_only=True):
    """A node's roster over a span, as of log position `position`.

    `on_duty` is who is on duty at `at`, None where nobody is; `gaps` are the parts of the span without anybody.
    """

    node_id: str
    at: datetime
    on_duty: Turn | None
    from_at: datetime
    to_at: datetime
    turns: list[Turn]
    gaps: list[tuple[datetime, datetime]]
    position: int


class Duty(Commands):
    async def plan(
        self,
        actor: Actor,
        node_id: str,
        *,
        from_at: datetime,
        to_at: datetime,
        shifts: Sequence[Shift],
        once: Once | None = None,
    ) -> Done:
        """Plans a window of the node's roster ahead; what of it is past stays as it was."""
        origin = self.allow(actor, Action.ROSTER_WRITE, [node_id])
        _within_reason(from_at, to_at)
        with self.views.reading() as db:
            named = [self.views.directory.person(db, who) for who in {shift.person_id for shift in shifts}]
        staff = [person for person in named if person is not None]

        async def decide() -> tuple[Sequence[Append], str]:
            state, version = await self.log.load(roster_stream(node_id), roster.evolve)
            events = roster.plan(
                state,
                node_id=node_id,
                from_at=from_at,
                to_at=to_at,
                shifts=shifts,
                staff=staff,
                at=self.clock.now(),
            )
            return [Append(roster_stream(node_id), version, events)], node_id

        return await self.commit(decide, origin, once)

    async def take_over(
        self, actor: Actor, node_id: str, *, note: str = "", until: datetime | None = None, once: Once | None = None
    ) -> Done:
        """The actor takes the node's duty over, from now on. The note is kept sealed."""
        origin = self.allow(actor, Action.DUTY_TAKE, [node_id])
        if len(note) > MAX_NOTE:
            raise InvalidInput("text.too_long", f"A note has at most {MAX_NOTE} characters.")
        _within_reason(until)
        personal = Private(f"roster:{node_id}", {"text": note}) if note.strip() else None
        person = self._person(actor.person_id)

        async def decide() -> tuple[Sequence[Append], str]:
            state, version = await self.log.load(roster_stream(node_id), roster.evolve)
            events = roster.hand_over(
                state, node_id=node_id, person=person, at=self.clock.now(), until=until, personal=personal
            )
            return [Append(roster_stream(node_id), version, events)], node_id

        return await self.commit(decide, origin, once)

    def shown(
        self,
        actor: Actor,
        node_id: str,
        *,
        at: datetime | None = None,
        from_at: datetime | None = None,
        to_at: datetime | None = None,
    ) -> RosterShown:
        """The roster from `from_at` (`at` where none is named) for a week or until `to_at`, and who is on duty at `at`.

        Any moment can be asked for, past or to come; now, where none is named.
        """
        self.allow(actor, Action.RELAY_READ, [node_id])
        _within_reason(at, from_at, to_at)
        at = at or self.clock.now()
        from_at = from_at or at
        to_at = to_at or from_at + timedelta(days=7)
        if not from_at < to_at or to_at - from_at > LONGEST_SPAN:
            raise InvalidInput("roster.window", "The span ends after it begins, and covers at most 400 days.")
        with self.views.reading() as db:
            turns = self.views.roster.between(db, node_id, from_at, to_at)
            holder = self.views.roster.on_duty(db, [node_id], at).get(node_id)
        return RosterShown(
            node_id=node_id,
            at=at,
            on_duty=holder,
            from_at=from_at,
            to_at=to_at,
            turns=turns,
            gaps=roster.gaps(turns, from_at, to_at),
            position=self.views.position,
        )

    def _person(self, person_id: str) -> Person | None:
        with self.views.reading() as db:
            return self.views.directory.person(db, person_id)


def _within_reason(*moments: datetime | None) -> None:
    if not within_reason(*moments):
        raise InvalidInput("roster.time", f"A time of a roster lies between the years {FIRST_YEAR} and {LAST_YEAR}.")
