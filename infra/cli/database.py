"""`fenghuo migrate`, `fenghuo copy`: the schema on PostgreSQL, and moving between it and files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from domain.errors import InvalidInput, Unreachable
from infra.cli.common import DataDir, settings
from infra.cli.output import AsJson, progress, show
from infra.config import DatabaseConfig, Settings
from infra.copying import copy as copied
from infra.copying import copy_master_key
from infra.storage import Storage, in_database, in_files, need_extra

Place = "sqlite:FOLDER or postgresql://…; postgresql: alone is the database of the settings."


def migrate(
    role: Annotated[
        str | None, typer.Option(help="The application's role: given what it needs, and no right to change events.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Makes the schema on PostgreSQL (FENGHUO_DATABASE_URL) or brings it up to date. May be run again at any time."""
    config = settings().database
    if config is None:
        raise InvalidInput("database.none", "The settings name no database.", "Set FENGHUO_DATABASE_URL.")
    need_extra()
    from infra.migrate import migrate as migrated  # noqa: PLC0415  needs the extra `postgres`

    revision = migrated(config.url.get_secret_value(), config.db_schema, role)
    show(
        {"schema": config.db_schema, "revision": revision, "role": role},
        as_json=as_json,
        text=lambda: f"The schema {config.db_schema} is at revision {revision}.",
    )


def copy(
    source: Annotated[str, typer.Option("--from", help=Place)],
    target: Annotated[str, typer.Option("--to", help=Place)],
    from_schema: Annotated[str | None, typer.Option(help="Schema of the source; else that of the settings.")] = None,
    to_schema: Annotated[str | None, typer.Option(help="Schema of the target; else that of the settings.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Copies log, vault and checkpoints to an empty target; the views are folded anew there. Stop what runs first."""
    read = settings(data_dir=data_dir)
    with contextlib.ExitStack() as stack:
        came, key_folder = _opened(source, from_schema, read, stack, must_exist=True)
        went, new_folder = _opened(target, to_schema, read, stack, must_exist=False)
        if key_folder != new_folder:
            copy_master_key(key_folder, new_folder)
        with progress("copying", came.log.max_notification_id() or 0) as told:
            done = copied(came, went, told)
    show(
        done,
        as_json=as_json,
        text=lambda: (
            f"Copied: {done.events} events to position {done.position}, {done.checkpoints} checkpoints,"
            f" {done.vault_rows} rows of the vault. Check it: fenghuo log verify"
        ),
    )


def _opened(
    place: str, schema: str | None, read: Settings, stack: contextlib.ExitStack, *, must_exist: bool
) -> tuple[Storage, Path]:
    """A storage, closed by the stack, and the folder of its master key."""
    kind, _, rest = place.partition(":")
    if kind == "sqlite" and rest:
        folder = Path(rest)
        if must_exist and not (folder / "log.sqlite").exists():
            raise InvalidInput("data.none", f"There is no log in {folder}.", "Name the folder that holds log.sqlite.")
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unreachable("data.folder", f"The folder cannot be made: {error.strerror}.") from error
        storage = in_files(folder)
    elif kind in ("postgresql", "postgres"):
        url = SecretStr(place) if rest else read.database_url
        if url is None:
            raise InvalidInput("database.none", "The settings name no database.", "Set FENGHUO_DATABASE_URL.")
        folder = read.data_dir
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        storage = in_database(DatabaseConfig(url=url, db_schema=schema or read.database_schema))
    else:
        raise InvalidInput("copy.place", f"{kind} is no place of a log.", f"Write {Place}")
    stack.callback(storage.close)
    return storage, folder
