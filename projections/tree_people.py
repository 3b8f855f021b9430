"""The people of the live tree: one row a warning and person, changed by one statement for all whom an event speaks of.

Each change says first what it does to the counts of the people's nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    Integer,
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)

from domain.answers import Answer
from domain.outcomes import Outcome
from domain.outcomes import Row as Line
from domain.shards import ShardPlanned
from projections.listed import Listed, OneOf
from projections.projection import Bulk, among

Changes = list[tuple[str, dict[str, int]]]
"""(node, change of each of its counts)."""
CHANGED = ("told", "held", "delivered")


class Step(StrEnum):
    """What a line of a ledger means for the person whom it is about."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    UNKNOWN = "unknown"  # a provider may have taken it
    FAILED = "failed"  # a provider took it, and a receipt says that it did not arrive
    NOTHING = "nothing"  # but whoever waited for their morning in that shard does not any more


def step_of(line: Line, *, receipts: bool) -> Step:
    match line.outcome:
        case Outcome.ACCEPTED | Outcome.DELIVERED | Outcome.UNKNOWN as outcome:
            return Step(outcome.value)
        case Outcome.REFUSED if receipts:
            return Step.FAILED
    return Step.NOTHING


class Answered(NamedTuple):
    """An answer that says something, `at` the log's time and `position`."""

    warning_id: str
    person_id: str
    answer: Answer
    at: datetime
    late: bool
    position: int


class People:
    """`table` is `reach` of projections/tree.py. People come with a number each, which is of no meaning here."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._plan = Listed(self._planned)
        self._counts = {step: Listed(_After(table, step).counts) for step in Step}
        self._steps = {step: Listed(_After(table, step).update) for step in Step}
        self._to_hold = Listed(self._counted_to_hold)
        self._hold = Listed(self._held)
        r = table.c
        answers = update(table).where(r.warning_id == bindparam("b_warning"), r.person_id == bindparam("b_person"))
        said: dict[str, Any] = {name: bindparam(name) for name in ("answer", "answered_at", "late")}
        self._answer = Bulk(answers.values(said), key=("b_warning", "b_person"))

    def plan(self, db: Connection, event: ShardPlanned) -> int:
        """Adds those who are not here yet; how many they are."""
        about = {"b_warning": event.warning_id, "b_node": event.node_id, "b_circle": event.circle.value}
        return self._plan.run(db, dict(enumerate(dict.fromkeys(event.recipients))), **about).rowcount

    def step(self, db: Connection, step: Step, warning_id: str, shard_id: str, people: Mapping[int, str]) -> Changes:
        about = {"b_warning": warning_id, "b_shard": shard_id}
        changes = _changes(self._counts[step].run(db, people, **about))
        self._steps[step].run(db, people, **about)
        return changes

    def hold(self, db: Connection, warning_id: str, shard_id: str, people: Mapping[int, str]) -> Changes:
        """Those of them who were not told yet wait for their morning."""
        about = {"b_warning": warning_id, "b_shard": shard_id}
        changes = _changes(self._to_hold.run(db, people, **about))
        self._hold.run(db, people, **about)
        return changes

    def answering(self, db: Connection, warning_id: str, people: Iterable[str]) -> dict[str, tuple[str, str | None]]:
        """The node and the answer so far of those of these people to whom the warning goes."""
        r = self._table.c
        query = select(r.person_id, r.node_id, r.answer)
        rows = db.execute(query.where(r.warning_id == warning_id, among(db, r.person_id, people)))
        return {person_id: (node_id, answer) for person_id, node_id, answer in rows}

    def answered(self, db: Connection, answers: Iterable[Answered]) -> None:
        """Notes answers of people to whom the warnings go, at most one of each person to each warning."""
        rows = [
            {
                "b_warning": given.warning_id,
                "b_person": given.person_id,
                "answer": given.answer.value,
                "answered_at": given.at,
                "late": given.late,
            }
            for given in answers
        ]
        self._answer.run(db, rows)

    def _planned(self, each: FromClause) -> Insert:
        r = self._table.c
        values: dict[str, Any] = {
            "warning_id": bindparam("b_warning", type_=Text),
            "person_id": each.c.text,
            "node_id": bindparam("b_node", type_=Text),
            "circle": bindparam("b_circle", type_=Text),
            "held": literal("", Text),
            "told": false(),
            "sent": literal(0, Integer),
            "failed": literal(0, Integer),
            "delivered": false(),
            "late": false(),
        }
        known = select(r.person_id).where(r.warning_id == bindparam("b_warning"), OneOf(r.person_id, each))
        return insert(self._table).from_select(list(values), select(*values.values()).where(each.c.text.not_in(known)))

    def _counted_to_hold(self, each: FromClause) -> Select[Any]:
        r = self._table.c
        query = select(r.node_id, literal(0), _sum(literal(1, Integer)), literal(0))
        mine = (r.warning_id == bindparam("b_warning"), OneOf(r.person_id, each))
        return query.where(*mine, ~r.told, r.held == "").group_by(r.node_id)

    def _held(self, each: FromClause) -> Update:
        r = self._table.c
        mine = (r.warning_id == bindparam("b_warning"), OneOf(r.person_id, each))
        return update(self._table).where(*mine, ~r.told).values(held=bindparam("b_shard"))


class _After:
    """How a step changes the row of each."""

    def __init__(self, table: Table, step: Step) -> None:
        self._table = table
        r = table.c
        arrives = step is Step.ACCEPTED or step is Step.DELIVERED
        # A message that arrives ends the waiting for the morning, whichever shard it is of.
        self._free = r.held != "" if arrives else and_(r.held != "", r.held == bindparam("b_shard"))
        self._held = case((self._free, ""), else_=r.held)
        self._sent = r.sent + int(step is Step.ACCEPTED or step is Step.UNKNOWN)
        self._failed = r.failed + int(step is Step.FAILED)
        self._delivered: ColumnElement[bool] = true() if step is Step.DELIVERED else r.delivered
        # A receipt may come before the answer to the send that it is about, so both are counted, in any order.
        known = true() if arrives else r.told
        self._told = r.told if step is Step.NOTHING else or_(self._delivered, and_(known, self._sent > self._failed))
        self._only = self._free if step is Step.NOTHING else true()

    def counts(self, each: FromClause) -> Select[Any]:
        """What changes, by node; only nodes at which something does."""
        r = self._table.c
        changes = (
            select(
                r.node_id,
                (_number(self._told) - _number(r.told)).label("told"),
                (-_number(self._free)).label("held"),
                (_number(self._delivered) - _number(r.delivered)).label("delivered"),
            )
            .where(r.warning_id == bindparam("b_warning"), OneOf(r.person_id, each), self._only)
            .subquery()
        )
        c = changes.c
        query: Select[Any] = select(c.node_id, *(_sum(c[name]) for name in CHANGED))
        return query.where(or_(*(c[name] != 0 for name in CHANGED))).group_by(c.node_id)

    def update(self, each: FromClause) -> Update:
        r = self._table.c
        mine = (r.warning_id == bindparam("b_warning"), OneOf(r.person_id, each), self._only)
        after = {"held": self._held, "sent": self._sent, "failed": self._failed}
        return update(self._table).where(*mine).values(**after, delivered=self._delivered, told=self._told)


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def _sum(values: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.sum(values), Integer)  # PostgreSQL sums to a decimal


def _changes(rows: Iterable[Any]) -> Changes:
    return [(node_id, dict(zip(CHANGED, changes, strict=True))) for node_id, *changes in rows]
