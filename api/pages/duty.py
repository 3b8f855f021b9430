"""The console's page of the duty roster: who is on duty where, what comes next, when nobody is, and taking over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.pages import guard, i18n, render
from api.pages.i18n import N_
from api.pages.model import Who
from domain.errors import FenghuoError, NotPermitted

PATH: Final = "/console/duty"
MAX_FORM: Final = 64 * 1024


class DutyLine(msgspec.Struct, frozen=True, kw_only=True):
    """One office or station: who is on duty now and until when, who is next, and where the coming week has nobody.

    People are named by role and the start of their id. `holder` is empty where nobody is on duty.
    """

    node_id: str
    name: str
    kind: str
    depth: int
    holder: str
    until: datetime | None
    taken_over: bool
    following: str
    following_at: datetime | None
    gap_from: datetime | None
    gap_to: datetime | None


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """The office or station whose duty the reader can take over; `on_duty`: it is theirs."""

    node_id: str
    name: str
    on_duty: bool


class DutySource(Protocol):
    """Where the page reads from, and what it does."""

    def lines(self, who: Who, language: str) -> tuple[Sequence[DutyLine], int]:
        """The nodes that the reader may see, parents first, and how many more there are."""

    def own(self, who: Who, language: str) -> Own | None: ...

    async def take_over(self, who: Who, note: str) -> None:
        """Raises domain.errors.FenghuoError where it may or can not be done."""


def duty(source: DutySource, current: Callable[[Request], Who]) -> APIRouter:
    """Everything below `/console/duty`. `current` says who asks and raises NotSignedIn."""
    router = APIRouter(route_class=guard.PageRoute, include_in_schema=False)

    @router.get(PATH)
    async def overview(request: Request) -> Response:
        who = await run_in_threadpool(current, request)
        return await run_in_threadpool(_page, source, who, i18n.choose(request))

    @router.post(PATH)
    async def take_over(request: Request) -> Response:
        who = await run_in_threadpool(current, request)
        if "duty.take" not in who.may:
            raise NotPermitted("page.not_permitted", N_("You may not do this."), N_("Ask somebody who may."))
        note = str((await guard.form(request, MAX_FORM)).get("note", "")).strip()
        try:
            await source.take_over(who, note)
        except FenghuoError as error:
            if guard.wants_fragment(request):
                return guard.refusal(request, error)
            return await asyncio.to_thread(_page, source, who, i18n.choose(request), error)
        if guard.wants_fragment(request):
            return Response(status_code=204, headers={"HX-Redirect": PATH})
        return RedirectResponse(PATH, status_code=303)

    return router


def _page(source: DutySource, who: Who, language: str, error: FenghuoError | None = None) -> Response:
    lines, more = source.lines(who, language)
    own = source.own(who, language) if "duty.take" in who.may else None
    body = render.page("duty.html", language, who=who, lines=lines, more=more, own=own, error=error)
    return render.html(body, guard.status_of(error) if error else 200)
