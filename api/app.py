"""The HTTP application, put together: API, callbacks, public pages, console, health; limits and headers around all."""

from __future__ import annotations

import asyncio
import time

import structlog
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import (
    callbacks,
    calls,
    cases,
    drills,
    health,
    live,
    log,
    people,
    preview,
    problems,
    providers,
    public,
    reach,
    relays,
    roster,
    unclear,
    warnings,
)
from api.auth import sent_correlation, session_person
from api.feeds.routes import router as feeds_router
from api.health import Meters
from api.live_hub import Hub as LiveHub
from api.pages import i18n
from api.pages.acting import Desk
from api.pages.duty import duty
from api.pages.duty_source import DutyPage
from api.pages.follow import follow_pages
from api.pages.live import Hub
from api.pages.model import Who
from api.pages.reach import reach_page
from api.pages.routes import console
from api.pages.source import Source, label
from api.pages.unclear import unclear_pages
from api.services import Services

TITLE = "Fenghuo 烽火"
VERSION = "0.1.0"
HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
PLAIN = [(route.endpoint, route.path) for route in (*callbacks.routes, *calls.routes)]  # they leave no name behind
MAX_BODY = 16 * 1024 * 1024  # bytes, for any request; routes that take less say so themselves


def create_app(
    services: Services,
    meters: Meters | None = None,
) -> FastAPI:
    """The application over wired services. Call `end_streams` before the server waits for its connections."""
    source = Source(services)
    hub = Hub(source, scope=source.scope)

    app = FastAPI(
        title=TITLE,
        version=VERSION,
        description="Event-sourced alert distribution for consular protection. Errors are RFC 9457 problem details.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        responses={
            status: {"description": problems.TITLES[status], "content": {"application/problem+json": {}}}
            for status in (400, 401, 403, 404, 409, 412, 413, 422, 503)
        },
    )
    app.state.services = services
    app.state.hub = hub
    app.state.live = LiveHub(services)
    app.state.closing = asyncio.Event()
    problems.install(app)
    for router in (
        health.router,
        warnings.router,
        preview.router,
        drills.router,
        relays.router,
        cases.router,
        unclear.router,
        people.router,
        reach.router,
        roster.router,
        feeds_router,
        providers.router,
        log.router,
        live.router,
    ):
        app.include_router(router)
    app.router.routes[0:0] = [*callbacks.routes, *calls.routes]
    app.include_router(public.router)
    app.include_router(console(source, Desk(services), lambda request: who(services, request), hub=hub))
    app.include_router(duty(DutyPage(services), lambda request: who(services, request)))
    app.include_router(reach_page(services, lambda request: who(services, request)))
    app.include_router(unclear_pages(services, lambda request: who(services, request)))
    app.include_router(follow_pages(services, lambda request: who(services, request)))
    meters = meters or Meters()
    meters.live.labels("console").set_function(lambda: float(hub.open))
    meters.live.labels("stations").set_function(lambda: float(app.state.live.open))
    app.add_middleware(_Around, meters=meters)
    return app


def health_app(services: Services, meters: Meters) -> FastAPI:
    """How a process is that has no API: for supervisors and Prometheus."""
    app = FastAPI(title=TITLE, version=VERSION, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.services = services
    problems.install(app)
    app.include_router(health.router)
    app.add_middleware(_Around, meters=meters)
    return app


async def end_streams(app: FastAPI) -> None:
    """Ends the live streams: a server that waits for its connections would wait for them for ever."""
    if hasattr(app.state, "closing"):
        app.state.closing.set()
        await app.state.hub.close()
        await app.state.live.close()


class _Around:
    """Around every request: the id that all of it is written down under, the limit on its size, headers on its answer,
    and the count of it. Plain ASGI."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        method = scope["method"]
        correlation_id = sent_correlation(scope["headers"]) or scope["app"].state.services.new_id()
        # Not unbound at the end: the server logs what it caught after that, and has a task for each request.
        structlog.contextvars.bind_contextvars(correlation_id=correlation_id)
        named_back = ((b"x-correlation-id", correlation_id.encode()), *HEADERS)
        begun = False
        taken = 0
        since = time.perf_counter()

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BODY:  # sent in pieces, without a length
                raise HTTPException(413, f"A request has at most {MAX_BODY} bytes.")
            return message

        async def counted(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._meters.answered(method, template(scope), message["status"], time.perf_counter() - since)
                named = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in named_back if pair[0] not in named)]
            await send(message)

        scope[live.RAW_SEND] = send
        if not length.isdigit() or int(length) > MAX_BODY:
            refused = problems.problem(413, "request.too_large", f"A request has at most {MAX_BODY} bytes.")
            await refused(scope, receive, counted)
            return
        try:
            await self._app(scope, bounded, counted)
        except ClientDisconnect:
            return  # whoever asked has gone; there is nobody to answer
        except Exception:
            if not begun:
                await problems.internal()(scope, receive, counted)
            raise  # the server logs it
        except asyncio.CancelledError:
            if not scope["app"].state.closing.is_set():
                raise
            if not begun:  # a request that did not come to its end before the server had to
                closing = problems.problem(
                    503, "server.closing", "The server is stopping.", remedy="Ask again with the same key."
                )
                await closing(scope, receive, counted)


def template(scope: Scope) -> str:
    """The route that a request was answered by, as in `/v1/warnings/{warning_id}`; "none" where there is none."""
    if (route := scope.get("route")) is not None:
        return str(getattr(route, "path", "none"))
    return next((path for of, path in PLAIN if of is scope.get("endpoint")), "none")


def who(services: Services, request: Request) -> Who:
    """Who looks at the console. Raises NotSignedIn."""
    person_id = session_person(request, services)
    may = services.desk.may_anywhere(person_id)
    return Who(
        person_id=person_id,
        label=label(services, person_id, i18n.choose(request)),
        may=frozenset(action.value for action in may),
    )
