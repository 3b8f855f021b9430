"""Whereabouts: where people said they will be, and when. A stay is personal data and travels sealed (private.py).

The log knows of a stay whose it is, and that it was withdrawn; nothing else. Days are those of the place itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from domain import people
from domain.errors import InvalidInput, Refused
from domain.events import Event, topic
from domain.geometry import on_globe
from domain.people import Person
from domain.private import Personal, Private

MAX_STAYS = 50  # of one person, not withdrawn
MAX_PLACE = 200  # characters


class Stay(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"from_": "from"}):
    """In a country (ISO 3166 alpha-2) from one day to another, both included; `zone` is an IANA name.

    `lat` and `lon` in degrees, both or neither. `place` is words for people.
    """

    country: str
    zone: str
    from_: date
    to: date
    place: str = ""
    lat: float | None = None
    lon: float | None = None

    @property
    def point(self) -> tuple[float, float] | None:
        return None if self.lat is None or self.lon is None else (self.lat, self.lon)

    def covers(self, at: datetime) -> bool:
        zone = zone_of(self.zone)
        return zone is not None and self.from_ <= at.astimezone(zone).date() <= self.to

    def __repr__(self) -> str:
        return "Stay(…)"


@topic("person.stay_recorded")
class StayRecorded(Event, frozen=True, kw_only=True):
    """A stay of a person; under an id that was used before, it takes the earlier one's place."""

    person_id: str
    stay_id: str
    personal: Personal


@topic("person.stay_withdrawn")
class StayWithdrawn(Event, frozen=True, kw_only=True):
    person_id: str
    stay_id: str


def check(stay: Stay) -> None:
    """Raises InvalidInput for a stay that cannot be one."""

    def bad(code: str, message: str) -> InvalidInput:
        return InvalidInput(f"stay.{code}", message, "Correct the stay.")

    if not (len(stay.country) == 2 and stay.country.isascii() and stay.country.isalpha() and stay.country.isupper()):
        raise bad("country", "The country of a stay is two capital letters (ISO 3166).")
    if zone_of(stay.zone) is None:
        raise bad("zone", "The time zone of a stay is an IANA name, such as Europe/Rome.")
    if stay.to < stay.from_:
        raise bad("dates", "A stay ends on the day it begins, or later.")
    if (stay.lat is None) != (stay.lon is None):
        raise bad("point", "A stay has a latitude and a longitude, or neither.")
    if stay.point is not None and not on_globe(*stay.point):
        raise bad("point", "A point is latitude -90 to 90, longitude -180 to 180.")
    if len(stay.place) > MAX_PLACE:
        raise bad("place", f"The place of a stay has over {MAX_PLACE} characters.")


def record(state: Person | None, *, person_id: str, stay_id: str, stay: Stay) -> list[Event]:
    """Notes where a person will be. Refused of one who asked to be forgotten, or who has too many stays already."""
    check(stay)
    person = _existing(state)
    if stay_id not in person.stays and len(person.stays) >= MAX_STAYS:
        raise Refused("stay.too_many", f"This person has {MAX_STAYS} stays.", "Withdraw those that are over.")
    return [StayRecorded(person_id=person_id, stay_id=stay_id, personal=Private(person_id, msgspec.to_builtins(stay)))]


def withdraw(state: Person | None, *, person_id: str, stay_id: str) -> list[Event]:
    """Takes a stay back; one that is withdrawn already, or never was, changes nothing."""
    person = _existing(state)
    return [StayWithdrawn(person_id=person_id, stay_id=stay_id)] if stay_id in person.stays else []


def evolve(state: Person | None, event: Event) -> Person | None:
    """As `people.evolve`, and which stays they have."""
    match event:
        case StayRecorded(stay_id=stay_id) if state:
            return msgspec.structs.replace(state, stays=(*(s for s in state.stays if s != stay_id), stay_id))
        case StayWithdrawn(stay_id=stay_id) if state:
            return msgspec.structs.replace(state, stays=tuple(s for s in state.stays if s != stay_id))
    return people.evolve(state, event)


def opened(fields: dict[str, Any]) -> Stay:
    """The stay in an opened box. Raises InvalidInput where it is none."""
    try:
        return msgspec.convert(fields, Stay)
    except msgspec.ValidationError as error:
        raise InvalidInput("stay.form", "A recorded stay cannot be read.") from error


def current(stays: Sequence[Stay], at: datetime) -> Stay | None:
    """Where somebody is at a moment: of several stays the one that began last."""
    return max((stay for stay in stays if stay.covers(at)), key=lambda stay: (stay.from_, stay.to), default=None)


def zone_of(name: str) -> ZoneInfo | None:
    """A time zone by its IANA name; None where there is none of this name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found, not a name, a folder
        return None


def _existing(state: Person | None) -> Person:
    if state is None:
        raise Refused("person.unknown", "There is no such person.")
    if state.forgotten:
        raise Refused("person.forgotten", "This person asked to be forgotten.")
    return state
