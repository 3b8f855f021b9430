"""What commands print: results for people or as JSON, and progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

Row = dict[str, Any]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def show(value: Any, *, as_json: bool, text: Callable[[], str]) -> None:
    """Prints a result: JSON where it was asked for, else words."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    else:
        out.print(text(), markup=False)


def show_rows(rows: Sequence[Row], line: Callable[[Row], str], *, none: str, as_json: bool) -> None:
    """Prints rows: JSON where it was asked for, else a line for each; `none` where there are none."""
    show(rows, as_json=as_json, text=lambda: "\n".join(map(line, rows)) or none)


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
