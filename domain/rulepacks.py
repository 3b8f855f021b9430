"""Rule packs: the numbers and limits of a city's rules, as data with dates.

Rules expire and differ by city (the Wenzhou guideline holds from 2022-05-30 for two years), so no number of theirs
stands in code. Every event names the pack it was decided under; an old event is never judged by a newer pack.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from domain.errors import InvalidInput, Refused
from domain.events import Event, topic


class Level(StrEnum):
    """The four colours of domestic warnings (突发事件应对法, art. 64). They are not the ministry's reminder levels."""

    BLUE = "blue"
    YELLOW = "yellow"
    ORANGE = "orange"
    RED = "red"


class Lane(StrEnum):
    """Severity lanes of the dispatch: a lower lane never delays a higher one."""

    EXTREME = "extreme"
    HIGH = "high"
    NORMAL = "normal"
    DRILL = "drill"


LANES = (Lane.EXTREME, Lane.HIGH, Lane.NORMAL, Lane.DRILL)

OFFICIAL_REMINDERS = ("注意安全", "谨慎前往", "暂勿前往")
"""领事保护与协助条例 art. 19: safety reminder levels are issued by the ministry and the missions alone."""


STEPS = ("duty", "deputy", "head", "liaisons", "parent", "voice", "direct")
"""What can be done about silence: tell whoever of the node is on duty, its deputies, head or liaisons; the office above
(its officer on duty, all its staff where nobody is rostered); call all staff of the node; tell the people directly."""


class EscalationStep(msgspec.Struct, frozen=True):
    """What is done after `after_s` seconds of silence: one of STEPS."""

    after_s: int
    action: str


class LevelRule(msgspec.Struct, frozen=True, kw_only=True):
    """How a warning of one level is carried.

    `direct`: the people are told at once, beside their station; otherwise they are told when the station relays, or
    when it sleeps through the escalation. `relay_on_acknowledge`: a station's acknowledgement is its order to relay.

    `one_by_one`: a person's channels are tried one after the other; otherwise all at once, with the voice call kept for
    those of whom none of these brought a receipt. `receipt_limit_s`: the seconds without a receipt after which the next
    is tried. `quota`: how many of a node's staff must acknowledge before its silence is over (0: all).
    `overrides_quiet`: people are told at any hour of theirs.
    """

    lane: Lane
    two_person: bool
    direct: bool
    relay_on_acknowledge: bool = True
    escalation: tuple[EscalationStep, ...] = ()
    one_by_one: bool = False
    receipt_limit_s: int = 300
    quota: int = 1
    overrides_quiet: bool = False


class RulePack(msgspec.Struct, frozen=True, kw_only=True):
    """A city's rules in force from `effective_on` until `lapses_on` (local dates of `zone`).

    `quiet` are the hours (from, to) by a person's own clock in which a level that does not override them wakes nobody;
    a pack from before there were any has none.
    """

    rule_pack_id: str
    title: str
    issued_on: date
    effective_on: date
    lapses_on: date | None
    zone: str
    levels: dict[Level, LevelRule]
    liaisons: tuple[int, int] = (2, 3)
    term_years: int = 3
    quiet: tuple[int, int] | None = None

    def in_force(self, at: datetime) -> bool:
        day = at.astimezone(ZoneInfo(self.zone)).date()
        return self.effective_on <= day and (self.lapses_on is None or day < self.lapses_on)


@topic("rulepack.adopted")
class RulePackAdopted(Event, frozen=True, kw_only=True):
    pack: RulePack


def adopt(state: RulePack | None, pack: RulePack, *, anew: bool = False) -> list[Event]:
    """Adopts a pack once; `anew` also one that others came after, which is in force again from then on.

    Refused where the id is taken by other rules: a changed rule is a new pack.
    """
    if state is None:
        missing = [level.value for level in Level if level not in pack.levels]
        if missing:
            raise Refused("rulepack.level_missing", f"The rule pack says nothing about: {', '.join(missing)}.")
        for level, rule in pack.levels.items():
            _sound(level, rule)
        if pack.quiet is not None and not all(0 <= hour <= 23 for hour in pack.quiet):
            raise InvalidInput("rulepack.quiet", "Quiet hours are two hours of the day, 0 to 23.")
        return [RulePackAdopted(pack=pack)]
    if state == pack:
        return [RulePackAdopted(pack=pack)] if anew else []
    raise Refused(
        "rulepack.exists", f"Rule pack {pack.rule_pack_id} exists with other rules.", "Give the new one an id."
    )


def _sound(level: Level, rule: LevelRule) -> None:
    """Raises Refused for an escalation that could not be carried out: found now, not when nobody answers."""
    unknown = [step.action for step in rule.escalation if step.action not in STEPS]
    if unknown:
        raise Refused(
            "rulepack.step",
            f"Level {level.value} escalates by what nobody knows: {', '.join(unknown)}.",
            f"Steps are: {', '.join(STEPS)}.",
        )
    times = [step.after_s for step in rule.escalation]
    if times != sorted(times) or any(after_s <= 0 for after_s in times):
        raise Refused(
            "rulepack.step_order",
            f"The steps of level {level.value} do not follow each other.",
            "Give each its seconds since the opening, in order, above 0.",
        )
    if rule.quota < 0:
        raise Refused("rulepack.quota", f"Level {level.value} wants {rule.quota} acknowledgements.", "0 means: all.")


def evolve(state: RulePack | None, event: Event) -> RulePack | None:
    match event:
        case RulePackAdopted(pack=pack):
            return pack
    return state


STANDARD = re.compile("standard-[0-9]+-[0-9]+-[0-9]+")  # ids of packs that `standard` made


def gives_way(in_force: RulePack | None, pack: RulePack) -> bool:
    """Whether a standard pack is to take the place of the rules in force: a city's own never give way to one."""
    return in_force is None or (bool(STANDARD.fullmatch(in_force.rule_pack_id)) and in_force != pack)


def standard(ack_limit_s: int = 900, then_s: int | None = None) -> RulePack:
    """The pack that a new installation starts with.

    The guideline gives no hours for 及时 or 第一时间; the escalation times are a local rule and labelled as one:
    the deputy after `ack_limit_s` seconds of silence, the office above `then_s` later (as long again, where nothing is
    said), a voice call half of that after it, and after the whole of it the people directly.
    """
    again_s = then_s or ack_limit_s
    steps = (
        EscalationStep(ack_limit_s, "deputy"),
        EscalationStep(ack_limit_s + again_s, "parent"),
        EscalationStep(ack_limit_s + again_s + again_s // 2, "voice"),
        EscalationStep(ack_limit_s + again_s * 2, "direct"),
    )
    return RulePack(
        rule_pack_id=f"standard-3-{ack_limit_s}-{again_s}",
        title="本地默认规则 / local default rules",
        issued_on=date(2022, 4, 28),
        effective_on=date(2022, 5, 30),
        lapses_on=None,
        zone="Asia/Shanghai",
        quiet=(22, 7),
        levels={
            Level.BLUE: LevelRule(lane=Lane.NORMAL, two_person=True, direct=False, escalation=steps),
            Level.YELLOW: LevelRule(lane=Lane.NORMAL, two_person=True, direct=False, escalation=steps),
            Level.ORANGE: LevelRule(
                lane=Lane.HIGH, two_person=True, direct=False, escalation=steps, overrides_quiet=True
            ),
            Level.RED: LevelRule(
                lane=Lane.EXTREME, two_person=True, direct=True, escalation=steps, overrides_quiet=True
            ),
        },
    )
