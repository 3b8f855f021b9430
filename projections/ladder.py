"""Who stands on which rung of their ladder, and when the next is due. Messages that nothing follows do not count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Integer, Text, and_, func, or_, select, update

from domain import ladder
from domain.answers import AnswerReceived
from domain.events import Recorded
from domain.ladder import Climb, LadderStepped
from domain.relays import RelayAcknowledged
from domain.shards import TELLING, ChunkRecorded, ReceiptsRecorded, ShardPlanned
from domain.warnings import WarningCancelled, WarningExpired, WarningUpdated
from projections.projection import Json, Projection, Utc, add, rows_by_key, upsert

Key = tuple[str, str, str]  # warning, person, purpose

_climb = msgspec.json.Decoder(Climb)
_encoder = msgspec.json.Encoder(order="sorted")


class Ladder(Projection):
    name = "ladder"
    code_version = 2

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.shards = self.table(
            "ladder_shards",
            Column("shard_id", Text, primary_key=True),
            Column("warning_id", Text, nullable=False),
            Column("node_id", Text, nullable=False),
            Column("circle", Text, nullable=False),
            Column("purpose", Text, nullable=False),
            Column("language", Text, nullable=False),
            Column("recipients", Json, nullable=False),
        )
        self.climbs = self.table(
            "climbs",
            Column("warning_id", Text, primary_key=True),
            Column("person_id", Text, primary_key=True),
            Column("purpose", Text, primary_key=True),
            Column("shard_id", Text, nullable=False),
            Column("idx", Integer, nullable=False),
            Column("rung", Integer, nullable=False),
            Column("climb", Text, nullable=False),
            Column("due_at", Utc, index=True),  # none: nothing calls for the next rung
            Column("why", Text),
            Column("position", Integer, nullable=False),  # of the event that `due_at` follows from
        )
        self.over = self.table("ladder_over", Column("warning_id", Text, primary_key=True))

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        begin = any(isinstance(r.event, ShardPlanned) and _counts(r.event) for r in events)
        ends = any(isinstance(r.event, _ENDED) for r in events)
        # Where nobody climbs, as with most rules, there is nothing to look for.
        if begin or ends or db.execute(select(self.shards.c.shard_id).limit(1)).first() is not None:
            work = _Batch(self, db, events)
            for r in events:
                work.fold(r)
            work.flush()

    # Reading ---------------------------------------------------------------------------------------------------------

    def due(
        self, db: Connection, now: datetime, limit: int = 2_000, *, upto: int = 0, ahead: timedelta = timedelta(0)
    ) -> list[dict[str, Any]]:
        """Those whose next rung is due, longest due first: `climb` is where they stand.

        What follows from events up to the position `upto` goes by a clock that is `ahead`.
        """
        c = self.climbs.c
        then = and_(c.position <= upto, c.due_at <= now + ahead)
        query = select(self.climbs).where(or_(c.due_at <= now, then)).order_by(c.due_at, c.shard_id, c.idx).limit(limit)
        return [{**row, "climb": _climb.decode(row["climb"])} for row in db.execute(query).mappings()]

    def next_due(self, db: Connection, *, upto: int = 0, ahead: timedelta = timedelta(0)) -> datetime | None:
        """When somebody is next due by the present clock, as `due` has it."""
        earliest = select(func.min(self.climbs.c.due_at, type_=Utc))
        at: datetime | None = db.execute(earliest).scalar()
        if ahead and (then := db.execute(earliest.where(self.climbs.c.position <= upto)).scalar()) is not None:
            at = min(then - ahead, at or then)
        return at

    def shard(self, db: Connection, shard_id: str) -> dict[str, Any] | None:
        """The node, circle, purpose, language and recipients of a shard whose people climb."""
        found = db.execute(select(self.shards).where(self.shards.c.shard_id == shard_id)).mappings().first()
        return dict(found) if found else None


_ENDED = (WarningUpdated, WarningCancelled, WarningExpired)


class _Batch:
    """The climbs that a batch of events touches: loaded at first need, written at its end."""

    def __init__(self, view: Ladder, db: Connection, events: Sequence[Recorded]) -> None:
        self.view, self.db = view, db
        self.shards: dict[str, tuple[str, str, Sequence[str]]] = {}  # warning, purpose, recipients
        self.new_shards: list[dict[str, Any]] = []
        self.climbs: dict[Key, Climb] = {}
        self.since: dict[Key, int] = {}  # the position that each one's being due follows from
        self.touched: set[Key] = set()
        self.ended: set[str] = set()
        self.position = 0
        self._load(events)

    def _load(self, events: Sequence[Recorded]) -> None:
        asked: dict[str, set[int]] = {}  # recipients by shard
        people: dict[str, set[str]] = {}
        for r in events:
            event = r.event
            if isinstance(event, ShardPlanned):
                if _counts(event):
                    self.shards[event.shard_id] = (event.warning_id, event.purpose.value, event.recipients)
                    people.setdefault(event.warning_id, set()).update(event.recipients)
            elif isinstance(event, ChunkRecorded | ReceiptsRecorded):
                asked.setdefault(event.shard_id, set()).update([row.index for row in event.rows])
            elif isinstance(event, LadderStepped):
                asked.setdefault(event.shard_id, set()).update(ladder.everybody(event))
            elif isinstance(event, AnswerReceived):
                people.setdefault(event.warning_id, set()).add(event.person_id)
            elif isinstance(event, RelayAcknowledged):
                people.setdefault(event.warning_id, set()).add(event.by)
        stored = self.view.shards
        for row in rows_by_key(self.db, stored, stored.c.shard_id, sorted(asked.keys() - self.shards.keys())):
            self.shards[row["shard_id"]] = (row["warning_id"], row["purpose"], row["recipients"])
        for shard_id in asked.keys() & self.shards.keys():
            warning_id, _, recipients = self.shards[shard_id]
            people.setdefault(warning_id, set()).update([recipients[index] for index in asked[shard_id]])
        c = self.view.climbs.c
        for warning_id, persons in people.items():
            for row in rows_by_key(self.db, self.view.climbs, c.person_id, sorted(persons), c.warning_id == warning_id):
                key = (warning_id, row["person_id"], row["purpose"])
                self.climbs[key], self.since[key] = _climb.decode(row["climb"]), row["position"]

    def fold(self, r: Recorded) -> None:
        self.position = r.position
        match r.event:
            case ShardPlanned() as event:
                if _counts(event):
                    self._planned(event, r.metadata.causation_id or "")
            case ChunkRecorded(shard_id=shard_id, rows=rows):
                at = r.metadata.recorded_at
                for row in rows:
                    if (found := self._at(shard_id, row.index)) is not None:
                        self._put(found[0], ladder.recorded(found[1], shard_id, row, at))
            case ReceiptsRecorded(shard_id=shard_id, rows=rows):
                at = r.metadata.recorded_at
                for row in rows:
                    if (found := self._at(shard_id, row.index)) is not None:
                        self._put(found[0], ladder.receipt(found[1], shard_id, row, at))
            case LadderStepped(shard_id=shard_id, rung=rung) as event:
                for index in ladder.everybody(event):
                    if (found := self._at(shard_id, index)) is not None:
                        self._put(found[0], ladder.stepped(found[1], rung))
            case AnswerReceived(warning_id=warning_id, person_id=person_id):
                self._answered(warning_id, person_id)
            case RelayAcknowledged(warning_id=warning_id, by=by):
                self._answered(warning_id, by)
            case WarningUpdated() | WarningCancelled() | WarningExpired():
                self.ended.add(r.stream.partition("-")[2])

    def _planned(self, event: ShardPlanned, plan: str) -> None:
        self.new_shards.append(
            {
                "shard_id": event.shard_id,
                "warning_id": event.warning_id,
                "node_id": event.node_id,
                "circle": event.circle.value,
                "purpose": event.purpose.value,
                "language": event.language,
                "recipients": list(event.recipients),
            }
        )
        for index, person_id in enumerate(event.recipients):
            key = (event.warning_id, person_id, event.purpose.value)
            self._put(key, ladder.told(self.climbs.get(key), event, index, plan))

    def _at(self, shard_id: str, index: int) -> tuple[Key, Climb] | None:
        if shard_id not in self.shards:
            return None
        warning_id, purpose, recipients = self.shards[shard_id]
        key = (warning_id, recipients[index], purpose)
        climb = self.climbs.get(key)
        return None if climb is None else (key, climb)

    def _answered(self, warning_id: str, person_id: str) -> None:
        for purpose in TELLING:
            key = (warning_id, person_id, purpose.value)
            if key in self.climbs:
                self._put(key, ladder.ended(self.climbs[key]))

    def _put(self, key: Key, climb: Climb) -> None:
        before = self.climbs.get(key)
        if before is None or ladder.due(before) != ladder.due(climb):
            self.since[key] = self.position
        self.climbs[key] = climb
        self.touched.add(key)

    def flush(self) -> None:
        view, db = self.view, self.db
        add(db, view.shards, self.new_shards)
        upsert(db, view.over, [{"warning_id": warning_id} for warning_id in sorted(self.ended)])
        concerned = sorted({key[0] for key in self.touched})
        over = {row["warning_id"] for row in rows_by_key(db, view.over, view.over.c.warning_id, concerned)}
        upsert(db, view.climbs, [self._row(key, key[0] in over) for key in sorted(self.touched)])
        c = view.climbs.c
        for warning_id in sorted(self.ended):
            db.execute(
                update(view.climbs)
                .where(c.warning_id == warning_id, c.due_at.is_not(None))
                .values(due_at=None, why=None)
            )

    def _row(self, key: Key, over: bool) -> dict[str, Any]:
        warning_id, person_id, purpose = key
        climb = self.climbs[key]
        due = None if over else ladder.due(climb)
        return {
            "warning_id": warning_id,
            "person_id": person_id,
            "purpose": purpose,
            "shard_id": climb.shard_id,
            "idx": climb.index,
            "rung": climb.rung,
            "climb": _encoder.encode(climb).decode(),
            "due_at": due[0] if due else None,
            "why": due[1].value if due else None,
            "position": self.since[key],
        }


def _counts(event: ShardPlanned) -> bool:
    return event.receipt_limit_s > 0 and event.purpose in TELLING
