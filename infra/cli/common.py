"""What every command shares that acts on an installation: its settings, its stores, who acts, files to read."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import structlog
import typer
from sqlalchemy import Connection

from api.commands import Actor
from api.schemas import jsonable
from domain.errors import InvalidInput, NotPermitted
from infra import config, logs
from infra.cli.output import Row
from infra.config import Settings
from infra.stores import Stores, new_id
from projections.follower import Views

if sys.platform != "win32":
    import uvloop

T = TypeVar("T")

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The folder of log, vault and views. [env: FENGHUO_DATA_DIR]")
]
As = Annotated[str, typer.Option("--as", envvar="FENGHUO_AS", help="The id of the person who acts.")]


def settings(**flags: Any) -> Settings:
    """The settings in force, with the log lines set up by them."""
    logs.configure(level="WARNING", as_json=not sys.stderr.isatty())
    return config.load(**flags)


def with_stores(
    data_dir: Path | None, act: Callable[[Stores], Awaitable[T]], *, must_exist: bool = True, catch_up: bool = True
) -> T:
    """Opens the stores, brings the views up to date unless they are to be seen as they are, acts, closes."""
    read = settings(data_dir=data_dir)
    folder = read.data_dir

    async def run() -> T:
        if must_exist and read.database is None and not (folder / "log.sqlite").exists():
            raise InvalidInput(
                "data.none", f"There is no log in {folder}.", "Name the folder with --data-dir, or run: fenghuo init"
            )
        async with Stores(folder, database=read.database) as stores:
            stores.registry.allowed_origins = read.allowed_origins
            if catch_up:
                await stores.catch_up()
            return await act(stores)

    return asyncio.run(run())


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Runs a program's main coroutine on the fastest event loop there is."""
    if sys.platform == "win32":
        asyncio.run(main)
    else:
        uvloop.run(main)


def actor(person_id: str) -> Actor:
    if not person_id:
        raise NotPermitted("cli.nobody", "Say who acts.", "Use --as PERSON or set FENGHUO_AS.")
    return Actor(person_id=person_id, correlation_id=correlation())


def correlation() -> str:
    """A new id for all that a command does: in its events and in its log lines."""
    made = f"cli-{new_id()[:12]}"
    structlog.contextvars.bind_contextvars(correlation_id=made)
    return made


def listed(data_dir: Path | None, read: Callable[[Views, Connection], Iterable[Row]]) -> list[Row]:
    """Rows of a view, as JSON has them."""

    async def act(stores: Stores) -> list[Row]:
        with stores.views.reading() as db:
            return [jsonable(row) for row in read(stores.views, db)]

    return with_stores(data_dir, act)


def read_file(path: Path, most: int = 64 * 1024 * 1024) -> bytes:
    """A file's bytes. Raises InvalidInput where it cannot be read or is larger than `most`."""
    try:
        if path.stat().st_size > most:
            raise InvalidInput("file.too_large", f"{path} has over {most} bytes.")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput("file.unreadable", f"{path} cannot be read: {error.strerror}.") from error


def decoded(path: Path, kind: type[T], most: int = 64 * 1024 * 1024) -> T:
    """What a file of JSON says. Raises InvalidInput where it has another form, or cannot be read."""
    try:
        return msgspec.json.decode(read_file(path, most), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        said = str(error)
    except RecursionError:
        said = "it is nested too deeply"
    raise InvalidInput("file.form", f"{path} does not have the form that it should: {said}.")
