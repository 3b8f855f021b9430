"""People: staff of the tree, citizens and enterprise contacts, known to the log by id, node, role and language only.

Name, phone, address, push subscription and time zone are personal and travel sealed (private.py).
"""

from __future__ import annotations

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


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """What the log may know of a person. `channels` says by what they can be reached, not at which address."""

    person_id: str
    node_id: str
    role: Role
    language: str
    channels: tuple[Channel, ...]
    forgotten: bool = False


@topic("person.registered")
class PersonRegistered(Event, frozen=True, kw_only=True):
    person_id: str
    node_id: str
    role: Role
    language: str
    channels: tuple[Channel, ...]
    personal: Personal


@topic("person.contact_changed")
class ContactChanged(Event, frozen=True, kw_only=True):
    person_id: str
    language: str
    channels: tuple[Channel, ...]
    personal: Personal


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
    if state is None:
        return [
            PersonRegistered(
                person_id=person.person_id,
                node_id=person.node_id,
                role=person.role,
                language=person.language,
                channels=person.channels,
                personal=personal,
            )
        ]
    if state.forgotten:
        raise Refused("person.forgotten", "This person asked to be forgotten.", "Register them anew under a new id.")
    if (state.node_id, state.role) != (person.node_id, person.role):
        raise Refused("person.exists", "This person is registered at another node or in another role.")
    return [
        ContactChanged(
            person_id=person.person_id, language=person.language, channels=person.channels, personal=personal
        )
    ]


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
            )
        case ContactChanged() if state:
            return msgspec.structs.replace(state, language=event.language, channels=event.channels)
        case PersonForgotten() if state:
            return msgspec.structs.replace(state, channels=(), forgotten=True)
    return state
