"""`fenghuo demo`: the whole way of one warning on this machine, then the console until Ctrl-C."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from domain.errors import InvalidInput
from infra import logs
from infra.cli.common import run_loop
from infra.cli.output import AsJson, show
from infra.config import OwnSettings
from infra.demo.report import table
from infra.demo.run import Demo


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="End after the summary instead of serving on.")] = False,
    as_json: AsJson = False,
    port: Annotated[int, typer.Option(help="Port of the console; 0 takes a free one.", min=0, max=65535)] = 8080,
    people: Annotated[int, typer.Option(help="How many made-up people.", min=300, max=100_000)] = 2000,
    data_dir: Annotated[Path | None, typer.Option(help="Keep log, vault and views in this empty folder.")] = None,
) -> None:
    """Runs one warning end to end over real sockets: draft, release, fan-out, answers, escalation, cancel, replay."""
    if data_dir is not None:
        _require_empty(data_dir)
    logs.configure(level="error", as_json=not sys.stderr.isatty())
    with tempfile.TemporaryDirectory(prefix="fenghuo-demo-") as temporary:
        folder = data_dir or Path(temporary)
        settings = OwnSettings(data_dir=folder, port=0 if leave else port)
        run = Demo(settings, people=people, stay=not leave)

        def done() -> None:
            show(run.result, as_json=as_json, text=lambda: table(run.result))

        run_loop(run.run(done))


def _require_empty(folder: Path) -> None:
    """Raises InvalidInput where anything is in it: made-up people would be told beside the real ones of a log."""
    try:
        taken = next(folder.iterdir(), None) is not None
    except FileNotFoundError:
        taken = False
    except OSError:  # a file, or closed to us
        taken = True
    if taken:
        raise InvalidInput("demo.folder", f"{folder} is not an empty folder.", "Name another, or leave --data-dir out.")
