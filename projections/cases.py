"""Cases as they stand, and the entries of each in order. Words about a person stay sealed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Connection, Integer, Text, case, func, select, update

from domain.cases import CaseActionRecorded, CaseClosed, CaseHelpRepeated, CaseOpened, CaseTasked
from domain.events import Recorded
from projections.projection import Json, Projection, Utc, among

OPEN = "open"
TASKED = "tasked"
IN_ACTION = "in_action"
CLOSED = "closed"
STATUSES = (OPEN, TASKED, IN_ACTION, CLOSED)


class Cases(Projection):
    name = "cases"
    code_version = 2

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.cases = self.table(
            "cases",
            Column("case_id", Text, primary_key=True),
            Column("node_id", Text, nullable=False),
            Column("warning_id", Text, index=True),
            Column("person_id", Text),
            Column("source", Text, nullable=False),
            Column("status", Text, nullable=False),  # one of STATUSES
            Column("opened_at", Utc, nullable=False),
            Column("closed_at", Utc),
            Column("result", Text),
            Column("drill", Boolean, nullable=False),
            Column("version", Integer, nullable=False),
            Column("opened_position", Integer, nullable=False, index=True),
            Column("position", Integer, nullable=False),
        )
        self.entries = self.table(
            "case_entries",
            Column("case_id", Text, primary_key=True),
            Column("version", Integer, primary_key=True),
            Column("kind", Text, nullable=False),
            Column("actor", Text, nullable=False),
            Column("node_id", Text),
            Column("place", Text, nullable=False),
            Column("text", Text, nullable=False),
            Column("sealed", Json),
            Column("at", Utc, nullable=False),
            Column("position", Integer, nullable=False),
        )

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        for r in events:
            event, at = r.event, r.metadata.recorded_at
            match event:
                case CaseOpened():
                    row = {
                        "case_id": event.case_id,
                        "node_id": event.node_id,
                        "warning_id": event.warning_id,
                        "person_id": event.person_id,
                        "source": event.source.value,
                        "status": OPEN,
                        "opened_at": at,
                        "closed_at": None,
                        "result": None,
                        "drill": event.drill,
                        "version": r.version,
                        "opened_position": r.position,
                        "position": r.position,
                    }
                    db.execute(self.cases.insert(), row)
                    self._entry(db, r, event.case_id, "opened", event.opened_by, event.node_id, sealed=event.personal)
                case CaseHelpRepeated():
                    self._move(db, r, event.case_id)
                    self._entry(
                        db, r, event.case_id, "help_repeated", event.person_id, event.node_id, sealed=event.personal
                    )
                case CaseTasked():
                    self._move(db, r, event.case_id, status=TASKED)
                    self._entry(db, r, event.case_id, "tasked", event.tasked_by, event.node_id, text=event.instruction)
                case CaseActionRecorded():
                    self._move(db, r, event.case_id, status=IN_ACTION)
                    place = f"{event.place.city}, {event.place.country}" if event.place.city else event.place.country
                    self._entry(
                        db,
                        r,
                        event.case_id,
                        event.kind.value,
                        event.actor,
                        event.node_id,
                        place=place,
                        sealed=event.personal,
                    )
                case CaseClosed():
                    self._move(db, r, event.case_id, status=CLOSED, closed_at=at, result=event.result)
                    self._entry(db, r, event.case_id, "closed", event.closed_by, None, text=event.result)

    def _move(self, db: Connection, r: Recorded, case_id: str, **values: Any) -> None:
        db.execute(
            update(self.cases)
            .where(self.cases.c.case_id == case_id)
            .values(version=r.version, position=r.position, **values)
        )

    def _entry(
        self,
        db: Connection,
        r: Recorded,
        case_id: str,
        kind: str,
        actor: str,
        node_id: str | None,
        *,
        place: str = "",
        text: str = "",
        sealed: Any = None,
    ) -> None:
        row = {
            "case_id": case_id,
            "version": r.version,
            "kind": kind,
            "actor": actor,
            "node_id": node_id,
            "place": place,
            "text": text,
            "sealed": msgspec.to_builtins(sealed) if sealed is not None else None,
            "at": r.metadata.recorded_at,
            "position": r.position,
        }
        db.execute(self.entries.insert(), row)

    # Reading ---------------------------------------------------------------------------------------------------------

    def one(self, db: Connection, case_id: str) -> dict[str, Any] | None:
        row = db.execute(select(self.cases).where(self.cases.c.case_id == case_id)).mappings().first()
        return dict(row) if row else None

    def entries_of(self, db: Connection, case_id: str) -> list[dict[str, Any]]:
        query = select(self.entries).where(self.entries.c.case_id == case_id).order_by(self.entries.c.version)
        return [dict(row) for row in db.execute(query).mappings()]

    def drills(self, db: Connection, case_ids: Sequence[str]) -> set[str]:
        """Those of these cases that came from a drill."""
        c = self.cases.c
        return set(db.execute(select(c.case_id).where(c.case_id.in_(case_ids), c.drill)).scalars())

    def of_warning(self, db: Connection, warning_id: str, nodes: Iterable[str], limit: int) -> list[dict[str, Any]]:
        """The cases of a warning at these nodes. First those that nobody has taken up, then those in somebody's hands,
        of both what waits longest; then what was closed, the newest first."""
        c = self.cases.c
        query = (
            select(self.cases)
            .where(c.warning_id == warning_id, among(db, c.node_id, nodes))
            .order_by(
                case((c.status == OPEN, 0), (c.status == CLOSED, 2), else_=1),
                case((c.status == CLOSED, -c.opened_position), else_=c.opened_position),
            )
            .limit(limit)
        )
        return [dict(row) for row in db.execute(query).mappings()]

    def count(self, db: Connection, warning_id: str, nodes: Iterable[str]) -> int:
        """How many cases of a warning there are at these nodes."""
        c = self.cases.c
        mine = (c.warning_id == warning_id, among(db, c.node_id, nodes))
        return int(db.execute(select(func.count()).where(*mine)).scalar() or 0)

    def page(
        self, db: Connection, *, before: int | None, limit: int, warning_id: str | None = None
    ) -> list[dict[str, Any]]:
        """Newest first, from those opened before a position."""
        query = select(self.cases).order_by(self.cases.c.opened_position.desc()).limit(limit)
        if before is not None:
            query = query.where(self.cases.c.opened_position < before)
        if warning_id is not None:
            query = query.where(self.cases.c.warning_id == warning_id)
        return [dict(row) for row in db.execute(query).mappings()]
