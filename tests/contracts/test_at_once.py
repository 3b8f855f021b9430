"""Many rows in one statement do what a statement for each row does, on either database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    case,
    event,
    select,
    update,
)

from projections.projection import FEW, Bulk, Json, Utc, add, upsert

AT = datetime(2026, 7, 1, 8, 0, 0, 123456, tzinfo=UTC)
WORDS = ["", "台风 🌀", "a'b\"c", "back\\slash", "\\u0000 as it is typed", "line\nbreak", "{}", "NULL", "%(rows)s", "%"]
MANY = 5 * FEW

things = Table(
    "things",
    MetaData(),
    Column("name", Text, primary_key=True),
    Column("idx", Integer, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("there", Boolean, nullable=False),
    Column("at", Utc),
    Column("more", Json),
)
t = things.c
changing = (
    update(things)
    .where(t.name == bindparam("b_name"), t.idx == bindparam("b_idx"), t.count < 1_000_000)
    .values(
        count=case((bindparam("count", type_=Integer()) == 0, t.count), else_=bindparam("count", type_=Integer())),
        **{name: bindparam(name) for name in ("there", "at", "more")},
    )
)


@pytest.fixture
def db(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as opened:
        things.create(opened)
        yield opened
        opened.rollback()
    engine.dispose()


def row(n: int, **more: Any) -> dict[str, Any]:
    fields = {
        "name": f"{n % 7} {WORDS[n % len(WORDS)]}",
        "idx": n,
        "count": 2**40 + n if n % 5 == 0 else n,
        "there": n % 2 == 0,
        "at": None if n % 3 else AT + timedelta(microseconds=n),
        "more": None if n % 4 else {"words": WORDS, "n": [n, None, True]},
    }
    return {**fields, **more}


def kept(db: Connection) -> list[dict[str, Any]]:
    return [dict(found) for found in db.execute(select(things).order_by(t.idx)).mappings()]


def statements(db: Connection, act: Callable[[], object]) -> int:
    """How many statements that took: one with many rows one after the other counts as one for each."""
    found: list[int] = []

    def count(_c: Any, _cursor: Any, _sql: str, parameters: Any, _context: Any, many: bool) -> None:
        found.append(len(parameters) if many else 1)

    event.listen(db, "before_cursor_execute", count)
    act()
    event.remove(db, "before_cursor_execute", count)
    return sum(found)


def test_new_rows(db: Connection) -> None:
    rows = [row(n) for n in range(MANY)]
    took = statements(db, lambda: add(db, things, rows))
    assert kept(db) == rows
    assert took == (1 if db.dialect.name == "postgresql" else MANY)


def test_rows_of_which_some_are_there(db: Connection) -> None:
    add(db, things, [row(n) for n in range(MANY)])
    newer = [row(n, count=-n, more="newer") for n in range(MANY // 2, 2 * MANY)]
    upsert(db, things, newer)
    assert kept(db) == [row(n) for n in range(MANY // 2)] + newer


def test_of_two_rows_that_mean_the_same_the_later_stays(db: Connection) -> None:
    rows = [row(n % MANY, count=n) for n in range(2 * MANY)]
    upsert(db, things, rows)
    assert kept(db) == rows[MANY:]


def changes(numbers: range, **more: Any) -> list[dict[str, Any]]:
    """Of these rows and of some that are not there."""
    found = []
    for n in numbers:
        values = {**row(n, at=AT, more=["changed", n], there=n % 3 == 0), **more}
        name, idx = values.pop("name"), values.pop("idx")
        found.append({"b_name": name, "b_idx": idx, **values})
    return found


@pytest.mark.parametrize("key", [(), ("b_name", "b_idx")])
def test_changed_rows(db: Connection, key: tuple[str, ...]) -> None:
    add(db, things, [row(n) for n in range(MANY)])
    bulk = Bulk(changing, key=key)
    took = statements(db, lambda: bulk.run(db, changes(range(10, MANY + 20), count=0)))
    assert took == (1 if key and db.dialect.name == "postgresql" else MANY + 10)
    for found, was in zip(kept(db), (row(n) for n in range(MANY)), strict=True):
        touched = was["idx"] >= 10 and was["count"] < 1_000_000
        assert found["count"] == was["count"]
        assert found["more"] == (["changed", was["idx"]] if touched else was["more"])
        assert found["at"] == (AT if touched else was["at"])


@pytest.mark.parametrize(
    ("moment", "kept_as"),
    [
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-8))), datetime.max.replace(tzinfo=UTC)),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=8))), datetime.min.replace(tzinfo=UTC)),
        (datetime(999, 5, 1, tzinfo=UTC), datetime(999, 5, 1, tzinfo=UTC)),
        (datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=8))), datetime(2026, 5, 1, 4, tzinfo=UTC)),
    ],
)
def test_no_moment_stops_a_view(db: Connection, moment: datetime, kept_as: datetime) -> None:
    add(db, things, [row(1, at=moment)])
    assert [found["at"] for found in kept(db)] == [kept_as]


def test_changes_of_one_row_come_in_their_order(db: Connection) -> None:
    add(db, things, [row(n) for n in range(MANY)])
    Bulk(changing, key=("b_name", "b_idx")).run(
        db, [*changes(range(1, MANY), count=7), *changes(range(1, MANY), count=8)]
    )
    assert {found["count"] for found in kept(db) if found["count"] < 1_000_000} == {8}


def test_a_character_that_postgresql_cannot_hold_stops_nothing(db: Connection) -> None:
    rows = [row(n, more=None, name="a\x00b" if n == 3 else row(n)["name"]) for n in range(MANY)]
    add(db, things, rows)
    (found,) = [r["name"] for r in kept(db) if r["idx"] == 3]
    assert found == ("a\ufffdb" if db.dialect.name == "postgresql" else "a\x00b")
    assert kept(db)[4]["name"] == rows[4]["name"] == "4 \\u0000 as it is typed"
