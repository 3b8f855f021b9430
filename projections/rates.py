"""Providers: the rates that were set for each, and what was spent with it on each day (UTC)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date
from typing import Any

from sqlalchemy import Column, Connection, Float, Integer, Text, select

from domain.events import Recorded
from domain.rates import RateSet
from domain.shards import ChunkRecorded
from projections.projection import Projection, Utc, upsert


class RateView(Projection):
    name = "rates"

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.rates = self.table(
            "rates",
            Column("provider", Text, primary_key=True),
            Column("sender", Text, primary_key=True),
            Column("per_s", Float, nullable=False),
            Column("burst", Integer, nullable=False),
            Column("set_by", Text, nullable=False),
            Column("set_at", Utc, nullable=False),
            Column("position", Integer, nullable=False),
        )
        self.spending = self.table(
            "spending",
            Column("provider", Text, primary_key=True),
            Column("day", Text, primary_key=True),
            Column("segments", Integer, nullable=False),
            Column("cost", Integer, nullable=False),
        )

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        added: dict[tuple[str, str], tuple[int, int]] = {}
        rates: dict[tuple[str, str], dict[str, Any]] = {}
        for r in events:
            match r.event:
                case RateSet() as e:
                    rates[e.provider, e.sender] = {
                        "provider": e.provider,
                        "sender": e.sender,
                        "per_s": e.per_s,
                        "burst": e.burst,
                        "set_by": r.metadata.actor,
                        "set_at": r.metadata.recorded_at,
                        "position": r.position,
                    }
                case ChunkRecorded(spent=spent) if spent:
                    day = r.metadata.recorded_at.astimezone(UTC).date().isoformat()
                    for part in spent:
                        segments, cost = added.get((part.provider, day), (0, 0))
                        added[part.provider, day] = segments + part.segments, cost + part.cost
        upsert(db, self.rates, list(rates.values()))
        upsert(db, self.spending, [self._sum(db, key, more) for key, more in added.items()])

    def _sum(self, db: Connection, key: tuple[str, str], more: tuple[int, int]) -> dict[str, Any]:
        s = self.spending.c
        row = db.execute(select(s.segments, s.cost).where(s.provider == key[0], s.day == key[1])).first()
        segments, cost = row or (0, 0)
        return {"provider": key[0], "day": key[1], "segments": segments + more[0], "cost": cost + more[1]}

    # Reading ---------------------------------------------------------------------------------------------------------

    def all(self, db: Connection) -> list[dict[str, Any]]:
        """Every rate that was set, by provider and sender."""
        query = select(self.rates).order_by(self.rates.c.provider, self.rates.c.sender)
        return [dict(row) for row in db.execute(query).mappings()]

    def spent(self, db: Connection, provider: str, day: date) -> int:
        """What a provider charged on a day, in millionths of its currency."""
        s = self.spending.c
        query = select(s.cost).where(s.provider == provider, s.day == day.isoformat())
        return int(db.execute(query).scalar() or 0)
