"""`fenghuo serve`: runs everything until SIGTERM or Ctrl-C, then drains."""

from __future__ import annotations

import faulthandler
import sys
from typing import Annotated

import typer

from infra import logs
from infra.cli.common import DataDir, err, run_loop
from infra.config import Settings, load
from infra.runtime import Stores
from infra.serve import serving, until_stopped


def serve(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = None,
    public_url: Annotated[str | None, typer.Option(help="Address under which links and callbacks reach us.")] = None,
    sandbox: Annotated[bool, typer.Option(help="Send to sandbox providers on loopback.")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serves the API and the console, and does the work: plan, send, chase, prove."""
    logs.configure(level=log_level, as_json=not sys.stderr.isatty())
    faulthandler.enable(sys.__stderr__ or sys.stderr)  # should a library crash the program, the last words say where
    settings = load(data_dir=data_dir, host=host, port=port, public_url=public_url, sandbox=sandbox or None)
    run_loop(_serve(settings))


async def _serve(settings: Settings) -> None:
    stores = Stores(settings.data_dir, database=settings.database)
    async with stores, serving(settings, stores) as running:
        err.print(f"Fenghuo serves at {running.url}", markup=False)
        await until_stopped()
        err.print("Draining…", markup=False)
