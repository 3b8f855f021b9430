"""Contact points: what is known of each channel of each person from the messages that went there.

`contact_points` says when a point last worked; `outages` from which log position to which it was unreachable, so that a
plan as of a position is the same whenever it is made. A changed contact is a new one: nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    FromClause,
    Index,
    Insert,
    Integer,
    Text,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from domain.events import Recorded
from domain.outcomes import Outcome
from domain.people import Channel, ContactChanged
from domain.reach import ReachTestOrdered, is_dead
from domain.shards import ChunkRecorded, Purpose, ReceiptsRecorded, ShardPlanned
from projections.listed import Listed, alike
from projections.projection import Bulk, Json, Projection, Utc, add, rows_by_key, upsert

FEW = 2_000  # persons up to which their outages are asked for by name; for more all are read
FACTS = ("delivered_at", "accepted_at", "refused_at", "reason", "tested_at")
Point = tuple[str, Channel]
INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class ContactPoints(Projection):
    name = "contact_points"

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.points = self.table(
            "contact_points",
            Column("person_id", Text, primary_key=True),
            Column("channel", Text, primary_key=True),
            Column("delivered_at", Utc),
            Column("accepted_at", Utc),
            Column("refused_at", Utc),
            Column("reason", Text),  # of the last refusal
            Column("tested_at", Utc),  # a test was last ordered
            sqlite_with_rowid=False,
        )
        self.outages = self.table(
            "outages",
            Column("person_id", Text, primary_key=True),
            Column("channel", Text, primary_key=True),
            Column("from_position", Integer, primary_key=True),
            Column("to_position", Integer),
            Column("reason", Text, nullable=False),
        )
        Index(f"outages_open_g{generation}", self.outages.c.to_position)
        self.shards = self.table(
            "contact_shards",
            Column("shard_id", Text, primary_key=True),
            Column("channel", Text, nullable=False),
            Column("recipients", Json, nullable=False),
            Column("position", Integer, nullable=False),
        )
        self.changes = self.table(
            "contact_changes",
            Column("person_id", Text, primary_key=True),
            Column("position", Integer, nullable=False),
        )
        self.tests = self.table(
            "reach_tests",
            Column("test_id", Text, primary_key=True),
            Column("node_id", Text, nullable=False),
            Column("channel", Text),
            Column("scheduled", Integer, nullable=False),
            Column("points", Integer, nullable=False),
            Column("remaining", Integer, nullable=False),
            Column("ordered_at", Utc, nullable=False),
            Column("position", Integer, nullable=False),
        )
        of_person = self.points.c.person_id == bindparam("b_person")
        self._forget = Bulk(delete(self.points).where(of_person), key=["b_person"])
        self._learn = {name: Listed(partial(self._learned, insert)) for name, insert in INSERTS.items()}

    def _learned(self, insert: Any, each: FromClause) -> Insert:
        """Writes what is new of everybody's point, and leaves the rest."""
        p = self.points
        facts = {name: bindparam(name, type_=p.c[name].type) for name in FACTS}
        values = {"person_id": each.c.text, "channel": bindparam("channel", type_=Text), **facts}
        people = select(*values.values()).where(each.c.text.is_not(None))  # SQLite wants some condition before ON
        statement = insert(p).from_select(list(values), people)
        kept = {name: func.coalesce(statement.excluded[name], p.c[name]) for name in FACTS}
        learned: Insert = statement.on_conflict_do_update(index_elements=["person_id", "channel"], set_=kept)
        return learned

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        if any(isinstance(r.event, _RELEVANT) for r in events):
            work = _Batch(self, db, events)
            for r in events:
                work.fold(r)
            work.flush()

    # Reading ---------------------------------------------------------------------------------------------------------

    def unreachable(self, db: Connection, person_ids: Sequence[str], as_of: int) -> set[Point]:
        """(person, channel) of the points of these people that lead nowhere as of a log position."""
        o = self.outages.c
        then = and_(o.from_position <= as_of, or_(o.to_position.is_(None), o.to_position > as_of))
        if len(person_ids) > FEW:
            query = select(o.person_id, o.channel).where(then)
            return {(person_id, Channel(channel)) for person_id, channel in db.execute(query)}
        rows = rows_by_key(db, self.outages, o.person_id, person_ids, then)
        return {(row["person_id"], Channel(row["channel"])) for row in rows}

    def known(self, db: Connection, person_ids: Sequence[str]) -> dict[Point, dict[str, Any]]:
        """What is known of the points of these people; of those never written to, nothing."""
        p = self.points.c
        rows: Iterable[dict[str, Any]]
        if len(person_ids) > FEW:
            names = self.points.c.keys()
            rows = (dict(zip(names, row, strict=True)) for row in db.execute(select(self.points)))
        else:
            rows = rows_by_key(db, self.points, p.person_id, person_ids)
        return {(row["person_id"], Channel(row["channel"])): row for row in rows}

    def last_scheduled(self, db: Connection, node_id: str) -> dict[str, Any] | None:
        """The last test of a node that the schedule ordered."""
        t = self.tests.c
        query = select(self.tests).where(t.scheduled == 1, t.node_id == node_id).order_by(t.position.desc()).limit(1)
        found = db.execute(query).mappings().first()
        return dict(found) if found else None


