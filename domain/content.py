"""What a warning says: its words in each language, where, for whom, from when to when, and whom to call.

The terms are those of CAP 1.2 where it has them.
"""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from domain import audience
from domain.audience import Audience
from domain.errors import InvalidInput
from domain.geometry import HALF_ROUND_KM, on_globe
from domain.moments import FIRST_YEAR, LAST_YEAR, within_reason
from domain.rulepacks import OFFICIAL_REMINDERS, Level

MAX_TEXT = 20_000  # characters of one text field; a text message is far shorter, a web page is not longer
MAX_TEXTS = 40  # languages of one warning
MAX_AREA_POINTS = 10_000
_COUNTRY = re.compile("[A-Z]{2}")
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e]")
"""Control characters, and the two that turn the order of what follows around: with these, 110 can be read as 011."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """The words of a warning in one language (RFC 5646 tag, as CAP 1.2 `info/language`)."""

    language: str
    headline: str
    description: str = ""
    instruction: str = ""


class ContactCard(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to call, printed on every warning (E15: the hotline does not replace the mission or the local police).

    Numbers are dated data (59913991 became 65612308): `valid_from` says since when these hold.
    """

    hotline: str
    mission: str
    police: str
    valid_from: datetime
    web: str = ""


class Area(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where it applies. Polygons are rings of (latitude, longitude), circles (latitude, longitude, radius in km)."""

    description: str
    polygons: tuple[tuple[tuple[float, float], ...], ...] = ()
    circles: tuple[tuple[float, float, float], ...] = ()
    geocodes: tuple[tuple[str, str], ...] = ()


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whom it concerns: all below the nodes, kept to stations in countries (ISO 3166 alpha-2) where any are named.

    With an `audience`, of all these the people who match it, and the staff of the nodes they are registered at and
    of the offices above.
    """

    nodes: tuple[str, ...]
    countries: tuple[str, ...] = ()
    audience: Audience | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where it comes from: `own`, a `cap` message (sender, identifier, sent), or an `official` reminder re-issued."""

    kind: str = "own"
    sender: str = ""
    identifier: str = ""
    sent: str = ""
    sha256: str = ""
    reference: str = ""


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a warning says. Valid from `effective_at` until `expires_at` (UTC). `drill`: an exercise (CAP 1.2)."""

    event: str
    level: Level
    texts: tuple[Text, ...]
    area: Area
    target: Target
    contact: ContactCard
    effective_at: datetime
    expires_at: datetime
    source: Source = Source()
    drill: bool = False


def check_content(content: Content) -> None:
    """Raises InvalidInput for what no warning may say, whoever drafts it."""

    def bad(code: str, message: str) -> InvalidInput:
        return InvalidInput(f"warning.{code}", message, "Correct the draft.")

    if not content.texts or len(content.texts) > MAX_TEXTS:
        raise bad("texts", f"A warning has between 1 and {MAX_TEXTS} texts, one a language.")
    tags = [text.language.lower() for text in content.texts]
    if len(set(tags)) != len(tags):
        raise bad("language_twice", "Two texts have the same language.")
    for text in content.texts:
        if not text.headline.strip():
            raise bad("headline", f"The headline in {text.language or 'an unnamed language'} is empty.")
        if max(len(text.headline), len(text.description), len(text.instruction)) > MAX_TEXT:
            raise bad("too_long", f"The text in {text.language} has a field of over {MAX_TEXT} characters.")
        if any(_UNSEEN.search(part) for part in (text.headline, text.description, text.instruction)):
            raise bad("control_character", f"The {text.language} text holds control or overriding characters.")
        if content.source.kind != "official" and any(
            word in part for word in OFFICIAL_REMINDERS for part in (text.headline, text.description, text.instruction)
        ):
            raise bad(
                "official_level",
                f"The {text.language} text carries a reminder level of the ministry ({'、'.join(OFFICIAL_REMINDERS)}),"
                " which only the ministry and the missions issue. Re-issue theirs with its reference instead.",
            )
    if content.source.kind == "official" and not content.source.reference:
        raise bad("official_reference", "An official reminder is re-issued with the reference of the original.")
    if not content.target.nodes:
        raise bad("target", "A warning concerns at least one node of the hierarchy.")
    if content.target.audience is not None:
        audience.check(content.target.audience)
    if not all(_COUNTRY.fullmatch(country) for country in content.target.countries):
        raise bad("countries", "A country is named by two capital letters (ISO 3166).")
    if not within_reason(content.effective_at, content.expires_at, content.contact.valid_from):
        raise bad("time", f"A time of a warning lies between the years {FIRST_YEAR} and {LAST_YEAR}.")
    if content.expires_at <= content.effective_at:
        raise bad("validity", "A warning expires after it takes effect.")
    if not (content.contact.hotline and content.contact.mission and content.contact.police):
        raise bad("contact_card", "The contact card names the hotline, the mission and the local police.")
    if sum(len(ring) for ring in content.area.polygons) > MAX_AREA_POINTS:
        raise bad("area", f"The area has over {MAX_AREA_POINTS} points.")
    # Whatever is no number is no place either.
    if not all(on_globe(*point) for ring in content.area.polygons for point in ring):
        raise bad("area", "A point of the area lies on no globe.")
    if not all(on_globe(lat, lon) and 0 <= km <= HALF_ROUND_KM for lat, lon, km in content.area.circles):
        raise bad("area", f"A circle of the area has a centre on the globe and a radius up to {HALF_ROUND_KM:.0f} km.")
