"""`fenghuo`: the console script. Mounts the groups of commands and turns every error into one line and a status.

Exit status: 0 done, 1 failed, 2 used wrongly, 3 verification failed, 4 something unreachable, 5 delivered in part.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from domain.errors import FenghuoError
from infra.cli import (
    audience,
    canary,
    cap,
    database,
    dead,
    demo,
    drill,
    feed,
    log,
    rate,
    reach,
    registry,
    roster,
    serve,
    status,
    stays,
    warning,
)
from infra.cli.common import err

app = typer.Typer(
    name="fenghuo",
    help="烽火 Fenghuo: warnings through a hierarchy, recorded, replayed, proved.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
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


app.add_typer(cap.app, name="cap")
app.add_typer(warning.app, name="warning")
app.add_typer(feed.app, name="feed")
app.add_typer(rate.app, name="rate")
app.add_typer(dead.app, name="dead")
app.add_typer(log.log_app, name="log")
app.add_typer(log.views_app, name="views")
app.add_typer(registry.hierarchy_app, name="hierarchy")
app.add_typer(registry.people_app, name="people")
app.add_typer(roster.app, name="roster")
app.add_typer(registry.grant_app, name="grant")
app.add_typer(registry.token_app, name="token")
registry.people_app.add_typer(stays.app, name="stay")
registry.people_app.command("tag")(stays.tag)
app.command("audience")(audience.audience)
app.add_typer(reach.app, name="reach")
app.command("init")(registry.init)
app.command("migrate")(database.migrate)
app.command("copy")(database.copy)
app.command("replay")(log.replay)
app.command("all")(serve.everything)
app.command("serve")(serve.serve)
app.command("project")(serve.project)
app.command("relay")(serve.relay)
app.command("work")(serve.work)
app.command("demo")(demo.demo)
app.command("drill")(drill.drill)
app.command("status")(status.status)
app.command("self-test")(canary.self_test)


def run() -> None:
    """The entry point. No traceback reaches a user; FENGHUO_DEBUG=1 shows it to a developer."""
    try:
        status = app(standalone_mode=False) or 0
    except TyperException as error:
        status = _used_wrongly(error)
    except typer.Abort:
        status = 130
    except FenghuoError as error:
        said = " ".join(str(error).split())  # one line, also where a database said it in several
        err.print(f"fenghuo: {said} [{error.code}]", markup=False, soft_wrap=True)
        status = error.exit_status
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except Exception as error:
        if os.environ.get("FENGHUO_DEBUG"):
            raise
        err.print(f"fenghuo: something went wrong here: {type(error).__name__}. [internal]", markup=False)
        status = 1
    raise SystemExit(status)


def _used_wrongly(error: Any) -> int:
    """One line that says what was wrong and where help is; nothing where the help was printed in its stead."""
    if said := " ".join(error.format_message().split()).rstrip("."):
        where = error.ctx.command_path if getattr(error, "ctx", None) else "fenghuo"
        err.print(f"fenghuo: {said}. See: {where} --help [cli.usage]", markup=False)
    return int(error.exit_code)
