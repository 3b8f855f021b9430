"""The console's page of reachability: who cannot be told, station by station, as of this moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from api.pages import guard, i18n, render
from api.pages.i18n import N_
from api.pages.model import Who
from api.services import Services
from domain.errors import NotPermitted
from domain.grants import Action
from domain.reach import UNTESTED_DAYS

SHOWN: Final = 50  # ids of people listed at one node; the API gives all


def reach_page(s: Services, current: Callable[[Request], Who]) -> APIRouter:
    """`/console/reach`. `current` says who asks and raises NotSignedIn."""
    router = APIRouter(route_class=guard.PageRoute, include_in_schema=False)

    @router.get("/console/reach")
    async def reach(request: Request) -> Response:
        who = await run_in_threadpool(current, request)
        return await run_in_threadpool(_page, s, who, i18n.choose(request))

    return router


def _page(s: Services, who: Who, language: str) -> Response:
    nodes = s.desk.nodes_allowed(who.person_id, Action.RELAY_READ)
    if not nodes:
        raise NotPermitted("page.not_permitted", N_("You may not do this."), N_("Ask somebody who may."))
    audit = s.reachability.audit(sorted(nodes), UNTESTED_DAYS)
    rows = [node for node in audit.nodes if node.below.findings]
    return render.html(render.page("reach.html", language, who=who, audit=audit, rows=rows, shown=SHOWN))
