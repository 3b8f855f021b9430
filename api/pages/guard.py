"""What every page route has around it: same-origin forms, bounded bodies, refusals as pages, the strict headers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from fastapi.routing import APIRoute, APIRouter
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.pages import i18n, render
from api.pages.i18n import N_
from domain.errors import (
    FenghuoError,
    InvalidInput,
    NotFound,
    NotPermitted,
    NotSignedIn,
    Refused,
    Unreachable,
    VersionConflict,
)

STATUS: Final[Mapping[type[FenghuoError], int]] = {
    Refused: 409,
    InvalidInput: 422,
    NotPermitted: 403,
    NotSignedIn: 401,
    NotFound: 404,
    VersionConflict: 412,
    Unreachable: 503,
}
MAX_DISCARDED: Final = 64 * 1024 * 1024  # of a body that is too large, this much is read so that the answer is seen


def status_of(error: FenghuoError) -> int:
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def require_same_origin(request: Request) -> None:
    """A form counts only from our own pages. Raises NotPermitted.

    Browsers set Sec-Fetch-Site themselves (W3C Fetch Metadata); where it is missing (plain http, older ones) Origin
    must name the host that was asked. A request with neither comes from no browser we serve, and is refused as well.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    same = origin is not None and _host_of(origin) == request.headers.get("host", "")
    if site == "same-origin" or (site is None and same):
        return
    raise NotPermitted(
        "page.cross_origin",
        N_("This form was not sent from the console."),
        N_("Open the console itself and send it from there."),
    )


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # brackets that do not hold an address
        return None


async def form(request: Request, limit: int, fields: int = 50) -> FormData:
    """The form of a request of at most `limit` bytes and `fields` fields. Raises InvalidInput."""
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > limit:
        await _discard(request)
        raise InvalidInput("page.too_large", N_("What was sent is too large."), N_("A file may have up to 8 MiB."))
    try:
        sent = await request.form(max_files=1, max_fields=fields, max_part_size=limit)
        "".join(value for value in sent.values() if isinstance(value, str)).encode()
    except (HTTPException, UnicodeError) as error:  # it may name an encoding of its own, which can give anything
        raise InvalidInput(
            "page.form", N_("The form could not be read."), N_("Reload the page and try again.")
        ) from error
    return sent


async def _discard(request: Request) -> None:
    read = 0
    async for chunk in request.stream():
        read += len(chunk)
        if read > MAX_DISCARDED:
            return


class PageRoute(APIRoute):
    """A route whose refusals are pages and whose every response carries the page headers."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handler: Callable[[Request], Awaitable[Response]] = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                if request.method not in {"GET", "HEAD"}:
                    require_same_origin(request)
                response = await handler(request)
            except FenghuoError as error:
                response = refusal(request, error)
            finally:
                await request.close()  # an uploaded file
            for name, value in render.HEADERS.items():
                response.headers.setdefault(name, value)
            language = request.query_params.get("lang", "")
            if language in i18n.CONSOLE_LANGUAGES and "text/html" in response.headers.get("content-type", ""):
                response.set_cookie(i18n.COOKIE, language, max_age=31536000, path="/", samesite="lax", httponly=True)
            response.headers.add_vary_header("Accept-Language, Cookie")
            return response

        return guarded


def shown_at(router: APIRouter, path: str, page: str) -> None:
    """What a POST to `path` answers may be a page, as a refusal is without scripts. Its links to itself in another
    language, and whoever loads its address anew, come by GET: this leads them to `page`, with the same parameters."""

    @router.get(path)
    async def elsewhere(request: Request) -> Response:
        where = page.format_map({name: quote(value, safe="") for name, value in request.path_params.items()})
        query = request.url.query
        return RedirectResponse(f"{where}?{query}" if query else where, status_code=303)


def refusal(request: Request, error: FenghuoError) -> Response:
    """The error as a page of its own, or in place for htmx."""
    name = "_problem.html" if wants_fragment(request) else "error.html"
    return render.html(render.page(name, i18n.choose(request), error=error, who=None), status_of(error))


async def acted(
    request: Request, act: Callable[[], Awaitable[str]], again: Callable[[FenghuoError], Response]
) -> Response:
    """Does it and leads to the page of the warning that `act` names; or shows in place, or on the page `again`, why
    not."""
    try:
        target = f"/console/warnings/{quote(await act(), safe='')}"
    except FenghuoError as error:
        if wants_fragment(request):
            return refusal(request, error)
        return await asyncio.to_thread(again, error)
    if wants_fragment(request):
        return Response(status_code=204, headers={"HX-Redirect": target})
    return RedirectResponse(target, status_code=303)


def wants_fragment(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"
