"""Answers that nobody understood: asked about again, or waiting for a person to read them. Gone once they are clear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, Integer, Text, delete, select

from domain.answers import Answer, AnswerAskedBack, AnswerReceived, AnswerReferred, AnswerSettled
from domain.events import Recorded
from projections.projection import Projection, Utc, upsert

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
        for r in events:
            event = r.event
            match event:
                case AnswerAskedBack():
                    self._set(db, r, event, ASKED, event.channel.value)
                case AnswerReferred():
                    self._set(db, r, event, REFERRED, event.channel)
                case AnswerSettled():
                    self._drop(db, event)
                case AnswerReceived() if event.answer is not Answer.UNCLEAR:
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
        state: str | None = None,
    ) -> list[dict[str, Any]]:
        """Newest first, from those below a position."""
        c = self.answers.c
        query = select(self.answers).order_by(c.position.desc()).limit(limit)
        if before is not None:
            query = query.where(c.position < before)
        if warning_id is not None:
            query = query.where(c.warning_id == warning_id)
        if state is not None:
            query = query.where(c.state == state)
        return [dict(row) for row in db.execute(query).mappings()]
