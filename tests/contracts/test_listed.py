"""One statement about many people does what one for each would do, on either database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Connection, Engine, FromClause, Insert, Integer, MetaData, Table, Text, bindparam, select

from domain.events import Event, Metadata, Recorded
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.rulepacks import Lane
from domain.shards import ChunkRecorded, Circle, Purpose, ReceiptsRecorded, ShardPlanned
from projections.contact_points import ContactPoints
from projections.deliveries import Deliveries
from projections.listed import Listed, alike
from projections.tree import Tree
from projections.tree_people import Step, step_of

WORDS = ["", "台风 🌀", "a'b\"c", "back\\slash", "\\u0000 as it is typed", "line\nbreak", "{}", "null", "12", "%(b)s"]
PEOPLE = [f"person-{n}" for n in range(6)]
NODES = ("rome", "milan")

things = Table("listed_things", MetaData(), Column("idx", Integer), Column("word", Text), Column("about", Text))


@pytest.fixture
def db(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as opened:
        yield opened
        opened.rollback()


def adding(each: FromClause) -> Insert:
    return things.insert().from_select(
        ["idx", "word", "about"], select(each.c.at, each.c.text, bindparam("b_about", type_=Text))
    )


def test_texts_arrive_as_they_are(db: Connection) -> None:
    things.create(db)
    texts = {3 * n: word for n, word in enumerate(WORDS)}
    found = Listed(adding).run(db, texts, b_about="a\nb'c")
    kept = db.execute(select(things).order_by(things.c.idx)).all()
    assert kept == [(at, word, "a\nb'c") for at, word in texts.items()]
    assert found.rowcount == len(texts)


def test_of_a_text_with_the_character_that_postgresql_cannot_hold_the_rest_is_kept(db: Connection) -> None:
    things.create(db)
    Listed(adding).run(db, {0: "a\x00b", 1: WORDS[4]}, b_about="")
    assert list(db.execute(select(things.c.word).order_by(things.c.idx)).scalars()) == ["a\ufffdb", WORDS[4]]


def test_nobody_is_no_row(db: Connection) -> None:
    things.create(db)
    assert Listed(adding).run(db, {}, b_about="").rowcount == 0


outcomes = st.sampled_from([Outcome.ACCEPTED, Outcome.REFUSED])
lines = st.lists(st.builds(Row, st.integers(0, 5), outcomes, st.integers(1, 2)), max_size=12)


@given(lines)
def test_lines_that_say_the_same_come_together_and_each_recipients_in_their_order(rows: list[Row]) -> None:
    groups = list(alike(rows, "outcome", "attempt"))
    for first, group in groups:
        assert first is group[0]
        assert {(row.outcome, row.attempt) for row in group} == {(first.outcome, first.attempt)}
        assert len({row.index for row in group}) == len(group)
    told = [row for _, group in groups for row in group]
    for index in range(6):
        assert [r for r in told if r.index == index] == [r for r in rows if r.index == index]
    assert len(told) == len(rows)


class Person(msgspec.Struct):
    """A row of the tree's people, and how it changes, one person at a time."""

    node_id: str
    held: str = ""
    told: bool = False
    sent: int = 0
    failed: int = 0
    delivered: bool = False

    def step(self, step: Step, shard_id: str) -> None:
        arrives = step in (Step.ACCEPTED, Step.DELIVERED)
        if self.held and (arrives or self.held == shard_id):
            self.held = ""
        if step is Step.NOTHING:
            return
        self.failed += step is Step.FAILED
        self.sent += step in (Step.ACCEPTED, Step.UNKNOWN)
        self.delivered = self.delivered or step is Step.DELIVERED
        self.told = self.delivered or ((self.told or arrives) and self.sent > self.failed)

    def hold(self, shard_id: str) -> None:
        if not self.told:
            self.held = shard_id


