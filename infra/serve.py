"""Serving: the HTTP server and the parts that act, started together, drained together on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import AsyncIterator, Collection

import msgspec
import uvicorn
from fastapi import FastAPI

from api.app import end_streams
from api.health import Meters
from domain.errors import InvalidInput, Unreachable
from domain.rulepacks import LANES, Lane
from infra import bounces, interpreter, traces, wiring
from infra.config import Settings, own_address
from infra.roles import Role
from infra.runtime import Runtime
from infra.sandboxed import Sandbox, sandboxed
from infra.stores import Stores
from notifiers.failover import providers_of

GRACE_S = 10  # seconds that open requests get at the end


class Server(uvicorn.Server):
    """uvicorn that ends live streams before it waits for its connections, and leaves signals to us."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await end_streams(self._app)
        await super().shutdown(sockets)


class Serving(msgspec.Struct):
    """A program that serves: its parts, the address that it is known by, and the one that it answers at itself."""

    stores: Stores
    runtime: Runtime
    server: Server
    url: str
    own_url: str
    sandbox: Sandbox | None
    bounces: tuple[str, int] | None = None  # where bounces are taken


@contextlib.asynccontextmanager
async def serving(
    settings: Settings,
    stores: Stores,
    role: Role = Role.ALL,
    *,
    lanes: Collection[Lane] = LANES,
    worker: str = "embedded",
) -> AsyncIterator[Serving]:
    """Runs a process of an installation for the time of a block; leaving it drains.

    Every role answers over HTTP: those without the API say how they are. Raises Unreachable for a taken port.
    """
    interpreter.tune()
    if role is Role.WORK and not settings.public_url:
        raise InvalidInput(
            "config.public_url", "A worker needs the address of the API: its links lead there.", "Give --public-url."
        )
    stores.registry.allowed_origins = settings.allowed_origins
    async with traces.exporting(settings), sandboxed(settings) as (pointed, sandbox):
        api = role in {Role.ALL, Role.SERVE}
        where = (settings.host, settings.port) if api else (settings.metrics_host, settings.metrics_port)
        with _listen(*where, "--port" if api else "metrics_port") as listener:
            port = int(listener.getsockname()[1])
            url = settings.reached_at(port)
            meters = Meters()
            channels = wiring.channels(pointed, stores)
            runtime = Runtime(
                stores,
                wiring.counted(channels, meters),
                url,
                feed_origins=pointed.feeds.allowed_origins,
                reach_test_days=pointed.reach_test_days,
                drilled=wiring.drilled(meters),
                providers=providers_of(channels.values()),
                role=role,
                lanes=lanes,
                worker=worker,
                kafka=pointed.kafka,
            )
            app = wiring.application(pointed, stores, runtime, meters)
            config = uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
                timeout_keep_alive=30,
                backlog=4096,
            )
            server = Server(config, app)
            own_url = own_address(where[0], port)
            if sandbox is not None:
                sandbox.report_to(url, own_url if api else url)
            await runtime.start()
            task = asyncio.create_task(server._serve([listener]), name="http")
            await server.up.wait()
            try:
                # Beside it run others of this machine, and a port is for one.
                async with taking_bounces(pointed, stores, runtime) if api else contextlib.nullcontext() as address:
                    yield Serving(stores, runtime, server, url, own_url, sandbox, address)
            finally:
                server.should_exit = True
                await task
                await runtime.stop()


@contextlib.asynccontextmanager
async def taking_bounces(settings: Settings, stores: Stores, runtime: Runtime) -> AsyncIterator[tuple[str, int] | None]:
    """Takes bounces for the time of a block, where the settings say so; the address."""
    email = settings.email
    verp = wiring.bounce_addresses(email, stores) if email is not None else None
    if email is None or verp is None or email.bounce_port is None:
        yield None
        return
    with _listen(email.bounce_host, email.bounce_port, "email.bounce_port") as listener:
        async with bounces.listening(listener, verp, runtime.receipts):
            host, port = listener.getsockname()[:2]
            yield host, port


async def until_stopped() -> None:
    """Returns on SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


def _listen(host: str, port: int, setting: str = "--port") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()  # every address of the machine, of either version
    try:
        return socket.create_server((host, port), family=family, backlog=4096, dualstack_ipv6=both)
    except OSError as error:
        what = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise Unreachable("serve.port", f"Port {port} on {host} {what}.", f"Choose another with {setting}.") from error
