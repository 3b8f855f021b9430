"""The hierarchy: duty office, county offices, service stations (服务站), as nodes of one tree.

A node stands where it was registered; who belongs to it is in people.py, who may act for it in grants.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

import msgspec

from domain.errors import InvalidInput, Refused
from domain.events import Event, topic

SUFFIX = "领事保护志愿服务站"
"""S4, S10: how the name of a station ends. Hard for overseas stations, usual for domestic ones."""


class Kind(StrEnum):
    DUTY_OFFICE = "duty_office"
    COUNTY = "county"
    STATION = "station"


class Scope(StrEnum):
    """G08: stations are domestic (境内) or overseas (境外)."""

    DOMESTIC = "domestic"
    OVERSEAS = "overseas"


PARENT_KIND: dict[Kind, Kind | None] = {
    Kind.DUTY_OFFICE: None,
    Kind.COUNTY: Kind.DUTY_OFFICE,
    Kind.STATION: Kind.COUNTY,
}


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place in the tree. `lat`, `lon` in degrees (WGS 84), `zone` an IANA name, `country` ISO 3166 alpha-2.

    `admin` is the code of its administrative area, where known: GB/T 2260 (330302) or ISO 3166-2 (IT-25).
    """

    node_id: str
    kind: Kind
    parent: str | None
    name_zh: str
    name_en: str
    country: str
    lat: float
    lon: float
    zone: str
    scope: Scope | None = None
    admin: str = ""


@topic("node.registered")
class NodeRegistered(Event, frozen=True, kw_only=True):
    node: Node


def register(state: Node | None, node: Node, parent: Node | None) -> list[Event]:
    """Puts a node into the tree, once. Raises InvalidInput for a wrong place, Refused where the id is another's."""
    wanted = PARENT_KIND[node.kind]
    if wanted is None:
        if node.parent is not None:
            raise InvalidInput("node.parent", f"{node.node_id} is a duty office and stands at the top.")
    elif parent is None or parent.kind is not wanted:
        raise InvalidInput("node.parent", f"{node.node_id} ({node.kind}) belongs under a {wanted}.")
    if node.kind is Kind.STATION:
        if node.scope is None:
            raise InvalidInput("node.scope", f"{node.node_id} is a station: say whether domestic or overseas.")
        if node.scope is Scope.OVERSEAS and not node.name_zh.endswith(SUFFIX):
            raise InvalidInput("node.name", f"The name of an overseas station ends in {SUFFIX}: {node.name_zh}.")
    if not (-90 <= node.lat <= 90 and -180 <= node.lon <= 180):
        raise InvalidInput("node.position", f"{node.node_id} does not lie on the globe: {node.lat}, {node.lon}.")
    if state is None:
        return [NodeRegistered(node=node)]
    if state == node:
        return []
    raise Refused("node.exists", f"Node {node.node_id} is registered with other facts.")


def evolve(state: Node | None, event: Event) -> Node | None:
    match event:
        case NodeRegistered(node=node):
            return node
    return state


class Hierarchy:
    """The tree as of a moment, for questions of who stands above whom."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes: Mapping[str, Node] = {node.node_id: node for node in nodes}
        self.children: dict[str, list[str]] = {}
        for node in self.nodes.values():
            if node.parent is not None:
                self.children.setdefault(node.parent, []).append(node.node_id)

    def ancestors(self, node_id: str) -> Iterator[str]:
        """The node itself, then each node above it."""
        seen: set[str] = set()
        at: str | None = node_id
        while at is not None and at not in seen:
            seen.add(at)
            yield at
            at = self.nodes[at].parent if at in self.nodes else None

    def is_within(self, node_id: str, top: str) -> bool:
        return top in self.ancestors(node_id)

    def subtree(self, top: str) -> Iterator[str]:
        """The node itself and all below it, parents first."""
        if top not in self.nodes:
            return
        waiting = [top]
        while waiting:
            at = waiting.pop()
            yield at
            waiting.extend(sorted(self.children.get(at, ()), reverse=True))
