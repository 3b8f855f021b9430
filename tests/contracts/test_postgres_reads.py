"""On PostgreSQL, what is asked of a hundred people of one shard reads their rows or the shard's, however many others
there are and however little the server knows of its tables: it has counted none of those of this suite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from domain.answers import Answer, AnswerReceived
from domain.events import Event, Metadata, Recorded
from domain.outcomes import Outcome, Row
from domain.people import STAFF, Channel, PersonRegistered, Role
from domain.private import Sealed
from domain.rulepacks import Lane
from domain.shards import ChunkIntended, ChunkRecorded, Circle, Purpose, ReceiptsRecorded, ShardHeld, ShardPlanned
from infra.postgres import conninfo
from projections.contact_points import ContactPoints
from projections.deliveries import Deliveries
from projections.directory import Directory
from projections.postgres import postgres_views
from projections.tree import Tree
from projections.whereabouts import Whereabouts

NOW = datetime(2026, 7, 1, tzinfo=UTC)
AT_ONE = 500  # people of a node, all in one shard
NODES = 20
ASKED = [f"n4-{n:03d}" for n in range(100)]
MOST = 3_000  # rows that may be read, in indexes and tables, by several statements; of everybody there are 10,000

FOLDED: dict[str, list[Event]] = {
    "outcomes": [ChunkRecorded(shard_id="s4", rows=tuple(Row(n, Outcome.ACCEPTED, 1) for n in range(100)))],
    "refusals": [ChunkRecorded(shard_id="s4", rows=tuple(Row(n, Outcome.REFUSED, 1) for n in range(100)))],
    "receipts": [ReceiptsRecorded(shard_id="s4", rows=tuple(Row(n, Outcome.DELIVERED, 1) for n in range(100)))],
    "intents": [ChunkIntended(shard_id="s4", indices=tuple(range(100)))],
    "nights": [ShardHeld(shard_id="s4", rows=tuple(Row(n, Outcome.DEFERRED, 0) for n in range(100)))],
    "answers": [
        AnswerReceived(warning_id="w", person_id=who, node_id="n4", answer=Answer.SAFE, channel="sms") for who in ASKED
    ],
}
READ: dict[str, Callable[[Connection], Any]] = {
    "sealed contacts": lambda db: Directory().sealed(db, ASKED),
    "people by id": lambda db: Directory().people_by_id(db, ASKED),
    "stays": lambda db: Whereabouts().of(db, ASKED),
    "dead contact points": lambda db: ContactPoints().unreachable(db, ASKED, 10**6),
    "known contact points": lambda db: ContactPoints().known(db, ASKED),
    "staff": lambda db: Directory().audience_page(db, [f"n{n}" for n in range(NODES)], 10**6, roles=STAFF),
    "deliveries": lambda db: Deliveries().page(db, "w", after=("s4", 0), limit=100),
    "what was sent to a node": lambda db: Deliveries().counts(db, "w", ["n4"]),
    "the figures of a node": lambda db: Tree().figures(db, "w", ["n4"]),
    "the last warning of somebody": lambda db: Deliveries().latest_warning_of(db, ASKED[0], Channel.SMS),
}


@pytest.fixture(scope="module")
def engine(postgres: Any) -> Iterator[Engine]:
    with postgres.schema() as config:
        made = postgres_views(conninfo(config.url.get_secret_value()), config.db_schema)
        with made.begin() as db:
            for view in (Directory(), Tree(), Deliveries(), ContactPoints(), Whereabouts()):
                view.metadata.create_all(db)
                view.apply([recorded(said, n) for n, said in enumerate(before(), 1)], db)
        yield made
        made.dispose()


def before() -> Iterator[Event]:
    for node in range(NODES):
        people = tuple(f"n{node}-{n:03d}" for n in range(AT_ONE))
        for who in people:
            yield PersonRegistered(
                person_id=who,
                node_id=f"n{node}",
                role=Role.HEAD if who.endswith("-000") else Role.CITIZEN,
                language="zh",
                channels=(Channel.SMS,),
                personal=Sealed(who, f"person-{who}@1", "box"),
            )
        yield ShardPlanned(
            shard_id=f"s{node}",
            warning_id="w",
            node_id=f"n{node}",
            circle=Circle.PEOPLE,
            purpose=Purpose.NOTICE,
            channel=Channel.SMS,
            language="zh",
            lane=Lane.NORMAL,
            recipients=people,
            valid_until=NOW + timedelta(hours=6),
        )


@pytest.mark.parametrize("name", FOLDED)
def test_what_happened_to_some_is_folded_without_reading_all(engine: Engine, name: str) -> None:
    assert _rows_read(engine, folding(name)) < MOST


@pytest.mark.parametrize("name", READ)
def test_what_is_asked_of_some_is_read_without_reading_all(engine: Engine, name: str) -> None:
    assert _rows_read(engine, READ[name]) < MOST


def folding(name: str) -> Callable[[Connection], None]:
    """The act of folding what happened into the views of people."""
    events = [recorded(said, n) for n, said in enumerate(FOLDED[name], 10**5)]

    def fold(db: Connection) -> None:
        for view in (Tree(), Deliveries(), ContactPoints()):
            view.apply(events, db)

    return fold


def _rows_read(engine: Engine, act: Callable[[Connection], Any]) -> int:
    """Rows that all statements of the act look at, in tables and indexes."""
    said: list[tuple[str, Any]] = []

    def note(conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.split(maxsplit=1)[0] in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"):
            said.append((statement, parameters))

    with engine.connect() as db:
        event.listen(engine, "before_cursor_execute", note)
        act(db)
        event.remove(engine, "before_cursor_execute", note)
        db.rollback()
    assert said
    read = 0
    with engine.connect() as db:
        for statement, parameters in said:
            explained = db.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar()
            plans = json.loads(explained) if isinstance(explained, str) else explained
            read += _of_plan(plans[0]["Plan"])
        db.rollback()
    return read


def _of_plan(node: dict[str, Any]) -> int:
    looked = 0
    if node["Node Type"].endswith("Scan") and ("Relation Name" in node or "Index Name" in node):
        each = sum(
            node.get(name, 0) for name in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        )
        looked = round(each * node["Actual Loops"])
    return looked + sum(_of_plan(below) for below in node.get("Plans", ()))


def recorded(said: Event, position: int) -> Recorded:
    meta = Metadata(event_id=f"e{position}", recorded_at=NOW, actor="x", correlation_id="c")
    return Recorded(f"shard-{position}", position, meta, said, position)
