"""How a process without an API of its own is seen: `/healthz` and `/metrics` on a small server beside its work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from domain.errors import Unreachable
from infra.config import Settings


@contextlib.asynccontextmanager
async def exposed(settings: Settings, registry: CollectorRegistry, alive: Callable[[], bool]) -> AsyncIterator[str]:
    """Serves both on `metrics_port` for the time of a block, where the settings name one; the address, else "".

    Raises Unreachable for a port that is taken.
    """
    if settings.metrics_port is None:
        yield ""
        return

    async def healthz(_: web.Request) -> web.Response:
        well = alive()
        return web.json_response({"alive": well}, status=200 if well else 503)

    async def metrics(_: web.Request) -> web.Response:
        body = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.metrics_host, settings.metrics_port).start()
        except OSError as error:
            where = f"{settings.metrics_host}:{settings.metrics_port}"
            raise Unreachable("metrics.port", f"{where} cannot be used: {error.strerror}.") from error
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
