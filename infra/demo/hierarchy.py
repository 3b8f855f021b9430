"""The demo tree: one duty office, the twelve counties of Wenzhou, and stations at home and abroad.

The table is data/hierarchy.json, parents before children. Place names and positions are facts of geography; the
organisations that host the overseas stations are invented, and any likeness is chance.
"""

from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

DATA = Path(__file__).parent / "data"


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One office or station. `lat`, `lon` in degrees (WGS 84), `zone` an IANA name, `country` ISO 3166 alpha-2.

    `scope` says of a station whether it is domestic (境内) or overseas (境外) and is None for offices. The parent of an
    overseas station is the county that sponsors it (rule S9).
    """

    id: str
    kind: Literal["duty_office", "county", "station"]
    parent: str | None
    name_zh: str
    name_en: str
    scope: Literal["domestic", "overseas"] | None
    country: str
    lat: float
    lon: float
    zone: str


class Hierarchy(msgspec.Struct, frozen=True):
    """The demo tree; `nodes` lists parents before their children."""

    nodes: tuple[NodeSpec, ...]

    @property
    def duty_office(self) -> NodeSpec:
        """The node at the top."""
        return self.nodes[0]

    @property
    def counties(self) -> tuple[NodeSpec, ...]:
        """The county offices."""
        return tuple(node for node in self.nodes if node.kind == "county")

    @property
    def stations(self) -> tuple[NodeSpec, ...]:
        """The service stations, domestic ones first."""
        return tuple(node for node in self.nodes if node.kind == "station")


@cache
def hierarchy() -> Hierarchy:
    """The demo tree, read once."""
    rows = (DATA / "hierarchy.json").read_bytes()
    return Hierarchy(msgspec.json.decode(rows, type=tuple[NodeSpec, ...]))
