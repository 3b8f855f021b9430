"""How events become the rows of the live tree: a batch loads what it touches, folds, and writes at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, Table, select

from domain.answers import Answer, AnswerReceived, AnswerSettled
from domain.events import Recorded
from domain.outcomes import REACHED, Outcome
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
from domain.shards import ChunkRecorded, Purpose, ReceiptsRecorded, ShardHeld, ShardPlanned, ShardStopped
from projections.projection import add, rows_by_key, upsert

COUNTS = ("recipients", "told", "held", "delivered", "acknowledged", "help")
"""`held` are those not told yet because it is night where they are."""


class Tables(Protocol):
    """The tables of projections/tree.py."""

    relays: Table
    reach: Table
    shards: Table


class Batch:
    """The rows that a batch of events touches: loaded at first need, written at its end."""

    def __init__(self, tables: Tables, db: Connection, events: Sequence[Recorded]) -> None:
        self.tables, self.db = tables, db
        self.relays: dict[tuple[str, str], dict[str, Any]] = {}
        self.shards: dict[str, tuple[str, list[str]]] = {}
        self.new_shards: list[dict[str, Any]] = []
        self.reach: dict[tuple[str, str], dict[str, Any]] = {}
        self.touched: set[tuple[str, str]] = set()
        self._load(events)

    def _load(self, events: Sequence[Recorded]) -> None:
        planned = {r.event.shard_id: r.event for r in events if isinstance(r.event, ShardPlanned)}
        needed = {
            r.event.shard_id
            for r in events
            if isinstance(r.event, ChunkRecorded | ReceiptsRecorded | ShardHeld | ShardStopped)
        } - planned.keys()
        for row in rows_by_key(self.db, self.tables.shards, self.tables.shards.c.shard_id, sorted(needed)):
            self.shards[row["shard_id"]] = (row["warning_id"], row["recipients"])
        people: dict[str, set[str]] = {}
        for plan in planned.values():
            self.shards[plan.shard_id] = (plan.warning_id, list(plan.recipients))
            people.setdefault(plan.warning_id, set()).update(plan.recipients)
        for r in events:
            if isinstance(r.event, ChunkRecorded | ReceiptsRecorded) and r.event.shard_id in self.shards:
                warning_id, recipients = self.shards[r.event.shard_id]
                if not recipients:
                    continue
                people.setdefault(warning_id, set()).update(recipients[o.index] for o in r.event.rows)
            elif isinstance(r.event, ShardHeld | ShardStopped) and r.event.shard_id in self.shards:
                warning_id, recipients = self.shards[r.event.shard_id]
                people.setdefault(warning_id, set()).update(recipients)
            elif isinstance(r.event, AnswerReceived | AnswerSettled):
                people.setdefault(r.event.warning_id, set()).add(r.event.person_id)
        reach = self.tables.reach
        for warning_id, persons in people.items():
            for row in rows_by_key(
                self.db, reach, reach.c.person_id, sorted(persons), reach.c.warning_id == warning_id
            ):
                self.reach[warning_id, row["person_id"]] = row

    def relay(self, warning_id: str, node_id: str, position: int) -> dict[str, Any]:
        key = (warning_id, node_id)
        if key not in self.relays:
            c = self.tables.relays.c
            query = select(self.tables.relays).where(c.warning_id == warning_id, c.node_id == node_id)
            found = self.db.execute(query).mappings().first()
            self.relays[key] = dict(found) if found else _empty_relay(warning_id, node_id)
        row = self.relays[key]
        row["position"] = position
        return row

    def fold(self, r: Recorded) -> None:
        event, position = r.event, r.position
        match event:
            case ShardPlanned():
                self._planned(event, position)
            case ChunkRecorded() | ReceiptsRecorded():
                self._outcomes(event, position)
            case ShardHeld():
                warning_id, recipients = self.shards.get(event.shard_id, ("", []))
                for o in event.rows if recipients else ():
                    self._hold((warning_id, recipients[o.index]), event.shard_id, position)
            case ShardStopped():
                warning_id, recipients = self.shards.get(event.shard_id, ("", []))
                for person_id in recipients:
                    self._release((warning_id, person_id), event.shard_id, position)
            case AnswerReceived():
                self._answer(event.warning_id, event.person_id, event.answer, r, late=event.late)
            case AnswerSettled():
                self._answer(event.warning_id, event.person_id, event.meaning, r, late=False)
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
        self.new_shards.append(
            {"shard_id": event.shard_id, "warning_id": event.warning_id, "recipients": list(event.recipients)}
        )
        if event.purpose is not Purpose.NOTICE and event.purpose is not Purpose.ESCALATION:
            # A withdrawal is told to those reached; it must not count as reaching them.
            self.shards[event.shard_id] = (event.warning_id, [])
            self.new_shards[-1]["recipients"] = []
            return
        added = 0
        for person_id in event.recipients:
            key = (event.warning_id, person_id)
            if key not in self.reach:
                added += 1
                self.touched.add(key)
                self.reach[key] = {
                    "warning_id": event.warning_id,
                    "person_id": person_id,
                    "node_id": event.node_id,
                    "circle": event.circle.value,
                    "told": False,
                    "held": "",
                    "sent": 0,
                    "failed": 0,
                    "delivered": False,
                    "answer": None,
                    "answered_at": None,
                    "late": False,
                }
        if added:
            self.relay(event.warning_id, event.node_id, position)["recipients"] += added

    def _hold(self, key: tuple[str, str], shard_id: str, position: int) -> None:
        """Somebody who was not told yet waits for their morning."""
        person = self.reach.get(key)
        if person is None or person["told"]:
            return
        if not person["held"]:
            self.relay(key[0], person["node_id"], position)["held"] += 1
        person["held"] = shard_id
        self.touched.add(key)

    def _release(self, key: tuple[str, str], shard_id: str | None, position: int) -> None:
        """They do not wait in this shard any more; None: nor in any other, since they were told."""
        person = self.reach.get(key)
        if person is None or not person["held"] or shard_id not in (None, person["held"]):
            return
        person["held"] = ""
        self.touched.add(key)
        self.relay(key[0], person["node_id"], position)["held"] -= 1

    def _outcomes(self, event: ChunkRecorded | ReceiptsRecorded, position: int) -> None:
        warning_id, recipients = self.shards.get(event.shard_id, ("", []))
        if not recipients:
            return
        receipts = isinstance(event, ReceiptsRecorded)
        for o in event.rows:
            key = (warning_id, recipients[o.index])
            person = self.reach.get(key)
            if person is None:
                continue
            arrives = o.outcome is Outcome.ACCEPTED or o.outcome is Outcome.DELIVERED
            if person["held"]:
                self._release(key, None if arrives else event.shard_id, position)
            failed = receipts and o.outcome is Outcome.REFUSED
            if not failed and o.outcome not in REACHED:
                continue
            self.touched.add(key)
            person["failed"] += failed
            person["sent"] += o.outcome is Outcome.ACCEPTED or o.outcome is Outcome.UNKNOWN
            if o.outcome is Outcome.DELIVERED and not person["delivered"]:
                person["delivered"] = True
                self.relay(warning_id, person["node_id"], position)["delivered"] += 1
            # A receipt may come before the answer to the send that it is about, so both are counted, in any order.
            known = person["told"] or arrives
            told = person["delivered"] or (known and person["sent"] > person["failed"])
            if told != person["told"]:
                person["told"] = told
                self.relay(warning_id, person["node_id"], position)["told"] += 1 if told else -1

    def _answer(self, warning_id: str, person_id: str, answer: Answer, r: Recorded, *, late: bool) -> None:
        key = (warning_id, person_id)
        person = self.reach.get(key)
        if person is None or answer is Answer.UNCLEAR:
            return
        row = self.relay(warning_id, person["node_id"], r.position)
        if person["answer"] is None:
            row["acknowledged"] += 1
        row["help"] += (answer is Answer.HELP) - (person["answer"] == Answer.HELP.value)
        person.update(answer=answer.value, answered_at=r.metadata.recorded_at, late=late)
        self.touched.add(key)

    def flush(self) -> None:
        add(self.db, self.tables.shards, self.new_shards)
        upsert(self.db, self.tables.reach, [self.reach[key] for key in sorted(self.touched)])
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
