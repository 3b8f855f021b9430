"""Audiences: whom a warning is for, as an expression over people that can be read back years later.

A person lies at the node where they are registered, or at their current stay where an itinerary of theirs says so.
Everything is judged as of one moment and one log position, so the same expression finds the same people again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime

import msgspec

from domain import geometry
from domain.errors import InvalidInput
from domain.people import Person, Role
from domain.stations import Hierarchy
from domain.whereabouts import Stay, current

MAX_DEPTH = 8
MAX_TERMS = 200
MAX_POINTS = 10_000  # of all polygons together

Matches = Callable[[Person, Sequence[Stay]], bool]
"""Whether a person, with all stays known of them, is meant."""

_EU = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE"
_REGIONS = {
    "eu": _EU,
    "schengen": _EU.replace("CY ", "").replace("IE ", "") + " CH IS LI NO",
    "nordic": "DK FI IS NO SE",
    "asean": "BN ID KH LA MM MY PH SG TH TL VN",
    "gcc": "AE BH KW OM QA SA",
    "central-asia": "KG KZ TJ TM UZ",
    "maghreb": "DZ LY MA MR TN",
}
REGIONS: dict[str, frozenset[str]] = {name: frozenset(countries.split()) for name, countries in _REGIONS.items()}
"""Sets of countries with a name, as of 2026. A country of a person's place is looked up in them."""


class Subtree(msgspec.Struct, frozen=True, tag="subtree", tag_field="is"):
    """Registered at this node or below it."""

    node: str


class Country(msgspec.Struct, frozen=True, tag="country", tag_field="is"):
    """In this country (ISO 3166 alpha-2)."""

    country: str


class Region(msgspec.Struct, frozen=True, tag="region", tag_field="is"):
    """In a named set of countries (REGIONS), or in an administrative area by its code.

    A code of six digits is one of GB/T 2260, where 330000 holds 330300 and that holds 330302; others (ISO 3166-2) are
    compared whole.
    """

    region: str


class Polygon(msgspec.Struct, frozen=True, tag="polygon", tag_field="is"):
    """Within a ring of (latitude, longitude), border included."""

    ring: tuple[tuple[float, float], ...]


class Circle(msgspec.Struct, frozen=True, tag="circle", tag_field="is"):
    """Within `km` of a point, along the great circle."""

    lat: float
    lon: float
    km: float


class Itinerary(
    msgspec.Struct, frozen=True, tag="itinerary", tag_field="is", rename={"from_": "from"}, omit_defaults=True
):
    """With a stay on some day from `from` to `to`, both included; in one of `countries` and `within`, where named."""

    from_: date
    to: date
    countries: tuple[str, ...] = ()
    within: Polygon | Circle | None = None


class Enterprise(msgspec.Struct, frozen=True, tag="enterprise", tag_field="is"):
    """Belonging to this enterprise, by its id."""

    enterprise: str


class HasRole(msgspec.Struct, frozen=True, tag="role", tag_field="is"):
    role: Role


class Tag(msgspec.Struct, frozen=True, tag="tag", tag_field="is"):
    tag: str


class AllOf(msgspec.Struct, frozen=True, tag="and", tag_field="is"):
    """Each of these; everybody, where there are none."""

    of: tuple[Audience, ...]


class AnyOf(msgspec.Struct, frozen=True, tag="or", tag_field="is"):
    """One of these; nobody, where there are none."""

    of: tuple[Audience, ...]


class NotIn(msgspec.Struct, frozen=True, tag="not", tag_field="is"):
    of: Audience


Audience = (
    Subtree | Country | Region | Polygon | Circle | Itinerary | Enterprise | HasRole | Tag | AllOf | AnyOf | NotIn
)


def parts(expression: Audience) -> tuple[Audience, ...]:
    """What an expression is made of directly."""
    match expression:
        case AllOf(of=of) | AnyOf(of=of):
            return of
        case NotIn(of=one):
            return (one,)
    return ()


def terms(expression: Audience) -> Iterator[Audience]:
    """The expression and all that it is made of."""
    waiting = [expression]
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(parts(one))


def depth(expression: Audience) -> int:
    level, deep = [expression], 0
    while level:
        deep += 1
        level = [part for one in level for part in parts(one)]
    return deep


def needs_stays(expression: Audience) -> bool:
    """Whether it asks where people are: only then are their sealed stays opened."""
    return any(isinstance(one, Country | Region | Polygon | Circle | Itinerary) for one in terms(expression))


