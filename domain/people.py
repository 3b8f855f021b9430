"""People: staff of the tree, citizens and enterprise contacts, known to the log by id, node, role and language only.

Name, phone, address, push subscription and time zone are personal and travel sealed (private.py).
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from domain.errors import InvalidInput, Refused
from domain.events import Event, topic
from domain.private import Personal, Private


class Role(StrEnum):
    DUTY_OFFICER = "duty_officer"
    COUNTY_OFFICER = "county_officer"
    HEAD = "head"
    DEPUTY = "deputy"
    LIAISON = "liaison"
    CITIZEN = "citizen"
    ENTERPRISE = "enterprise"
    AUDITOR = "auditor"


STAFF = frozenset({Role.DUTY_OFFICER, Role.COUNTY_OFFICER, Role.HEAD, Role.DEPUTY, Role.LIAISON})
"""Those who act for their node: they acknowledge and relay on its behalf."""


class Channel(StrEnum):
    """By what a person is reached. A person's channels are in the order of their wish: their ladder."""

    SMS = "sms"
    VOICE = "voice"
    EMAIL = "email"
    WEBPUSH = "webpush"
    WEBHOOK = "webhook"  # a signed POST to a program of an enterprise or an office
    CHAT = "chat"  # WeCom, DingTalk, Feishu, ntfy, Matrix


ADDRESS: dict[Channel, str] = {
    Channel.SMS: "phone",
    Channel.VOICE: "phone",
    Channel.EMAIL: "email",
    Channel.WEBPUSH: "push",
    Channel.WEBHOOK: "webhook",
    Channel.CHAT: "chat",
}
"""The personal field that holds the address of each channel."""

PRIVATE_FIELDS = frozenset({"name", "zone", *ADDRESS.values()})

MAX_TAGS = 32  # of one person
_WORD = re.compile(r"[\w.:-]{1,64}")


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """What the log may know of a person. `channels` says by what they can be reached, not at which address.

    `tags` and `enterprise` are ids by which audiences are chosen, never anything personal. `stays` are the ids of those
    that were recorded and not withdrawn (whereabouts.py); people that come from a view carry none.
    """

    person_id: str
    node_id: str
    role: Role
    language: str
    channels: tuple[Channel, ...]
    forgotten: bool = False
    tags: tuple[str, ...] = ()
    enterprise: str = ""
    stays: tuple[str, ...] = ()


@topic("person.registered")
class PersonRegistered(Event, frozen=True, kw_only=True):
    person_id: str
    node_id: str
    role: Role
    language: str
    channels: tuple[Channel, ...]
    personal: Personal
    tags: tuple[str, ...] = ()
    enterprise: str = ""


@topic("person.contact_changed")
class ContactChanged(Event, frozen=True, kw_only=True):
    person_id: str
    language: str
    channels: tuple[Channel, ...]
    personal: Personal


@topic("person.tagged")
class PersonTagged(Event, frozen=True, kw_only=True):
    """From here on these are the person's tags and enterprise, and no others."""

    person_id: str
    tags: tuple[str, ...] = ()
    enterprise: str = ""


@topic("person.forgotten")
class PersonForgotten(Event, frozen=True, kw_only=True):
    """The person's key is destroyed after this is durable; what was sealed with it can never be opened again."""

    person_id: str


def register(state: Person | None, person: Person, personal: Private) -> list[Event]:
    """Registers a person once; the same person again is a change of contact."""
    unknown = set(personal.fields) - PRIVATE_FIELDS
    if unknown:
        raise InvalidInput("person.field", f"Not personal fields: {', '.join(sorted(unknown))}.")
    for channel in person.channels:
        if not personal.fields.get(ADDRESS[channel]):
            raise InvalidInput("person.address", f"Channel {channel} needs the field {ADDRESS[channel]}.")
    channels = tuple(dict.fromkeys(person.channels))  # named twice, it is the same
    tags = _tags(person.tags, person.enterprise)
    if state is None:
        return [
            PersonRegistered(
                person_id=person.person_id,
                node_id=person.node_id,
                role=person.role,
                language=person.language,
                channels=channels,
                personal=personal,
                tags=tags,
                enterprise=person.enterprise,
            )
        ]
    if state.forgotten:
        raise Refused("person.forgotten", "This person asked to be forgotten.", "Register them anew under a new id.")
    if (state.node_id, state.role) != (person.node_id, person.role):
        raise Refused("person.exists", "This person is registered at another node or in another role.")
    changed = ContactChanged(person_id=person.person_id, language=person.language, channels=channels, personal=personal)
    if not (tags or person.enterprise):  # nothing is said about them, so they stay
        return [changed]
    return [changed, *tag(state, tags=tags, enterprise=person.enterprise)]


def tag(state: Person | None, *, tags: tuple[str, ...], enterprise: str) -> list[Event]:
    """Gives a person these tags and this enterprise in place of those they had."""
    if state is None:
        raise Refused("person.unknown", "There is no such person.")
    if state.forgotten:
        raise Refused("person.forgotten", "This person asked to be forgotten.")
    tags = _tags(tags, enterprise)
    if (tags, enterprise) == (state.tags, state.enterprise):
        return []
    return [PersonTagged(person_id=state.person_id, tags=tags, enterprise=enterprise)]


def _tags(tags: tuple[str, ...], enterprise: str) -> tuple[str, ...]:
    """The tags sorted, each once. Raises InvalidInput for what is no id: a tag is not the place for a note."""
    wanted = tuple(sorted(set(tags)))
    if len(wanted) > MAX_TAGS:
        raise InvalidInput("person.tags", f"A person has at most {MAX_TAGS} tags.")
    for word in (*wanted, *([enterprise] if enterprise else [])):
        if not _WORD.fullmatch(word):
            raise InvalidInput("person.tags", "A tag or enterprise is 1 to 64 letters, digits, or one of _ . : -")
    return wanted


def forget(state: Person | None) -> list[Event]:
    if state is None or state.forgotten:
        return []
    return [PersonForgotten(person_id=state.person_id)]


def evolve(state: Person | None, event: Event) -> Person | None:
    match event:
        case PersonRegistered():
            return Person(
                person_id=event.person_id,
                node_id=event.node_id,
                role=event.role,
                language=event.language,
                channels=event.channels,
                tags=event.tags,
                enterprise=event.enterprise,
            )
        case PersonTagged() if state:
            return msgspec.structs.replace(state, tags=event.tags, enterprise=event.enterprise)
        case ContactChanged() if state:
            return msgspec.structs.replace(state, language=event.language, channels=event.channels)
        case PersonForgotten() if state:
            return msgspec.structs.replace(state, channels=(), forgotten=True, tags=(), enterprise="", stays=())
    return state