_RELEVANT = (ShardPlanned, ChunkRecorded, ReceiptsRecorded, ContactChanged, ReachTestOrdered)
_NOTHING: dict[str, Any] = dict.fromkeys(FACTS)


class _Batch:
    """What a batch of events teaches of contact points. What last happened to them is written at each event; when they
    failed and worked again is gathered, and written at the end."""

    def __init__(self, view: ContactPoints, db: Connection, events: Sequence[Recorded]) -> None:
        self.view, self.db = view, db
        self.shards: dict[str, tuple[str, list[str], int]] = {}
        self.new_shards: list[dict[str, Any]] = []
        self.tests: list[dict[str, Any]] = []
        self.forgotten: set[str] = set()
        self.open: dict[tuple[str, str], dict[str, Any]] = {}
        self.outages: dict[tuple[str, str, int], dict[str, Any]] = {}
        self.changes: dict[str, int] = {}
        self.changed: dict[str, int] = {}
        self._load(events)

    def _load(self, events: Sequence[Recorded]) -> None:
        planned: dict[str, ShardPlanned] = {}
        asked: set[str] = set()
        for r in events:
            if isinstance(r.event, ShardPlanned):
                planned[r.event.shard_id] = r.event
            elif isinstance(r.event, ChunkRecorded | ReceiptsRecorded):
                asked.add(r.event.shard_id)
        stored = self.view.shards
        for shard in rows_by_key(self.db, stored, stored.c.shard_id, sorted(asked - planned.keys())):
            self.shards[shard["shard_id"]] = (shard["channel"], shard["recipients"], shard["position"])
        touched: set[str] = set()  # those of whom an outage may begin or end
        refused: set[str] = set()
        for r in events:
            event = r.event
            if isinstance(event, ContactChanged):
                touched.add(event.person_id)
            elif isinstance(event, ChunkRecorded | ReceiptsRecorded):
                plan = planned.get(event.shard_id)
                known = self.shards.get(event.shard_id)
                recipients: Sequence[str] = plan.recipients if plan else known[1] if known else ()
                for row in event.rows if recipients else ():
                    if row.outcome is Outcome.ACCEPTED:  # most of them, and neither
                        continue
                    if is_dead(row.outcome, row.reason):
                        refused.add(recipients[row.index])
                        touched.add(recipients[row.index])
                    elif row.outcome is Outcome.DELIVERED:
                        touched.add(recipients[row.index])
        if not touched:
            return
        o, c = self.view.outages.c, self.view.changes
        if len(touched) > FEW:
            names = self.view.outages.c.keys()
            every = self.db.execute(select(self.view.outages).where(o.to_position.is_(None))).all()
            found: Iterable[dict[str, Any]] = (dict(zip(names, each, strict=True)) for each in every)
        else:
            found = rows_by_key(self.db, self.view.outages, o.person_id, sorted(touched), o.to_position.is_(None))
        self.open = {(outage["person_id"], outage["channel"]): outage for outage in found}
        for change in rows_by_key(self.db, c, c.c.person_id, sorted(refused)):
            self.changes[change["person_id"]] = change["position"]

    def fold(self, r: Recorded) -> None:
        match r.event:
            case ShardPlanned() as event:
                self._planned(event, r)
            case ChunkRecorded() | ReceiptsRecorded() as event:
                self._outcomes(event, r)
            case ContactChanged(person_id=person_id):
                self.forgotten.add(person_id)
                self.changes[person_id] = self.changed[person_id] = r.position
                for key in [key for key in self.open if key[0] == person_id]:
                    self._works(key, r.position)
            case ReachTestOrdered() as event:
                self.tests.append(
                    {
                        "test_id": event.test_id,
                        "node_id": event.node_id,
                        "channel": event.channel.value if event.channel else None,
                        "scheduled": int(event.scheduled),
                        "points": event.points,
                        "remaining": event.left,
                        "ordered_at": r.metadata.recorded_at,
                        "position": r.position,
                    }
                )

    def _planned(self, event: ShardPlanned, r: Recorded) -> None:
        recipients = list(event.recipients)
        self.shards[event.shard_id] = (event.channel.value, recipients, r.position)
        self.new_shards.append(
            {
                "shard_id": event.shard_id,
                "channel": event.channel.value,
                "recipients": recipients,
                "position": r.position,
            }
        )
        if event.purpose is Purpose.TEST:
            self._learn(event.channel.value, dict(enumerate(recipients)), tested_at=r.metadata.recorded_at)

    def _outcomes(self, event: ChunkRecorded | ReceiptsRecorded, r: Recorded) -> None:
        if event.shard_id not in self.shards:
            return
        channel, recipients, planned = self.shards[event.shard_id]
        at = r.metadata.recorded_at
        for first, rows in alike(event.rows, "outcome", "reason"):
            people = {row.index: recipients[row.index] for row in rows}
            match first.outcome:
                case Outcome.ACCEPTED:
                    self._learn(channel, people, accepted_at=at)
                case Outcome.DELIVERED:
                    self._learn(channel, people, delivered_at=at)
                    for person_id in people.values():
                        self._works((person_id, channel), r.position)
                case Outcome.REFUSED:
                    self._learn(channel, people, refused_at=at, reason=first.reason.value)
                    for person_id in people.values() if is_dead(first.outcome, first.reason) else ():
                        # A refusal of what was planned before the contact changed may be about the address of before.
                        if planned > self.changes.get(person_id, 0):
                            self._fails((person_id, channel), r.position, first.reason.value)

    def _learn(self, channel: str, people: dict[int, str], **facts: Any) -> None:
        self._forget()
        people = dict(enumerate(dict.fromkeys(people.values())))
        self.view._learn[self.db.dialect.name].run(self.db, people, channel=channel, **{**_NOTHING, **facts})

    def _forget(self) -> None:
        self.view._forget.run(self.db, [{"b_person": person_id} for person_id in sorted(self.forgotten)])
        self.forgotten.clear()

    def _works(self, key: tuple[str, str], position: int) -> None:
        row = self.open.pop(key, None)
        if row is not None:
            row["to_position"] = position
            self.outages[(*key, row["from_position"])] = row

    def _fails(self, key: tuple[str, str], position: int, reason: str) -> None:
        if key not in self.open:
            person_id, channel = key
            row = {"person_id": person_id, "channel": channel, "from_position": position, "to_position": None}
            self.open[key] = self.outages[(*key, position)] = {**row, "reason": reason}

    def flush(self) -> None:
        view, db = self.view, self.db
        add(db, view.shards, self.new_shards)
        self._forget()
        upsert(db, view.outages, list(self.outages.values()))
        upsert(db, view.changes, [{"person_id": who, "position": at} for who, at in self.changed.items()])
        upsert(db, view.tests, self.tests)
