"""A small HTTP server on loopback: what the sandbox providers that speak HTTP are."""

from __future__ import annotations

import asyncio

from aiohttp import web

from infra.sandbox.behaviour import Behaviour, Kind


class SandboxServer:
    """Serves `app` from `start()` to `stop()`; port 0 takes a free one. Requests that hang end with the server."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.app = web.Application(client_max_size=4 * 1024 * 1024)
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        self._stopping.clear()
        # No access log: it would hold the addresses of push subscriptions and account ids.
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def broken(self, request: web.Request, behaviour: Behaviour) -> web.Response | None:
        """What becomes of a request whose server behaves so after it took the message; None where it answers."""
        match behaviour.kind:
            case Kind.HANG:
                return await self.hang(request)
            case Kind.RESET:
                return self.reset(request)
        return None

    async def hang(self, request: web.Request) -> web.Response:
        """Leaves the client waiting until the server stops."""
        await self._stopping.wait()
        return self.reset(request)

    def reset(self, request: web.Request) -> web.Response:
        """Breaks the connection under the client; what is returned is never written."""
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)


def refusal(behaviour: Behaviour) -> web.Response | None:
    """The answer of a server that behaves so and takes nothing, by status alone."""
    match behaviour.kind:
        case Kind.REFUSE:
            return web.Response(status=behaviour.code or 410)
        case Kind.DEFER:
            wait = {} if behaviour.retry_after_s is None else {"Retry-After": f"{behaviour.retry_after_s:g}"}
            return web.Response(status=behaviour.code or 429, headers=wait)
        case Kind.ERROR:
            return web.Response(status=behaviour.code or 500)
    return None
