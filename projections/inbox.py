"""Each node's inbox: the warnings that it has to acknowledge and relay, the tasks that it was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    Text,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)

from domain.cases import CaseActionRecorded, CaseClosed, CaseTasked
from domain.events import Recorded
from domain.relays import RelayAcknowledged, RelayOpened, RelayPassed, needed
from domain.warnings import WarningCancelled, WarningExpired, WarningUpdated
from projections.projection import Bulk, InOrder, Projection, Utc, upsert


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
        c = self.items.c
        acknowledged = func.coalesce(c.needed - bindparam("b_missing", type_=Integer), c.acknowledged)
        relayed = or_(c.relayed, bindparam("b_relayed", type_=Boolean))
        # The node has done its part once enough of its staff acknowledged; the first of them alone may relay.
        partly = and_(acknowledged > 0, acknowledged < c.needed)
        answered = (
            update(self.items)
            .where(c.node_id == bindparam("b_node"), c.kind == "warning", c.key == bindparam("b_key"))
            .where(c.state != "ended")
            .values(
                acknowledged=acknowledged,
                relayed=relayed,
                state=case((partly, "partial"), (relayed, "relayed"), else_="acknowledged"),
                position=bindparam("b_position"),
            )
        )
        self._answered = Bulk(answered, key=("b_node", "b_key"))
        ended = update(self.items).where(c.key == bindparam("b_key"))
        self._ended = Bulk(ended.values(state="ended", position=bindparam("b_position")), key=("b_key",))
        done = update(self.items).where(c.node_id == bindparam("b_node"), c.key == bindparam("b_key"))
        self._done = Bulk(done.values(state="done", position=bindparam("b_position")), key=("b_node", "b_key"))

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        changes = InOrder(db)  # stations open, and acknowledge, by the hundred
        for r in events:
            event = r.event
            match event:
                case RelayOpened():
                    wanted = needed(event.quota, len(event.staff))
                    changes.add(self._arrive, _arrived(r, event.node_id, "warning", event.warning_id, wanted))
                case RelayAcknowledged():
                    about = {"b_node": event.node_id, "b_key": event.warning_id, "b_position": r.position}
                    changes.add(self._answered.run, {**about, "b_missing": event.missing, "b_relayed": False})
                case RelayPassed(automatic=False):
                    about = {"b_node": event.node_id, "b_key": event.warning_id, "b_position": r.position}
                    changes.add(self._answered.run, {**about, "b_missing": None, "b_relayed": True})
                case WarningCancelled() | WarningExpired() | WarningUpdated():
                    changes.add(self._ended.run, {"b_key": r.stream.partition("-")[2], "b_position": r.position})
                case CaseTasked():
                    changes.add(self._arrive, _arrived(r, event.node_id, "task", event.case_id))
                case CaseActionRecorded():
                    about = {"b_node": event.node_id, "b_key": event.case_id, "b_position": r.position}
                    changes.add(self._done.run, about)
                case CaseClosed():
                    changes.add(self._ended.run, {"b_key": event.case_id, "b_position": r.position})
        changes.flush()

    def _arrive(self, db: Connection, rows: Sequence[dict[str, Any]]) -> None:
        upsert(db, self.items, rows)

    # Reading ---------------------------------------------------------------------------------------------------------

    def page(self, db: Connection, node_id: str, *, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Newest first, from those that arrived before a position."""
        c = self.items.c
        query = select(self.items).where(c.node_id == node_id).order_by(c.arrived_position.desc(), c.key).limit(limit)
        if before is not None:
            query = query.where(c.arrived_position < before)
        return [dict(row) for row in db.execute(query).mappings()]


def _arrived(r: Recorded, node_id: str, kind: str, key: str, wanted: int = 0) -> dict[str, Any]:
    return {
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
