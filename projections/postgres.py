"""The views' database on PostgreSQL: how its engine is opened, and how its columns are kept like those on SQLite."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg
from sqlalchemy import Connection, Engine, ExceptionContext, Integer, Text, create_engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.sql.compiler import TypeCompiler

from projections.sqlite import QUIET

READERS = 8
RESTED_S = 0.1  # after which a connection is asked whether it still is one: no server starts again sooner
CLOSE_S = 10.0


@compiles(Integer, "postgresql")
def _wide(_type: Integer, _compiler: TypeCompiler, **_: Any) -> str:
    """Whole numbers have 64 bits on either database: positions of the log outgrow 32."""
    return "BIGINT"


@compiles(Text, "postgresql")
def _by_bytes(_type: Text, _compiler: TypeCompiler, **_: Any) -> str:
    """Text is sorted by its bytes on either database, whatever the server's language: pages and dumps depend on it."""
    return 'TEXT COLLATE "C"'


def postgres_views(conninfo: str, schema: str) -> Engine:
    """An engine whose tables lie in a schema of their own.

    A reader's transaction is one snapshot. Writers of all processes take turns by a lock that ends with the
    transaction; they see each statement's newest state, since a snapshot from before the lock would be outdated.
    """
    import psycopg  # noqa: PLC0415  of the extra `postgres`; the rest of this file is needed without it

    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(conninfo),
        pool_size=READERS,
        max_overflow=32,
        pool_timeout=10,
        **QUIET,
        isolation_level="REPEATABLE READ",
    )

    without_nul = _without_nul()

    @event.listens_for(engine, "connect")
    def _connected(connection: psycopg.Connection[Any], _record: Any) -> None:
        was, connection.autocommit = connection.autocommit, True
        connection.execute(f'SET search_path TO "{schema}"')
        connection.execute("SET synchronous_commit TO off")  # a view that is lost is rebuilt
        # Everything has its index. Until a table was counted, which may be a minute after it was filled, the server
        # guesses that a hundred people are half of it, and reads it all, for every hundred.
        connection.execute("SET enable_seqscan TO off")
        # What is read whole all the same (a table of one row) counts as dear by that, and would be compiled each time.
        connection.execute("SET jit TO off")
        connection.autocommit = was
        connection.adapters.register_dumper(str, without_nul)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("fenghuo_write"):
            connection.exec_driver_sql(
                "SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 0))", {"key": f"fenghuo.views.{schema}"}
            )

    event.listen(engine, "handle_error", _without_rows)
    _asked_after_rest(engine)
    return engine


def _asked_after_rest(engine: Engine) -> None:
    """Asks a connection that nobody used for a while whether it is still one, before anybody relies on it. The pool's
    own `pre_ping` asks each time, which for a short query is a third of what it costs; where a server went away just
    now, the one who meets that first hears of it, and the pool makes all its connections anew."""
    import psycopg  # noqa: PLC0415

    @event.listens_for(engine, "checkin")
    def _back(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["back"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _out(connection: Any, record: ConnectionPoolEntry, _fairy: Any) -> None:
        if time.monotonic() - record.info.get("back", time.monotonic()) < RESTED_S:
            return
        try:
            connection.execute("SELECT 1")
            connection.rollback()
        except psycopg.Error as gone:
            raise InvalidatePoolError from gone


def _without_rows(context: ExceptionContext) -> None:
    """Leaves of the server's words what went wrong; its details quote the row that it was about."""
    import psycopg  # noqa: PLC0415

    error = context.original_exception
    if isinstance(error, psycopg.Error) and (brief := error.diag.message_primary):
        whole = str(error)
        for each in (error, context.sqlalchemy_exception):
            if each is not None:
                each.args = tuple(str(said).replace(whole, brief) for said in each.args)


def _without_nul() -> Any:
    """Writes U+FFFD for the one character that this database cannot hold: a word that somebody sent with it must not
    stop the views, nor be found where it is asked for."""
    from psycopg.types.string import StrDumper  # noqa: PLC0415

    class WithoutNul(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\x00", "\ufffd"))

    return WithoutNul


def settle(engine: Engine) -> None:
    """Waits for threads that still read from a server: a connection that comes back to a pool that is no more stays
    open, unknown to everybody."""
    until = time.monotonic() + CLOSE_S
    while engine.dialect.name == "postgresql" and time.monotonic() < until:
        if not (isinstance(engine.pool, QueuePool) and engine.pool.checkedout()):
            return
        time.sleep(0.01)
