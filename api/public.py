"""Pages for people who are not signed in: the recipient's own link, and the one-time login link.

Opening a link does nothing: previews open links. What counts is the button, a POST.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from api.auth import COOKIE, S
from api.pages import answer as pages
from api.pages import guard
from api.pages.i18n import ANSWER_LANGUAGES
from api.services import Services
from domain import answers
from domain.answers import Answer
from domain.errors import FenghuoError, InvalidInput, NotFound
from domain.ids import answer_stream
from domain.warnings import ENDED
from notifiers.render import text_for

SESSION = timedelta(hours=12)
MAX_FORM = 4096  # bytes
router = APIRouter(include_in_schema=False)


@router.get("/a/{token}")
async def look(token: str, request: Request, s: S) -> Response:
    """The warning in the recipient's language, and the two buttons."""
    return await _page(token, request, s)


@router.post("/a/{token}")
async def press(token: str, request: Request, s: S) -> Response:
    """The recipient's answer. No sign-in: the link is the recipient's own."""
    try:
        shard_id, index = s.links.read(token)
        warning_id, person_id = await _delivery(s, shard_id, index)
        form = await guard.form(request, MAX_FORM)
        said = form.get("answer")
        if said not in (Answer.SAFE.value, Answer.HELP.value):
            raise InvalidInput("answer.value", "The answer is safe or help.")
        done = await s.desk.answer(warning_id=warning_id, person_id=person_id, answer=Answer(str(said)), channel="link")
        await s.progress.reached(done.position)
    except FenghuoError as error:
        return _refused(request, error)
    return RedirectResponse(_at(token, request), 303)


def _at(token: str, request: Request) -> str:
    """The recipient's page, in the language that they chose on it."""
    chosen = request.query_params.get("lang")
    return f"/a/{token}?lang={chosen}" if chosen in ANSWER_LANGUAGES else f"/a/{token}"


def _refused(request: Request, error: FenghuoError) -> Response:
    return pages.respond(pages.refusal_page(pages.language_of(request), error), guard.status_of(error))


async def _delivery(s: Services, shard_id: str, index: int) -> tuple[str, str]:
    """(warning, person) of a link. Raises NotFound where there is nothing to answer: a test message has a link too."""
    warning_id, person_id = await s.desk.delivery(shard_id, index)
    if not await asyncio.to_thread(_is_warning, s, warning_id):
        raise NotFound("delivery.test", *pages.WAS_A_TEST)
    return warning_id, person_id


def _is_warning(s: Services, warning_id: str) -> bool:
    with s.views.reading() as db:
        return s.views.warnings.one(db, warning_id) is not None


async def _page(token: str, request: Request, s: Services) -> Response:
    try:
        shard_id, index = s.links.read(token)
        warning_id, person_id = await _delivery(s, shard_id, index)
        answered, _ = await s.log.load(answer_stream(warning_id, person_id), answers.evolve)
        body = await asyncio.to_thread(_render, request, s, token, warning_id, person_id, answered)
    except FenghuoError as error:
        return _refused(request, error)
    return pages.respond(body)


def _render(
    request: Request, s: Services, token: str, warning_id: str, person_id: str, answered: answers.Answers | None
) -> str:
    with s.views.reading() as db:
        state = s.views.warnings.state(db, warning_id)
        person = s.views.directory.person(db, person_id)
    assert state is not None  # the shard names it
    content = state.content
    wish = person.language if person else "zh"
    text = text_for(content.texts, request.query_params.get("lang") or wish)
    language = pages.language_of(request, (wish, text.language))
    return pages.answer_page(
        language,
        level=content.level.value,
        headline=text.headline,
        description=text.description,
        instruction=text.instruction,
        text_language=text.language,
        hotline=content.contact.hotline,
        mission=content.contact.mission,
        police=content.contact.police,
        post_to=_at(token, request),
        answered=answered.answer.value if answered and answered.answer is not Answer.UNCLEAR else None,
        ended=state.status in ENDED,
        drill=content.drill,
    )


@router.get("/login/{secret}")
async def login_page(secret: str, request: Request) -> Response:
    """What the one-time link opens: a button."""
    return pages.respond(pages.login_page(pages.language_of(request), post_to=f"/login/{secret[:200]}"))


@router.post("/login/{secret}")
async def login(secret: str, request: Request, s: S) -> Response:
    """Spends a one-time link and signs in."""
    session = s.new_secret()
    try:
        guard.require_same_origin(request)
        await s.registry.use_login_link(secret, session, SESSION)
        await s.progress.reached(await s.log.last_position())
    except FenghuoError as error:
        body = pages.login_page(pages.language_of(request), post_to="/login", error=error)
        return pages.respond(body, guard.status_of(error))
    response = RedirectResponse("/console", 303)
    response.set_cookie(
        COOKIE,
        session,
        max_age=int(SESSION.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=s.public_url.startswith("https:"),
        path="/",
    )
    return response


@router.post("/logout")
async def logout(request: Request, s: S) -> Response:
    try:
        guard.require_same_origin(request)
    except FenghuoError as error:
        return guard.refusal(request, error)
    if secret := request.cookies.get(COOKIE):
        await s.registry.end_session(secret)
    response = RedirectResponse("/console", 303)
    response.delete_cookie(COOKIE, path="/")
    return response


@router.get("/")
async def root() -> Response:
    return RedirectResponse("/console", 307)
