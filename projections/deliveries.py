"""The plan and what became of it: one row a shard (the dispatch queue), one row a recipient and channel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Index, Integer, Row, Text, and_, case, func, or_, select

from domain.events import Recorded
from domain.outcomes import REACHED
from domain.people import Channel
from domain.planning import Told
from domain.shards import (
    ChunkRecorded,
    Circle,
    Purpose,
    ReceiptsRecorded,
    ShardHeld,
    ShardPlanned,
)
from projections.delivery_rows import PLANNED, SHARD_EVENTS, STOPPED, Batch, DeliveryRows, evolve_shard, shard_row
from projections.projection import CHANGING, Projection, Utc, among, rows_by_key, upsert


class Deliveries(Projection):
    name = "deliveries"
    code_version = 5

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.shards = self.table(
            "shards",
            Column("shard_id", Text, primary_key=True),
            Column("warning_id", Text, nullable=False, index=True),
            Column("node_id", Text, nullable=False),
            Column("circle", Text, nullable=False),
            Column("purpose", Text, nullable=False),
            Column("channel", Text, nullable=False),
            Column("language", Text, nullable=False),
            Column("lane", Integer, nullable=False),
            Column("recipients", Integer, nullable=False),
            Column("settled", Integer, nullable=False),
            Column("open", Integer, nullable=False),
            Column("status", Text, nullable=False),  # planned, leased, stopped, finished
            Column("worker", Text, nullable=False),
            Column("leased_until", Utc),
            Column("next_due", Utc),
            Column("planned_position", Integer, nullable=False),
            Column("sandboxed", Boolean, nullable=False),  # of a drill: no provider sees it
            Column("position", Integer, nullable=False),
        )
        Index(f"shards_queue_g{generation}", self.shards.c.status, self.shards.c.lane, self.shards.c.planned_position)
        self.deliveries = self.table(
            "deliveries",
            Column("shard_id", Text, primary_key=True),
            Column("idx", Integer, primary_key=True),
            Column("warning_id", Text, nullable=False),
            Column("person_id", Text, nullable=False),
            Column("outcome", Text, nullable=False),
            Column("reason", Text, nullable=False),
            Column("attempt", Integer, nullable=False),
            Column("provider_ref", Text, nullable=False),
            Column("receipt_ref", Text),  # the message that the last receipt was about; none while there was no receipt
            Column("provider", Text, nullable=False),
            Column("retry_at", Utc),
            Column("doubt", Integer, nullable=False),  # 1 once an attempt was in doubt: the person may have it
            Column("position", Integer, nullable=False),
            **CHANGING,
        )
        Index(f"deliveries_person_g{generation}", self.deliveries.c.person_id, self.deliveries.c.warning_id)
        self._rows = DeliveryRows(self.deliveries)

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        shards: dict[str, dict[str, Any]] = {}
        wanted = {e.shard_id for r in events if isinstance(e := r.event, SHARD_EVENTS)}
        if wanted:
            shards = self._load(db, wanted)
        batch = Batch(db, self._rows)
        for r in events:
            event = r.event
            if isinstance(event, ShardPlanned):
                shards[event.shard_id] = shard_row(event, r.position)
                batch.plan(event, r.position)
            elif isinstance(event, SHARD_EVENTS):
                row = shards.get(event.shard_id)
                if row is not None:
                    evolve_shard(row, r)
                if isinstance(event, ChunkRecorded | ShardHeld):
                    batch.record(event, r.position)
            elif isinstance(event, ReceiptsRecorded):
                batch.receive(event, r.position)
        batch.write()
        for shard_id in {
            r.event.shard_id for r in events if isinstance(r.event, ChunkRecorded | ShardHeld)
        } & shards.keys():
            shards[shard_id]["next_due"] = self._resting_until(db, shards[shard_id])
        upsert(db, self.shards, list(shards.values()))

    def _resting_until(self, db: Connection, row: dict[str, Any]) -> datetime | None:
        """When the next retry of a shard is due, where only retries are left of it."""
        if row["open"] or row["status"] != "leased":
            return None
        d = self.deliveries.c
        untouched = func.max(case((d.outcome == PLANNED, 1), else_=0))
        query = select(untouched, func.min(d.retry_at, type_=Utc)).where(d.shard_id == row["shard_id"])
        some, due = db.execute(query).one()
        return None if some else due

    def _load(self, db: Connection, shard_ids: set[str]) -> dict[str, dict[str, Any]]:
        return {row["shard_id"]: row for row in rows_by_key(db, self.shards, self.shards.c.shard_id, shard_ids)}

    # Reading ---------------------------------------------------------------------------------------------------------

    def queue(
        self, db: Connection, now: datetime, worker: str, limit: int, stale: int = 0
    ) -> Sequence[Row[Any, Any, Any, Any]]:
        """Shards that have something to send now and that nobody else is at: highest lane first, oldest first.

        Each as (shard_id, lane, channel, position). Of each lane and channel at most `limit`, so that what waits for
        one channel does not hide the others. What was written up to the position `stale` is due whatever it says.
        """
        s = self.shards.c
        place = func.row_number().over(partition_by=(s.lane, s.channel), order_by=s.planned_position).label("place")
        waiting = (
            select(s.shard_id, s.lane, s.channel, s.position, s.planned_position, place)
            .where(
                or_(s.status.in_((PLANNED, "leased")), and_(s.status == STOPPED, s.open > 0)),
                or_(s.open == 0, s.leased_until.is_(None), s.worker == worker, s.leased_until < now),
                or_(s.next_due.is_(None), s.next_due <= now, s.position <= stale),
            )
            .subquery()
        )
        w = waiting.c
        query = (
            select(w.shard_id, w.lane, w.channel, w.position)
            .where(w.place <= limit)
            .order_by(w.lane, w.planned_position)
        )
        return db.execute(query).all()

    def next_due(self, db: Connection, now: datetime) -> datetime | None:
        """When, after `now`, the next resting shard is due."""
        s = self.shards.c
        query = select(func.min(s.next_due, type_=Utc)).where(s.status == "leased", s.next_due > now)
        due: datetime | None = db.execute(query).scalar()
        return due

    def unfinished(self, db: Connection, warning_id: str) -> list[str]:
        """Shards of a warning that may still send, or whose last sends have no outcome yet."""
        s = self.shards.c
        query = select(s.shard_id).where(
            s.warning_id == warning_id,
            s.purpose != "cancel",
            or_(s.status.in_((PLANNED, "leased")), s.open > 0),
        )
        return list(db.execute(query.order_by(s.planned_position)).scalars())

    def reached(self, db: Connection, warning_id: str) -> list[Told]:
        """Whom a warning reached or may have reached: by node, circle, channel and the language that they got."""
        s, d = self.shards.c, self.deliveries.c
        query = (
            select(s.node_id, s.circle, s.channel, s.language, d.person_id)
            .join(self.deliveries, d.shard_id == s.shard_id)
            .where(
                s.warning_id == warning_id,
                s.purpose != "cancel",
                or_(d.outcome.in_([o.value for o in REACHED]), d.doubt == 1),
            )
            .order_by(s.shard_id, d.idx)
        )
        return [
            Told(node_id, Circle(circle), Channel(channel), language, person_id)
            for node_id, circle, channel, language, person_id in db.execute(query)
        ]

    def planned(self, db: Connection, warning_id: str, purpose: Purpose) -> tuple[int, set[tuple[str, Channel]]]:
        """(number of shards, (person, channel) of all that they hold) of a warning's shards of one purpose."""
        s, d = self.shards.c, self.deliveries.c
        mine = (s.warning_id == warning_id, s.purpose == purpose.value)
        count = int(db.execute(select(func.count()).select_from(self.shards).where(*mine)).scalar() or 0)
        query = select(d.person_id, s.channel).join(self.deliveries, d.shard_id == s.shard_id).where(*mine)
        return count, {(person_id, Channel(channel)) for person_id, channel in db.execute(query)}

    def told_of_cancel(self, db: Connection, warning_id: str) -> set[tuple[str, str]]:
        """(person, channel) of everybody to whom the withdrawal went out."""
        s, d = self.shards.c, self.deliveries.c
        query = (
            select(d.person_id, s.channel)
            .join(self.deliveries, d.shard_id == s.shard_id)
            .where(s.warning_id == warning_id, s.purpose == "cancel", d.outcome.in_([o.value for o in REACHED]))
        )
        return {(person_id, channel) for person_id, channel in db.execute(query)}

    def one(self, db: Connection, shard_id: str, index: int) -> tuple[str, str] | None:
        """(warning, person) of one delivery."""
        d = self.deliveries.c
        query = select(d.warning_id, d.person_id).where(d.shard_id == shard_id, d.idx == index)
        row = db.execute(query).first()
        return None if row is None else (row[0], row[1])

    def of(self, db: Connection, warning_id: str) -> dict[tuple[str, Channel], dict[str, Any]]:
        """By (person, channel) what became of the messages of a warning or a test: for few recipients."""
        s, d = self.shards.c, self.deliveries.c
        query = (
            select(d.person_id, s.channel, d.outcome, d.reason, d.provider)
            .join(self.deliveries, d.shard_id == s.shard_id)
            .where(s.warning_id == warning_id)
        )
        return {(row["person_id"], Channel(row["channel"])): dict(row) for row in db.execute(query).mappings()}

    def queue_length(self, db: Connection) -> int:
        """Shards that are not at their end."""
        query = select(func.count()).where(self.shards.c.status.in_((PLANNED, "leased")))
        return int(db.execute(query).scalar() or 0)

    def latest_warning_of(self, db: Connection, person_id: str, channel: Channel) -> tuple[str, int] | None:
        """(the warning that a person was last sent over a channel, the position at which that was planned): what a bare
        reply is about. A test is about none, and a drill that stayed in this program reached nobody.
        """
        s, d = self.shards.c, self.deliveries.c
        # In two steps, since a database that knows too little of these tables reads all shards for a join.
        sent = select(d.shard_id, d.attempt).where(d.person_id == person_id)
        attempts: dict[str, int] = {row.shard_id: row.attempt for row in db.execute(sent)}
        query = (
            select(s.shard_id, s.warning_id, s.open, s.planned_position)
            .where(among(db, s.shard_id, attempts))
            .where(s.purpose != "test", s.sandboxed.is_(False), s.channel == channel.value)
            .order_by(s.planned_position.desc())
        )
        for shard_id, warning_id, open_, position in db.execute(query):
            # Who is being sent to has no attempt on record yet, and may answer before the provider does.
            if attempts[shard_id] > 0 or open_ > 0:
                return str(warning_id), int(position)
        return None

    def counts(
        self, db: Connection, warning_id: str, nodes: Iterable[str] | None = None
    ) -> list[tuple[str, str, str, int]]:
        """(purpose, channel, outcome, how many) of a warning's deliveries; to people of these nodes alone, where they
        are given."""
        s, d = self.shards.c, self.deliveries.c
        query = (
            select(s.purpose, s.channel, d.outcome, func.count())
            .join(self.deliveries, d.shard_id == s.shard_id)
            .where(s.warning_id == warning_id, *([] if nodes is None else [among(db, s.node_id, nodes)]))
            .group_by(s.purpose, s.channel, d.outcome)
            .order_by(s.purpose, s.channel, d.outcome)
        )
        return [(p, c, o, n) for p, c, o, n in db.execute(query)]

    def page(self, db: Connection, warning_id: str, *, after: tuple[str, int], limit: int) -> list[dict[str, Any]]:
        """Deliveries of a warning by (shard, index), after a given one."""
        d, s = self.deliveries.c, self.shards.c
        # First the shards that the page is in: looked for among all deliveries, it would cost more as they grow.
        some: list[str] = []
        missing = limit
        shards = select(s.shard_id, s.recipients).where(s.warning_id == warning_id, s.shard_id >= after[0])
        for shard_id, recipients in db.execute(shards.order_by(s.shard_id).limit(limit + 1)):
            some.append(shard_id)
            missing -= recipients - (after[1] + 1 if shard_id == after[0] else 0)
            if missing <= 0:
                break
        query = (
            select(self.deliveries)
            .where(among(db, d.shard_id, some), or_(d.shard_id > after[0], d.idx > after[1]))
            .order_by(d.shard_id, d.idx)
            .limit(limit)
        )
        return [dict(row) for row in db.execute(query).mappings()] if some else []
