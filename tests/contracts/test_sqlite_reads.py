"""On SQLite, what is folded and asked of a hundred people is found by their rows' own keys: the way to each table of
people, as the database explains it, names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from test_postgres_reads import FOLDED, READ, before, folding, recorded

from projections.contact_points import ContactPoints
from projections.deliveries import Deliveries
from projections.directory import Directory
from projections.sqlite import sqlite_views
from projections.tree import Tree
from projections.whereabouts import Whereabouts

VIEWS = (Directory, Tree, Deliveries, ContactPoints, Whereabouts)
# Of one warning, of one shard or of one person there are few rows; of a warning there are as many as people.
KEYS = {"reach_g0": ("person_id",), "deliveries_g0": ("shard_id", "person_id"), "people_g0": ("person_id", "node_id")}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = sqlite_views(tmp_path_factory.mktemp("reads") / "views.sqlite")
    with made.begin() as db:
        for view in VIEWS:
            view().metadata.create_all(db)
            view().apply([recorded(said, n) for n, said in enumerate(before(), 1)], db)
    yield made
    made.dispose()


@pytest.mark.parametrize("name", FOLDED)
def test_what_happened_to_some_is_folded_by_their_keys(engine: Engine, name: str) -> None:
    assert not _astray(engine, folding(name))


@pytest.mark.parametrize("name", READ)
def test_what_is_asked_of_some_is_read_by_their_keys(engine: Engine, name: str) -> None:
    assert not _astray(engine, READ[name])


def _astray(engine: Engine, act: Callable[[Connection], Any]) -> list[str]:
    """The ways by which the act's statements come to people, where these name none of the keys."""
    said: list[tuple[str, Any]] = []

    def note(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        said.append((statement, parameters[0] if many else parameters))

    found: list[str] = []
    with engine.connect() as db:
        event.listen(engine, "before_cursor_execute", note)
        act(db)
        event.remove(engine, "before_cursor_execute", note)
        raw: Any = db.connection.driver_connection
        for statement, parameters in said:
            if statement.split(maxsplit=1)[0] in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"):
                found += [line[3] for line in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        db.rollback()
    assert said
    ways = [way for way in found if way.split()[0] in ("SCAN", "SEARCH") and way.split()[1] in KEYS]
    return [way for way in ways if not any(f"{key}=?" in way for key in KEYS[way.split()[1]])]
