"""Warnings as they stand: one row each, with what was decided by whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Connection, Index, Integer, Text, select

from domain.content import Content
from domain.events import Recorded
from domain.warnings import (
    Status,
    WarningCancelled,
    WarningDrafted,
    WarningExpired,
    WarningReleased,
    WarningRevised,
    WarningState,
    WarningUpdated,
)
from projections.projection import Json, Projection, Utc, upsert

KEPT = 200  # states of warnings that are kept decoded


class Warnings(Projection):
    name = "warnings"
    code_version = 3

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.warnings = self.table(
            "warnings",
            Column("warning_id", Text, primary_key=True),
            Column("status", Text, nullable=False),
            Column("level", Text, nullable=False),
            Column("content", Json, nullable=False),
            Column("authors", Json, nullable=False),
            Column("updates", Text),
            Column("updated_by", Text),
            Column("released_by", Text),
            Column("release", Text),
            Column("release_reason", Text),
            Column("released_at", Utc),
            Column("release_event_id", Text),
            Column("rule_pack_id", Text),
            Column("cancelled_by", Text),
            Column("cancel_reason", Text),
            Column("cancel_texts", Json),
            Column("ended_at", Utc),
            Column("drafted_at", Utc, nullable=False),
            Column("drill", Boolean, nullable=False),
            Column("correction", Boolean, nullable=False),
            Column("real_channels", Boolean, nullable=False),  # of a drill: it goes to the real providers
            Column("version", Integer, nullable=False),
            Column("drafted_position", Integer, nullable=False),
            Column("position", Integer, nullable=False),
        )
        w = self.warnings.c
        Index(f"warnings_status_g{generation}", w.status)
        Index(f"warnings_drafted_g{generation}", w.drafted_position)
        self._states: dict[str, tuple[int, WarningState]] = {}

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        changed: dict[str, dict[str, Any]] = {}

        def row_of(r: Recorded) -> dict[str, Any] | None:
            warning_id = r.stream.partition("-")[2]
            if warning_id not in changed:
                query = select(self.warnings).where(self.warnings.c.warning_id == warning_id)
                found = db.execute(query).mappings().first()
                if found is None:
                    return None
                changed[warning_id] = dict(found)
            return changed[warning_id]

        for r in events:
            event = r.event
            if isinstance(event, WarningDrafted):
                changed[event.warning_id] = {
                    **dict.fromkeys(self.warnings.c.keys()),
                    "warning_id": event.warning_id,
                    "status": Status.DRAFT.value,
                    "level": event.content.level.value,
                    "content": msgspec.to_builtins(event.content),
                    "authors": [event.drafted_by],
                    "updates": event.updates,
                    "drafted_at": r.metadata.recorded_at,
                    "drill": event.content.drill,
                    "correction": event.correction,
                    "real_channels": False,
                    "version": r.version,
                    "drafted_position": r.position,
                    "position": r.position,
                }
                continue
            change: dict[str, Any]
            match event:
                case WarningRevised():
                    change = {"content": msgspec.to_builtins(event.content), "level": event.content.level.value}
                case WarningReleased():
                    change = {
                        "status": Status.RELEASED.value,
                        "released_by": event.released_by,
                        "release": event.release.value,
                        "release_reason": event.reason,
                        "released_at": r.metadata.recorded_at,
                        "release_event_id": r.metadata.event_id,
                        "rule_pack_id": r.metadata.rule_pack_id,
                        "real_channels": event.real_channels,
                    }
                case WarningUpdated():
                    change = {"status": Status.UPDATED.value, "updated_by": event.updated_by_warning}
                case WarningCancelled():
                    change = {
                        "status": Status.CANCELLED.value,
                        "cancelled_by": event.cancelled_by,
                        "cancel_reason": event.reason,
                        "cancel_texts": msgspec.to_builtins(event.texts),
                    }
                case WarningExpired():
                    change = {"status": Status.EXPIRED.value}
                case _:
                    continue
            row = row_of(r)
            if row is None:
                continue
            if isinstance(event, WarningRevised) and event.revised_by not in row["authors"]:
                row["authors"] = [*row["authors"], event.revised_by]
            if isinstance(event, WarningUpdated | WarningCancelled | WarningExpired):
                row["ended_at"] = r.metadata.recorded_at
            row.update(change, version=r.version, position=r.position)
        upsert(db, self.warnings, list(changed.values()))

    # Reading ---------------------------------------------------------------------------------------------------------

    def version(self, db: Connection, warning_id: str) -> int:
        """How often it was changed; 0 for one that is unknown."""
        query = select(self.warnings.c.version).where(self.warnings.c.warning_id == warning_id)
        return int(db.execute(query).scalar() or 0)

    def one(self, db: Connection, warning_id: str) -> dict[str, Any] | None:
        found = db.execute(select(self.warnings).where(self.warnings.c.warning_id == warning_id)).mappings().first()
        return dict(found) if found else None

    def page(self, db: Connection, *, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Newest first, from those drafted before a position."""
        query = select(self.warnings).order_by(self.warnings.c.drafted_position.desc()).limit(limit)
        if before is not None:
            query = query.where(self.warnings.c.drafted_position < before)
        return [dict(row) for row in db.execute(query).mappings()]

    def standing(self, db: Connection, warning_id: str, alone: str) -> tuple[Status, bool] | None:
        """How a warning stands, and whether anybody but `alone` has written on it; None where there is none."""
        w = self.warnings.c
        row = db.execute(select(w.status, w.authors).where(w.warning_id == warning_id)).first()
        return None if row is None else (Status(row.status), list(row.authors) != [alone])

    def drills(self, db: Connection, warning_ids: Sequence[str]) -> set[str]:
        """Those of these warnings that are drills."""
        w = self.warnings.c
        return set(db.execute(select(w.warning_id).where(w.warning_id.in_(warning_ids), w.drill)).scalars())

    def state(self, db: Connection, warning_id: str) -> WarningState | None:
        """The domain's own shape of a warning; kept for as long as its version stands, since its texts are long."""
        w = self.warnings.c
        version = db.execute(select(w.version).where(w.warning_id == warning_id)).scalar()
        if version is None:
            return None
        kept = self._states.get(warning_id)
        if kept is None or kept[0] != version:
            row = self.one(db, warning_id)
            if row is None:
                return None
            if len(self._states) >= KEPT:
                self._states.clear()
            kept = self._states[warning_id] = (row["version"], state_of(row))
        return kept[1]


def state_of(row: dict[str, Any]) -> WarningState:
    """The domain's own shape of a row."""
    return WarningState(
        warning_id=row["warning_id"],
        status=Status(row["status"]),
        content=msgspec.convert(row["content"], Content),
        authors=tuple(row["authors"]),
        updates=row["updates"],
        updated_by=row["updated_by"],
        released_by=row["released_by"],
        correction=row["correction"],
        real_channels=row["real_channels"],
    )
