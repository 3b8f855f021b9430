"""`fenghuo`: the console script. Turns every error into one line and a status.

Exit status: 0 done, 1 failed, 2 used wrongly, 3 verification failed, 4 something unreachable, 5 delivered in part.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from domain.errors import FenghuoError
from infra.cli.commands import HELP, Commands
from infra.cli.output import err, unwritten

app = typer.Typer(
    name="fenghuo",
    cls=Commands,
    help="烽火 Fenghuo: warnings through a hierarchy, recorded, replayed, proved.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  only here is it worth its time

        typer.echo(f"fenghuo {version('fenghuo')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """烽火 Fenghuo: warnings through a hierarchy, recorded, replayed, proved."""


def run() -> None:
    """The entry point. No traceback reaches a user; FENGHUO_DEBUG=1 shows it to a developer."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no such letter gets its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = app(standalone_mode=False) or 0
    except TyperException as error:
        status = _used_wrongly(error)
    except typer.Abort:
        status = 130
    except FenghuoError as error:
        _say(error)
        status = error.exit_status
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        status = 1
    except Exception as error:
        if os.environ.get("FENGHUO_DEBUG"):
            raise
        err.print(f"fenghuo: something went wrong here: {type(error).__name__}. [internal]")
        status = 1
    raise SystemExit(_written(status))


def _written(status: int) -> int:
    """The status of a command whose words are out by then; another one where nobody takes them."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try again, and complain
        if status == 0 and not isinstance(error, BrokenPipeError):
            _say(unwritten(error))
        return status or 1
    return status


def _say(error: FenghuoError) -> None:
    said = " ".join(str(error).split())  # one line, also where a database said it in several
    err.print(f"fenghuo: {said} [{error.code}]")


def _used_wrongly(error: Any) -> int:
    """One line that says what was wrong and where help is; nothing where the help was printed in its stead."""
    if said := " ".join(error.format_message().split()).rstrip("."):
        where = error.ctx.command_path if getattr(error, "ctx", None) else "fenghuo"
        end = "" if said.endswith("?") else "."
        err.print(f"fenghuo: {said}{end} See: {where} --help [cli.usage]")
    return int(error.exit_code)
