"""The duty roster in two times: who is on duty when (`from_at`, `to_at`), and since which log position that stands.

The second makes an escalation tell the same officer whenever it is planned, whatever was planned for them since.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Index, Integer, Text, or_, select

from domain import roster
from domain.events import Recorded
from domain.roster import DutyHandedOver, DutyPlanned, Roster, Turn
from projections.projection import Projection, Utc, among, upsert


class Rosters(Projection):
    name = "roster"

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.turns = self.table(
            "turns",
            Column("node_id", Text, primary_key=True),
            Column("from_at", Utc, primary_key=True),
            Column("from_position", Integer, primary_key=True),
            Column("to_position", Integer),  # none: it stands
            Column("to_at", Utc, nullable=False),
            Column("person_id", Text, nullable=False),
            Column("taken_over", Boolean, nullable=False),
        )
        Index(f"turns_person_g{generation}", self.turns.c.person_id)

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        for r in events:
            if isinstance(r.event, DutyPlanned | DutyHandedOver):
                self._fold(db, r, r.event)

    def _fold(self, db: Connection, r: Recorded, event: DutyPlanned | DutyHandedOver) -> None:
        c, node_id = self.turns.c, event.node_id
        begins = event.from_at if isinstance(event, DutyPlanned) else event.at
        # What ended before is not touched, and over the years there is much of it.
        query = select(self.turns).where(c.node_id == node_id, c.to_position.is_(None), c.to_at > begins)
        standing = {_turn(row): dict(row) for row in db.execute(query).mappings()}
        after = roster.evolve(Roster(node_id=node_id, turns=tuple(sorted(standing))), event)
        assert after is not None
        changed = [{**row, "to_position": r.position} for turn, row in standing.items() if turn not in after.turns]
        changed += [
            {
                "node_id": node_id,
                "from_at": turn.from_at,
                "from_position": r.position,
                "to_position": None,
                "to_at": turn.to_at,
                "person_id": turn.person_id,
                "taken_over": turn.taken_over,
            }
            for turn in after.turns
            if turn not in standing
        ]
        upsert(db, self.turns, changed)

    # Reading ---------------------------------------------------------------------------------------------------------

    def on_duty(
        self, db: Connection, node_ids: Sequence[str], at: datetime, as_of: int | None = None
    ) -> dict[str, Turn]:
        """Who is on duty at each of these nodes at a moment, as the log knew it at a position (None: as it stands).

        A node is absent where nobody is.
        """
        c = self.turns.c
        query = select(self.turns).where(
            among(db, c.node_id, node_ids), c.from_at <= at, c.to_at > at, self._stands(as_of)
        )
        return {row["node_id"]: _turn(row) for row in db.execute(query).mappings()}

    def ahead(
        self, db: Connection, node_ids: Sequence[str], from_at: datetime, to_at: datetime
    ) -> dict[str, list[Turn]]:
        """The turns of many nodes that stand and touch a span, in order."""
        c = self.turns.c
        query = (
            select(self.turns)
            .where(among(db, c.node_id, node_ids), c.from_at < to_at, c.to_at > from_at, self._stands(None))
            .order_by(c.node_id, c.from_at)
        )
        found: dict[str, list[Turn]] = {}
        for row in db.execute(query).mappings():
            found.setdefault(row["node_id"], []).append(_turn(row))
        return found

    def between(self, db: Connection, node_id: str, from_at: datetime, to_at: datetime) -> list[Turn]:
        """The turns that stand and touch a span, in order."""
        return self.ahead(db, [node_id], from_at, to_at).get(node_id, [])

    def _stands(self, as_of: int | None) -> Any:
        c = self.turns.c
        if as_of is None:
            return c.to_position.is_(None)
        return (c.from_position <= as_of) & or_(c.to_position.is_(None), c.to_position > as_of)


def _turn(row: Any) -> Turn:
    return Turn(row["from_at"], row["to_at"], row["person_id"], row["taken_over"])
