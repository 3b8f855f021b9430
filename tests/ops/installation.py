"""A data folder with a small hierarchy, people with one channel each, two officers and their API tokens."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from api.commands import Actor
from domain.grants import GrantRole, TokenKind
from domain.people import Channel, Person, Role
from domain.rulepacks import standard
from domain.stations import SUFFIX, Kind, Node, Scope
from infra.config import DatabaseConfig
from infra.stores import Stores

SETUP = Actor(person_id="system:setup", correlation_id="setup")
STATIONS = ("milan", "prato", "madrid", "paris")
OFFICERS = ("officer1", "officer2")
CHANNELS = (Channel.SMS, Channel.EMAIL, Channel.SMS, Channel.EMAIL, Channel.WEBPUSH)


class Installation(msgspec.Struct):
    """What was put into the folder: bearer tokens of the officers, and where each person is reached."""

    folder: Path
    tokens: tuple[str, ...]
    addresses: dict[str, tuple[Channel, str]]


async def install(
    folder: Path,
    people: int,
    *,
    channels: tuple[Channel, ...] = CHANNELS,
    subscribe: Callable[[], dict[str, Any]] | None = None,
    database: DatabaseConfig | None = None,
) -> Installation:
    """Makes it. `subscribe` gives a browser's subscription; web push needs it."""
    addresses: dict[str, tuple[Channel, str]] = {}

    def citizens() -> Iterator[tuple[Person, dict[str, Any]]]:
        for n in range(people):
            person_id, channel = f"person-{n:05d}", channels[n % len(channels)]
            personal: dict[str, Any] = {"name": f"Name {n}"}
            match channel:
                case Channel.SMS:
                    personal["phone"] = address = f"+39347{n:07d}"
                case Channel.EMAIL:
                    personal["email"] = address = f"{person_id}@people.example"
                case _:
                    assert subscribe is not None
                    personal["push"] = subscribe()
                    address = personal["push"]["endpoint"].rpartition("/")[2]
            addresses[person_id] = channel, address
            yield _person(person_id, STATIONS[n % len(STATIONS)], Role.CITIZEN, (channel,)), personal

    tokens = tuple(secrets.token_urlsafe(32) for _ in OFFICERS)
    async with Stores(folder, database=database) as stores:
        registry = stores.registry
        await registry.register_nodes(tree(), SETUP)
        await registry.adopt_rules(standard(), SETUP)
        await registry.give_grant(
            SETUP, person_id=SETUP.person_id, role=GrantRole.ADMINISTRATOR, node_id="office", bootstrap=True
        )
        await stores.catch_up()
        # Officers have no channel: whom they are told by is not what these tests are about.
        staff = [(_person(officer, "office", Role.DUTY_OFFICER, ()), {"name": officer}) for officer in OFFICERS]
        await registry.register_people(staff, SETUP)
        await registry.register_people(citizens(), SETUP)
        for officer, token in zip(OFFICERS, tokens, strict=True):
            await registry.give_grant(
                SETUP, person_id=officer, role=GrantRole.DUTY_OFFICER, node_id="office", bootstrap=True
            )
            await registry.issue_token(officer, TokenKind.BEARER, token, timedelta(days=1), SETUP)
        await registry.give_grant(
            SETUP, person_id=OFFICERS[0], role=GrantRole.AUDITOR, node_id="office", bootstrap=True
        )
        await stores.catch_up()
    return Installation(folder, tokens, addresses)


def tree() -> list[Node]:
    return [
        _node("office", Kind.DUTY_OFFICE, None),
        _node("north", Kind.COUNTY, "office"),
        *(_node(name, Kind.STATION, "north", "IT") for name in STATIONS),
    ]


def draft(headline: str = "洪水") -> dict[str, Any]:
    """The body of a draft for everybody, at the level at which the people are told at once."""
    now = datetime.now(UTC)
    return {
        "event": "Flood",
        "level": "red",
        "texts": [{"language": "zh-CN", "headline": headline, "instruction": "请撤到高处。"}],
        "area": {"description": "Po"},
        "target": {"nodes": ["office"]},
        "contact": {"hotline": "12308", "mission": "1", "police": "112", "valid_from": now.isoformat()},
        "effective_at": now.isoformat(),
        "expires_at": (now + timedelta(hours=6)).isoformat(),
    }


def _person(person_id: str, node_id: str, role: Role, channels: tuple[Channel, ...]) -> Person:
    return Person(person_id=person_id, node_id=node_id, role=role, language="zh", channels=channels)


def _node(node_id: str, kind: Kind, parent: str | None, country: str = "CN") -> Node:
    return Node(
        node_id=node_id,
        kind=kind,
        parent=parent,
        name_zh=f"{node_id}{SUFFIX}",
        name_en=node_id,
        country=country,
        lat=45.0,
        lon=9.0,
        zone="Europe/Rome",
        scope=Scope.OVERSEAS if kind is Kind.STATION else None,
    )