def check(expression: Audience) -> None:
    """Raises InvalidInput for an expression that is too large, or that has a part that can mean nothing."""

    def bad(code: str, message: str) -> InvalidInput:
        return InvalidInput(f"audience.{code}", message, "Correct the audience.")

    points = 0
    for count, one in enumerate(terms(expression), 1):
        if count > MAX_TERMS:
            raise bad("too_large", f"An audience has at most {MAX_TERMS} terms.")
        areas = [one.within] if isinstance(one, Itinerary) and one.within is not None else [one]
        for area in areas:
            match area:
                case Polygon(ring=ring):
                    points += len(ring)
                    if points > MAX_POINTS:
                        raise bad("points", f"The polygons of an audience have at most {MAX_POINTS} points.")
                    if not all(geometry.on_globe(*point) for point in ring):
                        raise bad("point", "A point is latitude -90 to 90, longitude -180 to 180, in this order.")
                    if geometry.polygon(ring) is None:
                        raise bad("polygon", "A polygon has three corners at least and encloses something.")
                case Circle(lat=lat, lon=lon, km=km):
                    if not geometry.on_globe(lat, lon):
                        raise bad("point", "A point is latitude -90 to 90, longitude -180 to 180, in this order.")
                    if not 0 < km <= geometry.HALF_ROUND_KM:
                        raise bad("circle", "The radius of a circle is over 0 km and at most half round the globe.")
        match one:
            case Country(country=country):
                _country(country, bad)
            case Region(region=region) if region not in REGIONS and not _is_code(region):
                raise bad("region", f"No region is called {region[:40]!r}: {', '.join(REGIONS)}, or a code.")
            case Itinerary(from_=start, to=end, countries=countries):
                if end < start:
                    raise bad("itinerary", "An itinerary ends on the day it begins, or later.")
                for country in countries:
                    _country(country, bad)
            case Subtree(node="") | Enterprise(enterprise="") | Tag(tag=""):
                raise bad("empty", "A term of the audience names nothing.")
    if depth(expression) > MAX_DEPTH:
        raise bad("too_deep", f"An audience is nested {MAX_DEPTH} deep at the most.")


def _country(country: str, bad: Callable[[str, str], InvalidInput]) -> None:
    if not (len(country) == 2 and country.isascii() and country.isalpha() and country.isupper()):
        raise bad("country", f"A country is two capital letters (ISO 3166): {country[:40]!r}.")


def _is_code(region: str) -> bool:
    return len(region) <= 12 and region.isascii() and any(c.isdigit() or c == "-" for c in region)


# Who matches ---------------------------------------------------------------------------------------------------------


class Place(msgspec.Struct, frozen=True):
    """Where somebody is. `point` is None where only the country is known."""

    country: str
    admin: str
    point: tuple[float, float] | None


Where = Callable[[Person, Sequence[Stay]], Place]


def whereabouts(hierarchy: Hierarchy, now: datetime) -> Where:
    """Says where a person is at a moment: at their current stay, else at the node where they are registered."""
    homes = {
        node_id: Place(node.country, node.admin, (node.lat, node.lon)) for node_id, node in hierarchy.nodes.items()
    }
    nowhere = Place("", "", None)

    def where(person: Person, stays: Sequence[Stay]) -> Place:
        home = homes.get(person.node_id, nowhere)
        stay = current(stays, now) if stays else None
        if stay is None:
            return home
        if stay.point is None and stay.country == home.country:
            return home  # the node is the best that is known of where in that country
        return Place(stay.country, "", stay.point)

    return where


def matcher(expression: Audience, hierarchy: Hierarchy, now: datetime) -> Matches:
    """The expression, ready to be asked of many people. `now` is the moment that their current stay is judged at."""
    return _Matcher(hierarchy, whereabouts(hierarchy, now)).of(expression)


class _Matcher:
    def __init__(self, hierarchy: Hierarchy, place: Where) -> None:
        self._hierarchy = hierarchy
        self._place = place

    def of(self, expression: Audience) -> Matches:
        place = self._place
        match expression:
            case Subtree(node=top):
                nodes = frozenset(self._hierarchy.subtree(top))
                return lambda person, stays: person.node_id in nodes
            case Country(country=country):
                return lambda person, stays: place(person, stays).country == country
            case Region(region=region):
                if region in REGIONS:
                    countries = REGIONS[region]
                    return lambda person, stays: place(person, stays).country in countries
                return lambda person, stays: holds(region, place(person, stays).admin)
            case Polygon() | Circle():
                inside = _inside(expression)
                return lambda person, stays: inside(place(person, stays).point)
            case Itinerary(from_=start, to=end, countries=named, within=within):
                within_area = None if within is None else _inside(within)
                return lambda person, stays: any(
                    stay.from_ <= end
                    and stay.to >= start
                    and (not named or stay.country in named)
                    and (within_area is None or within_area(stay.point))
                    for stay in stays
                )
            case Enterprise(enterprise=enterprise):
                return lambda person, stays: person.enterprise == enterprise
            case HasRole(role=role):
                return lambda person, stays: person.role is role
            case Tag(tag=tag):
                return lambda person, stays: tag in person.tags
            case AllOf(of=of):
                each = [self.of(one) for one in of]
                return lambda person, stays: all(one(person, stays) for one in each)
            case AnyOf(of=of):
                some = [self.of(one) for one in of]
                return lambda person, stays: any(one(person, stays) for one in some)
            case NotIn(of=one):
                other = self.of(one)
                return lambda person, stays: not other(person, stays)


def holds(region: str, admin: str) -> bool:
    """Whether an administrative area is, or lies in, the one with the code `region`."""
    if len(region) == 6 and region.isdecimal() and admin.isdecimal():
        stem = region.removesuffix("00").removesuffix("00")
        return admin.startswith(stem)
    return bool(region) and admin == region


def _inside(area: Polygon | Circle) -> Callable[[tuple[float, float] | None], bool]:
    """Asked of the same few points again and again, so each is worked out once."""
    found = geometry.polygon(area.ring) if isinstance(area, Polygon) else geometry.circle(area.lat, area.lon, area.km)
    known: dict[tuple[float, float], bool] = {}

    def inside(point: tuple[float, float] | None) -> bool:
        if point is None or found is None:
            return False
        if point not in known:
            known[point] = found(*point)
        return known[point]

    return inside
