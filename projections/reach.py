"""The reachability audit: who cannot be told, which stations have nobody to tell, which contact points are untested.

Reads directory and contact points as they are; ids only. A contact point is untested when no receipt said "delivered"
for so many days, or ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection

from domain import planning
from domain.people import STAFF, Channel, Person, Role
from domain.planning import Told
from domain.shards import Circle
from domain.stations import Hierarchy, Kind
from projections.contact_points import Point
from projections.follower import Views

CONTACTS = frozenset({Role.HEAD, Role.LIAISON})
"""Who is a station's duty contact."""


class DeadPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A contact point that is not tried any more, and what the provider said of it last."""

    person_id: str
    channel: Channel
    reason: str


class Counts(msgspec.Struct, kw_only=True):
    """People and contact points of a node and all below it; stations among them that lack somebody."""

    people: int = 0
    unreachable: int = 0
    dead: int = 0
    untested: int = 0
    without_contact: int = 0
    without_deputy: int = 0

    def add(self, other: Counts) -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def findings(self) -> int:
        return self.unreachable + self.dead + self.untested + self.without_contact + self.without_deputy


class NodeReach(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at one node itself, and summed over all below it.

    `unreachable` are ids of people without a working channel, `untested` counts by channel. `no_contact`: a station
    none of whose head or liaisons has a working channel; `no_deputy`: none of whose deputies has.
    """

    node_id: str
    parent: str | None
    depth: int
    kind: Kind
    name_zh: str
    name_en: str
    people: int
    unreachable: tuple[str, ...]
    dead: tuple[DeadPoint, ...]
    untested: dict[Channel, int]
    no_contact: bool
    no_deputy: bool
    below: Counts


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """All findings as of a log position; `nodes` parents before children."""

    position: int
    days: int
    total: Counts
    nodes: tuple[NodeReach, ...]


def audit(views: Views, db: Connection, node_ids: Iterable[str], *, now: datetime, days: int) -> Audit:
    """The findings at these nodes. `now` and `days` say from when on a contact point counts as untested."""
    hierarchy = views.directory.hierarchy(db)
    chosen = _in_order(hierarchy, frozenset(node_ids))
    before = now - timedelta(days=days)
    by_node, known = _points(views, db, chosen)
    sums = {node_id: Counts() for node_id in chosen}
    found: dict[str, dict[str, Any]] = {}
    for node_id in chosen:
        people = by_node.get(node_id, [])
        gone = tuple(
            DeadPoint(person_id=p.person_id, channel=c, reason=(known.get((p.person_id, c)) or {}).get("reason") or "")
            for p, left in people
            for c in p.channels
            if c not in left.channels
        )
        untested: dict[Channel, int] = {}
        for _, left in people:
            for channel in left.channels:
                if _untested(known.get((left.person_id, channel)), before):
                    untested[channel] = untested.get(channel, 0) + 1
        working = {left.role for _, left in people if left.channels}
        station = hierarchy.nodes[node_id].kind is Kind.STATION
        found[node_id] = {
            "people": len(people),
            "unreachable": tuple(left.person_id for _, left in people if not left.channels),
            "dead": gone,
            "untested": dict(sorted(untested.items())),
            "no_contact": station and not working & CONTACTS,
            "no_deputy": station and Role.DEPUTY not in working,
        }
        own = Counts(
            people=len(people),
            unreachable=len(found[node_id]["unreachable"]),
            dead=len(gone),
            untested=sum(untested.values()),
            without_contact=int(found[node_id]["no_contact"]),
            without_deputy=int(found[node_id]["no_deputy"]),
        )
        for above in hierarchy.ancestors(node_id):
            if above in sums:
                sums[above].add(own)
    tops = [n for n in chosen if hierarchy.nodes[n].parent not in sums]
    total = Counts()
    for top in tops:
        total.add(sums[top])
    nodes = tuple(
        NodeReach(
            node_id=node_id,
            parent=hierarchy.nodes[node_id].parent if hierarchy.nodes[node_id].parent in sums else None,
            depth=sum(above in sums for above in hierarchy.ancestors(node_id)) - 1,
            kind=hierarchy.nodes[node_id].kind,
            name_zh=hierarchy.nodes[node_id].name_zh,
            name_en=hierarchy.nodes[node_id].name_en,
            below=sums[node_id],
            **found[node_id],
        )
        for node_id in chosen
    )
    return Audit(position=views.position, days=days, total=total, nodes=nodes)


def to_test(
    views: Views, db: Connection, node_ids: Iterable[str], *, now: datetime, days: int, channel: Channel | None = None
) -> list[Told]:
    """The untested contact points to which no test went in these days either, by person: what a test goes to."""
    hierarchy = views.directory.hierarchy(db)
    before = now - timedelta(days=days)
    by_node, known = _points(views, db, _in_order(hierarchy, frozenset(node_ids)))
    return [
        told_of(left, each)
        for people in by_node.values()
        for _, left in people
        for each in left.channels
        if channel in (None, each)
        and _untested(fact := known.get((left.person_id, each)), before)
        and (fact is None or fact["tested_at"] is None or fact["tested_at"] <= before)
    ]


def told_of(person: Person, channel: Channel) -> Told:
    """A person, told over one of their channels."""
    circle = Circle.STAFF if person.role in STAFF else Circle.PEOPLE
    return Told(person.node_id, circle, channel, person.language, person.person_id)


def _points(
    views: Views, db: Connection, node_ids: Sequence[str]
) -> tuple[dict[str, list[tuple[Person, Person]]], dict[Point, dict[str, Any]]]:
    """(by node each person as they are and with the channels left to them, what is known of their contact points)."""
    by_node: dict[str, list[tuple[Person, Person]]] = {}
    people = [p for p in views.directory.audience(db, node_ids, views.position) if p.role is not Role.AUDITOR]
    ids = [person.person_id for person in people]
    dead = views.contact_points.unreachable(db, ids, views.position)
    for person, left in zip(people, planning.without(people, dead), strict=True):
        by_node.setdefault(person.node_id, []).append((person, left))
    return by_node, views.contact_points.known(db, ids)


def _untested(fact: dict[str, Any] | None, before: datetime) -> bool:
    return fact is None or fact["delivered_at"] is None or fact["delivered_at"] <= before


def _in_order(hierarchy: Hierarchy, chosen: frozenset[str]) -> list[str]:
    """The nodes, parents before children."""

    def walk() -> Iterator[str]:
        for node in hierarchy.nodes.values():
            if node.node_id in chosen and (node.parent is None or node.parent not in chosen):
                yield from (below for below in hierarchy.subtree(node.node_id) if below in chosen)

    return list(dict.fromkeys(walk()))
