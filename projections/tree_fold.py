"""How events become the rows of the live tree. Stations' rows are loaded, folded and written at a batch's end; the rows
of people are changed where they are, by what each event says of them (projections/tree_people.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, Table, select

from domain.answers import Answer, AnswerReceived, AnswerSettled
from domain.events import Recorded
from domain.planning import PlanMade
from domain.relays import (
    RelayAcknowledged,
    RelayAssessed,
    RelayDelivered,
    RelayEscalated,
    RelayOpened,
    RelayPassed,
    needed,
)
from domain.shards import TELLING, ChunkRecorded, ReceiptsRecorded, ShardHeld, ShardPlanned, ShardStopped
from projections.listed import alike
from projections.projection import add, rows_by_key, upsert
from projections.tree_people import Answered, People, Step, step_of

COUNTS = ("recipients", "told", "held", "delivered", "acknowledged", "help")
"""`held` are those not told yet because it is night where they are."""
ABOUT_PEOPLE = (ChunkRecorded, ReceiptsRecorded, ShardHeld, ShardStopped)

BY_NODES = (RelayOpened, RelayDelivered, RelayAcknowledged, RelayPassed, RelayAssessed, RelayEscalated)


class Tables(Protocol):
    """The tables of projections/tree.py."""

    relays: Table
    shards: Table
    people: People


class Batch:
    """The stations' rows that a batch of events touches: loaded at first need, written at its end."""

    def __init__(self, tables: Tables, db: Connection, events: Sequence[Recorded]) -> None:
        self.tables, self.db = tables, db
        self.relays: dict[tuple[str, str], dict[str, Any]] = {}
        self.shards: dict[str, tuple[str, Sequence[str]]] = {}
        self.new_shards: list[dict[str, Any]] = []
        self.answers: dict[str, list[Answered]] = {}
        wanted = {r.event.shard_id for r in events if isinstance(r.event, ABOUT_PEOPLE)}
        for row in rows_by_key(self.db, tables.shards, tables.shards.c.shard_id, sorted(wanted)):
            self.shards[row["shard_id"]] = (row["warning_id"], row["recipients"])
        nodes: dict[str, set[str]] = {}
        for r in events:
            if isinstance(r.event, BY_NODES):
                nodes.setdefault(r.event.warning_id, set()).add(r.event.node_id)
        for warning_id, node_ids in nodes.items():
            self._load(warning_id, node_ids)

    def _load(self, warning_id: str, node_ids: set[str]) -> None:
        """Rows of stations that each of these events changes, in one reading."""
        c = self.tables.relays.c
        found = rows_by_key(self.db, self.tables.relays, c.node_id, sorted(node_ids), c.warning_id == warning_id)
        known = {row["node_id"]: row for row in found}
        for node_id in node_ids:
            self.relays[warning_id, node_id] = known.get(node_id) or _empty_relay(warning_id, node_id)

    def relay(self, warning_id: str, node_id: str, position: int) -> dict[str, Any]:
        key = (warning_id, node_id)
        if key not in self.relays:
            c = self.tables.relays.c
            query = select(self.tables.relays).where(c.warning_id == warning_id, c.node_id == node_id)
            found = self.db.execute(query).mappings().first()
            self.relays[key] = dict(found) if found else _empty_relay(warning_id, node_id)
        row = self.relays[key]
        row["position"] = max(row["position"], position)  # answers are noted after what came between them
        return row

    def fold(self, r: Recorded) -> None:
        event, position = r.event, r.position
        match event:
            case ShardPlanned():
                self._planned(event, position)
            case ChunkRecorded() | ReceiptsRecorded():
                self._outcomes(event, position)
            case ShardHeld():
                warning_id, recipients = self.shards.get(event.shard_id, ("", ()))
                if recipients:
                    held = dict(enumerate(dict.fromkeys(recipients[o.index] for o in event.rows)))
                    self._count(
                        self.tables.people.hold(self.db, warning_id, event.shard_id, held), warning_id, position
                    )
            case ShardStopped():
                warning_id, recipients = self.shards.get(event.shard_id, ("", ()))
                if recipients:
                    everybody = dict(enumerate(dict.fromkeys(recipients)))
                    changes = self.tables.people.step(self.db, Step.NOTHING, warning_id, event.shard_id, everybody)
                    self._count(changes, warning_id, position)
            case AnswerReceived():
                self._answer(event, event.answer, r, late=event.late)
            case AnswerSettled():
                self._answer(event, event.meaning, r, late=False)
            case PlanMade():
                for node_id, count in event.unreachable.items():
                    row = self.relay(event.warning_id, node_id, position)
                    row["unreachable"] += count
                if event.node_id is not None:
                    row = self.relay(event.warning_id, event.node_id, position)
                    row["escalations"] = [
                        {**step, "told": list(event.told)} if step["event_id"] == event.trigger_event_id else step
                        for step in row["escalations"]
                    ]
            case RelayOpened():
                row = self.relay(event.warning_id, event.node_id, position)
                row.update(opened_at=event.opened_at, direct=event.direct, quota=needed(event.quota, len(event.staff)))
            case RelayDelivered():
                self.relay(event.warning_id, event.node_id, position)["staff_delivered"] = True
            case RelayAcknowledged():
                row = self.relay(event.warning_id, event.node_id, position)
                signature = {"by": event.by, "at": msgspec.to_builtins(r.metadata.recorded_at)}
                row.update(signed=row["quota"] - event.missing, signatures=[*row["signatures"], signature])
                if event.missing == 0 and row["acknowledged_at"] is None:
                    row.update(
                        acknowledged_at=r.metadata.recorded_at, acknowledged_by=event.by, late=bool(row["escalations"])
                    )
            case RelayPassed():
                row = self.relay(event.warning_id, event.node_id, position)
                row.update(relayed_at=r.metadata.recorded_at, relayed_by=event.by, automatic=event.automatic)
            case RelayAssessed():
                self.relay(event.warning_id, event.node_id, position)["harm"] = event.harm
            case RelayEscalated():
                row = self.relay(event.warning_id, event.node_id, position)
                step = {
                    "event_id": r.metadata.event_id,
                    "action": event.action,
                    "after_s": event.after_s,
                    "at": msgspec.to_builtins(r.metadata.recorded_at),
                    "told": None,
                }
                row["escalations"] = [*row["escalations"], step]

    def _planned(self, event: ShardPlanned, position: int) -> None:
        self._note_answers()  # who is told from here on was not when they were given
        # A withdrawal is told to those reached; it must not count as reaching them.
        recipients = event.recipients if event.purpose in TELLING else ()
        self.shards[event.shard_id] = (event.warning_id, recipients)
        self.new_shards.append(
            {"shard_id": event.shard_id, "warning_id": event.warning_id, "recipients": list(recipients)}
        )
        added = self.tables.people.plan(self.db, event) if recipients else 0
        if added:
            self.relay(event.warning_id, event.node_id, position)["recipients"] += added

    def _outcomes(self, event: ChunkRecorded | ReceiptsRecorded, position: int) -> None:
        warning_id, recipients = self.shards.get(event.shard_id, ("", ()))
        receipts = isinstance(event, ReceiptsRecorded)
        for first, rows in alike(event.rows, "outcome") if recipients else ():
            people = {o.index: recipients[o.index] for o in rows}
            step = step_of(first, receipts=receipts)
            once = len(set(people.values())) == len(people)  # logs of before may name somebody twice
            for some in [people] if once else [{index: who} for index, who in people.items()]:
                changes = self.tables.people.step(self.db, step, warning_id, event.shard_id, some)
                self._count(changes, warning_id, position)

    def _count(self, changes: Iterable[tuple[str, dict[str, int]]], warning_id: str, position: int) -> None:
        """Changes of people's rows, by their node, in the counts of these nodes."""
        for node_id, counts in changes:
            row = self.relay(warning_id, node_id, position)
            for name, change in counts.items():
                row[name] += change

    def _answer(self, event: AnswerReceived | AnswerSettled, answer: Answer, r: Recorded, *, late: bool) -> None:
        if answer is not Answer.UNCLEAR:
            given = Answered(event.warning_id, event.person_id, answer, r.metadata.recorded_at, late, r.position)
            self.answers.setdefault(event.warning_id, []).append(given)

    def _note_answers(self) -> None:
        """Answers come by the thousand, one an event: those between two shards are one statement for each warning."""
        for warning_id, answers in self.answers.items():
            before = self.tables.people.answering(self.db, warning_id, {given.person_id for given in answers})
            last: dict[str, Answered] = {}
            for given in answers:
                if given.person_id not in before:
                    continue
                node_id, said = before[given.person_id]
                row = self.relay(warning_id, node_id, given.position)
                row["acknowledged"] += said is None
                row["help"] += (given.answer is Answer.HELP) - (said == Answer.HELP.value)
                before[given.person_id] = (node_id, given.answer.value)
                last[given.person_id] = given
            self.tables.people.answered(self.db, last.values())
        self.answers.clear()

    def flush(self) -> None:
        self._note_answers()
        add(self.db, self.tables.shards, self.new_shards)
        upsert(self.db, self.tables.relays, list(self.relays.values()))


def _empty_relay(warning_id: str, node_id: str) -> dict[str, Any]:
    return {
        "warning_id": warning_id,
        "node_id": node_id,
        "opened_at": None,
        "direct": False,
        "quota": 1,
        "signed": 0,
        "signatures": [],
        "staff_delivered": False,
        "acknowledged_at": None,
        "acknowledged_by": None,
        "relayed_at": None,
        "relayed_by": None,
        "automatic": False,
        "harm": None,
        "escalations": [],
        "late": False,
        "unreachable": 0,
        **dict.fromkeys(COUNTS, 0),
        "position": 0,
    }
