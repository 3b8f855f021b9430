"""Who is meant by a warning and who is told of it: asked by the planner, which sends, and by the preview, which counts.

Both ask the same functions, so that what was promised before a release is what happens after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from sqlalchemy import Connection

from api.audience import Asked
from domain import planning
from domain.content import Target
from domain.people import STAFF, Person
from domain.planning import Told
from domain.rulepacks import LevelRule
from domain.warnings import WarningState
from projections.follower import Views

Pages = Iterable[tuple[Sequence[Person], Sequence[Told]]]
"""(who is meant, with a channel or without; who is told over what), node by node and by the ids of people."""


class Meant(msgspec.Struct, frozen=True):
    """`nodes` get a relay; `staff` are those of their staff who are told, by node; `pages` is read once."""

    nodes: Sequence[str] = ()
    staff: dict[str, set[str]] = msgspec.field(default_factory=dict)
    pages: Pages = ()


def at_release(asked: Asked, warning: WarningState, rule: LevelRule) -> Meant:
    """What a release brings about at once. A correction: exactly those who have the words that it corrects."""
    if warning.correction and warning.updates is not None:
        with asked.views.reading() as db:
            return exactly(holders(asked.views, db, warning.updates))
    nodes, pages = asked.chosen(warning.content.target)
    staff: dict[str, set[str]] = {}
    for told in planning.staff_told(asked.at(nodes, STAFF), rule):
        staff.setdefault(told.node_id, set()).add(told.person_id)
    return Meant(nodes, staff, _released(asked, pages, rule))


def _released(
    asked: Asked, pages: Iterable[list[Person]], rule: LevelRule
) -> Iterator[tuple[list[Person], list[Told]]]:
    for page in pages:
        everybody = asked.living(page)
        told = list(planning.staff_told(everybody, rule))
        if rule.direct:
            told += planning.people_told(everybody, rule)
        yield [p for p in everybody if planning.is_staff(p) or rule.direct], told


def at_relay(asked: Asked, nodes: Sequence[str], target: Target, rule: LevelRule) -> Meant:
    """What it brings about when these nodes relay: nothing, where the level tells the people at once."""
    return Meant() if rule.direct else Meant(pages=_relayed(asked, nodes, target, rule))


def _relayed(
    asked: Asked, nodes: Sequence[str], target: Target, rule: LevelRule
) -> Iterator[tuple[list[Person], list[Told]]]:
    for page in asked.pages(nodes):
        people = asked.living(asked.matching(target, [p for p in page if not planning.is_staff(p)]))
        yield people, list(planning.people_told(people, rule))


def exactly(told: Iterable[Told]) -> Meant:
    """These, and nobody else."""
    return Meant(pages=[([], planning.in_order(told))])


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
    _, pages = asked.chosen(after.content.target)
    still = {person.person_id for page in pages for person in page}
    with asked.views.reading() as db:
        return [told for told in holders(asked.views, db, before_id) if told.person_id not in still]
