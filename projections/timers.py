"""What time alone will bring: silence to be escalated, unclear answers to be read, validity to end.

One row each, gone once it is settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Integer, Text, bindparam, delete, func, select

from domain.answers import (
    ASK_LIMIT_S,
    Answer,
    AnswerAskedBack,
    AnswerReceived,
    AnswerReferred,
    AnswerSettled,
)
from domain.events import Recorded
from domain.relays import RelayAcknowledged, RelayEscalated, RelayOpened
from domain.warnings import (
    WarningCancelled,
    WarningDrafted,
    WarningExpired,
    WarningReleased,
    WarningRevised,
    WarningUpdated,
)
from projections.projection import Bulk, InOrder, Json, Projection, Utc, rows_by_key, upsert

ESCALATE = "escalate"
EXPIRE = "expire"
REFER = "refer"  # the answer of a person, whose id stands in the place of the node's


class Timers(Projection):
    name = "timers"
    code_version = 2

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.timers = self.table(
            "timers",
            Column("kind", Text, primary_key=True),
            Column("warning_id", Text, primary_key=True),
            Column("node_id", Text, primary_key=True),
            Column("due_at", Utc, index=True),  # none: the warning is a draft and its validity does not run yet
            Column("opened_at", Utc, nullable=False),
            Column("steps", Json, nullable=False),
            Column("done", Integer, nullable=False),
            Column("position", Integer, nullable=False, index=True),
        )
        t = self.timers.c
        whose = (
            t.kind == bindparam("b_kind"),
            t.warning_id == bindparam("b_warning"),
            t.node_id == bindparam("b_node"),
        )
        self._drop = Bulk(delete(self.timers).where(*whose), key=("b_kind", "b_warning", "b_node"))

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        t = self.timers
        changes = InOrder(db)
        waiting = self._waiting(events, db)
        ending: dict[str, bool] = {}  # which warnings of this batch still have their end before them
        for r in events:
            event = r.event
            match event:
                case RelayOpened() if event.steps:
                    if event.warning_id not in ending:
                        changes.flush()
                        ending[event.warning_id] = self._get(db, EXPIRE, event.warning_id, "") is not None
                    if not ending[event.warning_id]:
                        continue  # withdrawn while it was planned: its silence is nobody's any more
                    steps = [step.after_s for step in event.steps]
                    due = event.opened_at + timedelta(seconds=steps[0])
                    row = _row(ESCALATE, event.warning_id, event.node_id, due, event.opened_at, steps, r.position)
                    changes.add(self._set, row)
                case RelayAcknowledged(missing=0):
                    changes.add(self._drop.run, _key(ESCALATE, event.warning_id, event.node_id))
                case RelayEscalated():
                    changes.flush()
                    found = self._get(db, ESCALATE, event.warning_id, event.node_id)
                    if found is None:
                        continue
                    if event.step >= len(found["steps"]):
                        changes.add(self._drop.run, _key(ESCALATE, event.warning_id, event.node_id))
                    else:
                        due = found["opened_at"] + timedelta(seconds=found["steps"][event.step])
                        changes.add(self._set, {**found, "due_at": due, "done": event.step, "position": r.position})
                case AnswerAskedBack():
                    at = r.metadata.recorded_at
                    due = at + timedelta(seconds=ASK_LIMIT_S)
                    changes.add(self._set, _row(REFER, event.warning_id, event.person_id, due, at, [], r.position))
                    waiting.add((event.warning_id, event.person_id))
                case AnswerReferred() | AnswerSettled() | AnswerReceived():
                    settled = not isinstance(event, AnswerReceived) or event.answer is not Answer.UNCLEAR
                    if settled and (event.warning_id, event.person_id) in waiting:
                        changes.add(self._drop.run, _key(REFER, event.warning_id, event.person_id))
                case WarningDrafted() | WarningRevised():
                    ending.clear()
                    warning_id = r.stream.partition("-")[2]
                    at = event.content.expires_at
                    changes.add(self._set, _row(EXPIRE, warning_id, "", None, at, [], r.position))
                case WarningReleased():
                    changes.flush()
                    found = self._get(db, EXPIRE, event.warning_id, "")
                    if found is not None:
                        changes.add(self._set, {**found, "due_at": found["opened_at"], "position": r.position})
                case WarningUpdated() | WarningCancelled() | WarningExpired():
                    ending.clear()
                    changes.flush()
                    # Who could not be understood may be in need all the same.
                    ended = r.stream.partition("-")[2]
                    db.execute(delete(t).where(t.c.warning_id == ended, t.c.kind != REFER))
        changes.flush()

    def _waiting(self, events: Sequence[Recorded], db: Connection) -> set[tuple[str, str]]:
        """Of those who answer in this batch, who was asked back, by warning and person: few, and one look tells."""
        answers = (AnswerReceived, AnswerReferred, AnswerSettled)
        people = {r.event.person_id for r in events if isinstance(r.event, answers)}
        c = self.timers.c
        rows = rows_by_key(db, self.timers, c.node_id, sorted(people), c.kind == REFER)
        return {(row["warning_id"], row["node_id"]) for row in rows}

    def _set(self, db: Connection, rows: Sequence[dict[str, Any]]) -> None:
        upsert(db, self.timers, rows)

    def _get(self, db: Connection, kind: str, warning_id: str, node_id: str) -> dict[str, Any] | None:
        c = self.timers.c
        query = select(self.timers).where(c.kind == kind, c.warning_id == warning_id, c.node_id == node_id)
        row = db.execute(query).mappings().first()
        return dict(row) if row else None

    # Reading ---------------------------------------------------------------------------------------------------------

    def due(self, db: Connection, now: datetime, limit: int = 500) -> list[dict[str, Any]]:
        c = self.timers.c
        query = (
            select(self.timers).where(c.due_at.is_not(None), c.due_at <= now).order_by(c.due_at, c.kind).limit(limit)
        )
        return [dict(row) for row in db.execute(query).mappings()]

    def changed_since(self, db: Connection, position: int) -> list[dict[str, Any]]:
        """The timers of silence that were set or moved on after a position."""
        c = self.timers.c
        query = select(self.timers).where(c.position > position, c.kind == ESCALATE).order_by(c.position)
        return [dict(row) for row in db.execute(query).mappings()]

    def one(self, db: Connection, kind: str, warning_id: str, node_id: str) -> dict[str, Any] | None:
        return self._get(db, kind, warning_id, node_id)

    def next_due(self, db: Connection) -> datetime | None:
        at: datetime | None = db.execute(select(func.min(self.timers.c.due_at, type_=Utc))).scalar()
        return at


def _row(
    kind: str, warning_id: str, node_id: str, due_at: datetime | None, opened_at: datetime, steps: list[int], at: int
) -> dict[str, Any]:
    """A timer of which nothing is done yet, set `at` a position."""
    return {
        "kind": kind,
        "warning_id": warning_id,
        "node_id": node_id,
        "due_at": due_at,
        "opened_at": opened_at,
        "steps": steps,
        "done": 0,
        "position": at,
    }


def _key(kind: str, warning_id: str, node_id: str) -> dict[str, Any]:
    return {"b_kind": kind, "b_warning": warning_id, "b_node": node_id}
