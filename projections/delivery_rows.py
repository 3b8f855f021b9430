"""The rows of the plan: what a shard and its recipients begin as, and what an event changes of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Connection,
    FromClause,
    Insert,
    Table,
    Update,
    and_,
    bindparam,
    case,
    insert,
    literal,
    or_,
    select,
    update,
)

from domain.events import Recorded
from domain.outcomes import Outcome, Row
from domain.rulepacks import LANES
from domain.shards import (
    ChunkIntended,
    ChunkRecorded,
    ReceiptsRecorded,
    ShardHeld,
    ShardLeased,
    ShardPlanned,
    ShardStopped,
)
from projections.listed import Listed, alike, without_nul
from projections.projection import FEW, Bulk, add

KEY = ("b_shard", "b_idx")  # what names a delivery in an update
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


def evolve_shard(row: dict[str, Any], r: Recorded) -> None:
    row["position"] = r.position
    match r.event:
        case ShardLeased(worker=worker, until=until):
            row.update(worker=worker, leased_until=until)
            if row["status"] != STOPPED:  # else its holder only writes down what is in doubt
                row["status"] = "leased"
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


class DeliveryRows:
    """`table` is `deliveries` of projections/deliveries.py: the statements that change it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.plan = Listed(self._planned)
        self.record, self.record_all = Bulk(self._recorded(None), key=KEY), Listed(self._recorded)
        self.receive, self.receive_all = Bulk(self._received(None), key=KEY), Listed(self._received)

    def _planned(self, each: FromClause) -> Insert:
        """The deliveries of a shard: its recipients, by their place in it."""
        d = self.table.c
        values: dict[str, Any] = {
            **{name: bindparam(name, type_=d[name].type) for name in ("shard_id", "warning_id", "position")},
            **{name: literal(value, d[name].type) for name, value in BEFORE.items()},
            **{"idx": each.c.at, "person_id": each.c.text},
        }
        return insert(self.table).from_select(list(values), select(*values.values()))

    def _recorded(self, each: FromClause | None) -> Update:
        """What became of sending: of one delivery, or of all in `each` with the provider's references."""
        d = self.table.c
        ref = bindparam("provider_ref") if each is None else each.c.text
        # A receipt can be recorded before the answer to the send that it is about; "accepted" then takes nothing back.
        # And nothing undoes "delivered": a second attempt may be refused where the first had arrived.
        known = or_(
            d.outcome == Outcome.DELIVERED.value,
            and_(
                bindparam("outcome") == Outcome.ACCEPTED.value,
                d.outcome == Outcome.REFUSED.value,
                or_(d.receipt_ref == ref, d.receipt_ref == ""),
            ),
        )
        return (
            update(self.table)
            .where(d.shard_id == bindparam("b_shard"), d.idx == (bindparam("b_idx") if each is None else each.c.at))
            .values(
                outcome=case((known, d.outcome), else_=bindparam("outcome")),
                reason=case((known, d.reason), else_=bindparam("reason")),
                doubt=case((bindparam("outcome") == Outcome.UNKNOWN.value, 1), else_=d.doubt),
                provider_ref=ref,
                **{name: bindparam(name) for name in ("attempt", "provider", "retry_at", "position")},
            )
        )

    def _received(self, each: FromClause | None) -> Update:
        """What a receipt says of a message that was accepted: of one delivery, or of all in `each` with the references.

        It never undoes "delivered". Nor does a message that did not arrive say anything of another that was accepted
        since.
        """
        d = self.table.c
        ref = bindparam("b_ref") if each is None else each.c.text
        return (
            update(self.table)
            .where(
                d.shard_id == bindparam("b_shard"),
                d.idx == (bindparam("b_idx") if each is None else each.c.at),
                d.outcome != Outcome.DELIVERED.value,
                or_(
                    bindparam("b_outcome") == Outcome.DELIVERED.value,
                    d.outcome != Outcome.ACCEPTED.value,
                    d.provider_ref == ref,
                    ref == "",
                ),
            )
            .values(receipt_ref=ref, **{name: bindparam(name) for name in ("outcome", "reason", "position")})
        )


class Batch:
    """What a batch of events changes. Many recipients of one event are one statement; rows of few wait for those of
    other events: they are written together, new ones first, updates in their order.
    """

    def __init__(self, db: Connection, rows: DeliveryRows) -> None:
        self._db, self._rows = db, rows
        self._new: list[dict[str, Any]] = []
        self._updates: list[tuple[Bulk, dict[str, Any]]] = []

    def plan(self, event: ShardPlanned, position: int) -> None:
        about = {"shard_id": event.shard_id, "warning_id": event.warning_id, "position": position}
        people = dict(enumerate(event.recipients))
        if len(people) < FEW:
            self._new += [{**about, **BEFORE, "idx": i, "person_id": who} for i, who in people.items()]
        else:
            self._rows.plan.run(self._db, people, **about)

    def record(self, event: ChunkRecorded | ShardHeld, position: int) -> None:
        for first, rows in alike(event.rows, *WORDS):
            if len(rows) < FEW:
                self._updates += [(self._rows.record, _recorded_values(event.shard_id, o, position)) for o in rows]
            else:
                self.write()
                self._rows.record_all.run(self._db, _refs(rows), **_recorded_values(event.shard_id, first, position))

    def receive(self, event: ReceiptsRecorded, position: int) -> None:
        for first, rows in alike(event.rows, *WORDS):
            if len(rows) < FEW:
                self._updates += [(self._rows.receive, _receipt_values(event.shard_id, o, position)) for o in rows]
            else:
                self.write()
                self._rows.receive_all.run(self._db, _refs(rows), **_receipt_values(event.shard_id, first, position))

    def write(self) -> None:
        add(self._db, self._rows.table, self._new)
        for bulk, several in groupby(self._updates, itemgetter(0)):
            bulk.run(self._db, [values for _, values in several])
        self._new, self._updates = [], []


def _refs(rows: Sequence[Row]) -> dict[int, str]:
    return {o.index: o.provider_ref for o in rows}


def _recorded_values(shard_id: str, o: Row, position: int) -> dict[str, Any]:
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


def _receipt_values(shard_id: str, o: Row, position: int) -> dict[str, Any]:
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
