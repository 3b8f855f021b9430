"""What a projection is: named tables and a function that folds events into them. And the few column types they share.

Tables carry their generation in their name, so that a new generation is built beside the one that is being read.
Rows hold nothing that did not come from the log: dropping and rebuilding them gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from sqlalchemy import Column, Connection, Dialect, MetaData, Table, Text, TypeDecorator, select
from sqlalchemy.dialects import postgresql, sqlite

from domain.events import Recorded


class Utc(TypeDecorator[datetime]):
    """A moment, stored as text of fixed width in UTC: sorts as it should and is the same on every database."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class Json(TypeDecorator[Any]):
    """A small structure as JSON text, written the same way each time."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value, order="sorted").decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


class Projection:
    """One view: its tables in one generation, and how events become rows.

    `name` is what `fenghuo replay --view` calls it; `code_version` goes up when the same log would give other rows.
    """

    name: ClassVar[str]
    code_version: ClassVar[int] = 1

    def __init__(self, generation: int = 0) -> None:
        self.generation = generation
        self.metadata = MetaData()
        self.tables: dict[str, Table] = {}

    def table(self, name: str, *columns: Any) -> Table:
        made = Table(f"{name}_g{self.generation}", self.metadata, *columns)
        self.tables[name] = made
        return made

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        """Folds a batch into the tables, within the caller's transaction."""
        raise NotImplementedError

    def dump(self, db: Connection) -> Iterable[tuple[str, dict[str, Any]]]:
        """Every row of every table by primary key: what two builds of the same log are compared by."""
        for name, table in sorted(self.tables.items()):
            for row in db.execute(select(table).order_by(*table.primary_key.columns)).mappings():
                yield name, dict(row)


def upsert(db: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts rows, or replaces those with the same primary key; every row names every column."""
    if not rows:
        return
    insert = sqlite.insert if db.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table)
    keys = [column.name for column in table.primary_key.columns]
    changed = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys}
    db.execute(
        statement.on_conflict_do_update(index_elements=keys, set_=changed)
        if changed
        else statement.on_conflict_do_nothing(),
        list(rows),
    )


def rows_by_key(
    db: Connection, table: Table, column: Column[Any], keys: Iterable[Any], *conditions: Any
) -> Iterable[dict[str, Any]]:
    """Rows whose `column` is among `keys`, asked for in portions that every database takes."""
    wanted = list(dict.fromkeys(keys))
    for start in range(0, len(wanted), 400):
        query = select(table).where(column.in_(wanted[start : start + 400]), *conditions)
        for row in db.execute(query).mappings():
            yield dict(row)
