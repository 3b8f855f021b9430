"""What a projection is: named tables and a function that folds events into them. And the few column types they share.

Tables carry their generation in their name, so that a new generation is built beside the one that is being read.
Rows hold nothing that did not come from the log: dropping and rebuilding them gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, ClassVar

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Delete,
    Dialect,
    Insert,
    MetaData,
    Select,
    Table,
    Text,
    TypeDecorator,
    Update,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from domain.events import Recorded
from projections.at_once import AtOnce

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
Statement = Insert | Update | Delete | Select[Any]
CHANGING = {"postgresql_with": {"fillfactor": "50"}}
"""For tables whose rows are changed soon after they were made: PostgreSQL leaves half of each page free for that, and
then a change is written beside the row and into no index."""
Run = Callable[[Connection, list[dict[str, Any]]], None]
FEW = 10  # rows that are as fast one by one
PAGE = 2_000  # rows that are asked for at once where all of a table are read


class Utc(TypeDecorator[datetime]):
    """A moment, stored as text of fixed width in UTC: sorts as it should and is the same on every database."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        try:
            moment = value.astimezone(UTC)
        except OverflowError:  # at the ends of the calendar; no event may stop the views
            moment = LAST if value.year > 1 else FIRST
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

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

    def table(self, name: str, *columns: Any, **options: Any) -> Table:
        made = Table(f"{name}_g{self.generation}", self.metadata, *columns, **options)
        self.tables[name] = made
        return made

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        """Folds a batch into the tables, within the caller's transaction."""
        raise NotImplementedError

    def dump(self, db: Connection) -> Iterable[tuple[str, dict[str, Any]]]:
        """Every row of every table by primary key: what two builds of the same log are compared by.

        A page at a time: a table may have millions, and a server ends whoever asks nothing of it for a minute.
        """
        for name, table in sorted(self.tables.items()):
            rows = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=PAGE)
            for row in db.execute(rows).mappings():
                yield name, dict(row)


class Bulk:
    """A statement that is compiled once for each kind of database, and run with many rows at a time.

    SQLAlchemy builds a dictionary of parameters and looks up their types for every row; with thousands of rows that
    takes several times as long as the database itself. Here each column's conversion is looked up once. On PostgreSQL
    many rows are one parameter of one statement (see at_once.py), if no two of them have the same `key`.
    """

    def __init__(
        self, statement: Insert | Update | Delete, columns: Sequence[str] | None = None, *, key: Sequence[str] = ()
    ) -> None:
        """`columns`: those that an insert names; an update names its own. `key`: what says which row is meant."""
        self._statement = statement
        self._columns = None if columns is None else list(columns)
        self._key = itemgetter(*key) if key else None
        self._compiled: dict[str, Compiled] = {}
        self._at_once: AtOnce | None = None

    def run(self, db: Connection, rows: Sequence[dict[str, Any]]) -> None:
        if not rows:
            return
        if len(rows) >= FEW and self._key is not None and db.dialect.name == "postgresql":
            if self._at_once is None:
                self._at_once = AtOnce(self._statement, db.dialect, self._columns)
            if len(set(map(self._key, rows))) == len(rows):
                self._at_once.run(db, rows)
                return
        made = self._compiled.get(db.dialect.name)
        if made is None:
            made = self._compiled[db.dialect.name] = Compiled(self._statement, db.dialect, self._columns)
        db.exec_driver_sql(made.sql, made.parameters(rows))


class Compiled:
    """A statement's SQL and how a row becomes its parameters."""

    def __init__(self, statement: Statement, dialect: Dialect, columns: list[str] | None = None) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        assert isinstance(compiled, SQLCompiler)
        self.sql = str(compiled)
        constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        converters = {
            # Every driver takes a bool as it is; the library's check of it costs more than all the other columns.
            n: None if isinstance(b.type, Boolean) else b.type.dialect_impl(dialect).bind_processor(dialect)
            for n, b in compiled.binds.items()
        }
        self._constants = {n: c(v) if (c := converters[n]) and v is not None else v for n, v in constants.items()}
        self._converters = [(n, c) for n, c in converters.items() if c is not None and n not in constants]
        order = compiled.positiontup or []
        # A tuple of the row's values in the statement's order; itemgetter of a single name would not give a tuple.
        self._in_order = itemgetter(*order) if len(order) > 1 else lambda bound: tuple(bound[n] for n in order)
        self._positional = compiled.positional

    def parameters(self, rows: Sequence[dict[str, Any]]) -> Any:
        bound = rows if not self._constants and not self._converters else [self._bound(row) for row in rows]
        return list(map(self._in_order, bound)) if self._positional else bound

    def _bound(self, row: dict[str, Any]) -> dict[str, Any]:
        made = {**self._constants, **row}
        for name, convert in self._converters:
            if (value := made[name]) is not None:  # nothing is nothing in every type
                made[name] = convert(value)
        return made


def upsert(db: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts rows, or replaces those with the same primary key; every row names every column."""
    bulk = table.info.get(("upsert", db.dialect.name))
    if bulk is None:
        insert = sqlite.insert if db.dialect.name == "sqlite" else postgresql.insert
        statement = insert(table)
        keys = [column.name for column in table.primary_key.columns]
        changed = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys}
        bulk = table.info["upsert", db.dialect.name] = Bulk(
            statement.on_conflict_do_update(index_elements=keys, set_=changed)
            if changed
            else statement.on_conflict_do_nothing(),
            table.columns.keys(),
            key=keys,
        )
    bulk.run(db, rows)


def add(db: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts new rows; every row names every column."""
    bulk = table.info.get("add")
    if bulk is None:
        bulk = table.info["add"] = Bulk(table.insert(), table.columns.keys(), key=table.primary_key.columns.keys())
    bulk.run(db, rows)


class InOrder:
    """Changes of rows in their order; those that one statement makes, one after the other, are run together."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._run: Run | None = None
        self._rows: list[dict[str, Any]] = []

    def add(self, run: Run, row: dict[str, Any]) -> None:
        if run != self._run:
            self.flush()
            self._run = run
        self._rows.append(row)

    def flush(self) -> None:
        """Makes the changes so far: before anything else is read or written, and at the end."""
        if self._run is not None and self._rows:
            self._run(self._db, self._rows)
            self._rows = []


def among(db: Connection, column: Column[Any], keys: Iterable[str]) -> ColumnElement[bool]:
    """That `column`, a text, is one of `keys`, however many: they are one parameter, so the statement stays the same.

    With IN, SQLAlchemy writes the statement anew for every number of keys, and every database has its own limit.
    """
    wanted = list(dict.fromkeys(keys))
    if db.dialect.name == "sqlite":
        each = func.json_each(msgspec.json.encode(wanted).decode()).table_valued("value")
        return column.in_(select(each.c.value))
    return column == any_(bindparam(None, wanted, type_=postgresql.ARRAY(Text)))


def rows_by_key(
    db: Connection, table: Table, column: Column[Any], keys: Iterable[str], *conditions: Any
) -> Iterator[dict[str, Any]]:
    """Rows whose `column` is among `keys`."""
    wanted = list(keys)
    if not wanted:
        return
    names = table.columns.keys()
    for row in db.execute(select(table).where(among(db, column, wanted), *conditions)).all():
        yield dict(zip(names, row, strict=True))
