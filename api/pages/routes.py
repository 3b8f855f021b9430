"""The console's routes: the list with its draft form, a warning's page with its actions, and its live stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from api.pages import fragments, guard, i18n, render
from api.pages.assets import PREFIX, Assets
from api.pages.i18n import N_
from api.pages.live import Hub
from api.pages.model import ConsoleDesk, ConsoleSource, DraftForm, Who
from domain.errors import FenghuoError, InvalidInput, NotFound, NotPermitted

MAX_CAP: Final = 8 * 1024 * 1024
MAX_FORM: Final = 512 * 1024  # three texts of 20,000 characters in two languages, percent-encoded, and room
_ENVELOPE: Final = 16 * 1024  # what multipart adds around the one file


def console(
    source: ConsoleSource,
    desk: ConsoleDesk,
    current: Callable[[Request], Who],
    *,
    hub: Hub | None = None,
) -> APIRouter:
    """Everything below `/console`. `current` says who asks and raises NotSignedIn.

    `hub` is the caller's to close before the server stops.
    """
    router = APIRouter(route_class=guard.PageRoute, include_in_schema=False)
    live = hub or Hub(source)
    assets = Assets()

    async def asking(request: Request) -> Who:
        return await run_in_threadpool(current, request)

    @router.get("/console")
    async def overview(request: Request) -> Response:
        who = await asking(request)
        before = _number(request.query_params.get("before", ""))
        return await run_in_threadpool(_overview, source, who, i18n.choose(request), before=before)

    @router.get("/console/warnings/{warning_id}")
    async def warning(request: Request, warning_id: str) -> Response:
        who = await asking(request)
        return await run_in_threadpool(_warning, source, who, warning_id, i18n.choose(request))

    @router.get("/console/warnings/{warning_id}/preview")
    async def preview(request: Request, warning_id: str) -> Response:
        who = await asking(request)
        _permit(who, "warning.draft")
        said = await run_in_threadpool(source.preview, who, warning_id)
        name = "_preview.html" if guard.wants_fragment(request) else "preview.html"
        body = await run_in_threadpool(render.page, name, i18n.choose(request), who=who, preview=said)
        return render.html(body)

    @router.get("/console/warnings/{warning_id}/stream")
    async def stream(request: Request, warning_id: str) -> Response:
        who = await asking(request)
        language = i18n.choose(request)
        if await run_in_threadpool(source.warning, who, warning_id, language) is None:
            raise _unknown()
        scope = await run_in_threadpool(live.scope, who)

        async def still() -> bool:
            try:
                return await run_in_threadpool(live.scope, await asking(request)) == scope
            except FenghuoError:
                return False

        return live.stream(who, warning_id, language, scope, _since(request), still)

    @router.get("/console/session")
    async def session(request: Request) -> Response:
        """Whether its reader is still signed in, which a page asks whose stream breaks off."""
        await asking(request)
        return Response(status_code=204)

    @router.post("/console/warnings")
    async def draft(request: Request) -> Response:
        who = await asking(request)
        _permit(who, "warning.draft")
        sent = await guard.form(request, MAX_FORM)
        values = {name: str(sent.get(name, "")).strip() for name in DraftForm.__struct_fields__}
        return await guard.acted(
            request,
            lambda: desk.draft(who, DraftForm(**values)),
            lambda error: _overview(source, who, i18n.choose(request), error=error, at="draft", values=values),
        )

    @router.post("/console/cap")
    async def cap(request: Request) -> Response:
        who = await asking(request)
        _permit(who, "warning.draft")

        async def upload() -> str:
            file = (await guard.form(request, MAX_CAP + _ENVELOPE)).get("file")
            data = await file.read(MAX_CAP + 1) if isinstance(file, UploadFile) else b""
            if not data:
                raise InvalidInput("cap.missing", N_("No file was sent."), N_("Choose a CAP 1.2 file."))
            if len(data) > MAX_CAP:
                raise InvalidInput("cap.too_large", N_("The file is too large."), N_("A file may have up to 8 MiB."))
            return await desk.draft_from_cap(who, data)

        return await guard.acted(
            request, upload, lambda error: _overview(source, who, i18n.choose(request), error=error, at="cap")
        )

    @router.post("/console/warnings/{warning_id}/release")
    async def release(request: Request, warning_id: str) -> Response:
        who = await asking(request)
        sent = await guard.form(request, MAX_FORM)
        glass = sent.get("break_glass") == "yes"
        real = sent.get("real_channels") == "yes"
        _permit(who, "warning.break_glass" if glass else "warning.release")

        async def act() -> str:
            reason = str(sent.get("reason", "")).strip()
            seen = _version(sent)
            await desk.release(who, warning_id, version=seen, break_glass=glass, reason=reason, real_channels=real)
            return warning_id

        return await act_on(request, who, warning_id, "glass" if glass else "real" if real else "release", act)

    @router.post("/console/warnings/{warning_id}/cancel")
    async def cancel(request: Request, warning_id: str) -> Response:
        who = await asking(request)
        _permit(who, "warning.cancel")
        sent = await guard.form(request, MAX_FORM)
        reason = str(sent.get("reason", "")).strip()

        async def act() -> str:
            await desk.cancel(who, warning_id, version=_version(sent), reason=reason)
            return warning_id

        return await act_on(request, who, warning_id, "cancel", act)

    guard.shown_at(router, "/console/warnings", "/console")
    guard.shown_at(router, "/console/cap", "/console")
    for act in ("release", "cancel"):
        guard.shown_at(router, f"/console/warnings/{{warning_id}}/{act}", "/console/warnings/{warning_id}")

    @router.get(f"{PREFIX}/{{path:path}}")
    async def static(request: Request, path: str) -> Response:
        return await assets.serve(path, request)

    async def act_on(
        request: Request, who: Who, warning_id: str, at: str, act: Callable[[], Awaitable[str]]
    ) -> Response:
        def again(error: FenghuoError) -> Response:
            return _warning(source, who, warning_id, i18n.choose(request), error=error, at=at)

        return await guard.acted(request, act, again)

    return router


def _permit(who: Who, action: str) -> None:
    """Some grant of theirs allows it somewhere. Whether it covers this warning, the desk decides."""
    if action not in who.may:
        raise NotPermitted("page.not_permitted", N_("You may not do this."), N_("Ask somebody who may."))


def _version(sent: FormData) -> int:
    """Of the warning as the sender of a form saw it. Raises InvalidInput: nothing is done to what nobody says to have
    seen."""
    version = _number(str(sent.get("version", "")))
    if version is None:
        raise InvalidInput("page.form", N_("The form could not be read."), N_("Reload the page and try again."))
    return version


def _since(request: Request) -> int:
    """Where the stream goes on: what the browser says it saw last stands above what the page was made with."""
    for value in (request.headers.get("last-event-id", ""), request.query_params.get("since", "")):
        if (position := _number(value)) is not None:
            return position
    return 0


def _number(said: str) -> int | None:
    return int(said) if said.isascii() and said.isdigit() and len(said) < 19 else None


def _unknown() -> NotFound:
    return NotFound("warning.unknown", N_("There is no such warning."))


def _problems(error: FenghuoError | None, at: str) -> dict[str, FenghuoError]:
    return {at: error} if error else {}


def _overview(
    source: ConsoleSource,
    who: Who,
    language: str,
    *,
    error: FenghuoError | None = None,
    at: str = "",
    values: dict[str, str] | None = None,
    before: int | None = None,
) -> Response:
    body = render.page(
        "list.html",
        language,
        who=who,
        listed=source.warnings(who, language, before),
        before=before,
        kept="" if before is None else f"&before={before}",
        problems=_problems(error, at),
        values=values or dict.fromkeys(DraftForm.__struct_fields__, ""),
    )
    return render.html(body, guard.status_of(error) if error else 200)


def _warning(
    source: ConsoleSource, who: Who, warning_id: str, language: str, *, error: FenghuoError | None = None, at: str = ""
) -> Response:
    position = source.position()  # before all else: what the rest shows beyond it, the stream says again
    line = source.warning(who, warning_id, language)
    if line is None:
        raise _unknown()
    rows = fragments.arranged(source.tree(who, warning_id, language))
    values: dict[str, Any] = {
        "warning": line,
        "summary": source.summary(who, warning_id),
        "help": source.help(who, warning_id, language),
        "rows": rows,
        "parents": frozenset(row.parent for row in rows if row.parent),
        "position": position,
        "problems": _problems(error, at),
    }
    body = render.page("warning.html", language, who=who, oob=False, whole=True, **values)
    return render.html(body, guard.status_of(error) if error else 200)
