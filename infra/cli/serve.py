"""The commands that run: each is a process of an installation, until SIGTERM or Ctrl-C, and then drains.

`fenghuo all` does everything; `serve`, `project`, `relay` and `work` share one installation between them.
"""

from __future__ import annotations

import faulthandler
import re
import socket
import sys
from typing import Annotated

import typer

from domain.errors import InvalidInput
from domain.rulepacks import LANES, Lane
from infra import interpreter, logs
from infra.cli.common import DataDir, run_loop
from infra.cli.output import err
from infra.config import Settings, load
from infra.roles import Role
from infra.runtime import others_work
from infra.serve import serving, until_stopped
from infra.stores import Stores
from notifiers.pause import first_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]
PublicUrl = Annotated[str | None, typer.Option(help="Address under which links and callbacks reach us.")]
Sandbox = Annotated[bool, typer.Option(help="Send to sandbox providers on loopback.")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error. [env: FENGHUO_LOG_LEVEL]")]


def everything(
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    public_url: PublicUrl = None,
    sandbox: Sandbox = False,
    log_level: LogLevel = None,
) -> None:
    """Runs everything in one process: the API and the console, planning, sending, chasing, proving."""
    settings = _settings(
        log_level=log_level, data_dir=data_dir, host=host, port=port, public_url=public_url, sandbox=sandbox
    )
    # On a database several of these may run, and each worker needs a name of its own.
    worker = settings.kafka.named if settings.kafka else socket.gethostname() if settings.database else "embedded"
    run_loop(_run(settings, Role.ALL, worker=worker))


def serve(
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    public_url: PublicUrl = None,
    log_level: LogLevel = None,
) -> None:
    """Serves the API and the console; other processes do the work. As many as wanted."""
    settings = _settings(data_dir=data_dir, host=host, port=port, public_url=public_url, log_level=log_level)
    run_loop(_run(settings, Role.SERVE))


def project(data_dir: DataDir = None, log_level: LogLevel = None) -> None:
    """Folds the views and signs the log. One is active, and others stand by."""
    run_loop(_run(_settings(data_dir=data_dir, log_level=log_level), Role.PROJECT))


def relay(data_dir: DataDir = None, public_url: PublicUrl = None, log_level: LogLevel = None) -> None:
    """Plans, chases silence, climbs ladders and reads feeds. One is active, and others stand by."""
    run_loop(_run(_settings(data_dir=data_dir, public_url=public_url, log_level=log_level), Role.RELAY))


def work(
    lane: Annotated[list[Lane] | None, typer.Option(help="A lane to send; may be given again. Without: all.")] = None,
    name: Annotated[str | None, typer.Option(help="The worker's own name. Without: the host's and the lanes'.")] = None,
    data_dir: DataDir = None,
    public_url: PublicUrl = None,
    log_level: LogLevel = None,
) -> None:
    """Sends what was planned. As many as wanted, each with a name of its own: what it began it goes on with."""
    settings = _settings(data_dir=data_dir, public_url=public_url, log_level=log_level)
    member = settings.kafka.member if settings.kafka else ""
    usual = member or "-".join([socket.gethostname(), *(one.value for one in lane or ())])
    worker = usual if name is None else name
    if not NAME.fullmatch(worker):
        raise InvalidInput("work.name", "A worker's name has up to 63 letters, digits, dots and dashes.", "Use --name.")
    run_loop(_run(settings, Role.WORK, tuple(lane or LANES), worker))


def _settings(*, sandbox: bool = False, **flags: object) -> Settings:
    faulthandler.enable(sys.__stderr__ or sys.stderr)  # should a library crash the program, the last words say where
    settings = load(**flags, sandbox=sandbox or None)
    logs.configure(level=settings.log_level, as_json=not sys.stderr.isatty())
    return settings


async def _run(settings: Settings, role: Role, lanes: tuple[Lane, ...] = LANES, worker: str = "embedded") -> None:
    stores = Stores(settings.data_dir, database=settings.database)
    async with stores, serving(settings, stores, role, lanes=lanes, worker=worker) as on:
        interpreter.settled()
        if role in {Role.ALL, Role.SERVE}:
            err.print(f"Fenghuo serves at {on.url}")
        else:
            err.print(f"Fenghuo runs {role}, and says how it is at {on.own_url}")
        await first_of(until_stopped(), on.runtime.ousted.wait())
        err.print("Draining…")
        if on.runtime.ousted.is_set():
            raise others_work()
