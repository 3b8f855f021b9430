"""Fills the console's port from the views."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from api.auth import correlation
from api.commands import Actor
from api.pages.i18n import N_
from api.pages.model import Contact, Help, HelpLine, Step, Summary, TreeLine, WarningLine, WarningList, Who
from api.preview import of_draft
from api.preview_shapes import Preview
from api.services import Services
from api.treeview import tree_nodes
from domain.errors import NotFound
from domain.grants import Action
from domain.people import Role
from notifiers.render import text_for
from projections.warnings import state_of

LISTED = 100  # warnings in the list
LOOKED_THROUGH = 5_000  # warnings that are read, at the most, to find these
CASES = 200  # that are shown with a warning, of calls for help
UNREAD = 200  # and of answers that nobody understood
ROLES = {
    Role.DUTY_OFFICER: ("值班员", "duty officer"),
    Role.COUNTY_OFFICER: ("县级外办", "county officer"),
    Role.HEAD: ("负责人", "head"),
    Role.DEPUTY: ("副负责人", "deputy"),
    Role.LIAISON: ("联络员", "liaison"),
    Role.AUDITOR: ("审计员", "auditor"),
}
TREE = tuple(TreeLine.__struct_fields__)
FIGURES = tuple(set(Summary.__struct_fields__) - {"recipients", "unreached", "sent", "position"})


class Source:
    """The console's reading side. Everybody sees the nodes that their grants cover."""

    def __init__(self, s: Services) -> None:
        self._s = s

    def scope(self, who: Who) -> str:
        """People with the same roles over the same nodes see the same, whichever action it takes to see it: what is
        rendered for one serves all of them. With what they may do, since that is known from a moment earlier."""
        actor = Actor(person_id=who.person_id, correlation_id="scope")
        grants = self._s.desk.grants_allowing(actor, frozenset())
        return "\n".join([*sorted({f"{grant.role.value} {grant.node_id}" for grant in grants}), "", *sorted(who.may)])

    def warnings(self, who: Who, language: str, before: int | None = None) -> WarningList:
        """The newest that they may see: read on until there are enough of these, since others may draft many."""
        nodes = self._s.desk.nodes_allowed(who.person_id, Action.WARNING_READ)
        seen: list[dict[str, Any]] = []
        looked, ended = 0, False
        while not ended and len(seen) <= LISTED and looked < LOOKED_THROUGH:
            wanted = min(LISTED + 1, LOOKED_THROUGH - looked)  # one more tells whether there are more
            with self._s.views.reading() as db:
                rows = self._s.views.warnings.page(db, before=before, limit=wanted)
            seen += [row for row in rows if self._s.desk.concerns(nodes, row["warning_id"], _targets(row))]
            looked, ended = looked + len(rows), len(rows) < wanted
            before = rows[-1]["drafted_position"] if rows else before
        if len(seen) > LISTED:
            seen, ended = seen[:LISTED], False
            before = seen[-1]["drafted_position"]
        return WarningList(lines=tuple(self._line(row, language) for row in seen), older=None if ended else before)

    def warning(self, who: Who, warning_id: str, language: str) -> WarningLine | None:
        row = self._row(who, warning_id)
        return None if row is None else self._line(row, language)

    def tree(self, who: Who, warning_id: str, language: str, since: int = 0) -> Sequence[TreeLine]:
        nodes = self._s.desk.nodes_allowed(who.person_id, Action.RELAY_READ)
        with self._s.views.reading() as db:
            lines = tree_nodes(self._s.views, db, warning_id)
        return [
            TreeLine(
                **{
                    **{name: line[name] for name in TREE if name in line},
                    "name": line["name_zh" if language == "zh" else "name_en"],
                    "escalations": tuple(line["escalations"]),
                    "steps": tuple(_step(step) for step in line["steps"]),
                }
            )
            for line in lines
            if line["position"] > since and line["node_id"] in nodes
        ]

    def summary(self, who: Who, warning_id: str) -> Summary:
        """Of the nodes that the tree shows them: figures of others would say how it stands with others' people. What
        was sent is counted by the node that its recipients belong to."""
        nodes = self._s.desk.nodes_allowed(who.person_id, Action.RELAY_READ)
        views = self._s.views
        with views.reading() as db:
            found = views.tree.figures(db, warning_id, nodes)
            counts = views.deliveries.counts(db, warning_id, nodes)
            position = views.position
        sent: dict[str, int] = {}
        for purpose, channel, outcome, n in counts:
            if purpose != "cancel" and outcome in ("accepted", "delivered", "unknown"):
                sent[channel] = sent.get(channel, 0) + n
        return Summary(
            **{name: found[name] for name in FIGURES},
            recipients=found["recipients"] + found["unreachable"],
            unreached=found["recipients"] - found["told"] - found["held"] + found["unreachable"],
            sent=sent,
            position=position,
        )

    def help(self, who: Who, warning_id: str, language: str) -> Help:
        nodes = self._s.desk.nodes_allowed(who.person_id, Action.CASE_READ)
        views = self._s.views
        with views.reading() as db:
            cases = views.cases.of_warning(db, warning_id, nodes, CASES)
            unread = views.unclear.referred(db, warning_id, nodes, UNREAD)
            count = views.cases.count(db, warning_id, nodes), views.unclear.referred_count(db, warning_id, nodes)
            hierarchy = views.directory.hierarchy(db)

        def name(row: dict[str, Any]) -> str:
            node = hierarchy.nodes[row["node_id"]]  # one that they may see
            return node.name_zh if language == "zh" else node.name_en

        return Help(
            lines=(*(_case(row, name(row)) for row in cases), *(_unread(row, name(row)) for row in unread)),
            cases=count[0],
            unread=count[1],
        )

    def preview(self, who: Who, warning_id: str) -> Preview:
        row = self._row(who, warning_id)
        if row is None:
            raise NotFound("warning.unknown", N_("There is no such warning."))
        actor = Actor(person_id=who.person_id, correlation_id=correlation(self._s))
        self._s.desk.allow(actor, Action.WARNING_DRAFT, row["content"]["target"]["nodes"])
        return of_draft(self._s, warning_id)

    def position(self) -> int:
        return self._s.views.position

    async def changed(self, after: int) -> int:
        return await self._s.progress.moved(after)

    def _row(self, who: Who, warning_id: str) -> dict[str, Any] | None:
        with self._s.views.reading() as db:
            row = self._s.views.warnings.one(db, warning_id)
        nodes = self._s.desk.nodes_allowed(who.person_id, Action.WARNING_READ)
        return row if row is not None and self._s.desk.concerns(nodes, warning_id, _targets(row)) else None

    def _line(self, row: dict[str, Any], language: str) -> WarningLine:
        content = state_of(row).content
        card = content.contact
        return WarningLine(
            warning_id=row["warning_id"],
            headline=text_for(content.texts, language).headline,
            level=row["level"],
            status=row["status"],
            event=content.event,
            drafted_by=label(self._s, row["authors"][0], language),
            released_by=label(self._s, row["released_by"], language) if row["released_by"] else None,
            effective_at=content.effective_at,
            expires_at=content.expires_at,
            updates=row["updates"],
            position=row["position"],
            version=row["version"],
            texts=tuple((t.language, t.headline, t.description, t.instruction) for t in content.texts),
            contact=Contact(hotline=card.hotline, mission=card.mission, police=card.police),
            drill=row["drill"],
            correction=row["correction"],
            real_channels=row["real_channels"],
        )


