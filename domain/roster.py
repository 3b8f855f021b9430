"""The duty roster (值班表): who is the duty officer of a node, at any moment, and when nobody is.

The roster of a node is a timeline of turns that never overlap: at each moment one person is on duty, or nobody is. A
plan fills a window of it ahead of time. A handover changes it on the spot, and it is the act of whoever takes over:
duty moves only to somebody who has said so, so it never lies with a person who does not know of it, and somebody can
still take over from an officer who has fallen silent. The outgoing one says what is open in the note, or by speaking.

What is past stays as it was: both acts change the timeline from their own moment on. So the timeline as it stands
answers "who was on duty at T" for every T. Times are UTC; the log knows people by their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec

from domain.errors import InvalidInput, Refused
from domain.events import Event, topic
from domain.people import STAFF, Person
from domain.private import Personal

MAX_SHIFTS = 1_000  # in one plan
LONGEST_PLAN = timedelta(days=400)
LONGEST_TURN = timedelta(hours=24)
"""How long who took over stays on duty where nothing is planned and no end was given. A local rule, labelled as one."""


class Shift(msgspec.Struct, frozen=True, order=True):
    """`person_id` is on duty from `from_at` until before `to_at`."""

    from_at: datetime
    to_at: datetime
    person_id: str


class Turn(Shift, frozen=True, order=True):
    """A shift as it stands in the timeline; `taken_over` where it came by a handover."""

    taken_over: bool = False

    def holds(self, at: datetime) -> bool:
        return self.from_at <= at < self.to_at


@topic("duty.planned")
class DutyPlanned(Event, frozen=True, kw_only=True):
    """From `from_at` until `to_at` the roster of the node is these shifts, whatever stood there before."""

    node_id: str
    from_at: datetime
    to_at: datetime
    shifts: tuple[Shift, ...]


@topic("duty.handed_over")
class DutyHandedOver(Event, frozen=True, kw_only=True):
    """`to_person` took over at `at` and stays on duty until `until`; `from_person` was on duty, if anybody was."""

    node_id: str
    from_person: str | None
    to_person: str
    at: datetime
    until: datetime
    personal: Personal | None = None


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """A node's timeline, in order, without overlaps."""

    node_id: str
    turns: tuple[Turn, ...] = ()


def plan(
    state: Roster | None,
    *,
    node_id: str,
    from_at: datetime,
    to_at: datetime,
    shifts: Sequence[Shift],
    staff: Iterable[Person],
    at: datetime,
) -> list[Event]:
    """Plans a window of the roster. What of it is past by `at` stays as it was; the rest takes the place of what stood.

    `staff` are the people who are named, as far as there are such. Raises InvalidInput for shifts that overlap, lie
    outside the window or belong to nobody of the node's staff, Refused where all of the window is past.
    """
    if not from_at < to_at or to_at - from_at > LONGEST_PLAN:
        raise InvalidInput("roster.window", "A roster ends after it begins, and covers at most 400 days.")
    if len(shifts) > MAX_SHIFTS:
        raise InvalidInput("roster.too_long", f"A roster has at most {MAX_SHIFTS} shifts.", "Plan it in parts.")
    allowed = {person.person_id for person in staff if _serves(person, node_id)}
    ordered = sorted(shifts)
    for shift in ordered:
        if not from_at <= shift.from_at < shift.to_at <= to_at:
            raise InvalidInput("roster.shift", f"The shift {_said(shift)} does not lie within the roster's window.")
        if shift.person_id not in allowed:
            raise InvalidInput("roster.not_staff", f"{shift.person_id} is not of the staff of {node_id}.")
    for before, after in pairwise(ordered):
        if after.from_at < before.to_at:
            raise InvalidInput(
                "roster.overlap",
                f"The shifts {_said(before)} and {_said(after)} overlap.",
                "One person is on duty at a time: end the one where the other begins.",
            )
    if to_at <= at:
        raise Refused("roster.past", "All of this roster is past; who was on duty then stays as it was.")
    start = max(from_at, at)
    ahead = tuple(Shift(max(s.from_at, start), s.to_at, s.person_id) for s in ordered if s.to_at > start)
    event = DutyPlanned(node_id=node_id, from_at=start, to_at=to_at, shifts=ahead)
    return [] if state is not None and evolve(state, event) == state else [event]


