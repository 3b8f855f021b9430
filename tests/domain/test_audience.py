"""Audiences: the algebra of expressions, what each term means, and that none of them is too large to be asked."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from given import NOW, code_of, content, node, person
from hypothesis import given
from hypothesis import strategies as st

from domain import audience, planning
from domain.audience import (
    AllOf,
    AnyOf,
    Audience,
    Circle,
    Country,
    Enterprise,
    HasRole,
    Itinerary,
    NotIn,
    Polygon,
    Region,
    Subtree,
    Tag,
)
from domain.content import Target, check_content
from domain.errors import InvalidInput
from domain.people import Person, Role
from domain.stations import Hierarchy, Kind
from domain.whereabouts import Stay

ROME, MILAN, TOKYO, PARIS = (41.9, 12.5), (45.46, 9.19), (35.68, 139.77), (48.86, 2.35)
TREE = Hierarchy(
    [
        node("office", Kind.DUTY_OFFICE, None, admin="330300"),
        node("north", Kind.COUNTY, "office", admin="330302"),
        node("milan", Kind.STATION, "north", "IT", lat=MILAN[0], lon=MILAN[1], admin="IT-25"),
        node("paris", Kind.STATION, "north", "FR", lat=PARIS[0], lon=PARIS[1]),
        node("village", Kind.STATION, "north", admin="330302"),
    ]
)


def stay(country: str, start: int = 1, end: int = 31, **more: Any) -> Stay:
    """In July 2026, in which NOW lies."""
    zone = {"JP": "Asia/Tokyo", "IT": "Europe/Rome"}.get(country, "Europe/Paris")
    return Stay(country=country, zone=zone, from_=date(2026, 7, start), to=date(2026, 7, end), **more)


def matches(expression: Audience, who: Person, *stays: Stay, now: datetime = NOW) -> bool:
    return audience.matcher(expression, TREE, now)(who, stays)


ANN = person("ann", "milan", tags=("harbour",), enterprise="e-1")
BOX = Polygon(((44.0, 8.0), (44.0, 11.0), (47.0, 11.0), (47.0, 8.0)))
IN_JAPAN = stay("JP", lat=TOKYO[0], lon=TOKYO[1])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (Subtree("north"), True),
        (Subtree("milan"), True),
        (Subtree("paris"), False),
        (Subtree("nowhere"), False),
        (Country("IT"), True),
        (Country("FR"), False),
        (Region("eu"), True),
        (Region("schengen"), True),
        (Region("asean"), False),
        (Region("IT-25"), True),
        (Region("IT-2"), False),
        (BOX, True),
        (Circle(*ROME, 400), False),
        (Circle(*ROME, 480), True),
        (HasRole(Role.CITIZEN), True),
        (HasRole(Role.HEAD), False),
        (Tag("harbour"), True),
        (Tag("port"), False),
        (Enterprise("e-1"), True),
        (Enterprise(""), False),
        (Itinerary(date(2026, 7, 1), date(2026, 7, 31)), False),
        (AllOf(()), True),
        (AnyOf(()), False),
    ],
)
def test_what_each_term_says_of_somebody_at_home(expression, expected):
    assert matches(expression, ANN) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (Country("JP"), True),
        (Country("IT"), False),
        (Region("eu"), False),
        (Region("IT-25"), False),
        (Circle(*TOKYO, 1), True),
        (BOX, False),
        (Subtree("milan"), True),  # registered there still
        (Tag("harbour"), True),
    ],
)
def test_somebody_on_a_journey_lies_where_the_journey_is(expression, expected):
    assert matches(expression, ANN, IN_JAPAN) is expected


def test_a_stay_counts_on_its_own_days_by_its_own_clock():
    first_of_july = stay("JP", 1, 1)

    assert matches(Country("JP"), ANN, first_of_july, now=datetime(2026, 6, 30, 15, 0, tzinfo=UTC))  # midnight in Tokyo
    assert not matches(Country("JP"), ANN, first_of_july, now=datetime(2026, 6, 30, 14, 59, tzinfo=UTC))
    assert matches(Country("JP"), ANN, first_of_july, now=datetime(2026, 7, 1, 14, 59, tzinfo=UTC))
    assert not matches(Country("JP"), ANN, first_of_july, now=datetime(2026, 7, 1, 15, 0, tzinfo=UTC))


def test_of_several_stays_the_one_that_began_last_is_where_they_are():
    assert matches(Country("FR"), ANN, stay("FR", 1, 5), stay("JP", 1, 4))  # the same first day: the longer one
    assert matches(
        Country("JP"), ANN, stay("JP", 1), Stay(country="FR", zone="UTC", from_=date(2026, 6, 1), to=date(2026, 8, 1))
    )


def test_a_stay_without_a_point_lies_at_the_node_where_that_is_in_its_country_and_nowhere_else():
    assert matches(BOX, ANN, stay("IT"))
    assert matches(Region("IT-25"), ANN, stay("IT"))
    assert not matches(BOX, ANN, stay("FR"))
    assert not matches(NotIn(Country("FR")), ANN, stay("FR"))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Itinerary(date(2026, 7, 10), date(2026, 7, 20)), True),
        (Itinerary(date(2026, 7, 20), date(2026, 7, 20)), True),
        (Itinerary(date(2026, 7, 8), date(2026, 7, 10)), True),  # the last day of one is the first of the other
        (Itinerary(date(2026, 7, 21), date(2026, 8, 20)), False),
        (Itinerary(date(2026, 7, 1), date(2026, 7, 9)), False),
        (Itinerary(date(2026, 7, 1), date(2026, 7, 31), ("IT", "JP")), True),
        (Itinerary(date(2026, 7, 1), date(2026, 7, 31), ("IT",)), False),
        (Itinerary(date(2026, 7, 1), date(2026, 7, 31), within=Circle(*TOKYO, 5)), True),
        (Itinerary(date(2026, 7, 1), date(2026, 7, 31), within=BOX), False),
    ],
)
def test_an_itinerary_overlaps_the_days_in_the_place(wanted, expected):
    coming = stay("JP", 10, 20, lat=TOKYO[0], lon=TOKYO[1])

    assert matches(wanted, ANN, stay("FR", 28, 28) if wanted.from_ > date(2026, 7, 28) else coming, coming) is expected


def test_an_itinerary_asks_one_stay_for_all_of_it():
    """Japan in one week and Italy in another is not Italy in the first."""
    wanted = Itinerary(date(2026, 7, 1), date(2026, 7, 7), ("IT",))

    assert not matches(wanted, ANN, stay("JP", 1, 7), stay("IT", 8, 14))
    assert matches(wanted, ANN, stay("JP", 8, 14), stay("IT", 1, 7))


@pytest.mark.parametrize(
    ("region", "admin", "expected"),
    [
        ("330000", "330302", True),
        ("330300", "330302", True),
        ("330302", "330302", True),
        ("330303", "330302", False),
        ("340000", "330302", False),
        ("330302", "330300", False),
        ("330300", "", False),
        ("IT-25", "IT-25", True),
        ("IT", "IT-25", False),
        ("", "", False),
    ],
)
def test_a_larger_administrative_area_holds_the_smaller(region, admin, expected):
    assert audience.holds(region, admin) is expected


# The algebra ----------------------------------------------------------------------------------------------------------

leaves: st.SearchStrategy[Audience] = st.one_of(
    st.builds(Subtree, st.sampled_from(["office", "milan", "paris"])),
    st.builds(Country, st.sampled_from(["IT", "FR", "JP", "CN"])),
    st.builds(Region, st.sampled_from(["eu", "330300"])),
    st.builds(Tag, st.sampled_from(["a", "b"])),
    st.builds(HasRole, st.sampled_from([Role.CITIZEN, Role.ENTERPRISE])),
    st.builds(Circle, st.floats(-90, 90), st.floats(-180, 180), st.floats(1, 20_000)),
    st.builds(Itinerary, st.just(date(2026, 7, 1)), st.just(date(2026, 7, 9)), st.sampled_from([(), ("JP",)])),
)
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(NotIn, inner),
        st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
persons = st.builds(
    lambda node_id, role, tags: person("p", node_id, role, tags=tuple(tags)),
    st.sampled_from(["milan", "paris", "village", "north"]),
    st.sampled_from([Role.CITIZEN, Role.ENTERPRISE]),
    st.sets(st.sampled_from(["a", "b"])),
)
stays = st.lists(
    st.builds(stay, st.sampled_from(["JP", "IT", "FR"]), st.integers(1, 5), st.integers(5, 31)), max_size=2
)


@given(expressions, expressions, expressions, persons, stays)
def test_and_or_and_not_are_those_of_logic(a, b, c, who, where):
    def said(expression: Audience) -> bool:
        return matches(expression, who, *where)

    assert said(NotIn(NotIn(a))) is said(a)
    assert said(NotIn(AllOf((a, b)))) is said(AnyOf((NotIn(a), NotIn(b))))
    assert said(NotIn(AnyOf((a, b)))) is said(AllOf((NotIn(a), NotIn(b))))
    assert said(AllOf((a, b))) is said(AllOf((b, a))) is (said(a) and said(b))
    assert said(AnyOf((a, b))) is said(AnyOf((b, a))) is (said(a) or said(b))
    assert said(AllOf((a, AnyOf((b, c))))) is said(AnyOf((AllOf((a, b)), AllOf((a, c)))))
    assert said(AnyOf((a, a))) is said(AllOf((a, a))) is said(AllOf((a,))) is said(a)
    assert said(AnyOf((a, NotIn(a)))) and not said(AllOf((a, NotIn(a))))


@given(expressions)
def test_an_expression_comes_back_from_json_as_it_was(expression):
    assert msgspec.json.decode(msgspec.json.encode(expression), type=Audience) == expression
    assert msgspec.convert(msgspec.to_builtins(expression), Audience) == expression


@given(expressions)
def test_depth_and_terms_are_counted_from_the_outside(expression):
    assert audience.depth(NotIn(expression)) == audience.depth(expression) + 1
    assert len(list(audience.terms(NotIn(expression)))) == len(list(audience.terms(expression))) + 1


@given(expressions, persons, stays)
def test_what_does_not_ask_where_people_are_is_the_same_wherever_they_are(expression, who, where):
    if not audience.needs_stays(expression):
        assert matches(expression, who, *where) is matches(expression, who)


# Limits ---------------------------------------------------------------------------------------------------------------


def nested(levels: int) -> Audience:
    expression: Audience = Tag("a")
    for _ in range(levels - 1):
        expression = NotIn(expression)
    return expression


RING = ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0))


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        (nested(9), "too_deep"),
        (AnyOf((Tag("a"),) * 200), "too_large"),
        (Polygon(RING[:2]), "polygon"),
        (Polygon(((0.0, 0.0), (0.0, 1.0), (0.0, 2.0))), "polygon"),
        (Polygon(()), "polygon"),
        (Polygon(((91.0, 0.0), *RING)), "point"),
        (Polygon(((0.0, 181.0), *RING)), "point"),
        (Polygon(((float("nan"), 0.0), *RING)), "point"),
        (Polygon(RING * 3334), "points"),
        (AnyOf((Polygon(RING * 1700), Polygon(RING * 1700))), "points"),
        (Circle(91, 0, 1), "point"),
        (Circle(0, 0, 0), "circle"),
        (Circle(0, 0, float("nan")), "circle"),
        (Circle(0, 0, 30_000), "circle"),
        (Country("it"), "country"),
        (Country("ITA"), "country"),
        (Region("atlantis"), "region"),
        (Region(""), "region"),
        (Itinerary(date(2026, 7, 2), date(2026, 7, 1)), "itinerary"),
        (Itinerary(date(2026, 7, 1), date(2026, 7, 1), ("Italy",)), "country"),
        (Itinerary(date(2026, 7, 1), date(2026, 7, 1), within=Circle(0, 0, -1)), "circle"),
        (NotIn(AllOf((Tag(""),))), "empty"),
    ],
)
def test_what_can_mean_nothing_or_is_too_large_is_refused(expression, code):
    assert code_of(InvalidInput, lambda: audience.check(expression)) == f"audience.{code}"


@pytest.mark.parametrize("expression", [nested(8), AnyOf((Tag("a"),) * 199), Region("330300"), Region("IT-25"), BOX])
def test_what_is_just_within_the_limits_is_taken(expression):
    audience.check(expression)


def test_a_draft_with_an_audience_that_means_nothing_is_refused():
    wrong = content(target=Target(nodes=("office",), audience=Tag("")))

    assert code_of(InvalidInput, lambda: check_content(wrong)) == "audience.empty"
    check_content(content(target=Target(nodes=("office",), audience=Tag("a"))))


def test_a_target_without_an_audience_is_stored_as_it_always_was():
    assert msgspec.json.encode(Target(nodes=("office",))) == b'{"nodes":["office"]}'


# Nodes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ([], []),
        (["milan"], ["office", "north", "milan"]),
        (["milan", "milan", "village"], ["office", "north", "milan", "village"]),
        (["office"], ["office"]),
    ],
)
def test_concerned_are_the_nodes_of_those_who_match_and_the_offices_above(at, expected):
    below = ["office", "north", "milan", "paris", "village"]

    assert planning.concerned_by(at, below, TREE) == expected


def test_no_office_above_the_target_is_concerned():
    assert planning.concerned_by(["milan"], ["north", "milan", "paris"], TREE) == ["north", "milan"]
