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
from rich.table import Table

from domain.errors import FenghuoError

Row = dict[str, Any]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

# Names and headlines are words of others: no `[b]` and no `:sos:` in them means anything here, nor in a table.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def write(content: str | bytes) -> None:
    """Writes to standard output, as it is: bytes whatever letters a terminal has. Raises FenghuoError where that fails.

    It may be written later than this returns: see main.py, which is the last to hear of it.
    """
    if sys.stdout is None:  # somebody closed it
        return
    try:
        if isinstance(content, str):
            sys.stdout.write(content)
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritten(error) from error


def unwritten(error: OSError) -> FenghuoError:
    return FenghuoError("output.failed", f"Standard output cannot be written: {error.strerror}.")


def drawn(table: Table) -> str:
    """A table as text."""
    with out.capture() as lines:
        out.print(table)
    return lines.get().rstrip("\n")


def show(value: Any, *, as_json: bool, text: Callable[[], str]) -> None:
    """Prints a result: JSON where it was asked for, else words."""
    write(msgspec.json.encode(value) + b"\n" if as_json else text() + "\n")


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
