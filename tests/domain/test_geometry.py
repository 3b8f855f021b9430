"""Points in areas: borders, poles, the line where the date changes, and the cities of the demo."""

from __future__ import annotations

import json
import os
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain import geometry
from infra.demo.hierarchy import hierarchy

lats, lons = st.floats(-90, 90), st.floats(-180, 180)
CITIES = {node.name_en: (node.lat, node.lon) for node in hierarchy().stations}


def inside(ring: list[tuple[float, float]], lat: float, lon: float) -> bool:
    area = geometry.polygon(ring)
    assert area is not None
    return area(lat, lon)


SQUARE = [(0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0)]
FIJI = [(-21.0, 176.0), (-21.0, -178.0), (-12.0, -178.0), (-12.0, 176.0)]
ARCTIC = [(66.0, lon) for lon in (-180.0, -90.0, 0.0, 90.0)]
EUROPE = [(35.0, -11.0), (35.0, 19.0), (36.0, 30.0), (45.0, 40.0), (60.0, 40.0), (60.0, -11.0)]
ANTARCTIC = [(-66.0, lon) for lon in (0.0, 90.0, 180.0, -90.0)]


@pytest.mark.parametrize("ring", [SQUARE, SQUARE[::-1], [*SQUARE, SQUARE[0]]], ids=["one way", "the other", "closed"])
@pytest.mark.parametrize(
    ("lat", "lon", "expected"),
    [
        (5, 5, True),
        (0, 5, True),  # on a side
        (0, 0, True),  # on a corner
        (10, 10, True),
        (-0.001, 5, False),
        (5, 10.001, False),
        (5, 365 - 360, True),
    ],
)
def test_latitude_comes_first_and_the_border_belongs_to_the_area(ring, lat, lon, expected):
    assert inside(ring, lat, lon) is expected
    assert inside([(lon, lat) for lat, lon in ring], lon, lat) is expected


def test_latitude_and_longitude_are_not_mixed_up():
    north = [(60.0, 5.0), (60.0, 6.0), (61.0, 6.0), (61.0, 5.0)]

    assert inside(north, 60.5, 5.5)
    assert not inside(north, 5.5, 60.5)


@pytest.mark.parametrize(
    ("lat", "lon", "expected"),
    [(-18, 178.4, True), (-18, -179, True), (-18, 180, True), (-18, -180, True), (-18, 175.9, False), (-18, 0, False)],
)
def test_an_area_over_the_date_line_needs_no_splitting(lat, lon, expected):
    assert inside(FIJI, lat, lon) is expected
    assert inside(FIJI[::-1], lat, lon) is expected


@pytest.mark.parametrize(
    ("ring", "lat", "lon", "expected"),
    [
        (ARCTIC, 90, 0, True),
        (ARCTIC, 90, -135, True),
        (ARCTIC, 78, 15, True),  # Svalbard
        (ARCTIC, 66, 179, True),
        (ARCTIC, 60, 15, False),
        (ARCTIC, -90, 0, False),
        (ANTARCTIC, -90, 77, True),
        (ANTARCTIC, -78, 166, True),
        (ANTARCTIC, -60, 0, False),
        (ANTARCTIC, 90, 0, False),
        (SQUARE, 90, 5, False),
    ],
)
def test_an_area_round_a_pole_holds_it(ring, lat, lon, expected):
    assert inside(ring, lat, lon) is expected
    assert inside(ring[::-1], lat, lon) is expected


@pytest.mark.parametrize("ring", [[], SQUARE[:1], SQUARE[:2], [(1.0, 1.0)] * 5, [(0.0, x) for x in (0.0, 1.0, 2.0)]])
def test_what_encloses_nothing_is_no_area(ring):
    assert geometry.polygon(ring) is None


def test_a_ring_that_crosses_itself_is_what_it_goes_round():
    bow = [(0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0)]

    assert inside(bow, 5, 1) is inside(bow, 5, 9) is False
    assert inside(bow, 1, 5) is inside(bow, 9, 5) is True


@pytest.mark.parametrize(
    "ring",
    [
        [(0.0, 0.0), (5.0, 179.9), (9.0, -170.1), (5.0, 179.9)],  # there and back
        [*SQUARE, SQUARE[0], *SQUARE[:0:-1]],  # a round, and back
        [(0.0, 0.0), (5.0, 5.0), (10.0, 10.0), (5.0, 5.0)],
        [(1.0, 178.0), (2.0, 179.0), (4.0, -179.0)],  # one line, over the line where the date changes
        [(3.0, 3.0)] * 4,
    ],
)
def test_a_ring_that_encloses_nothing_is_no_area(ring):
    assert geometry.polygon(ring) is None
    assert geometry.polygon([*ring, ring[0]]) is None