def hand_over(
    state: Roster | None,
    *,
    node_id: str,
    person: Person | None,
    at: datetime,
    until: datetime | None = None,
    personal: Personal | None = None,
) -> list[Event]:
    """`person` takes over the duty of the node, now, until `until`.

    Without `until`: to the end of the shift that is taken over; in a gap, to the next shift, at most 24 hours. Taking
    over what one has changes nothing. Refused for those who are not of the node's staff.
    """
    if person is None or not _serves(person, node_id):
        raise Refused("roster.not_staff", "Only staff of the node can take over its duty.", "Ask one of them.")
    holder = on_duty(state, at)
    if until is None:
        if holder is not None and holder.person_id == person.person_id:
            return []
        following = min((t.from_at for t in _turns(state) if t.from_at > at), default=at + LONGEST_TURN)
        until = holder.to_at if holder is not None else min(following, at + LONGEST_TURN)
    if not at < until <= at + LONGEST_PLAN:
        raise InvalidInput("roster.until", "A duty ends after it begins, within 400 days.")
    return [
        DutyHandedOver(
            node_id=node_id,
            from_person=holder.person_id if holder is not None else None,
            to_person=person.person_id,
            at=at,
            until=until,
            personal=personal,
        )
    ]


def evolve(state: Roster | None, event: Event) -> Roster | None:
    match event:
        case DutyPlanned():
            turns = [Turn(s.from_at, s.to_at, s.person_id) for s in event.shifts]
            return _laid(state, event.node_id, event.from_at, event.to_at, turns)
        case DutyHandedOver():
            turn = Turn(event.at, event.until, event.to_person, taken_over=True)
            return _laid(state, event.node_id, event.at, event.until, [turn])
    return state


def on_duty(state: Roster | None, at: datetime) -> Turn | None:
    """Who is on duty at a moment; None: nobody."""
    return next((turn for turn in _turns(state) if turn.holds(at)), None)


def gaps(turns: Iterable[Shift], from_at: datetime, to_at: datetime) -> list[tuple[datetime, datetime]]:
    """The spans between two moments in which nobody is on duty, in order."""
    found: list[tuple[datetime, datetime]] = []
    covered = from_at
    for turn in sorted(turns):
        if turn.to_at <= covered or turn.from_at >= to_at:
            continue
        if turn.from_at > covered:
            found.append((covered, turn.from_at))
        covered = turn.to_at
    if covered < to_at:
        found.append((covered, to_at))
    return found


def _laid(state: Roster | None, node_id: str, from_at: datetime, to_at: datetime, turns: Iterable[Turn]) -> Roster:
    """The timeline with a window of it replaced: what stood there is cut away, what sticks out on either side stays."""
    kept: list[Turn] = list(turns)
    for turn in _turns(state):
        if turn.from_at < from_at:
            kept.append(msgspec.structs.replace(turn, to_at=min(turn.to_at, from_at)))
        if turn.to_at > to_at:
            kept.append(msgspec.structs.replace(turn, from_at=max(turn.from_at, to_at)))
    return Roster(node_id=node_id, turns=tuple(sorted(kept)))


def _turns(state: Roster | None) -> tuple[Turn, ...]:
    return state.turns if state is not None else ()


def _serves(person: Person, node_id: str) -> bool:
    return person.node_id == node_id and person.role in STAFF and not person.forgotten


def _said(shift: Shift) -> str:
    return f"{shift.person_id} {shift.from_at.isoformat()}/{shift.to_at.isoformat()}"
