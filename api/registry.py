"""The registry: nodes, people, grants, credentials and rule packs, one by one and in bulk."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from api.commands import Actor, Done, Once
from api.itineraries import Itineraries
from api.personal import checked
from domain import grants, people, rulepacks, stations
from domain.errors import InvalidInput, NotFound, NotSignedIn
from domain.events import Event
from domain.grants import Action, Grant, GrantRole, Token, TokenKind
from domain.ids import derived, grant_stream, node_stream, person_stream, rule_pack_stream, token_stream
from domain.people import Person
from domain.ports import Append, Origin
from domain.private import Private
from domain.rulepacks import RulePack
from domain.stations import Node

PORTION = 500  # persons in one append


class Registry(Itineraries):
    allowed_origins: frozenset[str] = frozenset()
    """Origins in networks of our own where webhooks and chats may lead, by the settings."""

    # Hierarchy -------------------------------------------------------------------------------------------------------

    async def register_nodes(self, nodes: Sequence[Node], actor: Actor) -> int:
        """Puts nodes into the tree, parents first; returns how many were new.

        The first duty office of an empty installation needs no grant: there is nobody yet who could have one.
        """
        known = self._nodes()
        if known:
            parents = {n.parent for n in nodes if n.parent in known}
            origin = self.allow(actor, Action.HIERARCHY_WRITE, sorted(parents or known))
        else:
            origin = self.origin(actor)
        appends: list[Append] = []
        for node in nodes:
            events = stations.register(known.get(node.node_id), node, known.get(node.parent) if node.parent else None)
            known[node.node_id] = node
            if events:
                appends.append(Append(node_stream(node.node_id), 0, events))
        if appends:
            await self.log.append(appends, origin)
        return len(appends)

    def _nodes(self) -> dict[str, Node]:
        with self.views.reading() as db:
            return dict(self.views.directory.hierarchy(db).nodes)

    # People ----------------------------------------------------------------------------------------------------------

    async def register_people(
        self,
        persons: Iterable[tuple[Person, dict[str, Any]]],
        actor: Actor,
        on_portion: Callable[[int], None] | None = None,
    ) -> int:
        """Registers people with their personal fields, sealed before they are stored; returns how many.

        Raises InvalidInput for an address that cannot be one; what came in earlier portions stays.
        """
        nodes = self._nodes()
        total = 0
        portion: list[tuple[Person, dict[str, Any]]] = []
        allowed: dict[str, Origin] = {}
        by: Origin | None = None  # by which grant the portion is allowed: it stands on each of its events
        for person, personal in persons:
            if person.node_id not in nodes:
                raise InvalidInput("person.node", f"There is no node {person.node_id}.")
            if person.node_id not in allowed:
                allowed[person.node_id] = self.allow(actor, Action.PEOPLE_WRITE, [person.node_id])
            if by is not None and portion and (len(portion) == PORTION or allowed[person.node_id] != by):
                total += await self._portion(portion, by)
                portion = []
                if on_portion is not None:
                    on_portion(total)
            by = allowed[person.node_id]
            portion.append((person, checked(personal, self.allowed_origins)))
        if by is not None and portion:
            total += await self._portion(portion, by)
            if on_portion is not None:
                on_portion(total)
        return total

    async def _portion(self, portion: list[tuple[Person, dict[str, Any]]], by: Origin) -> int:
        appends: list[Append] = []
        twice = [who for who, times in Counter(person.person_id for person, _ in portion).items() if times > 1]
        if twice:
            raise InvalidInput("person.twice", f"{twice[0]} is there more than once.", "Register each once.")
        with self.views.reading() as db:
            known = self.views.directory.people_by_id(db, [person.person_id for person, _ in portion])
        for person, personal in portion:
            stream, version = person_stream(person.person_id), 0
            state = known.get(person.person_id)
            if state is not None:
                state, version = await self.log.load(stream, people.evolve)
            events = people.register(state, person, Private(person.person_id, personal))
            appends.append(Append(stream, version, events))
        mark = await asyncio.to_thread(self._remember, portion)
        await self.log.append(appends, by)
        if changed := list(known):
            # After it: a crash in between leaves an old address in the index, where nobody is found by it any more
            # (api/reading.py). What a later change has noted in the meantime bears a higher mark and stays.
            await asyncio.to_thread(self.vault.forget_addresses, changed, mark)
        return len(appends)

    def _remember(self, portion: list[tuple[Person, dict[str, Any]]]) -> int:
        # Before the log knows them: an address too many in the index does no harm, one too few would lose a reply.
        self.vault.prepare([person.person_id for person, _ in portion])
        return self.vault.remember_addresses(
            [
                (kind, str(personal[kind]), person.person_id)
                for person, personal in portion
                for kind in ("phone", "email")
                if personal.get(kind)
            ]
        )

    async def forget_person(self, person_id: str, actor: Actor) -> Done:
        """Ends all contact, then destroys the person's key: nothing sealed with it can be opened again."""
        person, _ = await self.log.load(person_stream(person_id), people.evolve)
        if person is None:
            self.allow(actor, Action.PEOPLE_WRITE, sorted(self._nodes()))  # or else anybody could ask who is here
            raise NotFound("person.unknown", "There is no such person.")
        origin = self.allow(actor, Action.PEOPLE_WRITE, [person.node_id])
        recorded = await self.log.execute(person_stream(person_id), people.evolve, people.forget, origin)
        await asyncio.to_thread(self.vault.forget, person_id)
        return Done(id=person_id, position=recorded[-1].position if recorded else 0)

    # Grants ----------------------------------------------------------------------------------------------------------

    async def give_grant(
        self,
        actor: Actor,
        *,
        person_id: str,
        role: GrantRole,
        node_id: str,
        valid_to: datetime | None = None,
        once: Once | None = None,
        bootstrap: bool = False,
    ) -> Done:
        """Gives a role over a subtree. `bootstrap` is for the command line of the machine itself, also before there is
        a tree."""
        origin = self.origin(actor) if bootstrap else self.allow(actor, Action.GRANT_WRITE, [node_id])
        node, _ = await self.log.load(node_stream(node_id), stations.evolve)  # the views may not be as far
        if node is None and self._nodes():
            raise NotFound("node.unknown", f"There is no node {node_id}.", "Load it: fenghuo hierarchy load FILE.")
        grant_id = derived("grant", person_id, role, node_id, once.key if once else self.new_id())

        async def decide() -> tuple[Sequence[Append], str]:
            grant = Grant(
                grant_id=grant_id,
                person_id=person_id,
                role=role,
                node_id=node_id,
                valid_from=self.clock.now(),
                valid_to=valid_to,
            )
            return [Append(grant_stream(grant_id), 0, grants.give(None, grant))], grant_id

        return await self.commit(decide, origin, once)

    async def revoke_grant(self, actor: Actor, grant_id: str, *, reason: str) -> Done:
        state, _ = await self.log.load(grant_stream(grant_id), grants.evolve)
        origin = self.allow(actor, Action.GRANT_WRITE, [state.node_id] if state else [])

        def decide(current: Grant | None) -> list[Event]:
            return grants.revoke(current, at=self.clock.now(), reason=reason)

        recorded = await self.log.execute(grant_stream(grant_id), grants.evolve, decide, origin)
        return Done(id=grant_id, position=recorded[-1].position if recorded else 0)

    # Credentials -----------------------------------------------------------------------------------------------------

    async def issue_token(
        self,
        person_id: str,
        kind: TokenKind,
        secret: str,
        lasts: timedelta,
        actor: Actor,
        grant_id: str | None = None,
    ) -> Done:
        """Makes `secret` a credential of a person, or of one grant of theirs. The log keeps its SHA-256 alone."""
        if grant_id is not None:
            grant, _ = await self.log.load(grant_stream(grant_id), grants.evolve)
            if grant is None or grant.person_id != person_id:
                raise NotFound("grant.unknown", "This person has no such grant.")
        token = Token(
            digest=digest_of(secret),
            kind=kind,
            person_id=person_id,
            valid_until=self.clock.now() + lasts,
            grant_id=grant_id,
        )
        recorded = await self.log.append(
            [Append(token_stream(token.digest), 0, grants.issue_token(None, token))], self.origin(actor)
        )
        return Done(id=token.digest, position=recorded[-1].position)

    async def use_login_link(self, secret: str, session_secret: str, lasts: timedelta) -> str:
        """Spends a one-time link and opens a session; returns the person. Refused the second time."""
        stream = token_stream(digest_of(secret))
        state, version = await self.log.load(stream, grants.evolve_token)
        if state is None or state.kind is not TokenKind.LOGIN_LINK:
            raise NotSignedIn("login.unknown", "This login link is not one of ours.", "Ask for a new one.")
        now = self.clock.now()
        session = Token(
            digest=digest_of(session_secret),
            kind=TokenKind.SESSION,
            person_id=state.person_id,
            valid_until=now + lasts,
        )
        origin = Origin(actor=state.person_id, correlation_id=f"login-{state.digest[:16]}")
        await self.log.append(
            [
                Append(stream, version, grants.end_token(state, why="used", at=now)),
                Append(token_stream(session.digest), 0, grants.issue_token(None, session)),
            ],
            origin,
        )
        return state.person_id

    async def end_session(self, secret: str) -> None:
        """Signs out: the session's cookie is worth nothing from here on. An unknown or ended one changes nothing."""
        digest = digest_of(secret)

        def decide(state: Token | None) -> list[Event]:
            over = state is None or state.ended or self.clock.now() >= state.valid_until
            return [] if over else grants.end_token(state, why="signed out", at=self.clock.now())

        origin = Origin(actor="system:sessions", correlation_id=f"logout-{digest[:16]}")
        await self.log.execute(token_stream(digest), grants.evolve_token, decide, origin)

    async def revoke_token(self, digest: str, actor: Actor, *, reason: str) -> Done:
        """Withdraws a credential by its SHA-256, as `issue_token` gave it. Raises Refused where it is over already."""
        recorded = await self.log.execute(
            token_stream(digest),
            grants.evolve_token,
            lambda state: grants.end_token(state, why=reason, at=self.clock.now()),
            self.origin(actor),
        )
        return Done(id=digest, position=recorded[-1].position)

    def token_of(self, secret: str, kind: TokenKind) -> Token:
        """The credential with this secret. Raises NotSignedIn where it is unknown, of another kind or over."""
        with self.views.reading() as db:
            token = self.views.directory.token(db, digest_of(secret))
        if token is None or token.kind is not kind or token.ended or self.clock.now() >= token.valid_until:
            raise NotSignedIn("token.invalid", "The credential is unknown, expired or withdrawn.", "Sign in again.")
        return token

    # Rules -----------------------------------------------------------------------------------------------------------

    async def adopt_standard(self, pack: RulePack, actor: Actor) -> None:
        """Puts a standard pack in force, also one that was before, unless the city has rules of its own."""
        with self.views.reading() as db:
            in_force = self.views.directory.rule_pack(db, self.clock.now())
        if rulepacks.gives_way(in_force, pack):
            await self.adopt_rules(pack, actor, anew=in_force is not None)

    async def adopt_rules(self, pack: RulePack, actor: Actor, *, anew: bool = False) -> Done:
        recorded = await self.log.execute(
            rule_pack_stream(pack.rule_pack_id),
            rulepacks.evolve,
            lambda state: rulepacks.adopt(state, pack, anew=anew),
            self.origin(actor, pack.rule_pack_id),
        )
        return Done(id=pack.rule_pack_id, position=recorded[-1].position if recorded else 0)


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