@pytest.mark.parametrize("times", [2, 3, 1700])
def test_a_ring_that_is_drawn_several_times_over_is_the_same_area(times):
    for ring in (SQUARE * times, [*SQUARE, SQUARE[0]] * times):
        assert inside(ring, 5, 5) is True
        assert inside(ring, 15, 5) is False


def test_a_spur_takes_nothing_from_the_area():
    ring = [(0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (30.0, 30.0), (10.0, 10.0), (10.0, 0.0)]
    assert inside(ring, 5, 5) is True
    assert inside(ring, 25, 20) is False


def test_a_ring_that_crosses_itself_a_million_times_is_no_harder():
    chance = random.Random(20261)
    ring = [(chance.uniform(-60, 60), chance.uniform(-60, 60)) for _ in range(3000)]
    area = geometry.polygon(ring)
    assert area is not None
    for _ in range(20):
        lat, lon = chance.uniform(-60, 60), chance.uniform(-60, 60)
        sides = pairwise([*ring, ring[0]])
        met = [x + (lat - y) / (y1 - y) * (x1 - x) for (y, x), (y1, x1) in sides if (y > lat) != (y1 > lat)]
        assert area(lat, lon) is (sum(x > lon for x in met) % 2 == 1)


@given(lats, lons, st.floats(0.5, 40), st.integers(-3, 3))
def test_turning_the_globe_changes_nothing(lat, lon, half, turns):
    """The same square, seen from another meridian."""

    def east(degrees: float) -> float:
        return (degrees + 60 * turns + 180) % 360 - 180

    around = [(0 - half, 0 - half), (0 - half, half), (half, half), (half, 0 - half)]
    assume(all(abs(abs(v) - half) > 1e-6 for v in (lat, lon)))  # the border itself may fall to either side

    assert inside(around, lat, lon) is inside([(a, east(b)) for a, b in around], lat, east(lon))


@given(lats, lons, lats, lons, st.floats(1, 20_000))
def test_a_circle_holds_what_is_no_further_away_than_its_radius(lat, lon, at_lat, at_lon, km):
    away = geometry.distance_km((lat, lon), (at_lat, at_lon))

    assert 0 <= away <= geometry.HALF_ROUND_KM
    assert away == pytest.approx(geometry.distance_km((at_lat, at_lon), (lat, lon)))
    assert geometry.circle(lat, lon, km)(at_lat, at_lon) is (away <= km)
    assert geometry.circle(lat, lon, km)(lat, lon)


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [
        ((0, 0), (0, 1), 111.195),
        ((89, 0), (89, 180), 222.390),  # over the pole
        ((0, 179.5), (0, -179.5), 111.195),  # over the date line
        ((0, 0), (0, 180), 20_015.1),
        ((90, 17), (90, -100), 0),
    ],
)
def test_distances_are_along_the_great_circle(one, other, km):
    assert geometry.distance_km(one, other) == pytest.approx(km, abs=0.1)


def test_the_cities_of_the_demo_lie_where_maps_show_them():
    italy = [(36.0, 6.6), (36.0, 19.0), (40.5, 19.0), (46.0, 13.8), (47.2, 12.0), (46.0, 6.6)]
    found = {name for name, point in CITIES.items() if inside(italy, *point)}

    assert found == {node.name_en for node in hierarchy().stations if node.country == "IT"} != set()


SHARED = Path(os.environ.get("FENGHUO_SHARED") or Path(__file__).parents[2].parent / "shared")
CENTRES = {"IT": (42.5, 12.5, 750), "ES": (40.0, -4.0, 1000), "FR": (46.5, 2.5, 750), "JP": (36.0, 138.0, 1600)}


@pytest.mark.skipif(not (SHARED / "data" / "demo_hierarchy.json").exists(), reason="the shared data is not here")
def test_wenzhous_cities_overseas_lie_in_their_countries():
    cities = json.loads((SHARED / "data" / "demo_hierarchy.json").read_bytes())["overseas_cities"]

    assert len(cities) > 40
    assert {c["country"] for c in cities if c["tz"].startswith("Europe/")} == {
        c["country"] for c in cities if inside(EUROPE, c["lat"], c["lon"])
    }
    for city in cities:
        if city["country"] in CENTRES:
            assert geometry.circle(*CENTRES[city["country"]])(city["lat"], city["lon"]), city["name"]
