"""PostgreSQL as the program uses it: one pool of connections, their time limits, and what losing one means.

One schema holds the log, the vault and the checkpoints of one tenant, and `<schema>_views` beside it the views. The
tables are made by `fenghuo migrate` alone; everything else finds them or says so. Connections keep session state (a
search path, advisory locks, LISTEN): a pooler in between must lend whole sessions, not transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from domain.errors import InvalidInput, Unreachable

T = TypeVar("T")

REVISION = 1  # of the schema that this program was written for: the newest in infra/migrations/versions
POOL = 12
WAIT_S = 5.0  # for a connection
LOCK_S = 20  # for a lock of the database
STATEMENT_S = 60
# A peer that is gone without a word is noticed within about this time, on either side of a request.
SILENCE_S = 15


def conninfo(url: str) -> str:
    """A URL as libpq takes it, with our limits where it names none. Raises InvalidInput, which does not repeat it."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        given = {}
    ports = str(given.get("port", "5432")).split(",")  # one for each of several hosts
    if not url.startswith(("postgresql://", "postgres://")) or not given or not all(p.isdecimal() for p in ports):
        raise InvalidInput(
            "config.database_url", "The setting database_url is no URL of PostgreSQL.", "Write postgresql://…"
        )
    limits = f"-c statement_timeout={STATEMENT_S}s -c lock_timeout={LOCK_S}s -c idle_in_transaction_session_timeout=60s"
    # The server's side: who vanishes in a transaction holds the lock of the log until the server has noticed.
    limits += " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3"
    limits += f" -c tcp_user_timeout={SILENCE_S}s"
    ours = {
        "application_name": "fenghuo",
        "connect_timeout": "5",
        "keepalives_idle": "5",
        "keepalives_interval": "3",
        "keepalives_count": "3",
        "tcp_user_timeout": str(SILENCE_S * 1000),
    }
    options = f"{limits} {given.pop('options', '')}".strip()
    return make_conninfo(**{**ours, **{k: str(v) for k, v in given.items()}, "options": options})


def views_schema(schema: str) -> str:
    """Where the views lie: apart, because the application's role makes and drops its own tables there."""
    return f"{schema}_views"


class Database:
    """The connections of one process to one schema."""

    def __init__(self, url: str, schema: str) -> None:
        self.schema = schema
        self.conninfo = conninfo(url)
        self.pool: ConnectionPool[Connection[DictRow]] = ConnectionPool(
            self.conninfo,
            connection_class=Connection[DictRow],
            kwargs={"row_factory": dict_row, "autocommit": True},
            configure=_flushed,
            min_size=1,
            max_size=POOL,
            open=False,
            timeout=WAIT_S,
            max_lifetime=3600.0,
            reconnect_timeout=2.0,  # then it gives up, and the next who asks makes it try again
        )

    def __repr__(self) -> str:
        return f"Database(schema={self.schema!r})"

    def name(self, table: str) -> sql.Identifier:
        return sql.Identifier(self.schema, table)

    def run(self, act: Callable[[Connection[DictRow]], T]) -> T:
        """Acts on a connection, in autocommit. A connection that turns out to be lost is replaced and the act done once
        more, so it must be one that may be repeated. Raises Unreachable."""
        try:
            with self.connection() as connection:
                return act(connection)
        except Unreachable as error:
            if not lost(error.__cause__):
                raise
            self.pool.check()
            with self.connection() as connection:
                return act(connection)

    @contextmanager
    def connection(self) -> Iterator[Connection[DictRow]]:
        """A connection in autocommit, for what may not be done twice. Raises Unreachable."""
        try:
            self.pool.open()
            with self.pool.connection() as connection:
                yield connection
        except psycopg.Error as error:
            raise Unreachable("database.failed", f"The database does not answer: {_first_line(error)}.") from error

    def check(self) -> None:
        """Raises Unreachable where the database does not answer, or its schema is missing or older than the program."""
        try:  # not by the pool, which would not say why there is no connection
            with Connection.connect(self.conninfo, autocommit=True, row_factory=dict_row) as db:
                found = revision(db, self.schema)
        except psycopg.OperationalError as error:
            raise Unreachable("database.failed", f"The database does not answer: {_first_line(error)}.") from error
        except psycopg.ProgrammingError as error:  # of rights
            raise Unreachable("database.refused", f"The database refused: {_first_line(error)}.") from error
        if found is None or found < REVISION:
            what = "has no schema" if found is None else "has an older schema"
            raise Unreachable(
                "database.migrate", f"The database {what} {self.schema} for this program.", "Run: fenghuo migrate"
            )

    def close(self) -> None:
        self.pool.close(timeout=5.0)


def revision(db: Connection[Any], schema: str) -> int | None:
    """The revision of a schema; None where there is none."""
    table = f"{schema}.alembic_version"
    found = db.execute("SELECT to_regclass(%s) IS NOT NULL AS there", (table,)).fetchone()
    if found is None or not found["there"]:
        return None
    row = db.execute(sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(schema, "alembic_version"))).fetchone()
    return None if row is None else int(row["version_num"])


def lost(error: BaseException | None) -> bool:
    """Whether an error means that the connection is gone, and nothing else."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or isinstance(error, PoolTimeout):
        return False
    state = error.sqlstate
    return state is None or state.startswith("08") or state in ("57P01", "57P02", "57P03", "57P05")


def _flushed(connection: Connection[DictRow]) -> None:
    """Accepted means flushed to disk, whatever the server was set to."""
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
