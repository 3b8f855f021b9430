"""Loads the demo's hierarchy, people, rules and grants into an installation with sandbox providers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec

from api.commands import Actor
from domain.grants import GrantRole
from domain.people import STAFF, Channel, Person, Role
from domain.roster import Shift
from domain.rulepacks import standard
from domain.stations import Kind, Node, Scope
from infra.demo.hierarchy import Hierarchy, NodeSpec
from infra.demo.people import PersonSpec
from infra.stores import Stores

SETUP = Actor(person_id="system:demo", correlation_id="demo-setup")
ACK_LIMIT_S, THEN_S = 15, 2  # in the demo silence is escalated after 15, 17, 18 and 19 seconds
TURN = timedelta(hours=12)


class Cast(msgspec.Struct):
    """Who plays: the officers, and the addresses of everybody by node and role."""

    officers: list[str]
    people: list[PersonSpec]
    push_ids: dict[str, str]

    def addresses(self, chosen: Callable[[PersonSpec], bool]) -> frozenset[str]:
        """Phones, mail addresses and push ids of those chosen."""
        found: set[str] = set()
        for person in filter(chosen, self.people):
            found.update(a for a in (person.phone, person.email, self.push_ids.get(person.id, "")) if a)
        return frozenset(found)


async def load(
    stores: Stores,
    hierarchy: Hierarchy,
    people: list[PersonSpec],
    subscriptions: list[dict[str, Any]],
    told: Callable[[int], None],
) -> Cast:
    """Registers everything, with a web push subscription for each who wants one; returns who plays."""
    registry = stores.registry
    await registry.adopt_rules(standard(ACK_LIMIT_S, THEN_S), SETUP)
    await registry.register_nodes([_node(spec) for spec in hierarchy.nodes], SETUP)
    await registry.give_grant(
        SETUP, person_id=SETUP.person_id, role=GrantRole.ADMINISTRATOR, node_id=hierarchy.duty_office.id, bootstrap=True
    )
    await stores.catch_up()
    cast = Cast([p.id for p in people if p.role == "duty_officer"], people, {})

    def registered() -> Iterator[tuple[Person, dict[str, Any]]]:
        free = iter(subscriptions)
        for spec in people:
            subscription = next(free) if spec.push else None
            if subscription:
                cast.push_ids[spec.id] = str(subscription["endpoint"]).rsplit("/", 1)[-1]
            yield (
                _person(spec),
                {
                    "name": spec.name,
                    "phone": spec.phone,
                    "email": spec.email,
                    "zone": spec.zone,
                    "push": subscription,
                },
            )

    await registry.register_people(registered(), SETUP, told)
    grants = [(officer, GrantRole.DUTY_OFFICER, hierarchy.duty_office.id) for officer in cast.officers]
    grants += [(p.id, GrantRole.STATION_HEAD, p.node) for p in people if p.role == "head"]
    grants += [(p.id, GrantRole.COUNTY_OFFICER, p.node) for p in people if p.role == "county_officer"]
    grants.append((cast.officers[-1], GrantRole.AUDITOR, hierarchy.duty_office.id))
    for person_id, role, node in grants:
        await registry.give_grant(SETUP, person_id=person_id, role=role, node_id=node, bootstrap=True)
    await stores.catch_up()
    await _rosters(stores, people)
    await stores.catch_up()
    return cast


async def _rosters(stores: Stores, people: list[PersonSpec]) -> None:
    """The staff of each node take turns for a week, from the whole hour on."""
    begins = stores.clock.now().replace(minute=0, second=0, microsecond=0)
    staff: dict[str, list[str]] = {}
    for spec in people:
        if Role(spec.role) in STAFF:
            staff.setdefault(spec.node, []).append(spec.id)
    for node_id, members in staff.items():
        starts = [begins + TURN * n for n in range(14)]
        shifts = [Shift(at, at + TURN, members[n % len(members)]) for n, at in enumerate(starts)]
        await stores.duty.plan(SETUP, node_id, from_at=begins, to_at=begins + TURN * 14, shifts=shifts)


def _node(spec: NodeSpec) -> Node:
    fields = msgspec.structs.asdict(spec)
    fields["node_id"] = fields.pop("id")
    return Node(**{**fields, "kind": Kind(spec.kind), "scope": Scope(spec.scope) if spec.scope else None})


def _person(spec: PersonSpec) -> Person:
    return Person(
        person_id=spec.id,
        node_id=spec.node,
        role=Role(spec.role),
        language=spec.language,
        channels=tuple(Channel(c) for c in spec.channels),
    )
