"""Who lives in the town of the flow tests: its tree, its 25 people with their addresses, and who may do what."""

from __future__ import annotations

from typing import Any

from api.commands import Actor
from domain.grants import GrantRole
from domain.people import Channel, Person, Role
from domain.rulepacks import standard
from domain.stations import SUFFIX, Kind, Node, Scope
from infra.sandboxed import Sandbox
from infra.stores import Stores

SETUP = Actor(person_id="admin", correlation_id="setup")
SMS, EMAIL, WEBPUSH = Channel.SMS, Channel.EMAIL, Channel.WEBPUSH

PEOPLE: dict[str, tuple[str, Role, str, tuple[Channel, ...]]] = {  # node, role, language, channels
    "officer1": ("office", Role.DUTY_OFFICER, "zh", (SMS,)),
    "officer2": ("office", Role.DUTY_OFFICER, "zh", (EMAIL,)),
    "auditor1": ("office", Role.AUDITOR, "zh", (EMAIL,)),
    "county1": ("north", Role.COUNTY_OFFICER, "zh", (SMS,)),
    "county2": ("south", Role.COUNTY_OFFICER, "zh", (EMAIL,)),
    "milan-head": ("milan", Role.HEAD, "zh", (SMS,)),
    "milan-deputy": ("milan", Role.DEPUTY, "zh", (EMAIL,)),
    "milan-liaison": ("milan", Role.LIAISON, "it", (WEBPUSH,)),
    "milan-zh": ("milan", Role.CITIZEN, "zh", (SMS,)),
    "milan-it": ("milan", Role.CITIZEN, "it", (EMAIL,)),
    "milan-en": ("milan", Role.ENTERPRISE, "en", (WEBPUSH,)),
    "milan-both": ("milan", Role.CITIZEN, "zh", (SMS, EMAIL)),
    "rome-head": ("rome", Role.HEAD, "zh", (SMS,)),
    "rome-deputy": ("rome", Role.DEPUTY, "it", (SMS,)),
    "rome-it": ("rome", Role.CITIZEN, "it", (SMS,)),
    "rome-zh": ("rome", Role.CITIZEN, "zh", (EMAIL,)),
    "rome-push": ("rome", Role.CITIZEN, "zh", (WEBPUSH,)),
    "madrid-head": ("madrid", Role.HEAD, "zh", (EMAIL,)),
    "madrid-es": ("madrid", Role.CITIZEN, "es", (SMS,)),
    "madrid-zh": ("madrid", Role.CITIZEN, "zh", (EMAIL,)),
    "madrid-en": ("madrid", Role.ENTERPRISE, "en", (WEBPUSH,)),
    "village-head": ("village", Role.HEAD, "zh", (SMS,)),
    "village-liaison": ("village", Role.LIAISON, "zh", (WEBPUSH,)),
    "village-zh": ("village", Role.CITIZEN, "zh", (SMS,)),
    "village-none": ("village", Role.CITIZEN, "zh", ()),
}
GRANTS = [
    ("officer1", GrantRole.DUTY_OFFICER, "office"),
    ("officer2", GrantRole.DUTY_OFFICER, "office"),
    ("county1", GrantRole.COUNTY_OFFICER, "north"),
    ("county2", GrantRole.COUNTY_OFFICER, "south"),
    ("milan-head", GrantRole.STATION_HEAD, "milan"),
    ("rome-head", GrantRole.STATION_HEAD, "rome"),
    ("madrid-head", GrantRole.STATION_HEAD, "madrid"),
    ("village-head", GrantRole.STATION_HEAD, "village"),
    ("auditor1", GrantRole.AUDITOR, "office"),
]
STAFF_TOLD = (  # at the release of a warning that is not red
    "officer1", "officer2", "county1", "county2", "milan-head", "milan-liaison", "rome-head", "madrid-head",
    "village-head", "village-liaison",
)  # fmt: skip


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
        scope=(Scope.DOMESTIC if country == "CN" else Scope.OVERSEAS) if kind is Kind.STATION else None,
    )


TREE = [
    _node("office", Kind.DUTY_OFFICE, None),
    _node("north", Kind.COUNTY, "office"),
    _node("south", Kind.COUNTY, "office"),
    _node("milan", Kind.STATION, "north", "IT"),
    _node("rome", Kind.STATION, "north", "IT"),
    _node("madrid", Kind.STATION, "south", "ES"),
    _node("village", Kind.STATION, "south"),
]


def phone_of(person_id: str) -> str:
    return f"+3934700{list(PEOPLE).index(person_id):05d}"


def mail_of(person_id: str) -> str:
    return f"{person_id}@people.example"


async def populate(stores: Stores, sandbox: Sandbox) -> dict[str, str]:
    """Puts the tree, the rules, the people and their grants into the stores; the ids of push subscriptions."""
    registry, push = stores.registry, {}
    await registry.register_nodes(TREE, SETUP)
    await registry.adopt_rules(standard(), SETUP)
    for person_id, role, node_id in [("admin", GrantRole.ADMINISTRATOR, "office"), *GRANTS]:
        await registry.give_grant(SETUP, person_id=person_id, role=role, node_id=node_id, bootstrap=True)
    await stores.follower.reached(await stores.log.last_position())

    def registered(person_id: str) -> tuple[Person, dict[str, Any]]:
        node, role, language, channels = PEOPLE[person_id]
        personal: dict[str, Any] = {
            "name": f"Name of {person_id}", "phone": phone_of(person_id), "email": mail_of(person_id),
        }  # fmt: skip
        if WEBPUSH in channels:
            personal["push"] = sandbox.push.subscribe()
            push[person_id] = personal["push"]["endpoint"].rpartition("/")[2]
        return (
            Person(person_id=person_id, node_id=node, role=role, language=language, channels=channels),
            personal,
        )

    await registry.register_people([registered(person_id) for person_id in PEOPLE], SETUP)
    await stores.follower.reached(await stores.log.last_position())
    return push
