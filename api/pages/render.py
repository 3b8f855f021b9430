"""From shapes to HTML: one template environment a language, and the headers every page goes out with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from api.pages import assets, i18n, labels
from domain.errors import FenghuoError

TEMPLATES: Final = Path(__file__).parent / "templates"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    # Not `no-referrer`: with it browsers send `Origin: null` on forms, and the check of same origin would refuse them.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


@cache
def environment(domain: str, language: str) -> Environment:
    """Templates with the words of `domain` in `language`. Everything is escaped; a missing name is an error."""
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    words = i18n.translations(domain, language)
    env.install_gettext_translations(words, newstyle=True)  # type: ignore[attr-defined]

    def label(group: str, value: str) -> str:
        known = labels.ALL[group].get(value)
        return words.gettext(known) if known else value

    def said(error: FenghuoError) -> str:
        """An error's sentence with what it names."""
        sentence = words.gettext(error.sentence)
        return sentence % error.names if error.names else sentence

    env.globals.update(
        said=said,
        asset=assets.url,
        label=label,
        lang=language,
        html_lang=i18n.tag(language),
        words=words.gettext,
    )
    env.filters.update(
        n=lambda value: i18n.number(value, language),
        moment=lambda at: i18n.moment(at, language),
        clock=lambda at: i18n.clock(at, language),
        hm=lambda at: i18n.hm(at, language),
        zone=lambda at: i18n.zone_name(at, language),
        iso=i18n.iso,
        tag=i18n.tag,
    )
    env.globals["percent"] = lambda part, whole: i18n.percent(part, whole, language)
    return env


def page(name: str, language: str, *, domain: str = "console", **values: Any) -> str:
    return environment(domain, language).get_template(name).render(**values)


def html(body: str, status: int = 200) -> HTMLResponse:
    """A page as response, under the strict policy."""
    return HTMLResponse(body, status, headers=dict(HEADERS))
