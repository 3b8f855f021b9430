"""Many rows as one parameter of one statement, for PostgreSQL: a JSON array that the server takes apart.

A statement for each row costs the driver and the server several times what the row itself does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Connection,
    Delete,
    Dialect,
    Insert,
    Integer,
    Text,
    Update,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.visitors import replacement_traverse

NUL = b"\\u0000"


class AtOnce:
    """A statement over rows of which no two mean the same row of the table."""

    def __init__(self, statement: Insert | Update | Delete, dialect: Dialect, columns: list[str] | None) -> None:
        one = statement.compile(dialect=dialect, column_keys=columns)
        assert isinstance(one, SQLCompiler)
        named = {name: bind.type for name, bind in one.binds.items() if bind.required}
        self._converters = [
            (name, convert)
            for name, type_ in named.items()
            if (convert := type_.dialect_impl(dialect).bind_processor(dialect)) and not isinstance(type_, Boolean)
        ]
        rows = cast(bindparam("rows", type_=Text), JSON)
        each = (
            func.json_to_recordset(rows)
            .table_valued(*(column(name, _plain(type_)) for name, type_ in named.items()))
            .render_derived(with_types=True)
        )
        compiled = _over(statement, each, list(named)).compile(dialect=dialect)
        self._sql, self._constants = str(compiled), compiled.params

    def run(self, db: Connection, rows: Sequence[dict[str, Any]]) -> None:
        bound = [self._bound(row) for row in rows] if self._converters else rows
        body = msgspec.json.encode(bound)
        if NUL in body:  # which this server cannot hold: see postgres.py
            clean = [{n: v.replace("\x00", "\ufffd") if isinstance(v, str) else v for n, v in r.items()} for r in bound]
            body = msgspec.json.encode(clean)
        db.exec_driver_sql(self._sql, {**self._constants, "rows": body.decode()})

    def _bound(self, row: dict[str, Any]) -> dict[str, Any]:
        made = dict(row)
        for name, convert in self._converters:
            if (value := made[name]) is not None:
                made[name] = convert(value)
        return made


def _over(statement: Any, each: Any, names: list[str]) -> Any:
    """The statement over all rows of `each`: what was to be bound for one row is a column of it now."""
    if isinstance(statement, Insert):
        return statement.from_select(names, select(*(each.c[name] for name in names)))

    def of_row(element: Any, **_: Any) -> Any:
        return each.c.get(element.key) if isinstance(element, BindParameter) and element.required else None

    return replacement_traverse(statement, {}, of_row)


def _plain(type_: Any) -> Any:
    """The type of a column as JSON has it; what is stored as text comes as text."""
    return type(type_)() if isinstance(type_, Boolean | Integer) else Text()
