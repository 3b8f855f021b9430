"""The command line for tests: `fenghuo …` in this process, as its console script runs it, or as a process of its own.

In this process it takes milliseconds instead of a second; what the entry point does with errors is the same code.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import typer

from infra import logs
from infra.cli import main
from tests.ops.process import FENGHUO, environment

_built = typer.main.get_command(main.app)  # building it anew is most of what a command would cost here


class Ran(msgspec.Struct, frozen=True):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def fenghuo(*arguments: str | Path, folder: Path | None = None, env: dict[str, str] | None = None) -> Ran:
    """Runs one command in this process; not within a running event loop, but in a thread it may be."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    argv = ["fenghuo", *map(str, arguments)]
    settings = {"COLUMNS": "80", **({"FENGHUO_DATA_DIR": str(folder)} if folder else {}), **(env or {})}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FENGHUO_")}
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(main, "app", _built),
        mock.patch.dict(os.environ, {**kept, **settings}, clear=True),
        mock.patch.object(logs, "configure"),  # it is the test that looks at what is logged
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main.run()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        else:
            status = 0
    return Ran(status, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def process(*arguments: str | Path, folder: Path, cwd: Path | None = None, **env: str) -> Ran:
    """Runs the real console script to its end."""
    done = subprocess.run(
        [FENGHUO, *map(str, arguments)],
        env=environment(FENGHUO_DATA_DIR=str(folder), **env),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def refused(ran: Ran, status: int, code: str) -> None:
    """It ended with this status and one line on standard error that ends in the code, and nothing else."""
    assert (ran.status, ran.out) == (status, ""), ran
    assert ran.err.startswith("fenghuo: ")
    assert ran.err.endswith(f" [{code}]\n"), ran.err
    assert ran.err.count("\n") == 1, ran.err
