"""What is noted of people beside their contact: where they will be (sealed), their tags, their enterprise.

Part of the registry. Every method raises NotPermitted where no grant allows `people.write` at the
person's node, and NotFound alike for one who is not there to those who may write everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from api.commands import Actor, Commands, Done, Once
from domain import people, whereabouts
from domain.errors import NotFound
from domain.events import Event
from domain.grants import Action
from domain.ids import derived, person_stream
from domain.people import Person
from domain.ports import Append, Origin
from domain.whereabouts import Stay


class Itineraries(Commands):
    async def record_stay(
        self, actor: Actor, person_id: str, stay: Stay, *, stay_id: str | None = None, once: Once | None = None
    ) -> Done:
        """Notes a stay; under an id that the person has already, in place of that one. `id` is the stay's."""
        origin = await self._may_write(actor, person_id)
        if stay_id is None:  # by lot, never from what the stay says: an id must tell nothing of it
            stay_id = derived("stay", actor.person_id, person_id, once.key) if once else self.new_id()
        await asyncio.to_thread(self.vault.prepare, [person_id])

        async def decide() -> tuple[Sequence[Append], str]:
            state, version = await self.log.load(person_stream(person_id), whereabouts.evolve)
            events = whereabouts.record(state, person_id=person_id, stay_id=stay_id, stay=stay)
            return [Append(person_stream(person_id), version, events)], stay_id

        return await self.commit(decide, origin, once)

    async def withdraw_stay(self, actor: Actor, person_id: str, stay_id: str, *, once: Once | None = None) -> Done:
        """Takes a stay back. One that is withdrawn already, or never was, changes nothing."""
        origin = await self._may_write(actor, person_id)

        async def decide() -> tuple[Sequence[Append], str]:
            state, version = await self.log.load(person_stream(person_id), whereabouts.evolve)
            events = whereabouts.withdraw(state, person_id=person_id, stay_id=stay_id)
            return [Append(person_stream(person_id), version, events)], stay_id

        return await self.commit(decide, origin, once)

    async def stays_of(self, actor: Actor, person_id: str) -> list[str]:
        """The ids of a person's stays as they stand; what they say stays sealed."""
        await self._may_write(actor, person_id)
        state, _ = await self.log.load(person_stream(person_id), whereabouts.evolve)
        return sorted(state.stays) if state else []

    async def tag(
        self,
        actor: Actor,
        person_id: str,
        *,
        tags: tuple[str, ...],
        enterprise: str,
        once: Once | None = None,
    ) -> Done:
        """Gives a person these tags and this enterprise in place of those they had."""
        origin = await self._may_write(actor, person_id)

        async def decide() -> tuple[Sequence[Append], str]:
            state, version = await self.log.load(person_stream(person_id), people.evolve)
            events: list[Event] = people.tag(state, tags=tags, enterprise=enterprise)
            return [Append(person_stream(person_id), version, events)], person_id

        return await self.commit(decide, origin, once)

    async def _may_write(self, actor: Actor, person_id: str) -> Origin:
        person: Person | None
        person, _ = await self.log.load(person_stream(person_id), people.evolve)
        if person is None:
            with self.views.reading() as db:
                everywhere = sorted(self.views.directory.hierarchy(db).nodes)
            self.allow(actor, Action.PEOPLE_WRITE, everywhere)  # or else anybody could ask who is here
            raise NotFound("person.unknown", "There is no such person.")
        return self.allow(actor, Action.PEOPLE_WRITE, [person.node_id])
