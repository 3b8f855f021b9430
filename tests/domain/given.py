"""What the domain tests start from: one warning, one tree, one rule pack; each test changes what it is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from domain import warnings
from domain.content import Area, ContactCard, Content, Target, Text
from domain.errors import FenghuoError
from domain.events import Event, fold
from domain.people import Channel, Person, Role
from domain.rulepacks import Level, RulePack, standard
from domain.stations import SUFFIX, Hierarchy, Kind, Node, Scope
from domain.warnings import (
    Release,
    WarningCancelled,
    WarningDrafted,
    WarningExpired,
    WarningReleased,
    WarningState,
    WarningUpdated,
)

NOW = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
EXPIRES = NOW + timedelta(hours=6)
PACK = standard()

CARD = ContactCard(hotline="12308", mission="+39 06 9652 4200", police="112", valid_from=NOW - timedelta(days=400))
WORDS = Text(language="zh-CN", headline="洪水", description="波河水位上涨。", instruction="请撤到高处。")


def content(**changes: Any) -> Content:
    fields: dict[str, Any] = {
        "event": "Flood",
        "level": Level.ORANGE,
        "texts": (WORDS,),
        "area": Area(description="Po"),
        "target": Target(nodes=("office",)),
        "contact": CARD,
        "effective_at": NOW,
        "expires_at": EXPIRES,
    }
    return Content(**{**fields, **changes})


DRAFTED = WarningDrafted(warning_id="w1", content=content(), drafted_by="author")
RELEASED = WarningReleased(warning_id="w1", release=Release.TWO_PERSON, released_by="second", reason="")
UPDATED = WarningUpdated(updated_by_warning="w2")
CANCELLED = WarningCancelled(warning_id="w1", cancelled_by="author", reason="mistake")
EXPIRED = WarningExpired(warning_id="w1")


def warning(*events: Event) -> WarningState:
    """The state of a warning after these events."""
    state = fold(warnings.evolve, events)
    assert state is not None
    return state


def pack(**levels: dict[str, Any]) -> RulePack:
    """The standard pack with some levels' rules changed, e.g. `orange={"two_person": False}`."""
    changed = {Level(name): msgspec.structs.replace(PACK.levels[Level(name)], **to) for name, to in levels.items()}
    return msgspec.structs.replace(PACK, levels={**PACK.levels, **changed})


def node(node_id: str, kind: Kind, parent: str | None, country: str = "CN", **changes: Any) -> Node:
    scope = (Scope.DOMESTIC if country == "CN" else Scope.OVERSEAS) if kind is Kind.STATION else None
    fields: dict[str, Any] = {
        "node_id": node_id,
        "kind": kind,
        "parent": parent,
        "name_zh": f"{node_id}{SUFFIX}",
        "name_en": node_id,
        "country": country,
        "lat": 28.0,
        "lon": 120.7,
        "zone": "Asia/Shanghai",
        "scope": scope,
    }
    return Node(**{**fields, **changes})


TREE = (
    node("office", Kind.DUTY_OFFICE, None),
    node("north", Kind.COUNTY, "office"),
    node("south", Kind.COUNTY, "office"),
    node("milan", Kind.STATION, "north", "IT"),
    node("madrid", Kind.STATION, "north", "ES"),
    node("village", Kind.STATION, "south", "CN"),
)
HIERARCHY = Hierarchy(TREE)


def person(person_id: str, node_id: str = "milan", role: Role = Role.CITIZEN, **changes: Any) -> Person:
    fields: dict[str, Any] = {"language": "zh", "channels": (Channel.SMS,)}
    return Person(person_id=person_id, node_id=node_id, role=role, **{**fields, **changes})


def code_of(error: type[FenghuoError], act: Callable[[], object]) -> str:
    """The code of the refusal that `act` ends in."""
    with pytest.raises(FenghuoError) as raised:
        act()
    assert error is type(raised.value)
    return raised.value.code


def names(events: Sequence[Event]) -> list[str]:
    return [type(event).__name__ for event in events]
