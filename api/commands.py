"""What every command goes through: who may do it, under which rules, once a key, durable at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain import commands
from domain.errors import FenghuoError, NotFound, NotPermitted, Refused, VersionConflict
from domain.grants import ALLOWED, Action, Grant, can
from domain.ids import command_stream
from domain.ports import Append, Clock, Log, Origin, Vault
from domain.rulepacks import RulePack
from projections.follower import Views

TRIES = 8  # how often a decision is taken anew because somebody else wrote first


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `correlation_id` is shared by all that follows from this request.

    `grant_id`, where the credential is bound to one grant: no other grant of the person counts.
    """

    person_id: str
    correlation_id: str
    grant_id: str | None = None


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """An idempotency key and a fingerprint of the request that came with it."""

    key: str
    fingerprint: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A command that is durable: the id of what it made or changed, and the log position of its last event.

    `position` is 0 where nothing was left to do, `repeated` where this key had been answered before.
    """

    id: str
    position: int = 0
    repeated: bool = False


Decision = Callable[[], Awaitable[tuple[Sequence[Append], str]]]


class Commands:
    """The shared part of the desk and the registry."""

    def __init__(self, log: Log, views: Views, vault: Vault, clock: Clock, new_id: Callable[[], str]) -> None:
        self.log = log
        self.views = views
        self.vault = vault
        self.clock = clock
        self.new_id = new_id

    def allow(self, actor: Actor, action: Action, node_ids: Sequence[str]) -> Origin:
        """The origin of what the actor does to all these nodes now: by which grant, and under the rules in force.

        Raises NotPermitted where no grant lets them: deny by default.
        """
        now = self.clock.now()
        with self.views.reading() as db:
            grants, hierarchy, pack = self.views.directory.standing(db, actor.person_id, now)
        grants = _bound(grants, actor.grant_id)
        found = [can(grants, hierarchy, actor.person_id, action, node_id, now) for node_id in node_ids]
        if not found or found[0] is None or None in found:
            raise NotPermitted(
                "permission.denied",
                f"No grant allows {action.value} here.",
                "Ask the duty office for a grant, or somebody who has one.",
            )
        return Origin(
            actor=actor.person_id,
            correlation_id=actor.correlation_id,
            grant_id=found[0].grant_id,
            rule_pack_id=pack.rule_pack_id if pack else None,
        )

    def may_anywhere(self, person_id: str) -> frozenset[Action]:
        """All actions that some grant in force allows somewhere: for showing or hiding buttons, not for deciding."""
        now = self.clock.now()
        with self.views.reading() as db:
            grants = self.views.directory.grants_of(db, person_id)
        return frozenset().union(*(ALLOWED[g.role] for g in grants if g.in_force(now)))

    def nodes_allowed(self, person_id: str, action: Action, grant_id: str | None = None) -> frozenset[str]:
        """All nodes that the person may do this to now, by `grant_id` alone where one is named."""
        now = self.clock.now()
        with self.views.reading() as db:
            grants = _bound(self.views.directory.grants_of(db, person_id), grant_id)
            hierarchy = self.views.directory.hierarchy(db)
        tops = [g.node_id for g in grants if action in ALLOWED[g.role] and g.in_force(now)]
        return frozenset(node_id for top in tops for node_id in hierarchy.subtree(top))

    def may_read(self, actor: Actor, warning_id: str, targets: Sequence[str]) -> bool:
        """Whether the person may read a warning that is for these nodes and all below them."""
        nodes = self.nodes_allowed(actor.person_id, Action.WARNING_READ, actor.grant_id)
        return self.concerns(nodes, warning_id, targets)

    def concerns(self, nodes: frozenset[str], warning_id: str, targets: Sequence[str]) -> bool:
        """Whether a warning is for one of `nodes` or goes through one: a station reads what it is to relay."""
        if nodes.intersection(targets):
            return True
        with self.views.reading() as db:
            return bool(nodes.intersection(self.views.tree.nodes(db, warning_id)))

    def grants_allowing(self, actor: Actor, actions: frozenset[Action]) -> list[Grant]:
        """The actor's grants in force that allow all these actions."""
        now = self.clock.now()
        with self.views.reading() as db:
            grants = _bound(self.views.directory.grants_of(db, actor.person_id), actor.grant_id)
        return [grant for grant in grants if actions <= ALLOWED[grant.role] and grant.in_force(now)]

    def rules(self, at: datetime) -> RulePack:
        """The rules in force. Raises Refused where there are none."""
        with self.views.reading() as db:
            pack = self.views.directory.rule_pack(db, at)
        if pack is None:
            raise no_rules()
        return pack

    def rules_of(self, origin: Origin) -> RulePack:
        """The rules that were in force when this was allowed. Raises Refused where there were none."""
        with self.views.reading() as db:
            pack = self.views.directory.rule_pack_by_id(db, origin.rule_pack_id)
        if pack is None:
            raise no_rules()
        return pack

    def origin(self, actor: Actor, rule_pack_id: str | None = None) -> Origin:
        """The origin of what needs no grant, under the rules in force unless others are named."""
        if rule_pack_id is None:
            with self.views.reading() as db:
                pack = self.views.directory.rule_pack(db, self.clock.now())
            rule_pack_id = pack.rule_pack_id if pack else None
        return Origin(actor=actor.person_id, correlation_id=actor.correlation_id, rule_pack_id=rule_pack_id)

    async def commit(self, decision: Decision, origin: Origin, once: Once | None = None) -> Done:
        """Takes the decision and stores it; takes it anew while others write first. Durable when it returns.

        With `once`, the acceptance of the key is stored in the same append; a repeat is answered as the first was.
        """
        for attempt in range(TRIES):
            # A key is new nearly always: whether it is gets asked when something does not fit, not each time before.
            if attempt and once is not None and (first := await self._answered(once, origin)) is not None:
                return first
            try:
                appends, result = await decision()
            except FenghuoError:
                if once is not None and (first := await self._answered(once, origin)) is not None:
                    return first
                raise
            wanted = [append for append in appends if append.events]
            if once is not None:
                accepted = commands.accept(None, fingerprint=once.fingerprint, result=result)
                wanted.append(Append(command_stream(origin.actor, once.key), 0, accepted))
            if not wanted:
                return Done(id=result)
            try:
                recorded = await self.log.append(wanted, origin)
            except VersionConflict:
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(0)
                continue
            return Done(id=result, position=recorded[-1].position)
        raise AssertionError("not reached")

    async def _answered(self, once: Once, origin: Origin) -> Done | None:
        """What this key was answered with; None where it is new. Raises Refused where it came with another request."""
        accepted, _ = await self.log.load(command_stream(origin.actor, once.key), commands.evolve)
        if accepted is None:
            return None
        commands.accept(accepted, fingerprint=once.fingerprint, result=accepted.result)
        return Done(id=accepted.result, repeated=True)


def _bound(grants: Sequence[Grant], grant_id: str | None) -> Sequence[Grant]:
    """Those that a credential may use: the one that it is bound to, or all."""
    return grants if grant_id is None else [grant for grant in grants if grant.grant_id == grant_id]


def no_rules() -> Refused:
    return Refused("rulepack.none", "No rule pack is in force.", "Adopt one: fenghuo init.")


def expect(version: int, expected: int | None) -> None:
    """Raises VersionConflict where the caller decided on another version than the stream's."""
    if expected is not None and version != expected:
        raise VersionConflict(
            "version.stale",
            "You saw version %(seen)s; it is at %(now)s now.",
            "Read it again, then decide.",
            names={"seen": expected, "now": version},
        )


def found(thing: Any, what: str) -> Any:
    if thing is None:
        raise NotFound(f"{what}.unknown", f"There is no such {what}.")
    return thing
