"""What every command shares: settings, one-line errors, output for people or as JSON, progress on a terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from sqlalchemy import Connection

from api.commands import Actor
from api.schemas import jsonable
from domain.errors import InvalidInput, NotPermitted
from infra import config, logs, wiring
from infra.config import Settings
from infra.runtime import Stores, new_id
from projections.follower import Views

if sys.platform != "win32":
    import uvloop

T = TypeVar("T")
Row = dict[str, Any]

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The folder of log, vault and views. [env: FENGHUO_DATA_DIR]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
As = Annotated[str, typer.Option("--as", envvar="FENGHUO_AS", help="The id of the person who acts.")]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


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
            stores.registry.allowed_origins = wiring.allowed_origins(read)
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


def show(value: Any, *, as_json: bool, text: Callable[[], str]) -> None:
    """Prints a result: JSON where it was asked for, else words."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    else:
        out.print(text(), markup=False)


def listed(data_dir: Path | None, read: Callable[[Views, Connection], Iterable[Row]]) -> list[Row]:
    """Rows of a view, as JSON has them."""

    async def act(stores: Stores) -> list[Row]:
        with stores.views.reading() as db:
            return [jsonable(row) for row in read(stores.views, db)]

    return with_stores(data_dir, act)


def show_rows(rows: Sequence[Row], line: Callable[[Row], str], *, none: str, as_json: bool) -> None:
    """Prints rows: JSON where it was asked for, else a line for each; `none` where there are none."""
    show(rows, as_json=as_json, text=lambda: "\n".join(map(line, rows)) or none)


def read_file(path: Path, most: int = 64 * 1024 * 1024) -> bytes:
    """A file's bytes. Raises InvalidInput where it cannot be read or is larger than `most`."""
    try:
        if path.stat().st_size > most:
            raise InvalidInput("file.too_large", f"{path} has over {most} bytes.")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput("file.unreadable", f"{path} cannot be read: {error.strerror}.") from error


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, only on a terminal; yields what to call with how far it is."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
