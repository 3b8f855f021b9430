"""What pages and metrics ask does not go through whole tables: its cost would grow with the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event, select
from views_rig import lived

from projections import backlog
from projections.follower import Views
from projections.sqlite import sqlite_views

ASKED: dict[str, Callable[[Views, Connection, str], Any]] = {
    "warnings.page": lambda v, db, _: v.warnings.page(db, before=None, limit=50),
    "warnings.page, further": lambda v, db, _: v.warnings.page(db, before=9, limit=50),
    "deliveries.page": lambda v, db, warning_id: v.deliveries.page(db, warning_id, after=("", -1), limit=2),
    "deliveries.counts": lambda v, db, warning_id: v.deliveries.counts(db, warning_id),
    "deliveries.counts, of nodes": lambda v, db, warning_id: v.deliveries.counts(db, warning_id, ["milan"]),
    "tree.figures": lambda v, db, warning_id: v.tree.figures(db, warning_id, ["milan"]),
    "cases.of_warning": lambda v, db, warning_id: v.cases.of_warning(db, warning_id, ["milan"], 2),
    "cases.count": lambda v, db, warning_id: v.cases.count(db, warning_id, ["milan"]),
    "unclear.referred": lambda v, db, warning_id: v.unclear.referred(db, warning_id, ["milan"], 2),
    "unclear.referred_count": lambda v, db, warning_id: v.unclear.referred_count(db, warning_id, ["milan"]),
    "backlog.silence": lambda v, db, _: backlog.silence(v, db),
    "plans.pending": lambda v, db, _: v.plans.pending(db),
}


def first(views: Views, db: Connection) -> str:
    """A warning with deliveries."""
    found: str = db.execute(select(views.deliveries.shards.c.warning_id)).scalars().first() or ""
    return found


@pytest.fixture
def views() -> Iterator[Views]:
    made = Views(sqlite_views(None))
    made.catch_up(lived().read)
    yield made
    made.close()


@pytest.mark.parametrize("name", ASKED)
def test_it_is_found_by_an_index(views: Views, name: str) -> None:
    said: list[tuple[str, Any]] = []

    def note(conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            said.append((statement, parameters))

    with views.reading() as db:
        warning_id = first(views, db)
    event.listen(views.engine, "before_cursor_execute", note)
    with views.reading() as db:
        ASKED[name](views, db, warning_id)
    event.remove(views.engine, "before_cursor_execute", note)
    assert said
    with views.reading() as db:
        for statement, parameters in said:
            plan = [row[3] for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            tables = [step for step in plan if step.startswith("SCAN") and "_g" in step]
            in_order = "LIMIT" in statement and "WHERE" not in statement  # the first few of an index
            assert not [step for step in tables if not (in_order and "INDEX" in step)], f"{plan}\n{statement}"


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_pages_of_any_size_make_up_the_whole(views: Views, limit: int) -> None:
    with views.reading() as db:
        for warning_id in set(db.execute(select(views.deliveries.shards.c.warning_id)).scalars()):
            d = views.deliveries.deliveries.c
            wanted = select(d.shard_id, d.idx).where(d.warning_id == warning_id).order_by(d.shard_id, d.idx)
            found: list[tuple[str, int]] = []
            while page := views.deliveries.page(db, warning_id, after=found[-1] if found else ("", -1), limit=limit):
                assert len(page) <= limit
                found += [(row["shard_id"], row["idx"]) for row in page]
            assert found == [tuple(row) for row in db.execute(wanted)]
