"""The duty roster over HTTP: who is on duty at a node, the plan ahead, and taking the duty over."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from api.auth import O_, A, S
from api.duty import MAX_NOTE
from api.schemas import Command, Id, Strict
from domain.roster import MAX_SHIFTS, Shift, Turn

router = APIRouter(prefix="/v1/roster", tags=["roster"])


class ShiftIn(Strict):
    """`person_id`, of the node's staff, is on duty from `from_at` until before `to_at`."""

    person_id: Id
    from_at: AwareDatetime
    to_at: AwareDatetime


class RosterIn(Strict):
    """From `from_at` until `to_at` these shifts take the place of what was planned. They may not overlap."""

    from_at: AwareDatetime
    to_at: AwareDatetime
    shifts: Annotated[list[ShiftIn], Field(max_length=MAX_SHIFTS)]


class HandOverIn(Strict):
    """What is to be known of the duty that is taken over, kept sealed; `until` when, where not to the shift's end."""

    note: Annotated[str, StringConstraints(max_length=MAX_NOTE)] = ""
    until: AwareDatetime | None = None


class TurnOut(BaseModel):
    """A shift as it stands; `taken_over` where it came by a handover."""

    person_id: str
    from_at: datetime
    to_at: datetime
    taken_over: bool


class GapOut(BaseModel):
    """Nobody is on duty then."""

    from_at: datetime
    to_at: datetime


class RosterOut(BaseModel):
    """A node's roster from `from_at` to `to_at`, who is on duty at `at`, and when nobody is."""

    node_id: str
    at: datetime
    on_duty: TurnOut | None
    from_at: datetime
    to_at: datetime
    turns: list[TurnOut]
    gaps: list[GapOut]
    position: int


@router.get("/{node_id}")
def show(
    node_id: str,
    actor: A,
    s: S,
    at: AwareDatetime | None = None,
    from_at: Annotated[AwareDatetime | None, Query(description="Where the span begins; `at`, or else now.")] = None,
    to_at: Annotated[AwareDatetime | None, Query(description="Where it ends; a week later.")] = None,
) -> RosterOut:
    """Who is on duty at a moment, past or to come (now, where none is named), and the roster around it."""
    shown = s.duty.shown(actor, node_id, at=at, from_at=from_at, to_at=to_at)
    return RosterOut(
        node_id=shown.node_id,
        at=shown.at,
        on_duty=_turn(shown.on_duty) if shown.on_duty is not None else None,
        from_at=shown.from_at,
        to_at=shown.to_at,
        turns=[_turn(turn) for turn in shown.turns],
        gaps=[GapOut(from_at=begins, to_at=ends) for begins, ends in shown.gaps],
        position=shown.position,
    )


@router.put("/{node_id}")
async def plan(node_id: str, body: RosterIn, actor: A, once: O_, s: S) -> Command:
    """Plans the node's roster ahead. What of the window is past stays as it was."""
    shifts = [Shift(shift.from_at, shift.to_at, shift.person_id) for shift in body.shifts]
    done = await s.duty.plan(actor, node_id, from_at=body.from_at, to_at=body.to_at, shifts=shifts, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.post("/{node_id}/hand-over")
async def hand_over(node_id: str, body: HandOverIn, actor: A, once: O_, s: S) -> Command:
    """Whoever asks takes the node's duty over, now: it is the act of the incoming officer."""
    done = await s.duty.take_over(actor, node_id, note=body.note, until=body.until, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


def _turn(turn: Turn) -> TurnOut:
    return TurnOut(person_id=turn.person_id, from_at=turn.from_at, to_at=turn.to_at, taken_over=turn.taken_over)
