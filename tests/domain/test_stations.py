"""The tree: what may stand where, and who stands above whom."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from given import HIERARCHY, TREE, code_of, node

from domain import stations
from domain.errors import InvalidInput, Refused
from domain.events import fold
from domain.stations import Hierarchy, Kind, Node, NodeRegistered, Scope

OFFICE, NORTH, _, MILAN, *_ = TREE


def test_nodes_stand_under_their_kind():
    assert stations.register(None, OFFICE, None) == [NodeRegistered(node=OFFICE)]
    assert stations.register(None, NORTH, OFFICE) == [NodeRegistered(node=NORTH)]
    assert stations.register(None, MILAN, NORTH) == [NodeRegistered(node=MILAN)]
    assert fold(stations.evolve, [NodeRegistered(node=MILAN)]) == MILAN


@pytest.mark.parametrize(
    ("wrong", "parent", "code"),
    [
        (node("x", Kind.DUTY_OFFICE, "office"), OFFICE, "node.parent"),
        (node("x", Kind.COUNTY, None), None, "node.parent"),
        (node("x", Kind.COUNTY, "north"), NORTH, "node.parent"),
        (node("x", Kind.STATION, "office"), OFFICE, "node.parent"),
        (node("x", Kind.STATION, "milan"), MILAN, "node.parent"),
        (node("x", Kind.STATION, "north", scope=None), NORTH, "node.scope"),
        (node("x", Kind.STATION, "north", "IT", name_zh="米兰"), NORTH, "node.name"),
        (node("x", Kind.COUNTY, "office", lat=90.1), OFFICE, "node.position"),
        (node("x", Kind.COUNTY, "office", lat=-91.0), OFFICE, "node.position"),
        (node("x", Kind.COUNTY, "office", lon=180.5), OFFICE, "node.position"),
        (node("x", Kind.COUNTY, "office", lon=float("nan")), OFFICE, "node.position"),
    ],
)
def test_a_node_in_the_wrong_place_is_refused(wrong: Node, parent: Node | None, code: str):
    assert code_of(InvalidInput, lambda: stations.register(None, wrong, parent)) == code


def test_a_domestic_station_may_have_another_name():
    village = node("x", Kind.STATION, "north", name_zh="瓯海服务点", scope=Scope.DOMESTIC)

    assert len(stations.register(None, village, NORTH)) == 1


def test_registering_the_same_node_again_changes_nothing_and_another_is_refused():
    assert stations.register(MILAN, MILAN, NORTH) == []
    moved = msgspec.structs.replace(MILAN, lat=1.0)
    assert code_of(Refused, lambda: stations.register(MILAN, moved, NORTH)) == "node.exists"


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda h: list(h.ancestors("milan")), ["milan", "north", "office"]),
        (lambda h: list(h.ancestors("office")), ["office"]),
        (lambda h: list(h.ancestors("nowhere")), ["nowhere"]),
        (lambda h: list(h.subtree("office")), ["office", "north", "madrid", "milan", "south", "village"]),
        (lambda h: list(h.subtree("milan")), ["milan"]),
        (lambda h: list(h.subtree("nowhere")), []),
        (lambda h: (h.is_within("milan", "north"), h.is_within("north", "milan")), (True, False)),
        (lambda h: (h.is_within("milan", "milan"), h.is_within("milan", "south")), (True, False)),
    ],
)
def test_questions_to_the_tree(ask: Any, expected: Any):
    assert ask(HIERARCHY) == expected
    assert ask(Hierarchy(reversed(TREE))) == expected


def test_a_ring_of_parents_ends():
    ring = Hierarchy([node("a", Kind.COUNTY, "b"), node("b", Kind.COUNTY, "a")])

    assert list(ring.ancestors("a")) == ["a", "b"]
