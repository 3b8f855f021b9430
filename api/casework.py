"""Casework: what an office and its stations do with a case, from a station's report to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from api.commands import Actor, Done, Once, found
from api.reading import Reading
from domain import cases, people
from domain.cases import ActionKind, Case, Place
from domain.cases import Source as CaseSource
from domain.errors import InvalidInput, NotFound
from domain.events import Event
from domain.grants import Action
from domain.ids import case_stream, derived, person_stream
from domain.ports import Append, Origin
from domain.private import Private
from domain.stations import Kind
from domain.warnings import WarningState

CaseDecision = Callable[[Case | None], list[Event]]
MAX_WORDS = 2_000  # characters of a reply, a note or a report


class Casework(Reading):
    async def open_case(
        self,
        actor: Actor,
        *,
        node_id: str,
        text: str,
        warning_id: str | None = None,
        person_id: str | None = None,
        once: Once | None = None,
    ) -> Done:
        """A station's report of an incident; it names only people and warnings that its station may know of."""
        origin = self.allow(actor, Action.CASE_OPEN, [node_id])
        case_id = derived("case-report", actor.person_id, once.key) if once else self.new_id()
        personal = Private(person_id or f"case:{case_id}", {"text": bounded(text)})

        async def decide() -> tuple[Sequence[Append], str]:
            if not (self._knows_warning(actor, warning_id) and await self._knows_person(actor, person_id)):
                raise NotFound("case.about_unknown", "There is no such person or warning.")
            events = cases.open_case(
                None,
                case_id=case_id,
                node_id=node_id,
                source=CaseSource.STATION_REPORT,
                opened_by=actor.person_id,
                warning_id=warning_id,
                person_id=person_id,
                personal=personal,
            )
            return [Append(case_stream(case_id), 0, events)], case_id

        return await self.commit(decide, origin, once)

    def _knows_warning(self, actor: Actor, warning_id: str | None) -> bool:
        """Whether they may read the warning; none is known to everybody."""
        if warning_id is None:
            return True
        with self.views.reading() as db:
            state = self.views.warnings.state(db, warning_id)
        return state is not None and self.may_read(actor, warning_id, state.content.target.nodes)

    async def _knows_person(self, actor: Actor, person_id: str | None) -> bool:
        """Whether the person is registered where they may open cases, and has not been forgotten."""
        if person_id is None:
            return True
        person, _ = await self.log.load(person_stream(person_id), people.evolve)
        if person is None or person.forgotten:
            return False
        return person.node_id in self.nodes_allowed(actor.person_id, Action.CASE_OPEN, actor.grant_id)

    async def task(
        self, actor: Actor, case_id: str, *, node_id: str, instruction: str, once: Once | None = None
    ) -> Done:
        case = await self._load_case(case_id)
        origin = self.allow(actor, Action.CASE_TASK, [node_id, case.node_id])
        self._known_node(node_id)
        return await self._case(
            case_id,
            lambda s: cases.task(s, node_id=node_id, tasked_by=actor.person_id, instruction=bounded(instruction)),
            origin,
            once,
        )

    async def record_action(
        self,
        actor: Actor,
        case_id: str,
        *,
        node_id: str,
        kind: ActionKind,
        place: Place,
        text: str,
        once: Once | None = None,
    ) -> Done:
        case = await self._load_case(case_id)
        office = self._known_node(node_id) is not Kind.STATION
        # An office acts on the cases below it; a station that was tasked acts on a case that may be another's.
        origin = self.allow(actor, Action.CASE_ACT, [node_id, case.node_id] if office else [node_id])
        personal = Private(case.person_id or f"case:{case_id}", {"text": bounded(text)})
        return await self._case(
            case_id,
            lambda s: cases.record_action(
                s,
                node_id=node_id,
                actor=actor.person_id,
                kind=kind,
                place=place,
                personal=personal,
                is_office=office,
            ),
            origin,
            once,
        )

    async def close_case(self, actor: Actor, case_id: str, *, result: str, once: Once | None = None) -> Done:
        case = await self._load_case(case_id)
        origin = self.allow(actor, Action.CASE_TASK, [case.node_id])
        return await self._case(
            case_id,
            lambda s: cases.close(s, closed_by=actor.person_id, result=bounded(result)),
            origin,
            once,
        )

    async def _load_case(self, case_id: str) -> Case:
        state, _ = await self.log.load(case_stream(case_id), cases.evolve)
        if state is None:
            raise NotFound("case.unknown", "There is no such case.")
        return state

    async def _case(self, case_id: str, decision: CaseDecision, origin: Origin, once: Once | None) -> Done:
        stream = case_stream(case_id)

        async def decide() -> tuple[Sequence[Append], str]:
            state, version = await self.log.load(stream, cases.evolve)
            found(state, "case")
            return [Append(stream, version, decision(state))], case_id

        return await self.commit(decide, origin, once)

    def _known_node(self, node_id: str) -> Kind:
        with self.views.reading() as db:
            node = self.views.directory.hierarchy(db).nodes.get(node_id)
        if node is None:
            raise NotFound("node.unknown", "There is no such node.")
        return node.kind

    def _warning(self, warning_id: str) -> WarningState:
        with self.views.reading() as db:
            state = self.views.warnings.state(db, warning_id)
        if state is None:
            raise NotFound("warning.unknown", "There is no such warning.")
        return state


def bounded(text: str) -> str:
    """Raises InvalidInput for what is too long to be kept."""
    if len(text) > MAX_WORDS:
        raise InvalidInput("text.too_long", f"The text has over {MAX_WORDS} characters.", "Shorten it.")
    return text
