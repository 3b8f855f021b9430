"""The rows of the plan: what a shard and its recipients begin as, and what an event changes of them."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table

from domain.events import Recorded
from domain.outcomes import Row
from domain.rulepacks import LANES
from domain.shards import ChunkIntended, ChunkRecorded, ShardHeld, ShardLeased, ShardPlanned, ShardStopped
from projections.listed import without_nul
from projections.projection import Bulk, add

PLANNED = "planned"
STOPPED = "stopped"
BEFORE = {
    "outcome": PLANNED,
    "reason": "",
    "attempt": 0,
    "provider_ref": "",
    "receipt_ref": None,
    "provider": "",
    "retry_at": None,
    "doubt": 0,
}
"""What is said of a delivery that nothing was done about yet."""
WORDS = ("outcome", "reason", "attempt", "provider", "retry_at")
"""What several deliveries may have in common that an event speaks of."""
SHARD_EVENTS = (ShardLeased, ChunkIntended, ChunkRecorded, ShardHeld, ShardStopped)


def shard_row(event: ShardPlanned, position: int) -> dict[str, Any]:
    return {
        "shard_id": event.shard_id,
        "warning_id": event.warning_id,
        "node_id": event.node_id,
        "circle": event.circle.value,
        "purpose": event.purpose.value,
        "channel": event.channel.value,
        "language": event.language,
        "lane": LANES.index(event.lane),
        "recipients": len(event.recipients),
        "settled": 0,
        "open": 0,
        "status": PLANNED,
        "worker": "",
        "leased_until": None,
        "next_due": None,
        "planned_position": position,
        "sandboxed": event.sandboxed,
        "position": position,
    }


def delivery_rows(event: ShardPlanned, position: int) -> list[dict[str, Any]]:
    about = {"shard_id": event.shard_id, "warning_id": event.warning_id, "position": position, **BEFORE}
    return [{**about, "idx": i, "person_id": person_id} for i, person_id in enumerate(event.recipients)]


def evolve_shard(row: dict[str, Any], r: Recorded) -> None:
    row["position"] = r.position
    match r.event:
        case ShardLeased(worker=worker, until=until):
            row.update(worker=worker, leased_until=until, status="leased")
        case ChunkIntended(indices=indices):
            row["open"] += len(indices)
            row["next_due"] = None
        case ChunkRecorded(rows=rows):
            row["open"] -= len(rows)
            row["settled"] += sum(o.retry_at is None for o in rows)
            if row["status"] != STOPPED and row["settled"] >= row["recipients"]:
                row["status"] = "finished"
        case ShardStopped():
            row.update(status=STOPPED, next_due=None)


def recorded_values(shard_id: str, o: Row, position: int) -> dict[str, Any]:
    return {
        "b_shard": shard_id,
        "b_idx": o.index,
        "outcome": o.outcome.value,
        "reason": o.reason.value,
        "attempt": o.attempt,
        "provider_ref": without_nul(o.provider_ref),
        "provider": o.provider,
        "retry_at": o.retry_at,
        "position": position,
    }


def receipt_values(shard_id: str, o: Row, position: int) -> dict[str, Any]:
    return {
        "b_shard": shard_id,
        "b_idx": o.index,
        "b_outcome": o.outcome.value,
        "b_ref": without_nul(o.provider_ref),
        "outcome": o.outcome.value,
        "reason": o.reason.value,
        "receipt_ref": without_nul(o.provider_ref),
        "position": position,
    }


class Waiting:
    """Rows of few recipients each, from several events: written together, new ones first, updates in their order."""

    def __init__(self, db: Connection, table: Table) -> None:
        self.db, self._table = db, table
        self.new: list[dict[str, Any]] = []
        self.updates: list[tuple[Bulk, dict[str, Any]]] = []

    def write(self) -> None:
        add(self.db, self._table, self.new)
        for bulk, several in groupby(self.updates, itemgetter(0)):
            bulk.run(self.db, [values for _, values in several])
        self.new, self.updates = [], []
