"""Statements over people that go to the database as one parameter, and are taken apart there.

What one event says of hundreds of people is one statement: their rows are made by the database, and the interpreter is
free for others meanwhile. Row by row, most of the time goes into making parameters and into taking turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    CursorResult,
    Dialect,
    FromClause,
    Integer,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.operators import OperatorType

from domain.outcomes import Row
from projections.projection import Compiled, Statement

NUL = b"\\u0000"
_INDEX = attrgetter("index")


class Listed:
    """A statement over texts with a number each; both are columns (`at`, `text`) of what `make` is given.

    Compiled once for each kind of database; its other parameters are given by name, as SQLAlchemy takes them.
    """

    def __init__(self, make: Callable[[FromClause], Statement]) -> None:
        self._make = make
        self._compiled: dict[str, Compiled] = {}

    def run(self, db: Connection, texts: Mapping[int, str], **values: Any) -> CursorResult[Any]:
        made = self._compiled.get(db.dialect.name)
        if made is None:
            made = self._compiled[db.dialect.name] = Compiled(self._make(_each(db.dialect)), db.dialect)
        body = msgspec.json.encode(texts)
        if NUL in body:
            body = msgspec.json.encode({at: without_nul(text) for at, text in texts.items()})
        (parameters,) = made.parameters([{**values, "listed": body.decode()}])
        return db.exec_driver_sql(made.sql, parameters)


class OneOf(ColumnElement[bool]):
    """That a column is one of the texts of a list, to be found by the column's index.

    PostgreSQL takes a table that it knows little of for a small one: where it may join, it reads all the people of a
    warning to find a hundred of them. Where these are an array it may not.
    """

    inherit_cache = False

    def __init__(self, column: ColumnElement[str], each: FromClause) -> None:
        self.type = Boolean()
        self.column, self.texts = column, select(each.c.text)

    def self_group(self, against: OperatorType | None = None) -> OneOf:
        """Stays as it is among other conditions: with the `= 1` that a boolean gets on SQLite no index is used."""
        return self


@compiles(OneOf)
def _in(element: OneOf, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.column, **options)} IN ({compiler.process(element.texts, **options)})"


@compiles(OneOf, "postgresql")
def _any(element: OneOf, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.column, **options)} = ANY(ARRAY({compiler.process(element.texts, **options)}))"


def without_nul(text: str) -> str:
    """PostgreSQL cannot hold that character, and SQLite finds no more of a text in JSON than what is before it."""
    return text.replace("\x00", "\ufffd")


def _each(dialect: Dialect) -> FromClause:
    """The texts as a table. No offset is there so that the database takes them apart once, before all else."""
    body: Any = bindparam("listed", type_=Text)
    if dialect.name == "postgresql":
        each = func.json_each_text(cast(body, JSON)).table_valued(column("key", Text), column("value", Text))
    else:
        each = func.json_each(body).table_valued(column("key", Text), column("value", Text))
    return select(cast(each.c.key, Integer).label("at"), each.c.value.label("text")).offset(0).subquery()


def alike(rows: Sequence[Row], *words: str) -> Iterator[tuple[Row, Sequence[Row]]]:
    """Lines of a ledger that say the same in these words, each time with the first of them; all that there is of one
    recipient in its order."""
    if not rows:
        return
    said = list(map(attrgetter(*words), rows))
    once = len(set(map(_INDEX, rows))) == len(rows)
    if once and said.count(said[0]) == len(said):  # as it mostly is
        yield rows[0], rows
        return
    groups: dict[Any, list[Row]] = {}
    seen: set[int] = set()
    for row, words_ in zip(rows, said, strict=True):
        if row.index in seen:
            yield from ((group[0], group) for group in groups.values())
            groups, seen = {}, set()
        seen.add(row.index)
        groups.setdefault(words_, []).append(row)
    yield from ((group[0], group) for group in groups.values())
