"""Audiences as they stand in the views: who matches an expression as of a log position, and how many they are.

The planner asks here for the people of a warning, and whoever drafts one asks here for the numbers beforehand. Sealed
stays are opened only where the expression asks where people are, and nothing of them is kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain import audience, planning
from domain.content import Target
from domain.errors import InvalidInput
from domain.people import Person, Role
from domain.ports import Vault
from domain.whereabouts import Stay, opened
from notifiers.opened import UNREADABLE
from notifiers.opened import opened as unsealed
from projections.follower import Views

PAGE = 2_000  # people read at a time
NODES = 400  # nodes asked for at a time
MAX_JSON_DEPTH = 40  # of an expression as JSON: 8 terms deep, and then some that only make it unreadable


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many people a target has. `people` are warned, `staff` act for the `nodes` that it goes through.

    `by_node`, `by_language` and `by_country` count the people, the last by where they are where the expression asks for
    that, else by their node; `by_channel` counts each of them once for every channel of theirs, `unreachable` those
    without any. `as_of` is the log position.
    """

    as_of: int
    people: int
    staff: int
    nodes: list[str]
    by_node: dict[str, int]
    by_channel: dict[str, int]
    by_language: dict[str, int]
    by_country: dict[str, int]
    unreachable: int


class Asked:
    """One question at one moment: the views as of a log position, and the time that "now" means in it.

    Each answer reads the views anew, in pages where it is long: as of a position they always say the same.
    """

    def __init__(self, views: Views, vault: Vault, as_of: int, now: datetime) -> None:
        self.views, self.as_of = views, as_of
        with views.reading() as db:
            self.hierarchy = views.directory.hierarchy(db)
        self._vault, self._now = vault, now
        self._stays: dict[str, list[Stay]] = {}

    def pages(self, nodes: Sequence[str], roles: Collection[Role] | None = None) -> Iterator[list[Person]]:
        """Everybody at these nodes (in these roles, where any are named), node by node and by their ids."""
        for some in self._together(nodes):
            after = ""
            while True:
                with self.views.reading() as db:
                    page = self.views.directory.audience_page(
                        db, some, self.as_of, after=after, limit=PAGE, roles=roles
                    )
                if page:
                    yield page
                if len(page) < PAGE:
                    break
                after = page[-1].person_id  # only a node by itself can fill a page

    def _together(self, nodes: Sequence[str]) -> Iterator[list[str]]:
        """The nodes in their order, so many at a time as have less than a page of people together.

        To find the first of all the people of many nodes, a database may read them all, and so again for every page.
        """
        with self.views.reading() as db:
            sizes = self.views.directory.sizes(db, nodes)
        some: list[str] = []
        people = 0
        for node_id in sorted(nodes):
            size = sizes.get(node_id, 0)
            if some and (people + size >= PAGE or len(some) == NODES):
                yield some
                some, people = [], 0
            some.append(node_id)
            people += size
        if some:
            yield some

    def at(self, nodes: Sequence[str], roles: Collection[Role] | None = None) -> list[Person]:
        """Everybody at these nodes, without the contact points that lead nowhere."""
        return [person for page in self.pages(nodes, roles) for person in self.living(page)]

    def living(self, people: list[Person]) -> list[Person]:
        """The people without the contact points that lead nowhere."""
        with self.views.reading() as db:
            dead = self.views.contact_points.unreachable(db, [person.person_id for person in people], self.as_of)
        return list(planning.without(people, dead)) if dead else people

    def chosen(self, target: Target) -> tuple[list[str], Iterator[list[Person]]]:
        """(the nodes that a warning goes through, parents first; pages of their staff and the people who are meant).

        With an audience the nodes are those at which people who match are registered, and the offices above them.
        """
        nodes = planning.concerned(target, self.hierarchy)
        if target.audience is None:
            return nodes, self.pages(nodes)
        matching: set[str] = set()
        at: set[str] = set()
        for page in self.pages(nodes):
            for person in self.matching(target, page):
                matching.add(person.person_id)
                at.add(person.node_id)
            self._stays.clear()
        nodes = planning.concerned_by(at, nodes, self.hierarchy)
        return nodes, (
            [person for person in page if planning.is_staff(person) or person.person_id in matching]
            for page in self.pages(nodes)
        )

    def matching(self, target: Target, people: Sequence[Person]) -> list[Person]:
        """Those of the people who match the target's audience; all of them, where it has none."""
        expression = target.audience
        if expression is None:
            return list(people)
        people = [person for person in people if person.role is not Role.AUDITOR]
        if audience.needs_stays(expression):
            self._open([person.person_id for person in people])
        matches = audience.matcher(expression, self.hierarchy, self._now)
        return [person for person in people if matches(person, self._stays.get(person.person_id, ()))]

    def count(self, target: Target) -> Counts:
        nodes, pages = self.chosen(target)
        everybody = [person for page in pages for person in page]
        if target.audience is not None and audience.needs_stays(target.audience):
            self._open([person.person_id for person in everybody])
        people = [p for p in everybody if not planning.is_staff(p) and p.role is not Role.AUDITOR]
        where = audience.whereabouts(self.hierarchy, self._now)
        return Counts(
            as_of=self.as_of,
            people=len(people),
            staff=sum(planning.is_staff(p) and p.role is not Role.DEPUTY for p in everybody),
            nodes=nodes,
            by_node=_counted(p.node_id for p in people),
            by_channel=_counted(channel.value for p in people for channel in p.channels),
            by_language=_counted(p.language for p in people),
            by_country=_counted(where(p, self._stays.get(p.person_id, ())).country for p in people),
            unreachable=sum(not p.channels for p in people),
        )

    def _open(self, person_ids: Sequence[str]) -> None:
        """The stays of these people, opened. Those of people who were forgotten stay closed: they count by node."""
        with self.views.reading() as db:
            sealed = self.views.whereabouts.of(db, person_ids, self.as_of)
        boxes = [(person_id, box) for person_id, some in sealed.items() for box in some]
        for (person_id, _), fields in zip(boxes, unsealed(self._vault, [box for _, box in boxes]), strict=True):
            if fields is not None and fields is not UNREADABLE:
                self._stays.setdefault(person_id, []).append(opened(fields))


def count(views: Views, vault: Vault, target: Target, now: datetime) -> Counts:
    """How many people a target has as the views stand. Raises InvalidInput for an expression that means nothing."""
    if target.audience is not None:
        audience.check(target.audience)
    as_of = views.position
    return Asked(views, vault, as_of, now).count(target)


def expression_of(given: Any) -> audience.Audience:
    """An expression from its JSON form. Raises InvalidInput where it is none, or is too large."""
    if _depth(given) > MAX_JSON_DEPTH:
        raise InvalidInput("audience.too_deep", f"An audience is nested {audience.MAX_DEPTH} deep at the most.")
    try:
        json.dumps(given, ensure_ascii=False).encode()
    except ValueError as error:  # half of a surrogate pair: neither the log nor an answer can hold it
        raise InvalidInput("audience.text", "The audience has text in it that is not Unicode.") from error
    try:
        expression: audience.Audience = msgspec.convert(given, audience.Audience)
    except msgspec.ValidationError as error:
        raise InvalidInput("audience.form", f"The audience cannot be read: {error}.") from error
    audience.check(expression)
    return expression


def _counted(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _depth(given: Any) -> int:
    level, deep = [given], 0
    while level and deep <= MAX_JSON_DEPTH:
        deep += 1
        level = [
            part
            for one in level
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
        ]
    return deep
