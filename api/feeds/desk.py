"""What is done with feeds: added, removed, allowed to release; and readings of them taken into drafts.

A feed drafts by the authority of the person who added it, and releases by that of the person who allowed it to: where
the grant of either has ended, it does so no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from api.commands import Actor, Commands, Done, Once
from api.feeds.forms import Entry
from domain import feeds, warnings
from domain.content import Content
from domain.errors import NotFound, NotPermitted
from domain.events import Event
from domain.feeds import ACTOR, Feed, FeedState, Taken, Verdict
from domain.grants import Action
from domain.ids import feed_stream, warning_stream
from domain.ports import Append
from domain.rulepacks import Level
from domain.warnings import Status, WarningState


class FeedDesk(Commands):
    async def add(self, actor: Actor, feed: Feed, once: Once | None = None) -> Done:
        """Begins to read a feed; its items become drafts."""
        origin = self.allow(actor, Action.WARNING_DRAFT, [feed.node_id])

        async def decide() -> tuple[Sequence[Append], str]:
            state, version = await self.log.load(feed_stream(feed.feed_id), feeds.evolve)
            events = feeds.add(state, feed, by=actor.person_id)
            return [Append(feed_stream(feed.feed_id), version, events)], feed.feed_id

        return await self.commit(decide, origin, once)

    async def remove(self, actor: Actor, feed_id: str) -> Done:
        """Reads it no more. Drafts made from it stay."""
        origin = self.allow(actor, Action.WARNING_DRAFT, [await self._node(actor, feed_id)])
        recorded = await self.log.execute(
            feed_stream(feed_id),
            feeds.evolve,
            lambda state: feeds.remove(state, by=actor.person_id),
            origin,
        )
        return Done(id=feed_id, position=recorded[-1].position if recorded else 0)

    async def allow_release(self, actor: Actor, feed_id: str, levels: Sequence[Level]) -> Done:
        """Says of which levels its drafts go out by themselves; none, to end that."""
        origin = self.allow(actor, Action.WARNING_RELEASE, [await self._node(actor, feed_id)])
        recorded = await self.log.execute(
            feed_stream(feed_id),
            feeds.evolve,
            lambda state: feeds.allow_release(state, levels=levels, by=actor.person_id),
            origin,
        )
        return Done(id=feed_id, position=recorded[-1].position if recorded else 0)

    async def _node(self, actor: Actor, feed_id: str) -> str:
        state, _ = await self.log.load(feed_stream(feed_id), feeds.evolve)
        if state is None or state.removed:
            raise self.unknown(actor)
        return state.feed.node_id

    def unknown(self, actor: Actor) -> NotFound | NotPermitted:
        """What is said of a feed that does not exist: nothing, to those who may not read any."""
        if self.nodes_allowed(actor.person_id, Action.WARNING_READ, actor.grant_id):
            return NotFound("feed.unknown", "There is no such feed.")
        return NotPermitted("permission.denied", "No grant allows this here.", "Ask the duty office for a grant.")

    async def take(self, feed_id: str, entries: Sequence[Entry]) -> list[Taken]:
        """Takes a reading: notes and drafts in one append, or nothing. The same reading again changes nothing.

        Raises NotPermitted where whoever added the feed may no longer draft there.
        """
        taken: list[Taken] = []
        state, _ = await self.log.load(feed_stream(feed_id), feeds.evolve)
        if state is None or state.removed:
            raise NotFound("feed.unknown", "There is no such feed.")
        origin = self.allow(self._by(state.added_by, feed_id), Action.WARNING_DRAFT, [state.feed.node_id])
        words = {entry.found.fingerprint: entry.content for entry in entries}

        async def decide() -> tuple[Sequence[Append], str]:
            nonlocal taken
            now, version = await self.log.load(feed_stream(feed_id), feeds.evolve)
            assert now is not None
            taken = feeds.judge(now, [entry.found for entry in entries], self._status)
            appends = [Append(feed_stream(feed_id), version, feeds.take(now, taken))]
            for item in taken:
                appends += await self._drafted(now, item, words[item.fingerprint])
            return appends, feed_id

        await self.commit(decide, msgspec.structs.replace(origin, actor=ACTOR))
        return taken

    async def _drafted(self, state: FeedState, item: Taken, content: Content | None) -> list[Append]:
        """What an item does to warnings."""
        appends: list[Append] = []
        if item.withdraws:
            pending, version = await self._warning(item.withdraws)
            if pending is not None and pending.status is Status.DRAFT:
                events = warnings.cancel(pending, actor=ACTOR, reason=f"superseded in feed {state.feed.feed_id}")
                appends.append(Append(warning_stream(item.withdraws), version, events))
        if content is None or item.verdict not in (Verdict.DRAFTED, Verdict.UPDATE, Verdict.REVISED):
            return appends
        warning, version = await self._warning(item.warning_id)
        parent: WarningState | None = None
        if item.verdict is Verdict.REVISED:
            events = warnings.revise(warning, content=content, actor=ACTOR)
            if warning is not None and warning.updates is not None:
                parent, parent_version = await self._warning(warning.updates)
        else:
            if item.verdict is Verdict.UPDATE:
                parent, parent_version = await self._warning(feeds.parent_of(state, item))
            events = warnings.draft(warning, warning_id=item.warning_id, content=content, actor=ACTOR, parent=parent)
        released = self._released(state, warning, events, content, parent)
        if released and parent is not None:
            ended = warnings.mark_updated(parent, by_warning=item.warning_id)
            appends.append(Append(warning_stream(parent.warning_id), parent_version, ended))
        return [*appends, Append(warning_stream(item.warning_id), version, [*events, *released])]

    def _released(
        self,
        state: FeedState,
        warning: WarningState | None,
        events: Sequence[Event],
        content: Content,
        parent: WarningState | None,
    ) -> list[Event]:
        """The release of what was just drafted, where a rule says so and who made the rule may still release.

        An update needs that right over the warning that it ends too: somebody may have released it to other nodes.
        """
        if content.level not in state.release_levels or (parent and parent.status is not Status.RELEASED):
            return []
        nodes = [state.feed.node_id, *(parent.content.target.nodes if parent else ())]
        try:
            self.allow(self._by(state.allowed_by, state.feed.feed_id), Action.WARNING_RELEASE, nodes)
        except NotPermitted:
            return []
        for event in events:
            warning = warnings.evolve(warning, event)
        return warnings.release_by_rule(warning, actor=ACTOR, rule=f"feed {state.feed.feed_id}", at=self.clock.now())

    async def _warning(self, warning_id: str) -> tuple[WarningState | None, int]:
        return await self.log.load(warning_stream(warning_id), warnings.evolve)

    def _status(self, warning_id: str) -> tuple[Status, bool] | None:
        if not warning_id:
            return None
        with self.views.reading() as db:
            return self.views.warnings.standing(db, warning_id, ACTOR)

    def _by(self, person_id: str, feed_id: str) -> Actor:
        return Actor(person_id=person_id, correlation_id=f"feed-{feed_id}")
