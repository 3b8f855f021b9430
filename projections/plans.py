"""What has to be planned: the events that call for a plan, until that plan is in the log. The planner works it off."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, Connection, Integer, Text, bindparam, func, select, update

from domain.answers import AnswerAskedBack
from domain.events import Recorded
from domain.ladder import LadderStepped
from domain.planning import PlanMade
from domain.relays import RelayEscalated, RelayPassed
from domain.warnings import WarningCancelled, WarningReleased, WarningUpdated
from projections.projection import Bulk, Json, Projection, Utc, rows_by_key, upsert


class Plans(Projection):
    name = "plans"
    code_version = 2

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.triggers = self.table(
            "triggers",
            Column("event_id", Text, primary_key=True),
            Column("kind", Text, nullable=False),  # released, passed, escalated, stepped, updated, cancelled, asked
            Column("warning_id", Text, nullable=False),
            Column("node_id", Text, nullable=False),
            Column("action", Text, nullable=False),  # what an escalation does; by which channel somebody is asked
            Column("at", Utc, nullable=False),
            Column("spared", Json, nullable=False),
            Column("step", Json),  # of stepped: the shard, the number of the rung, indices by channel
            Column("person_id", Text, nullable=False),  # who is asked
            Column("actor", Text, nullable=False),
            Column("correlation_id", Text, nullable=False),
            Column("position", Integer, nullable=False),
            Column("planned", Integer, nullable=False, index=True),  # position of the plan, 0 while there is none
        )
        t = self.triggers
        planned = update(t).where(t.c.event_id == bindparam("of")).values(planned=bindparam("position"))
        self._planned = Bulk(planned, key=("of",))

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        new: list[dict[str, Any]] = []
        done: list[tuple[str, int]] = []
        for r in events:
            match r.event:
                case WarningReleased(warning_id=warning_id):
                    new.append(_trigger(r, "released", warning_id))
                case RelayPassed(warning_id=warning_id, node_id=node_id):
                    new.append(_trigger(r, "passed", warning_id, node_id))
                case RelayEscalated(warning_id=warning_id, node_id=node_id, action=action, spared=spared):
                    new.append(_trigger(r, "escalated", warning_id, node_id, action, spared))
                case LadderStepped() as event:
                    step = {"shard_id": event.shard_id, "rung": event.rung, "to": event.to}
                    new.append({**_trigger(r, "stepped", event.warning_id), "step": step})
                case WarningCancelled(warning_id=warning_id):
                    new.append(_trigger(r, "cancelled", warning_id))
                case WarningUpdated():
                    new.append(_trigger(r, "updated", r.stream.partition("-")[2]))
                case AnswerAskedBack(warning_id=warning_id, node_id=node_id, channel=channel, person_id=person_id):
                    new.append({**_trigger(r, "asked", warning_id, node_id, channel.value), "person_id": person_id})
                case PlanMade(trigger_event_id=event_id):
                    done.append((event_id, r.position))
        upsert(db, self.triggers, new)
        self._planned.run(db, [{"of": event_id, "position": position} for event_id, position in done])

    # Reading ---------------------------------------------------------------------------------------------------------

    def pending(self, db: Connection, limit: int = 32) -> list[dict[str, Any]]:
        """What waits for a plan, oldest first: of each warning at most `limit`, so that one that very many stations
        pass on hides no other."""
        return self.named(db, self.waiting(db, limit))

    def waiting(self, db: Connection, limit: int = 32) -> list[str]:
        """What is `pending`, by the ids of the events alone: a planner has most of it in hand already."""
        t = self.triggers.c
        place = func.row_number().over(partition_by=t.warning_id, order_by=t.position).label("place")
        waiting = select(t.event_id, t.position, place).where(t.planned == 0).subquery().c
        return list(
            db.execute(select(waiting.event_id).where(waiting.place <= limit).order_by(waiting.position)).scalars()
        )

    def named(self, db: Connection, event_ids: Sequence[str]) -> list[dict[str, Any]]:
        """These triggers, oldest first."""
        rows = rows_by_key(db, self.triggers, self.triggers.c.event_id, event_ids)
        return sorted((dict(row) for row in rows), key=itemgetter("position"))


def _trigger(
    r: Recorded, kind: str, warning_id: str, node_id: str = "", action: str = "", spared: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "event_id": r.metadata.event_id,
        "kind": kind,
        "warning_id": warning_id,
        "node_id": node_id,
        "action": action,
        "at": r.metadata.recorded_at,
        "spared": list(spared),
        "step": None,
        "person_id": "",
        "actor": r.metadata.actor,
        "correlation_id": r.metadata.correlation_id,
        "position": r.position,
        "planned": 0,
    }
