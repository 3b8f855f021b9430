"""Fills the duty page from the views, and turns its form into a command."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from api.auth import correlation
from api.commands import Actor
from api.pages.duty import DutyLine, Own
from api.pages.model import Who
from api.pages.source import label
from api.services import Services
from domain import roster
from domain.errors import NotPermitted
from domain.grants import Action
from domain.people import STAFF
from domain.stations import Node

LISTED = 500  # nodes on the page
AHEAD = timedelta(days=7)  # how far it looks


class DutyPage:
    def __init__(self, s: Services) -> None:
        self._s = s

    def lines(self, who: Who, language: str) -> tuple[Sequence[DutyLine], int]:
        allowed = self._s.desk.nodes_allowed(who.person_id, Action.RELAY_READ)
        now = self._s.clock.now()
        with self._s.views.reading() as db:
            hierarchy = self._s.views.directory.hierarchy(db)
            tops = [node.node_id for node in hierarchy.nodes.values() if node.parent is None]
            seen = [n for top in tops for n in hierarchy.subtree(top) if n in allowed]
            turns = self._s.views.roster.ahead(db, seen[:LISTED], now, now + AHEAD)
        lines: list[DutyLine] = []
        for node_id in seen[:LISTED]:
            node = hierarchy.nodes[node_id]
            planned = turns.get(node_id, [])
            holder = next((turn for turn in planned if turn.holds(now)), None)
            following = next((turn for turn in planned if turn.from_at > now), None)
            gap = next(iter(roster.gaps(planned, now, now + AHEAD)), (None, None))
            lines.append(
                DutyLine(
                    node_id=node_id,
                    name=_name(node, language),
                    kind=node.kind.value,
                    depth=sum(1 for above in hierarchy.ancestors(node_id) if above in allowed) - 1,
                    holder=label(self._s, holder.person_id, language) if holder else "",
                    until=holder.to_at if holder else None,
                    taken_over=holder is not None and holder.taken_over,
                    following=label(self._s, following.person_id, language) if following else "",
                    following_at=following.from_at if following else None,
                    gap_from=gap[0],
                    gap_to=gap[1],
                )
            )
        return lines, len(seen) - len(lines)

    def own(self, who: Who, language: str) -> Own | None:
        with self._s.views.reading() as db:
            person = self._s.views.directory.person(db, who.person_id)
            if person is None or person.role not in STAFF:
                return None
            node = self._s.views.directory.hierarchy(db).nodes.get(person.node_id)
            if node is None:
                return None
            holder = self._s.views.roster.on_duty(db, [node.node_id], self._s.clock.now()).get(node.node_id)
        on_duty = holder is not None and holder.person_id == who.person_id
        return Own(node_id=node.node_id, name=_name(node, language), on_duty=on_duty)

    async def take_over(self, who: Who, note: str) -> None:
        own = self.own(who, "zh")
        if own is None:
            raise NotPermitted("permission.denied", "Only staff of the node can take over its duty.")
        actor = Actor(person_id=who.person_id, correlation_id=correlation(self._s))
        done = await self._s.duty.take_over(actor, own.node_id, note=note)
        await self._s.progress.reached(done.position)


def _name(node: Node, language: str) -> str:
    return node.name_zh if language == "zh" else node.name_en
