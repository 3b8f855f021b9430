"""Makes the schema on PostgreSQL and brings it up to date; gives the application's role the little that it needs.

May be run again at any time, and by two at once: they take turns by a lock.
"""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from domain.errors import InvalidInput, Refused, Unreachable
from infra.postgres import REVISION, conninfo, views_schema
from projections.sqlite import QUIET

GRANTS = {
    "stored_events": "SELECT, INSERT",  # nothing that changes or removes an event
    "checkpoint": "SELECT, INSERT",
    "person_key": "SELECT, INSERT, UPDATE",
    "addresses": "SELECT, INSERT, UPDATE, DELETE",
    "secret": "SELECT, INSERT",
    "noting": "SELECT, UPDATE",
    "alembic_version": "SELECT",
}


def migrate(url: str, schema: str, role: str | None = None) -> int:
    """Brings the schema to this program's revision; the one that it is at then. `role`: the application's.

    A schema that a newer program made stays as it is, with its rights: this one runs on it as well.
    Raises InvalidInput for a role that does not exist, Refused for what the database does not permit, Unreachable.
    """
    info = conninfo(url)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(info), poolclass=NullPool, **QUIET)
    try:
        with engine.begin() as db:
            key = f"fenghuo.migrate.{schema}"
            db.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key})
            for name in (schema, views_schema(schema)):
                if db.execute(text("SELECT to_regnamespace(:name) IS NULL"), {"name": name}).scalar():
                    db.exec_driver_sql(f'CREATE SCHEMA "{name}"')
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
            config.attributes.update(connection=db, schema=schema)
            found = _revision(db, schema)
            if found < REVISION:
                command.upgrade(config, str(REVISION))
            if role is not None:
                _must_exist(db, role)
                if found <= REVISION:
                    _grant(db, schema, role)
    except OperationalError as error:
        raise Unreachable("database.failed", f"The database does not answer: {_said(error)}.") from error
    except DBAPIError as error:
        raise Refused(
            "database.refused", f"The database refused: {_said(error)}.", "Migrate as the owner of the schema."
        ) from error
    finally:
        engine.dispose()
    return max(found, REVISION)


def _revision(db: Connection, schema: str) -> int:
    """What the schema is at; 0 where there is nothing yet."""
    if db.execute(text("SELECT to_regclass(:name) IS NULL"), {"name": f"{schema}.alembic_version"}).scalar():
        return 0
    return int(db.exec_driver_sql(f'SELECT version_num FROM "{schema}".alembic_version').scalar() or 0)  # noqa: S608


def _must_exist(db: Connection, role: str) -> None:
    if not db.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).scalar():
        raise InvalidInput("database.role", f"There is no role {role}.", "Make it: CREATE ROLE … LOGIN")


def _grant(db: Connection, schema: str, role: str) -> None:
    views = views_schema(schema)
    tables = db.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = :views"), {"views": views}).scalars()
    statements = [
        sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}"),
        sql.SQL("GRANT USAGE ON SCHEMA {schema} TO {role}"),
        sql.SQL("GRANT EXECUTE ON FUNCTION {schema}.lock_log() TO {role}"),
        *(
            sql.SQL("GRANT {rights} ON {schema}.{table} TO {role}").format(
                rights=sql.SQL(rights),
                table=sql.Identifier(table),
                schema=sql.Identifier(schema),
                role=sql.Identifier(role),
            )
            for table, rights in GRANTS.items()
        ),
        sql.SQL("ALTER SCHEMA {views} OWNER TO {role}"),
        # Views that were made before by who migrates: the role must be able to write and drop them.
        *(
            sql.SQL("ALTER TABLE {table} OWNER TO {role}").format(
                table=sql.Identifier(views, table), role=sql.Identifier(role)
            )
            for table in tables
        ),
    ]
    names = {"schema": sql.Identifier(schema), "views": sql.Identifier(views), "role": sql.Identifier(role)}
    for statement in statements:
        made = statement.format(**names) if isinstance(statement, sql.SQL) else statement
        db.exec_driver_sql(made.as_string().replace("%", "%%"))


def _said(error: DBAPIError) -> str:
    """The database's own first line; connection strings are never in it."""
    return re.sub(r"\s+", " ", str(error.orig).partition("\n")[0]).rstrip(".")
