"""The live tree: for each warning and node what the node did, and how many of its people were told and answered.

Counts are people, not messages: somebody told by SMS and by email counts once. `reach` holds one row a warning and
person for that; the roll-up over subtrees is summed when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Integer, Text, case, cast, func, select

from domain.events import Recorded
from domain.stations import Hierarchy
from projections.projection import CHANGING, Json, Projection, Utc, among
from projections.tree_fold import COUNTS, Batch
from projections.tree_people import People


class Tree(Projection):
    name = "tree"
    code_version = 2

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.relays = self.table(
            "relays",
            Column("warning_id", Text, primary_key=True),
            Column("node_id", Text, primary_key=True),
            Column("opened_at", Utc),
            Column("direct", Boolean, nullable=False),
            Column("quota", Integer, nullable=False),  # how many of the staff are to acknowledge
            Column("signed", Integer, nullable=False),  # how many of these have
            Column("signatures", Json, nullable=False),  # everybody who has: their ids and when
            Column("staff_delivered", Boolean, nullable=False),
            Column("acknowledged_at", Utc),
            Column("acknowledged_by", Text),
            Column("relayed_at", Utc),
            Column("relayed_by", Text),
            Column("automatic", Boolean, nullable=False),
            Column("harm", Text),
            Column("escalations", Json, nullable=False),  # steps: event_id, action, after_s, at, told (none yet: null)
            Column("late", Boolean, nullable=False),
            Column("unreachable", Integer, nullable=False),
            *(Column(name, Integer, nullable=False) for name in COUNTS),
            Column("position", Integer, nullable=False, index=True),
        )
        self.reach = self.table(
            "reach",
            Column("warning_id", Text, primary_key=True),
            Column("person_id", Text, primary_key=True),
            Column("node_id", Text, nullable=False),
            Column("circle", Text, nullable=False),
            Column("held", Text, nullable=False),  # the shard in which they wait for their morning, not told so far
            Column("told", Boolean, nullable=False),  # something is on its way to them, or has arrived
            Column("sent", Integer, nullable=False),  # messages that a provider has or may have taken
            Column("failed", Integer, nullable=False),  # those of which a receipt says that they did not arrive
            Column("delivered", Boolean, nullable=False),
            Column("answer", Text),
            Column("answered_at", Utc),
            Column("late", Boolean, nullable=False),
            **CHANGING,
        )
        self.people = People(self.reach)
        self.shards = self.table(
            "tree_shards",
            Column("shard_id", Text, primary_key=True),
            Column("warning_id", Text, nullable=False),
            Column("recipients", Json, nullable=False),
        )

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        work = Batch(self, db, events)
        for r in events:
            work.fold(r)
        work.flush()

    # Reading ---------------------------------------------------------------------------------------------------------

    def rows(self, db: Connection, warning_id: str) -> dict[str, dict[str, Any]]:
        """The rows of a warning by node, without roll-up."""
        found = db.execute(select(self.relays).where(self.relays.c.warning_id == warning_id)).mappings()
        return {row["node_id"]: dict(row) for row in found}

    def nodes(self, db: Connection, warning_id: str) -> set[str]:
        """The nodes that a warning goes through."""
        return set(db.execute(select(self.relays.c.node_id).where(self.relays.c.warning_id == warning_id)).scalars())

    def changed_since(self, db: Connection, warning_id: str, position: int) -> set[str]:
        query = select(self.relays.c.node_id).where(
            self.relays.c.warning_id == warning_id, self.relays.c.position > position
        )
        return set(db.execute(query).scalars())

    def totals(self, db: Connection, warning_id: str) -> dict[str, int]:
        columns = [
            cast(func.coalesce(func.sum(self.relays.c[name]), 0), Integer).label(name)  # PostgreSQL sums to a decimal
            for name in (*COUNTS, "unreachable")
        ]
        row = db.execute(select(*columns).where(self.relays.c.warning_id == warning_id)).mappings().one()
        return dict(row)

    def figures(self, db: Connection, warning_id: str, nodes: Iterable[str]) -> dict[str, int]:
        """The totals over these nodes, and how many of them a warning concerns (`nodes`), `nodes_acknowledged`,
        `nodes_relayed` by themselves and `nodes_escalated`."""
        r = self.relays.c
        summed = {name: r[name] for name in (*COUNTS, "unreachable")}
        counted = {
            "nodes_acknowledged": r.acknowledged_at.is_not(None),
            "nodes_relayed": r.relayed_at.is_not(None) & ~r.automatic,
            "nodes_escalated": r.escalations != [],
        }
        wanted = {**summed, **{name: case((which, 1), else_=0) for name, which in counted.items()}}
        columns = [cast(func.coalesce(func.sum(one), 0), Integer).label(name) for name, one in wanted.items()]
        query = select(func.count().label("nodes"), *columns)
        return dict(db.execute(query.where(r.warning_id == warning_id, among(db, r.node_id, nodes))).mappings().one())


def rolled_up(rows: dict[str, dict[str, Any]], hierarchy: Hierarchy) -> dict[str, dict[str, int]]:
    """For each concerned node the counts of itself and all below it, and the highest position among them."""
    sums: dict[str, dict[str, int]] = {}
    for node_id, row in rows.items():
        for above in hierarchy.ancestors(node_id):
            if above not in rows:
                continue
            total = sums.setdefault(above, dict.fromkeys((*COUNTS, "unreachable", "position"), 0))
            for name in (*COUNTS, "unreachable"):
                total[name] += row[name]
            total["position"] = max(total["position"], row["position"])
    return sums


def state_of(row: dict[str, Any]) -> str:
    """One word for what a node did, as the console and the API show it.

    `partial`: some acknowledged, and the level's quota wants more; the node is chased on until it is met.
    """
    if row["opened_at"] is None:
        return "waiting"
    if row["signed"] and row["acknowledged_at"] is None:
        return "partial"
    if row["relayed_at"] is not None and not row["automatic"]:
        return "relayed"
    if row["acknowledged_at"] is not None:
        return "acknowledged"
    if row["automatic"]:
        return "asleep"
    if row["escalations"]:
        return "escalated"
    return "delivered" if row["staff_delivered"] else "told"


def silent_s(row: dict[str, Any]) -> int | None:
    """For how many seconds nobody had answered when the node's people were told directly; None where they were not.

    At least the seconds of the rule, also where the clock was set back meanwhile.
    """
    if not row["automatic"]:
        return None
    rule: int = max((step["after_s"] for step in row["escalations"] if step["action"] == "direct"), default=0)
    return max(rule, int((row["relayed_at"] - row["opened_at"]).total_seconds()))
