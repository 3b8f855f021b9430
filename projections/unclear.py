"""Answers that nobody understood: asked about again, or waiting for a person to read them. Gone once they are clear."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Integer, Text, delete, func, select

from domain.answers import Answer, AnswerAskedBack, AnswerReceived, AnswerReferred, AnswerSettled
from domain.events import Recorded
from projections.projection import Projection, Utc, among, rows_by_key, upsert

ASKED = "asked"
REFERRED = "referred"


class Unclear(Projection):
    name = "unclear"

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.answers = self.table(
            "unclear",
            Column("warning_id", Text, primary_key=True),
            Column("person_id", Text, primary_key=True),
            Column("node_id", Text, nullable=False),
            Column("channel", Text, nullable=False),
            Column("state", Text, nullable=False),  # asked, referred
            Column("since", Utc, nullable=False),
            Column("position", Integer, nullable=False, index=True),
        )

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        # Most of those who answer were never unclear: one look tells, in place of a statement for each of them.
        people = {r.event.person_id for r in events if isinstance(r.event, AnswerReceived | AnswerSettled)}
        rows = rows_by_key(db, self.answers, self.answers.c.person_id, sorted(people))
        waiting = {(row["warning_id"], row["person_id"]) for row in rows}
        for r in events:
            event = r.event
            match event:
                case AnswerAskedBack():
                    self._set(db, r, event, ASKED, event.channel.value)
                    waiting.add((event.warning_id, event.person_id))
                case AnswerReferred():
                    self._set(db, r, event, REFERRED, event.channel)
                    waiting.add((event.warning_id, event.person_id))
                case AnswerSettled() | AnswerReceived():
                    settled = isinstance(event, AnswerSettled) or event.answer is not Answer.UNCLEAR
                    if settled and (event.warning_id, event.person_id) in waiting:
                        self._drop(db, event)

    def _set(
        self, db: Connection, r: Recorded, event: AnswerAskedBack | AnswerReferred, state: str, channel: str
    ) -> None:
        row = {
            "warning_id": event.warning_id,
            "person_id": event.person_id,
            "node_id": event.node_id,
            "channel": channel,
            "state": state,
            "since": r.metadata.recorded_at,
            "position": r.position,
        }
        upsert(db, self.answers, [row])

    def _drop(self, db: Connection, event: AnswerReceived | AnswerSettled) -> None:
        c = self.answers.c
        db.execute(delete(self.answers).where(c.warning_id == event.warning_id, c.person_id == event.person_id))

    # Reading ---------------------------------------------------------------------------------------------------------

    def one(self, db: Connection, warning_id: str, person_id: str) -> dict[str, Any] | None:
        c = self.answers.c
        query = select(self.answers).where(c.warning_id == warning_id, c.person_id == person_id)
        row = db.execute(query).mappings().first()
        return dict(row) if row else None

    def page(
        self,
        db: Connection,
        *,
        before: int | None = None,
        limit: int,
        warning_id: str | None = None,
    ) -> list[dict[str, Any]]:
        """Newest first, from those below a position."""
        c = self.answers.c
        query = select(self.answers).order_by(c.position.desc()).limit(limit)
        if before is not None:
            query = query.where(c.position < before)
        if warning_id is not None:
            query = query.where(c.warning_id == warning_id)
        return [dict(row) for row in db.execute(query).mappings()]

    def referred(self, db: Connection, warning_id: str, nodes: Iterable[str], limit: int) -> list[dict[str, Any]]:
        """The answers to a warning that wait for a person at these nodes, what waits longest first."""
        query = select(self.answers).where(*self._referred(db, warning_id, nodes))
        query = query.order_by(self.answers.c.position).limit(limit)
        return [dict(row) for row in db.execute(query).mappings()]

    def referred_count(self, db: Connection, warning_id: str, nodes: Iterable[str]) -> int:
        query = select(func.count()).where(*self._referred(db, warning_id, nodes))
        return int(db.execute(query).scalar() or 0)

    def _referred(self, db: Connection, warning_id: str, nodes: Iterable[str]) -> Sequence[ColumnElement[bool]]:
        c = self.answers.c
        return c.warning_id == warning_id, c.state == REFERRED, among(db, c.node_id, nodes)
