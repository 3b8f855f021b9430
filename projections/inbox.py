"""Each node's inbox: the warnings that it has to acknowledge and relay, the tasks that it was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Index, Integer, Text, select, update

from domain.cases import CaseActionRecorded, CaseClosed, CaseTasked
from domain.events import Recorded
from domain.relays import RelayAcknowledged, RelayOpened, RelayPassed, needed
from domain.warnings import WarningCancelled, WarningExpired, WarningUpdated
from projections.projection import Projection, Utc, upsert


class Inbox(Projection):
    name = "inbox"
    code_version = 2

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.items = self.table(
            "inbox",
            Column("node_id", Text, primary_key=True),
            Column("kind", Text, primary_key=True),  # warning, task
            Column("key", Text, primary_key=True),  # the warning's or the case's id
            Column("state", Text, nullable=False),  # new, partial, acknowledged, relayed, done, ended
            Column("needed", Integer, nullable=False),  # how many of the staff are to acknowledge; 0 for a task
            Column("acknowledged", Integer, nullable=False),  # how many of these have
            Column("relayed", Boolean, nullable=False),
            Column("arrived_at", Utc, nullable=False),
            Column("arrived_position", Integer, nullable=False),
            Column("position", Integer, nullable=False),
        )
        Index(f"inbox_key_g{generation}", self.items.c.key)

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        for r in events:
            event = r.event
            match event:
                case RelayOpened():
                    wanted = needed(event.quota, len(event.staff))
                    self._arrive(db, r, event.node_id, "warning", event.warning_id, wanted)
                case RelayAcknowledged():
                    self._answered(db, r, event, missing=event.missing)
                case RelayPassed(automatic=False):
                    self._answered(db, r, event, relayed=True)
                case WarningCancelled() | WarningExpired() | WarningUpdated():
                    self._move(db, r, r.stream.partition("-")[2], "ended")
                case CaseTasked():
                    self._arrive(db, r, event.node_id, "task", event.case_id)
                case CaseActionRecorded():
                    self._move(db, r, event.case_id, "done", event.node_id)
                case CaseClosed():
                    self._move(db, r, event.case_id, "ended")

    def _arrive(self, db: Connection, r: Recorded, node_id: str, kind: str, key: str, wanted: int = 0) -> None:
        row = {
            "node_id": node_id,
            "kind": kind,
            "key": key,
            "state": "new",
            "needed": wanted,
            "acknowledged": 0,
            "relayed": False,
            "arrived_at": r.metadata.recorded_at,
            "arrived_position": r.position,
            "position": r.position,
        }
        upsert(db, self.items, [row])

    def _answered(
        self,
        db: Connection,
        r: Recorded,
        event: RelayAcknowledged | RelayPassed,
        *,
        missing: int | None = None,
        relayed: bool = False,
    ) -> None:
        """The node has done its part once enough of its staff acknowledged; the first of them alone may relay."""
        c = self.items.c
        query = select(self.items).where(
            c.node_id == event.node_id, c.kind == "warning", c.key == event.warning_id, c.state != "ended"
        )
        found = db.execute(query).mappings().first()
        if found is None:
            return
        row = dict(found)
        if missing is not None:
            row["acknowledged"] = row["needed"] - missing
        row["relayed"] = row["relayed"] or relayed
        if 0 < row["acknowledged"] < row["needed"]:
            row["state"] = "partial"
        else:
            row["state"] = "relayed" if row["relayed"] else "acknowledged"
        upsert(db, self.items, [{**row, "position": r.position}])

    def _move(self, db: Connection, r: Recorded, key: str, state: str, node_id: str | None = None) -> None:
        statement = update(self.items).where(self.items.c.key == key).values(state=state, position=r.position)
        db.execute(statement if node_id is None else statement.where(self.items.c.node_id == node_id))

    # Reading ---------------------------------------------------------------------------------------------------------

    def page(self, db: Connection, node_id: str, *, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Newest first, from those that arrived before a position."""
        c = self.items.c
        query = select(self.items).where(c.node_id == node_id).order_by(c.arrived_position.desc(), c.key).limit(limit)
        if before is not None:
            query = query.where(c.arrived_position < before)
        return [dict(row) for row in db.execute(query).mappings()]
