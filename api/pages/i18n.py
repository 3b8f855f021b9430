"""Languages of the pages: which one a request gets, its words, and times and numbers as it writes them.

Message ids are English. Domain `console` has zh_CN; domain `answer`, what recipients see, has more (ANSWER_LANGUAGES).
"""

from __future__ import annotations

import io
from datetime import datetime
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_skeleton, get_timezone_gmt, get_timezone_name
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from starlette.requests import Request

LOCALE = Path(__file__).parent / "locale"
DEFAULT: Final = "zh"
CONSOLE_LANGUAGES: Final = ("zh", "en")
ANSWER_LANGUAGES: Final = ("zh", "en", "es", "it", "fr")
COOKIE: Final = "fenghuo_lang"
ZONE: Final = ZoneInfo("Asia/Shanghai")  # the duty office's clock, whoever looks
TAGS: Final = {"zh": "zh-CN"}  # what stands in `html lang` where it is more than the language's own code
_LOCALES: Final = {"zh": "zh_CN"}


def N_(message: str) -> str:  # noqa: N802  (gettext's customary name, which the extraction looks for)
    """Marks a message id that is translated where it is shown."""
    return message


def tag(language: str) -> str:
    return TAGS.get(language, language)


def choose(request: Request, languages: tuple[str, ...] = CONSOLE_LANGUAGES) -> str:
    """The language for this request: its URL, then what the reader chose before, then the browser's wish, then zh."""
    for wish in (request.query_params.get("lang", ""), request.cookies.get(COOKIE, "")):
        if (found := _known(wish, languages)) is not None:
            return found
    return accepted(request.headers.get("accept-language", ""), languages)


def accepted(header: str, languages: tuple[str, ...] = CONSOLE_LANGUAGES) -> str:
    """The first of `languages` in an Accept-Language header by its weights (RFC 9110, 12.5.4), else zh."""
    wishes: list[tuple[float, int, str]] = []
    for order, part in enumerate(header.split(",")[:20]):
        name, _, weight = part.strip().partition(";q=")
        try:
            wishes.append((-float(weight or 1), order, name))
        except ValueError:
            continue
    for weight_, _order, name in sorted(wishes):
        if weight_ < 0 and (found := _known(name, languages)) is not None:
            return found
    return DEFAULT


def _known(wish: str, languages: tuple[str, ...]) -> str | None:
    primary = wish.strip().lower().replace("_", "-").partition("-")[0]
    return primary if primary in languages else None


@cache
def translations(domain: str, language: str) -> NullTranslations:
    """The words of a domain. In a checkout an edited `.po` counts at once; a wheel holds the compiled `.mo` alone."""
    folder = LOCALE / _LOCALES.get(language, language) / "LC_MESSAGES"
    source, compiled = folder / f"{domain}.po", folder / f"{domain}.mo"
    if source.is_file() and (not compiled.is_file() or compiled.stat().st_mtime < source.stat().st_mtime):
        buffer = io.BytesIO()
        with source.open("rb") as opened:
            write_mo(buffer, read_po(opened))
        buffer.seek(0)
        return GNUTranslations(buffer)
    if compiled.is_file():
        with compiled.open("rb") as opened:
            return GNUTranslations(opened)
    return NullTranslations()  # English, whose words are the message ids


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(_LOCALES.get(language, language))


def number(value: float, language: str) -> str:
    return format_decimal(value, locale=_locale(language))


def percent(part: int, whole: int, language: str) -> str:
    return format_percent(part / whole if whole else 0, locale=_locale(language))


def moment(at: datetime, language: str) -> str:
    """Day, time and zone: `2026年11月21日 20:13 GMT+8`. The zone is always said; readers sit in many."""
    return f"{_day('yMMMd', at, language)} {hm(at, language)} {_gmt(at)}"


def clock(at: datetime, language: str) -> str:
    """Day and time, where a heading says the zone."""
    return f"{_day('MMMd', at, language)} {hm(at, language)}"


def hm(at: datetime, language: str) -> str:
    """Time of day alone, where a heading says the zone and a title the day."""
    return format_skeleton("Hm", at, tzinfo=ZONE, locale=_locale(language))


def _day(skeleton: str, at: datetime, language: str) -> str:
    return format_skeleton(skeleton, at, tzinfo=ZONE, locale=_locale(language))


def zone_name(at: datetime, language: str) -> str:
    return f"{get_timezone_name(ZONE, locale=_locale(language))} ({_gmt(at)})"


def _gmt(at: datetime) -> str:
    return get_timezone_gmt(at.astimezone(ZONE), width="long", locale="en").replace("+0", "+").removesuffix(":00")


def iso(at: datetime) -> str:
    return at.astimezone(ZONE).isoformat(timespec="seconds")
