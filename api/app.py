"""The HTTP application, put together: API, callbacks, public pages, console, health; limits and headers around all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response

from api import callbacks, cases, feed, health, problems, public, relays, warnings
from api.auth import session_person
from api.health import Meters
from api.pages.live import Hub
from api.pages.model import Who
from api.pages.routes import console
from api.pages.source import Desk as PagesDesk
from api.pages.source import Source
from api.services import Services

TITLE = "Fenghuo 烽火"
VERSION = "0.1.0"
MAX_BODY = 16 * 1024 * 1024  # bytes, for any request; routes that take less say so themselves


def create_app(
    services: Services,
    meters: Meters | None = None,
    lifespan: Callable[[FastAPI], object] | None = None,
) -> FastAPI:
    """The application over wired services. `lifespan` is the caller's own, run around the console's."""
    source = Source(services)
    hub = Hub(source)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await hub.close()

    app = FastAPI(
        title=TITLE,
        version=VERSION,
        description="Event-sourced alert distribution for consular protection. Errors are RFC 9457 problem details.",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        responses={
            status: {"description": problems.TITLES[status], "content": {"application/problem+json": {}}}
            for status in (401, 403, 404, 409, 412, 422, 503)
        },
    )
    app.state.services = services
    app.state.hub = hub
    problems.install(app)
    for router in (health.router, warnings.router, relays.router, cases.router, feed.router):
        app.include_router(router)
    app.include_router(callbacks.router)
    app.include_router(public.router)
    app.include_router(
        console(source, PagesDesk(services), lambda request: who(services, request), hub=hub, scope=source.scope)
    )
    meters = meters or Meters()

    @app.middleware("http")
    async def around(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return problems.problem(413, "request.too_large", f"A request has at most {MAX_BODY} bytes.")
        response = await call_next(request)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        meters.requests.labels(request.method, str(response.status_code)).inc()
        return response

    return app


def who(services: Services, request: Request) -> Who:
    """Who looks at the console. Raises NotSignedIn."""
    person_id = session_person(request, services)
    may = services.desk.may_anywhere(person_id)
    with services.views.reading() as db:
        person = services.views.directory.person(db, person_id)
    label = f"{person.role.value.replace('_', ' ')} {person_id[:6]}" if person else person_id
    return Who(person_id=person_id, label=label, may=frozenset(action.value for action in may))