some_people = st.lists(st.sampled_from(PEOPLE), unique=True, max_size=len(PEOPLE))
kinds = st.sampled_from(["plan", "hold", *Step])
acts = st.lists(st.tuples(kinds, some_people, st.sampled_from(["s1", "s2"]), st.sampled_from(NODES)), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts)
def test_people_change_as_one_by_one_and_their_nodes_counts_with_them(db: Connection, acts: list[Any]) -> None:
    tree = Tree()
    tree.metadata.drop_all(db)
    tree.metadata.create_all(db)
    model: dict[str, Person] = {}
    counts = {node_id: dict.fromkeys(("told", "held", "delivered"), 0) for node_id in NODES}
    for act, people, shard_id, node_id in acts:
        listed = dict(enumerate(people))
        if act == "plan":
            added = [who for who in people if who not in model]
            model.update({who: Person(node_id) for who in added})
            assert tree.people.plan(db, planned(shard_id, node_id, people)) == len(added)
            continue
        for who in people:
            if who in model and act == "hold":
                model[who].hold(shard_id)
            elif who in model:
                model[who].step(act, shard_id)
        made = (
            tree.people.hold(db, "w", shard_id, listed)
            if act == "hold"
            else tree.people.step(db, act, "w", shard_id, listed)
        )
        for at, changes in made:
            for name, change in changes.items():
                counts[at][name] += change
    r = tree.reach.c
    rows = db.execute(select(r.person_id, r.node_id, r.held, r.told, r.sent, r.failed, r.delivered))
    assert {who: Person(*fields) for who, *fields in rows} == model
    assert counts == {
        node_id: {
            "told": sum(p.told for p in model.values() if p.node_id == node_id),
            "held": sum(p.held != "" for p in model.values() if p.node_id == node_id),
            "delivered": sum(p.delivered for p in model.values() if p.node_id == node_id),
        }
        for node_id in NODES
    }


def planned(shard_id: str, node_id: str, people: list[str]) -> ShardPlanned:
    return ShardPlanned(
        shard_id=shard_id,
        warning_id="w",
        node_id=node_id,
        circle=Circle.PEOPLE,
        purpose=Purpose.NOTICE,
        channel=Channel.SMS,
        language="zh-CN",
        lane=Lane.NORMAL,
        recipients=tuple(people),
        valid_until=datetime(2026, 7, 1, tzinfo=UTC),
    )


def test_who_is_named_twice_is_one_person(db: Connection) -> None:
    """Logs of before may have a person twice in a shard, whose channel was registered twice."""
    events = [
        recorded(planned("s1", "rome", ["person-1", "person-1"]), 1),
        recorded(ChunkRecorded(shard_id="s1", rows=tuple(Row(i, Outcome.ACCEPTED, 1) for i in range(2))), 2),
    ]
    for view in (Tree(), ContactPoints(), Deliveries()):
        view.metadata.create_all(db)
        view.apply(events, db)
        view.apply([recorded(ReceiptsRecorded(shard_id="s1", rows=(Row(0, Outcome.DELIVERED, 1),)), 3)], db)
    tree = Tree()
    counts = tree.totals(db, "w")
    assert (counts["recipients"], counts["told"], counts["delivered"]) == (1, 1, 1)
    assert db.execute(select(tree.reach.c.sent)).scalars().all() == [2]
    assert [row.person_id for row in db.execute(select(ContactPoints().points))] == ["person-1"]


def recorded(event: Event, position: int) -> Recorded:
    at = datetime(2026, 7, 1, tzinfo=UTC)
    meta = Metadata(event_id=f"e{position}", recorded_at=at, actor="x", correlation_id="c")
    return Recorded("shard-s1", position, meta, event, position)


@pytest.mark.parametrize(
    ("outcome", "receipts", "step"),
    [
        (Outcome.ACCEPTED, False, Step.ACCEPTED),
        (Outcome.DELIVERED, True, Step.DELIVERED),
        (Outcome.UNKNOWN, False, Step.UNKNOWN),
        (Outcome.REFUSED, True, Step.FAILED),
        (Outcome.REFUSED, False, Step.NOTHING),
        (Outcome.DEFERRED, False, Step.NOTHING),
        (Outcome.EXPIRED, False, Step.NOTHING),
    ],
)
def test_what_a_line_means_for_a_person(outcome: Outcome, receipts: bool, step: Step) -> None:
    assert step_of(Row(0, outcome, 1, Reason.NONE), receipts=receipts) is step
