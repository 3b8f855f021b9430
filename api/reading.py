"""Answers that a person has to read: opening their words, saying what they mean. And whose an answer is."""

from __future__ import annotations

import asyncio

import msgspec

from api.commands import Actor, Commands, Done, Once
from domain import answers, cases, people, relays
from domain.answers import Answer, Answers
from domain.cases import Case
from domain.errors import InvalidInput, NotFound
from domain.events import Event
from domain.grants import Action
from domain.ids import answer_stream, case_stream, derived, person_stream, relay_stream
from domain.people import STAFF, Channel, ContactChanged, Person, PersonForgotten, PersonRegistered
from domain.ports import Append, Log, Origin, Vault
from domain.private import Sealed
from projections.follower import Views

MOST_CASES = 1_000  # of one person and one warning


class HelpCase(msgspec.Struct, frozen=True):
    """The case that a call for help belongs to: one that is open, or one that is still to be opened (no state)."""

    case_id: str
    state: Case | None
    version: int
    others_closed: bool


async def help_case(log: Log, warning_id: str, person_id: str) -> HelpCase:
    """The first case of this person and warning that is not closed. Its id is derived from how many were closed, so
    that the same call, written again after a crash, is the same case."""
    for closed in range(MOST_CASES):
        parts = ("case", warning_id, person_id, *([str(closed)] if closed else []))
        state, version = await log.load(case_stream(derived(*parts)), cases.evolve)
        if state is None or not state.closed:
            return HelpCase(derived(*parts), state, version, others_closed=closed > 0 and state is None)
    raise InvalidInput("case.too_many", f"This person has {MOST_CASES} closed cases for this warning.")


async def acknowledged_by(log: Log, warning_id: str, person: Person | None, channel: str) -> list[Append]:
    """A clear answer of staff acknowledges for their node, also where somebody else had to say what it means."""
    if person is None or person.role not in STAFF:
        return []
    stream = relay_stream(warning_id, person.node_id)
    relay, version = await log.load(stream, relays.evolve)
    if relay is None:
        return []
    return [Append(stream, version, relays.acknowledge(relay, by=person.person_id, channel=channel))]


async def sender(
    log: Log, views: Views, vault: Vault, kind: str, address: str, channel: Channel
) -> tuple[str, str] | None:
    """(person id, warning id): whose address this is now, and the warning that they were last sent over the channel.

    The index of addresses only proposes: a number that a person gave up is not theirs, even where a crash left it in
    the index. Of several people with one number the answer is about the warning that the number was sent last, and of
    those who were sent that one it is of the one who gave the number last.
    """
    sent: list[tuple[int, str, str]] = []
    for person_id in await asyncio.to_thread(vault.all_with, kind, address):
        sealed, _ = await log.load(person_stream(person_id), _contact)
        fields = await asyncio.to_thread(vault.open, sealed) if sealed is not None else None
        if fields is None or str(fields.get(kind, "")).strip().lower() != address.strip().lower():
            continue
        latest = await asyncio.to_thread(_latest, views, person_id, channel)
        if latest is not None:
            sent.append((latest[1], latest[0], person_id))
    last = max(sent, default=None)
    return next(((person_id, warning_id) for _, warning_id, person_id in sent if last and warning_id == last[1]), None)


def _latest(views: Views, person_id: str, channel: Channel) -> tuple[str, int] | None:
    with views.reading() as db:
        return views.deliveries.latest_warning_of(db, person_id, channel)


def _contact(state: Sealed | None, event: Event) -> Sealed | None:
    """The contact that stands, sealed."""
    match event:
        case PersonRegistered(personal=personal) | ContactChanged(personal=personal) if isinstance(personal, Sealed):
            return personal
        case PersonForgotten():
            return None
    return state


class Reading(Commands):
    """The part of the desk for answers that stayed unclear."""

    async def open_answer(self, actor: Actor, warning_id: str, person_id: str) -> tuple[list[str], Done]:
        """The words of a person's unclear answers, oldest first. That they were read is an event."""
        origin, _ = await self._unclear(actor, Action.PEOPLE_OPEN, warning_id, person_id)
        stream = answer_stream(warning_id, person_id)
        words: list[str] = []

        async def decide() -> tuple[list[Append], str]:
            state, version = await self.log.load(stream, answers.evolve)
            events = answers.open_words(state, warning_id=warning_id, person_id=person_id, by=actor.person_id)
            boxes = [box for box in (state.words if state else ()) if isinstance(box, Sealed)]
            opened = await asyncio.to_thread(self.vault.open_all, boxes)
            words[:] = [str(fields["text"]) for fields in opened if fields is not None]
            return [Append(stream, version, events)], person_id

        return words, await self.commit(decide, origin)

    async def settle_answer(
        self, actor: Actor, warning_id: str, person_id: str, *, meaning: Answer, once: Once | None = None
    ) -> Done:
        """Somebody says what an unclear answer means: safe, help (a case is opened), or nothing more (unclear).

        What is clear then counts as an answer that was clear at once: of staff, it acknowledges.
        """
        origin, state = await self._unclear(actor, Action.CASE_TASK, warning_id, person_id)
        stream = answer_stream(warning_id, person_id)
        with self.views.reading() as db:
            warning = self.views.warnings.state(db, warning_id)
            person = self.views.directory.person(db, person_id)

        async def decide() -> tuple[list[Append], str]:
            now, version = await self.log.load(stream, answers.evolve)
            events = answers.settle(
                now, warning_id=warning_id, person_id=person_id, by=actor.person_id, meaning=meaning
            )
            appends = [Append(stream, version, events)]
            if events and meaning is not Answer.UNCLEAR:
                appends += await acknowledged_by(self.log, warning_id, person, now.channel if now else "")
            if events and meaning is Answer.HELP:
                call = await help_case(self.log, warning_id, person_id)
                opened = cases.open_case(
                    call.state,
                    case_id=call.case_id,
                    node_id=state.node_id,
                    source=cases.Source.HELP_ANSWER,
                    opened_by=actor.person_id,
                    warning_id=warning_id,
                    person_id=person_id,
                    personal=None,
                    drill=warning is not None and warning.content.drill,
                )
                appends.append(Append(case_stream(call.case_id), call.version, opened))
            return appends, person_id

        return await self.commit(decide, origin, once)

    async def _unclear(self, actor: Actor, action: Action, warning_id: str, person_id: str) -> tuple[Origin, Answers]:
        """The origin of this, and the person's answers. Who may do it nowhere learns nothing of who answered."""
        state, _ = await self.log.load(answer_stream(warning_id, person_id), answers.evolve)
        if state is None:
            person, _ = await self.log.load(person_stream(person_id), people.evolve)
            with self.views.reading() as db:
                nodes = [person.node_id] if person else sorted(self.views.directory.hierarchy(db).nodes)
            self.allow(actor, action, nodes)
            raise NotFound("answer.unknown", "This person has not answered this warning.")
        return self.allow(actor, action, [state.node_id]), state
