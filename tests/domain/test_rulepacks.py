"""Rule packs: in force by the local day, adopted once, complete."""

from __future__ import annotations

from datetime import UTC, date, datetime

import msgspec
import pytest
from given import PACK, code_of, pack

from domain import rulepacks
from domain.errors import Refused
from domain.events import fold
from domain.rulepacks import EscalationStep, Lane, Level, RulePackAdopted

WENZHOU = msgspec.structs.replace(PACK, effective_on=date(2022, 5, 30), lapses_on=date(2024, 5, 30))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        ("Asia/Shanghai", "2022-05-29T15:59:59.999999", False),
        ("Asia/Shanghai", "2022-05-29T16:00:00", True),
        ("Asia/Shanghai", "2024-05-29T15:59:59.999999", True),
        ("Asia/Shanghai", "2024-05-29T16:00:00", False),
        ("Europe/Rome", "2022-05-29T21:59:59", False),
        ("Europe/Rome", "2022-05-29T22:00:00", True),
        ("America/New_York", "2024-05-30T03:59:59", True),
        ("America/New_York", "2024-05-30T04:00:00", False),
    ],
)
def test_a_pack_is_in_force_by_the_days_of_its_own_zone(zone, at, expected):
    assert msgspec.structs.replace(WENZHOU, zone=zone).in_force(utc(at)) is expected


def test_a_pack_without_an_end_stays_in_force():
    assert PACK.in_force(utc("2099-01-01")) is True
    assert PACK.in_force(utc("2000-01-01")) is False


def test_a_pack_is_adopted_once():
    assert rulepacks.adopt(None, PACK) == [RulePackAdopted(pack=PACK)]
    assert rulepacks.adopt(PACK, PACK) == []
    assert fold(rulepacks.evolve, [RulePackAdopted(pack=PACK)]) == PACK


def test_a_pack_that_others_came_after_is_adopted_anew():
    assert rulepacks.adopt(PACK, PACK, anew=True) == [RulePackAdopted(pack=PACK)]
    other = msgspec.structs.replace(PACK, term_years=4)
    assert code_of(Refused, lambda: rulepacks.adopt(PACK, other, anew=True)) == "rulepack.exists"


@pytest.mark.parametrize(
    ("in_force", "gives_way"),
    [
        (None, True),
        (rulepacks.standard(900), False),
        (rulepacks.standard(600), True),
        (msgspec.structs.replace(rulepacks.standard(600), rule_pack_id="wenzhou-2026"), False),
        (msgspec.structs.replace(rulepacks.standard(600), rule_pack_id="standard-wenzhou"), False),
    ],
    ids=["none", "the same", "other numbers", "the city's", "the city's, called standard"],
)
def test_what_the_standard_pack_may_take_the_place_of(in_force, gives_way):
    assert rulepacks.gives_way(in_force, rulepacks.standard(900)) is gives_way


def test_other_rules_need_another_id():
    other = msgspec.structs.replace(PACK, term_years=4)

    assert code_of(Refused, lambda: rulepacks.adopt(PACK, other)) == "rulepack.exists"


@pytest.mark.parametrize("level", list(Level))
def test_a_pack_that_leaves_a_level_out_is_refused(level):
    holed = msgspec.structs.replace(PACK, levels={k: v for k, v in PACK.levels.items() if k is not level})

    assert code_of(Refused, lambda: rulepacks.adopt(None, holed)) == "rulepack.level_missing"


def test_the_standard_pack_is_what_new_installations_start_with():
    assert {level.value: (rule.lane.value, rule.two_person, rule.direct) for level, rule in PACK.levels.items()} == {
        "blue": ("normal", True, False),
        "yellow": ("normal", True, False),
        "orange": ("high", True, False),
        "red": ("extreme", True, True),
    }
    assert [(step.after_s, step.action) for step in rulepacks.standard(60).levels[Level.RED].escalation] == [
        (60, "deputy"),
        (120, "parent"),
        (150, "voice"),
        (180, "direct"),
    ]
    assert rulepacks.LANES == (Lane.EXTREME, Lane.HIGH, Lane.NORMAL, Lane.DRILL)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"escalation": (EscalationStep(60, "pigeon"),)}, "rulepack.step"),
        ({"escalation": (EscalationStep(60, "deputy"), EscalationStep(30, "parent"))}, "rulepack.step_order"),
        ({"escalation": (EscalationStep(0, "deputy"),)}, "rulepack.step_order"),
        ({"quota": -1}, "rulepack.quota"),
    ],
)
def test_an_escalation_that_could_not_be_carried_out_is_refused(change, code):
    assert code_of(Refused, lambda: rulepacks.adopt(None, pack(blue=change))) == code


def test_every_step_that_is_known_can_be_adopted():
    steps = tuple(EscalationStep(60, action) for action in rulepacks.STEPS)
    every = pack(blue={"escalation": steps, "quota": 0})

    assert rulepacks.adopt(None, every) == [RulePackAdopted(pack=every)]
