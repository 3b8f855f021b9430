"""The console's page of one answer that nobody understood: reading the words, and saying what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.auth import correlation
from api.commands import Actor
from api.pages import guard, i18n, render
from api.pages.i18n import N_
from api.pages.model import Who
from api.services import Services
from api.unclear import MEANINGS
from domain.errors import InvalidInput, NotFound
from domain.grants import Action

MAX_FORM: Final = 4 * 1024


def unclear_pages(s: Services, current: Callable[[Request], Who]) -> APIRouter:
    """`/console/warnings/…/answers/…`. `current` says who asks and raises NotSignedIn.

    Opening the page shows no words: reading them is a form of its own, because it is an event.
    """
    router = APIRouter(route_class=guard.PageRoute, include_in_schema=False)
    path = "/console/warnings/{warning_id}/answers/{person_id}"

    @router.get(path)
    async def waiting(request: Request, warning_id: str, person_id: str) -> Response:
        who = await run_in_threadpool(current, request)
        row = await run_in_threadpool(_row, s, who, warning_id, person_id)
        return await run_in_threadpool(_page, s, request, who, row, None)

    @router.post(f"{path}/open")
    async def opened(request: Request, warning_id: str, person_id: str) -> Response:
        who = await run_in_threadpool(current, request)
        words, done = await s.desk.open_answer(_actor(s, who), warning_id, person_id)
        await s.progress.reached(done.position)
        row = await run_in_threadpool(_row, s, who, warning_id, person_id)
        return await run_in_threadpool(_page, s, request, who, row, words)

    @router.post(f"{path}/settle")
    async def settled(request: Request, warning_id: str, person_id: str) -> Response:
        who = await run_in_threadpool(current, request)
        meaning = MEANINGS.get(str((await guard.form(request, MAX_FORM)).get("meaning", "")))
        if meaning is None:
            raise InvalidInput("page.form", N_("The form could not be read."), N_("Reload the page and try again."))
        done = await s.desk.settle_answer(_actor(s, who), warning_id, person_id, meaning=meaning)
        await s.progress.reached(done.position)
        return RedirectResponse(f"/console/warnings/{quote(warning_id, safe='')}", status_code=303)

    guard.shown_at(router, f"{path}/open", path)  # the words were read once; again is an event of its own
    guard.shown_at(router, f"{path}/settle", path)
    return router


def _actor(s: Services, who: Who) -> Actor:
    return Actor(person_id=who.person_id, correlation_id=correlation(s))


def _row(s: Services, who: Who, warning_id: str, person_id: str) -> dict[str, Any]:
    """Raises NotFound alike for no such answer, one that is clear by now, and one that they may not see."""
    nodes = s.desk.nodes_allowed(who.person_id, Action.CASE_READ)
    with s.views.reading() as db:
        row = s.views.unclear.one(db, warning_id, person_id)
    if row is None or row["node_id"] not in nodes:
        raise NotFound("answer.unknown", N_("No answer of this person waits to be read."))
    return row


def _page(s: Services, request: Request, who: Who, row: dict[str, Any], words: list[str] | None) -> Response:
    language = i18n.choose(request)
    with s.views.reading() as db:
        node = s.views.directory.hierarchy(db).nodes.get(row["node_id"])
    name = "" if node is None else node.name_zh if language == "zh" else node.name_en
    return render.html(render.page("unclear.html", language, who=who, row=row, node_name=name, words=words))
