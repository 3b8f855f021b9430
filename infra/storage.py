"""Where an installation keeps its log, vault, checkpoints and views: in files, or in one schema of a PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from eventsourcing.persistence import ApplicationRecorder
from sqlalchemy import Engine

from domain.errors import InvalidInput
from infra.config import DatabaseConfig
from infra.keys import Keys, SqliteKeys
from infra.locks import FileLock, Lock
from infra.log.checkpoints import Checkpoints, SqliteCheckpoints
from infra.log.recorders import sqlite_log
from projections.sqlite import sqlite_views


class Storage(msgspec.Struct):
    """The four of them, opened, and locks by name. `shared`: other machines may read and write them as well."""

    log: ApplicationRecorder
    keys: Keys
    checkpoints: Checkpoints
    views: Engine
    lock: Callable[[str], Lock]
    shared: bool = False

    def close(self) -> None:
        self.views.dispose()
        self.checkpoints.close()
        self.keys.close()
        self.log.datastore.close()  # type: ignore[attr-defined]


def in_files(folder: Path) -> Storage:
    """Makes what is missing. Raises Unreachable for a file that is no such database."""
    return Storage(
        log=sqlite_log(folder / "log.sqlite"),
        keys=SqliteKeys(folder / "vault.sqlite"),
        checkpoints=SqliteCheckpoints(folder / "proof.sqlite"),
        views=sqlite_views(folder / "views.sqlite"),
        lock=lambda name: FileLock(folder / f"{name}.lock"),
    )


def in_database(config: DatabaseConfig) -> Storage:
    """Raises Unreachable where it does not answer, or where `fenghuo migrate` was not run."""
    need_extra()
    from infra.keys_postgres import PostgresKeys  # noqa: PLC0415  these need the extra `postgres`
    from infra.locks_postgres import AdvisoryLock  # noqa: PLC0415
    from infra.log.checkpoints_postgres import PostgresCheckpoints  # noqa: PLC0415
    from infra.log.postgres import PostgresLog  # noqa: PLC0415
    from infra.postgres import Database, views_schema  # noqa: PLC0415
    from projections.postgres import postgres_views  # noqa: PLC0415

    database = Database(config.url.get_secret_value(), config.db_schema)
    try:
        database.check()
        return Storage(
            log=PostgresLog(database),
            keys=PostgresKeys(database),
            checkpoints=PostgresCheckpoints(database),
            views=postgres_views(database.conninfo, views_schema(config.db_schema)),
            lock=lambda name: AdvisoryLock(database.conninfo, f"{config.db_schema}/{name}"),
            shared=True,
        )
    except BaseException:
        database.close()
        raise


def need_extra() -> None:
    """Raises InvalidInput where what speaks to PostgreSQL is not installed."""
    try:
        import alembic  # noqa: F401, PLC0415
        import psycopg_pool  # noqa: F401, PLC0415
    except ImportError as error:
        raise InvalidInput(
            "database.extra", "PostgreSQL needs the extra `postgres`.", "Install it: pip install 'fenghuo[postgres]'"
        ) from error
