"""Who is meant by a warning and who is told of it: asked by the planner, which sends, and by the preview, which counts.

Both ask the same functions, so that what was promised before a release is what happens after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from api.audience import Asked
from domain import planning
from domain.people import Person
from domain.planning import Told
from domain.rulepacks import LevelRule
from domain.warnings import Target, WarningState
from projections.follower import Views


class Meant(msgspec.Struct, frozen=True):
    """`nodes` get a relay; `people` are meant, with a channel or without; `told` is who is told over what."""

    nodes: Sequence[str] = ()
    people: Sequence[Person] = ()
    told: Sequence[Told] = ()


def at_release(asked: Asked, warning: WarningState, rule: LevelRule) -> Meant:
    """What a release brings about at once. A correction: exactly those who have the words that it corrects."""
    if warning.correction and warning.updates is not None:
        return Meant(told=holders(asked.views, asked.db, warning.updates))
    nodes, chosen = asked.chosen(warning.content.target)
    everybody = asked.living(chosen)
    staff, people = list(planning.staff_told(everybody, rule)), list(planning.people_told(everybody, rule))
    told = staff + people if rule.direct else staff
    return Meant(nodes, [p for p in everybody if planning.is_staff(p) or rule.direct], told)


def at_relay(asked: Asked, nodes: Sequence[str], target: Target, rule: LevelRule) -> Meant:
    """What it brings about when these nodes relay: nothing, where the level tells the people at once."""
    if rule.direct:
        return Meant()
    people = asked.matching(target, [p for p in asked.at(nodes) if not planning.is_staff(p)])
    return Meant((), people, list(planning.people_told(people, rule)))


def holders(views: Views, db: Connection, warning_id: str) -> list[Told]:
    """Who may hold the words of a warning, or of one that it took the place of and has not been heard of since.

    By the channel and in the language that brought them, the latest first; whoever was told that it is over for them
    holds nothing any more.
    """
    held: dict[tuple[str, str], Told] = {}
    seen: set[str] = set()
    at: str | None = warning_id
    while at is not None and at not in seen:
        seen.add(at)
        over = views.deliveries.told_of_cancel(db, at)
        for told in views.deliveries.reached(db, at):
            key = (told.person_id, told.channel.value)
            if key not in over:
                held.setdefault(key, told)
        row = views.warnings.one(db, at)
        at = row["updates"] if row is not None else None
    return list(held.values())


def left_out(asked: Asked, before_id: str, after: WarningState) -> list[Told]:
    """Who holds the words of a warning and is not concerned by its update: it is over for them."""
    if after.correction:
        return []
    _, everybody = asked.chosen(after.content.target)
    still = {person.person_id for person in everybody}
    return [told for told in holders(asked.views, asked.db, before_id) if told.person_id not in still]
