"""The desk: what people do with warnings, relays, answers and cases. Loads, lets the domain decide, stores.

Every method raises NotPermitted where no grant allows it, Refused or InvalidInput where a rule says no, NotFound for
what does not exist, VersionConflict where `expected_version` is not the version that stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from api import countries
from api.casework import MAX_WORDS, Casework, bounded
from api.commands import Actor, Done, Once, expect, found, no_rules
from api.reading import acknowledged_by, help_case, sender
from domain import answers, cases, relays, shards, warnings
from domain.answers import Answer
from domain.cases import Source as CaseSource
from domain.content import Content, Text
from domain.errors import NotFound, NotPermitted
from domain.events import Event
from domain.grants import Action
from domain.ids import answer_stream, case_stream, derived, relay_stream, shard_stream, warning_stream
from domain.people import Channel
from domain.planning import lane_of
from domain.ports import Append
from domain.private import Private
from domain.rulepacks import Lane
from domain.warnings import Status, WarningState

RelayDecision = Callable[[relays.Relay | None], list[Event]]


class Desk(Casework):
    releasing: Callable[[Lane], None] = staticmethod(lambda _: None)
    """Hears of the lane of each release, a moment before the release is durable."""

    # Warnings --------------------------------------------------------------------------------------------------------

    async def draft(
        self,
        actor: Actor,
        content: Content,
        *,
        warning_id: str | None = None,
        updates: str | None = None,
        correction: bool = False,
        once: Once | None = None,
    ) -> Done:
        """A new draft; with `updates` it is to take a released warning's place, or to put its words right.

        Whoever replaces a warning needs the right to draft that one too: a correction is told wherever it was told.
        """
        origin = self.allow(actor, Action.WARNING_DRAFT, content.target.nodes)
        if origin.rule_pack_id is None:
            raise no_rules()
        new = warning_id is None  # nearly always: that it is not gets known when the append does not fit
        if warning_id is None:
            warning_id = derived("draft", actor.person_id, once.key) if once else self.new_id()
        stream = warning_stream(warning_id)

        async def decide() -> tuple[Sequence[Append], str]:
            nonlocal new
            self._check_countries(content)
            parent: WarningState | None = None
            if updates is not None:
                parent, _ = await self.log.load(warning_stream(updates), warnings.evolve)
                self._allow_replacing(actor, parent)
            state, version = (None, 0) if new else await self.log.load(stream, warnings.evolve)
            new = False
            events = warnings.draft(
                state,
                warning_id=warning_id,
                content=content,
                actor=actor.person_id,
                parent=parent,
                correction=correction,
            )
            return [Append(stream, version, events)], warning_id

        return await self.commit(decide, origin, once)

    async def revise(
        self,
        actor: Actor,
        warning_id: str,
        content: Content,
        *,
        expected_version: int | None = None,
        once: Once | None = None,
    ) -> Done:
        before = self._warning(warning_id)
        origin = self.allow(actor, Action.WARNING_DRAFT, [*before.content.target.nodes, *content.target.nodes])

        async def decide() -> tuple[Sequence[Append], str]:
            state, version, parent, _ = await self._standing(warning_id)
            self._allow_on(actor, Action.WARNING_DRAFT, state, parent)
            expect(version, expected_version)
            self._check_countries(content)
            events = warnings.revise(state, content=content, actor=actor.person_id)
            return [Append(warning_stream(warning_id), version, events)], warning_id

        return await self.commit(decide, origin, once)

    async def release(
        self,
        actor: Actor,
        warning_id: str,
        *,
        break_glass: bool = False,
        reason: str = "",
        real_channels: bool = False,
        expected_version: int | None = None,
        once: Once | None = None,
    ) -> Done:
        """Lets it go out. The release of an update also ends the warning that it updates, in the same append, and so
        needs the right over both."""
        action = Action.WARNING_BREAK_GLASS if break_glass else Action.WARNING_RELEASE
        origin = self.allow(actor, action, self._warning(warning_id).content.target.nodes)
        pack = self.rules_of(origin)

        async def decide() -> tuple[Sequence[Append], str]:
            state, version, parent, parent_version = await self._standing(warning_id)
            self._allow_on(actor, action, state, parent)
            expect(version, expected_version)
            events = warnings.release(
                state,
                actor=actor.person_id,
                pack=pack,
                at=self.clock.now(),
                break_glass=break_glass,
                reason=reason,
                real_channels=real_channels,
                parent=parent,
            )
            appends = [Append(warning_stream(warning_id), version, events)]
            if events and state is not None:
                self.releasing(lane_of(state, pack.levels[state.content.level]))
            if events and parent is not None:
                ending = warnings.mark_updated(parent, by_warning=warning_id)
                appends.append(Append(warning_stream(parent.warning_id), parent_version, ending))
            return appends, warning_id

        return await self.commit(decide, origin, once)

    async def cancel(
        self,
        actor: Actor,
        warning_id: str,
        *,
        reason: str,
        texts: tuple[Text, ...] = (),
        expected_version: int | None = None,
        once: Once | None = None,
    ) -> Done:
        """Withdraws it; those whom it reached, and nobody else, will be told."""
        origin = self.allow(actor, Action.WARNING_CANCEL, self._warning(warning_id).content.target.nodes)

        async def decide() -> tuple[Sequence[Append], str]:
            state, version = await self.log.load(warning_stream(warning_id), warnings.evolve)
            self._allow_on(actor, Action.WARNING_CANCEL, state)
            expect(version, expected_version)
            events = warnings.cancel(state, actor=actor.person_id, reason=reason, texts=texts)
            return [Append(warning_stream(warning_id), version, events)], warning_id

        return await self.commit(decide, origin, once)

    async def _standing(self, warning_id: str) -> tuple[WarningState | None, int, WarningState | None, int]:
        """A warning and the one that it updates, each with its version, as the log has them."""
        state, version = await self.log.load(warning_stream(warning_id), warnings.evolve)
        if state is None or state.updates is None:
            return state, version, None, 0
        return state, version, *(await self.log.load(warning_stream(state.updates), warnings.evolve))

    def _check_countries(self, content: Content) -> None:
        if not content.target.countries:
            return
        with self.views.reading() as db:
            countries.check(content.target.countries, self.views.directory.hierarchy(db))

    def _allow_on(self, actor: Actor, action: Action, *concerned: WarningState | None) -> None:
        """Asks again of the warnings that are decided on: they may be for other nodes than the views still show."""
        self.allow(actor, action, [node for w in concerned if w is not None for node in w.content.target.nodes])

    def _allow_replacing(self, actor: Actor, parent: WarningState | None) -> None:
        """Raises NotFound alike for no such warning and for one that they may not read; NotPermitted for others."""
        known = found(parent, "warning")
        try:
            self._allow_on(actor, Action.WARNING_DRAFT, known)
        except NotPermitted:
            if self.may_read(actor, known.warning_id, known.content.target.nodes):
                raise
            found(None, "warning")

    # Relays ----------------------------------------------------------------------------------------------------------

    async def acknowledge(self, actor: Actor, warning_id: str, node_id: str, *, once: Once | None = None) -> Done:
        return await self._relay(
            actor, warning_id, node_id, lambda s: relays.acknowledge(s, by=actor.person_id, channel="api"), once
        )

    async def relay_on(self, actor: Actor, warning_id: str, node_id: str, *, once: Once | None = None) -> Done:
        """传递: acknowledges, where that is still to be done, and has the node's own people told."""

        def decide(state: relays.Relay | None) -> list[Event]:
            events = relays.acknowledge(state, by=actor.person_id, channel="api")
            for event in events:
                state = relays.evolve(state, event)
            return events + relays.relay_on(state, by=actor.person_id)

        return await self._relay(actor, warning_id, node_id, decide, once)

    async def assess(
        self, actor: Actor, warning_id: str, node_id: str, *, harm: str, text: str, once: Once | None = None
    ) -> Done:
        """研判 and its report upward, in one."""
        personal = Private(f"relay:{warning_id}:{node_id}", {"text": bounded(text)})
        return await self._relay(
            actor,
            warning_id,
            node_id,
            lambda s: relays.assess(s, by=actor.person_id, harm=harm, personal=personal),
            once,
        )

    async def _relay(
        self, actor: Actor, warning_id: str, node_id: str, decision: RelayDecision, once: Once | None
    ) -> Done:
        origin = self.allow(actor, Action.RELAY_ACT, [node_id])
        stream = relay_stream(warning_id, node_id)

        async def decide() -> tuple[Sequence[Append], str]:
            state, version = await self.log.load(stream, relays.evolve)
            return [Append(stream, version, decision(state))], node_id

        return await self.commit(decide, origin, once)

    # Answers of people -----------------------------------------------------------------------------------------------

    async def answer(
        self,
        *,
        warning_id: str,
        person_id: str,
        answer: Answer,
        channel: str,
        words: str = "",
        provider_ref: str = "",
    ) -> Done:
        """Takes what a person answered; a person needs no grant to speak for themself.

        A clear answer of staff acknowledges for their node; "need help" opens a case: all in one append. To a drill
        the case is marked as one of a drill; a person looks at it all the same, since it may be meant.
        """
        with self.views.reading() as db:
            person = self.views.directory.person(db, person_id)
            warning = self.views.warnings.state(db, warning_id)
        if person is None or warning is None:
            raise NotFound("answer.unknown", "There is no such person or warning.")
        origin = self.origin(Actor(person_id=person_id, correlation_id=f"answer-{warning_id}-{person_id}"))
        personal = Private(person_id, {"text": words[:MAX_WORDS]}) if words else None

        async def decide() -> tuple[Sequence[Append], str]:
            stream = answer_stream(warning_id, person_id)
            state, version = await self.log.load(stream, answers.evolve)
            call = await help_case(self.log, warning_id, person_id) if answer is Answer.HELP else None
            events = answers.receive(
                state,
                warning_id=warning_id,
                person_id=person_id,
                node_id=person.node_id,
                answer=answer,
                channel=channel,
                late=warning.status is not Status.RELEASED,
                personal=personal,
                provider_ref=provider_ref,
                again=call is not None and call.others_closed,
            )
            appends = [Append(stream, version, events)]
            if events and answer is not Answer.UNCLEAR:
                appends += await acknowledged_by(self.log, warning_id, person, channel)
            if events and call is not None:
                opened = cases.open_case(
                    call.state,
                    case_id=call.case_id,
                    node_id=person.node_id,
                    source=CaseSource.HELP_ANSWER,
                    opened_by=person_id,
                    warning_id=warning_id,
                    person_id=person_id,
                    personal=personal,
                    drill=warning.content.drill,
                )
                appends.append(Append(case_stream(call.case_id), call.version, opened))
            return appends, person_id

        return await self.commit(decide, origin)

    async def delivery(self, shard_id: str, index: int) -> tuple[str, str]:
        """(warning id, person id) of one delivery: whom a link or a callback is about."""
        with self.views.reading() as db:
            known = self.views.deliveries.one(db, shard_id, index)
        if known is not None:
            return known
        state, _ = await self.log.load(shard_stream(shard_id), shards.evolve)  # the views may be a moment behind
        if state is None or not 0 <= index < len(state.plan.recipients):
            raise NotFound("delivery.unknown", "There is no such message.")
        return state.plan.warning_id, state.plan.recipients[index]

    async def reply(self, *, phone: str, text: str, provider_ref: str) -> Answer | None:
        """An SMS that came in: found by its number, about the warning last sent to it. None for an unknown number."""
        found = await sender(self.log, self.views, self.vault, "phone", phone, Channel.SMS)
        if found is None:
            return None
        person_id, warning_id = found
        answer = answers.interpret(text)
        await self.answer(
            warning_id=warning_id,
            person_id=person_id,
            answer=answer,
            channel="sms",
            words=text,
            provider_ref=provider_ref,
        )
        return answer
