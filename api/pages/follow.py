"""The console's form for what follows a released warning: an update of it, or a correction of its words.

It is filled with the warning as it stands. What the form does not show (target, audience, the shape of the area)
stays as it was; the result is a draft, which goes out as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from api.auth import correlation
from api.commands import Actor
from api.pages import guard, i18n, render
from api.pages.acting import content_level, countries_in, moment_in
from api.pages.i18n import N_
from api.pages.model import Who
from api.services import Services
from api.warnings import visible
from domain.content import MAX_TEXTS, Content, Source, Text
from domain.errors import FenghuoError, NotPermitted, Refused
from domain.grants import Action
from domain.warnings import Status
from projections.warnings import state_of

MAX_FORM: Final = 4 * 1024 * 1024
MAX_FIELDS: Final = 3 * (MAX_TEXTS + 2) + 20
ZONE: Final = "Asia/Shanghai"  # in which the expiry is offered
OFFERED: Final = ("zh-CN", "en")  # languages that have fields even where the warning has no text in them
PARTS: Final = ("headline", "description", "instruction")


def follow_pages(s: Services, current: Callable[[Request], Who]) -> APIRouter:
    """`/console/warnings/…/follow`. `current` says who asks and raises NotSignedIn."""
    router = APIRouter(route_class=guard.PageRoute, include_in_schema=False)
    path = "/console/warnings/{warning_id}/follow"

    @router.get(path)
    async def form(request: Request, warning_id: str) -> Response:
        who = await run_in_threadpool(current, request)
        return await run_in_threadpool(_asked, s, request, who, warning_id)

    @router.post(path)
    async def draft(request: Request, warning_id: str) -> Response:
        who = await run_in_threadpool(current, request)
        sent = await guard.form(request, MAX_FORM, MAX_FIELDS)
        values = {name: _plain(value) for name, value in sent.items() if isinstance(value, str)}
        before = await run_in_threadpool(_before, s, who, warning_id)

        async def act() -> str:
            content = await run_in_threadpool(_content, s, before, values, s.clock.now())
            actor = Actor(person_id=who.person_id, correlation_id=correlation(s))
            correction = values.get("correction") == "yes"
            done = await s.desk.draft(actor, content, updates=warning_id, correction=correction)
            await s.progress.reached(done.position)
            return done.id

        def again(error: FenghuoError) -> Response:
            return _page(request, who, warning_id, before, {**_values(before), "correction": "", **values}, error)

        return await guard.acted(request, act, again)

    return router


def _before(s: Services, who: Who, warning_id: str) -> Content:
    """The warning as it stands. Raises NotFound, NotPermitted, or Refused where it is not out (any more)."""
    if Action.WARNING_DRAFT.value not in who.may:
        raise NotPermitted("page.not_permitted", N_("You may not do this."), N_("Ask somebody who may."))
    actor = Actor(person_id=who.person_id, correlation_id=correlation(s))
    state = state_of(visible(s, actor, warning_id))
    s.desk.allow(actor, Action.WARNING_DRAFT, state.content.target.nodes)
    if state.status is not Status.RELEASED:
        raise Refused(
            "warning.parent_not_released", N_("Only a warning that is in force is updated or corrected."),
            N_("Draft a new one."),
        )  # fmt: skip
    return state.content


def _asked(s: Services, request: Request, who: Who, warning_id: str) -> Response:
    before = _before(s, who, warning_id)
    return _page(request, who, warning_id, before, _values(before), None)


def _languages(before: Content) -> list[str]:
    """Those of the warning in their order, then those that are offered besides."""
    own = [text.language for text in before.texts]
    primary = {tag.lower().partition("-")[0] for tag in own}
    return own + [tag for tag in OFFERED if tag.partition("-")[0] not in primary]


def _values(before: Content) -> dict[str, str]:
    """The form as it is offered, by the names of its fields; texts are numbered as `_languages` has them."""
    texts = {text.language: text for text in before.texts}
    said = {
        f"{part}_{n}": getattr(texts[tag], part) if tag in texts else ""
        for n, tag in enumerate(_languages(before))
        for part in PARTS
    }
    local = before.expires_at.astimezone(ZoneInfo(ZONE))
    return {
        **said,
        "level": before.level.value,
        "event": before.event,
        "countries": ", ".join(before.target.countries),
        "area": before.area.description,
        "hotline": before.contact.hotline,
        "mission": before.contact.mission,
        "police": before.contact.police,
        "expires": local.strftime("%Y-%m-%dT%H:%M"),
        "zone": ZONE,
        "correction": "",
    }


def _content(s: Services, before: Content, values: Mapping[str, str], now: datetime) -> Content:
    """The warning that stands with what the form says in its place. A text without a headline is left out."""

    def said(name: str) -> str:
        return values.get(name, "")

    texts = tuple(
        Text(language=tag, **{part: said(f"{part}_{n}") for part in PARTS})
        for n, tag in enumerate(_languages(before))
        if said(f"headline_{n}")
    )
    card = {name: said(name) for name in ("hotline", "mission", "police")}
    contact = msgspec.structs.replace(before.contact, **card)
    if contact != before.contact:
        contact = msgspec.structs.replace(contact, valid_from=now)
    return msgspec.structs.replace(
        before,
        event=said("event"),
        level=content_level(said("level")),
        texts=texts,
        area=msgspec.structs.replace(before.area, description=said("area")),
        target=msgspec.structs.replace(before.target, countries=countries_in(s, said("countries"))),
        contact=contact,
        effective_at=now,
        expires_at=moment_in(said("expires"), said("zone")),
        # These words are ours, whatever file the first ones came from; a reminder of the ministry keeps its reference.
        source=before.source if before.source.kind == "official" else Source(),
    )


def _plain(value: str) -> str:
    """Browsers send the lines of a text with CRLF between; unchanged words must come back unchanged."""
    return value.replace("\r\n", "\n").strip()


def _page(
    request: Request, who: Who, warning_id: str, before: Content, values: dict[str, Any], error: FenghuoError | None
) -> Response:
    body = render.page(
        "follow.html",
        i18n.choose(request),
        who=who,
        warning_id=warning_id,
        languages=list(enumerate(_languages(before))),
        drill=before.drill,
        values=values,
        error=error,
    )
    return render.html(body, guard.status_of(error) if error else 200)
