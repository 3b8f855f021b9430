"""Pages without sign-in: a recipient's answer to a warning, and the one-time link by which staff sign in.

Pure rendering; the caller owns the tokens and the routes. Opening either link changes nothing, because previews of
messages open links too: only the button's POST answers or signs in. Both work without scripts.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse

from api.pages import i18n, render
from domain.errors import FenghuoError

ANSWERS: Final = ("safe", "help")  # the values of the form's field `answer`
REFUSALS: Final = (  # what a link may be answered with, so that it is extracted for translation
    i18n.N_("This link was used, has expired or never existed."),
    i18n.N_("Ask for a new one."),
    i18n.N_("This login link is not one of ours."),
    i18n.N_("This link is not one of ours."),
    i18n.N_("Check that it is complete."),
    i18n.N_("There is no such message."),
    i18n.N_("There is no such person or warning."),
)
WAS_A_TEST: Final = (i18n.N_("This was a test message."), i18n.N_("No reply is needed."))
"""What the link of a test message leads to."""
DID_NOT_WORK: Final = (
    i18n.N_("This did not work."),
    i18n.N_("Try again in a few minutes. In immediate danger call the local police."),
)
"""What a recipient is told of any other error, whose own words are for those who run the program."""
_DIALLED: Final = re.compile(r"\+?[0-9][0-9 ()./-]*[0-9]")


def language_of(request: Request, text_languages: tuple[str, ...] = ()) -> str:
    """The page's language: the URL's `lang`, then the first language of the warning's text the page speaks, then the
    browser's."""
    if "lang" not in request.query_params:
        for one in text_languages:
            if (primary := one.lower().partition("-")[0]) in i18n.ANSWER_LANGUAGES:
                return primary
    return i18n.choose(request, i18n.ANSWER_LANGUAGES)


def answer_page(
    language: str,
    *,
    level: str,
    headline: str,
    description: str,
    instruction: str,
    text_language: str,
    hotline: str,
    mission: str,
    police: str,
    post_to: str,
    answered: str | None = None,
    ended: bool = False,
    drill: bool = False,
    error: FenghuoError | None = None,
) -> str:
    """The recipient's page. Its form posts `answer=safe` or `answer=help` to `post_to` (a path of this site).

    `text_language` is the RFC 5646 tag of the three texts, `answered` what they answered already (they may still
    change it), `ended` says that the warning is cancelled or over, `drill` that nothing of it is real.
    """
    return render.page(
        "answer.html",
        language,
        domain="answer",
        level=level,
        headline=headline,
        description=description,
        instruction=instruction,
        text_language=text_language,
        contacts=(
            ("hotline", hotline, tel(hotline)),
            ("mission", mission, tel(mission)),
            ("police", police, tel(police)),
        ),
        post_to=post_to,
        answered=answered,
        ended=ended,
        drill=drill,
        error=error,
        languages=i18n.ANSWER_LANGUAGES,
    )


def refusal_page(language: str, error: FenghuoError) -> str:
    """Why a recipient's link leads to no warning, or why their answer was not taken."""
    known = error.message in REFUSALS or error.message in WAS_A_TEST
    message, remedy = (error.message, error.remedy) if known else DID_NOT_WORK
    return render.page(
        "refused.html", language, domain="answer", message=message, remedy=remedy, languages=i18n.ANSWER_LANGUAGES
    )


def login_page(language: str, *, post_to: str, error: FenghuoError | None = None) -> str:
    """What the one-time link opens: a button that posts to `post_to`. With `error`, why the link does not work."""
    return render.page("login.html", language, domain="answer", post_to=post_to, error=error, languages=("zh", "en"))


def respond(body: str, status: int = 200) -> HTMLResponse:
    """A public page as response: strict policy, kept by no cache and listed by no search engine."""
    response = render.html(body, status)
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response


def tel(said: str) -> str | None:
    """The number in a line of a contact card as RFC 3966 wants it in a link; None where there is none.

    >>> tel("+39 (06) 9652-4200, day and night")
    'tel:+390696524200'
    """
    found = _DIALLED.search(said)
    if found is None:
        return None
    number = found.group()
    return "tel:" + ("+" if number.startswith("+") else "") + re.sub(r"\D", "", number)
