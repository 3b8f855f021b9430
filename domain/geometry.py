"""Points in areas, in degrees of latitude and longitude (WGS 84), with shapely for the polygons.

Distances are great circles on a sphere. A polygon's sides are straight in latitude and longitude (as CAP 1.2 areas
are drawn on a map), which is close enough for areas of a country's size. A ring goes from point to point the shorter
way round, so that one over the antimeridian needs no splitting, and one that goes round a pole holds the pole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import asin, cos, radians, sin, sqrt

EARTH_KM = 6371.0088  # mean radius (IUGG)
HALF_ROUND_KM = 20_038.0  # no two points are further apart

Point = tuple[float, float]
Inside = Callable[[float, float], bool]
"""Whether a point (latitude, longitude) lies in an area or on its border."""


def on_globe(lat: float, lon: float) -> bool:
    return -90 <= lat <= 90 and -180 <= lon <= 180


def distance_km(one: Point, other: Point) -> float:
    """The great circle between two points (haversine)."""
    lat, lat2 = radians(one[0]), radians(other[0])
    half = sin((lat2 - lat) / 2) ** 2 + cos(lat) * cos(lat2) * sin(radians(other[1] - one[1]) / 2) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(half)))


def circle(lat: float, lon: float, km: float) -> Inside:
    def inside(at_lat: float, at_lon: float) -> bool:
        return distance_km((lat, lon), (at_lat, at_lon)) <= km

    return inside


def polygon(ring: Sequence[Point]) -> Inside | None:
    """The area within a ring of points, closed or not; None where it encloses nothing."""
    import shapely  # noqa: PLC0415  a tenth of a second, which only those who draw areas should wait

    ring = _one_round(ring)
    points = unwrapped(ring)  # x, y: longitude first
    if len(points) < 3 or _encloses_nothing(ring, points):
        return None
    # Of a ring that crosses itself a point is within where it goes round it an odd number of times: this is how the
    # sides are counted that a ray from the point meets. To make such a ring valid first takes minutes for 400 points.
    area = shapely.Polygon(points)
    shapely.prepare(area)
    west, south, east, north = area.bounds

    def inside(lat: float, lon: float) -> bool:
        if abs(lat) == 90:  # a pole has every longitude
            return bool((north if lat > 0 else -south) >= 90)
        return any(west <= x <= east and bool(shapely.intersects_xy(area, x, lat)) for x in (lon - 360, lon, lon + 360))

    return inside


def _one_round(ring: Sequence[Point]) -> Sequence[Point]:
    """A ring that was drawn several times over, drawn once: it means the same area however often."""
    corners = [point for point, after in pairwise([*ring, *ring[:1]]) if point != after] or list(ring[:1])
    count = len(corners)
    for length in range(1, count // 2 + 1):
        if count % length == 0 and corners[length:] == corners[:-length]:
            return corners[:length]
    return corners


def _encloses_nothing(ring: Sequence[Point], points: Sequence[Point]) -> bool:
    """Whether a ring (`points`: unwrapped) goes there and back along all its sides, or has all of them on one line."""
    import shapely  # noqa: PLC0415  as above

    closed = [*ring, ring[0]]
    sides: dict[frozenset[Point], tuple[Point, Point]] = {}
    for ends, drawn in zip(map(frozenset, pairwise(closed)), pairwise(points), strict=False):
        if sides.pop(ends, None) is None:
            sides[ends] = drawn
    around_a_pole = points[len(closed) :]
    corners = {point for drawn in sides.values() for point in drawn} | set(around_a_pole)
    return not sides or shapely.MultiPoint(sorted(corners)).convex_hull.area == 0


def unwrapped(ring: Sequence[Point]) -> list[Point]:
    """A ring of (latitude, longitude) as (x, y) without a jump at the antimeridian: x may go beyond 180.

    A ring that goes round a pole is closed along that pole: the nearer one.
    """
    closed = [*ring, ring[0]] if ring else []
    points: list[Point] = []
    x = closed[0][1] if closed else 0.0
    for (_, before), (lat, lon) in pairwise([(0.0, x), *closed]):
        x += (lon - before + 180) % 360 - 180
        points.append((x, lat))
    if points and abs(points[-1][0] - points[0][0]) > 180:
        pole = 90.0 if sum(lat for lat, _ in ring) >= 0 else -90.0
        points += [(points[-1][0], pole), (points[0][0], pole)]
    return points