def _targets(row: dict[str, Any]) -> Sequence[str]:
    targets: Sequence[str] = row["content"]["target"]["nodes"]
    return targets


def _case(row: dict[str, Any], node_name: str) -> HelpLine:
    return HelpLine(
        case_id=row["case_id"],
        node_id=row["node_id"],
        node_name=node_name,
        person_id=row["person_id"],
        status=row["status"],
        opened_at=row["opened_at"],
        drill=row["drill"],
    )


def _unread(row: dict[str, Any], node_name: str) -> HelpLine:
    return HelpLine(
        case_id="",
        node_id=row["node_id"],
        node_name=node_name,
        person_id=row["person_id"],
        status=row["state"],
        opened_at=row["since"],
        unclear=True,
    )


def _step(step: dict[str, Any]) -> Step:
    told = step["told"]
    return Step(
        action=step["action"],
        at=datetime.fromisoformat(step["at"]),
        # The people of the node are told by its relay, and are counted as recipients.
        told=len(told) if told is not None and step["action"] != "direct" else None,
    )


def label(s: Services, person_id: str, language: str) -> str:
    """A person's role and the start of their id: a name would have to be opened, and every opening is an event."""
    with s.views.reading() as db:
        person = s.views.directory.person(db, person_id)
    role = ROLES.get(person.role, ("", "")) if person else ("", "")
    return f"{role[0 if language == 'zh' else 1]} {person_id[:6]}".strip()
