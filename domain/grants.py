"""Who may do what, where, when: grants are events, so that replay answers it for any moment.

A grant gives a person a role over a subtree for a time. `can` is the whole of the permission system: deny by default.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec

from domain.errors import InvalidInput, Refused
from domain.events import Event, topic
from domain.stations import Hierarchy


class Action(StrEnum):
    """What can be asked for. The first word is the thing, the second the act."""

    WARNING_READ = "warning.read"
    WARNING_DRAFT = "warning.draft"
    WARNING_RELEASE = "warning.release"
    WARNING_BREAK_GLASS = "warning.break_glass"
    WARNING_CANCEL = "warning.cancel"
    RELAY_READ = "relay.read"
    RELAY_ACT = "relay.act"
    ROSTER_WRITE = "roster.write"
    DUTY_TAKE = "duty.take"
    CASE_READ = "case.read"
    CASE_OPEN = "case.open"
    CASE_ACT = "case.act"
    CASE_TASK = "case.task"
    PEOPLE_WRITE = "people.write"
    PEOPLE_OPEN = "people.open"
    HIERARCHY_WRITE = "hierarchy.write"
    GRANT_WRITE = "grant.write"
    LOG_READ = "log.read"
    REACH_TEST = "reach.test"
    PROVIDER_READ = "provider.read"
    RATE_WRITE = "rate.write"


class GrantRole(StrEnum):
    DUTY_OFFICER = "duty_officer"
    COUNTY_OFFICER = "county_officer"
    STATION_HEAD = "station_head"
    LIAISON = "liaison"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


_STATION = frozenset(
    {
        Action.WARNING_READ,
        Action.RELAY_READ,
        Action.RELAY_ACT,
        Action.DUTY_TAKE,
        Action.CASE_READ,
        Action.CASE_OPEN,
        Action.CASE_ACT,
    }
)
ALLOWED: dict[GrantRole, frozenset[Action]] = {
    GrantRole.DUTY_OFFICER: _STATION
    | {
        Action.WARNING_DRAFT,
        Action.WARNING_RELEASE,
        Action.WARNING_BREAK_GLASS,
        Action.WARNING_CANCEL,
        Action.CASE_TASK,
        Action.PEOPLE_OPEN,
        Action.ROSTER_WRITE,
        Action.REACH_TEST,
        Action.PROVIDER_READ,
        Action.RATE_WRITE,
    },
    GrantRole.COUNTY_OFFICER: _STATION | {Action.CASE_TASK, Action.PEOPLE_OPEN, Action.ROSTER_WRITE, Action.REACH_TEST},
    GrantRole.STATION_HEAD: _STATION | {Action.ROSTER_WRITE},
    GrantRole.LIAISON: _STATION,
    GrantRole.AUDITOR: frozenset(
        {Action.WARNING_READ, Action.RELAY_READ, Action.CASE_READ, Action.LOG_READ, Action.PROVIDER_READ}
    ),
    GrantRole.ADMINISTRATOR: frozenset(
        {
            Action.HIERARCHY_WRITE,
            Action.PEOPLE_WRITE,
            Action.GRANT_WRITE,
            Action.ROSTER_WRITE,
            Action.WARNING_READ,
            Action.RELAY_READ,
            Action.PROVIDER_READ,
            Action.RATE_WRITE,
        }
    ),
}


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """`role` over `node_id` and all below it, from `valid_from` until `valid_to` (UTC; None: until revoked)."""

    grant_id: str
    person_id: str
    role: GrantRole
    node_id: str
    valid_from: datetime
    valid_to: datetime | None = None
    revoked_at: datetime | None = None

    def in_force(self, at: datetime) -> bool:
        return (
            self.valid_from <= at
            and (self.valid_to is None or at < self.valid_to)
            and (self.revoked_at is None or at < self.revoked_at)
        )


@topic("grant.given")
class GrantGiven(Event, frozen=True, kw_only=True):
    grant: Grant


@topic("grant.revoked")
class GrantRevoked(Event, frozen=True, kw_only=True):
    grant_id: str
    revoked_at: datetime
    reason: str


def give(state: Grant | None, grant: Grant) -> list[Event]:
    if grant.valid_to is not None and grant.valid_to <= grant.valid_from:
        raise InvalidInput("grant.validity", "A grant ends after it begins.")
    if state is None:
        return [GrantGiven(grant=grant)]
    if state == grant:
        return []
    raise Refused("grant.exists", f"Grant {grant.grant_id} exists.", "Revoke it and give another.")


def revoke(state: Grant | None, *, at: datetime, reason: str) -> list[Event]:
    if state is None:
        raise Refused("grant.unknown", "There is no such grant.")
    if state.revoked_at is not None:
        return []
    return [GrantRevoked(grant_id=state.grant_id, revoked_at=at, reason=reason)]


def evolve(state: Grant | None, event: Event) -> Grant | None:
    match event:
        case GrantGiven(grant=grant):
            return grant
        case GrantRevoked() if state:
            return msgspec.structs.replace(state, revoked_at=event.revoked_at)
    return state


def can(
    grants: Iterable[Grant], hierarchy: Hierarchy, person_id: str, action: Action, node_id: str, at: datetime
) -> Grant | None:
    """The grant that allows `person_id` to do `action` to `node_id` at `at`, or None: then it is denied."""
    above = set(hierarchy.ancestors(node_id))
    if node_id not in hierarchy.nodes:
        return None
    for grant in grants:
        if (
            grant.person_id == person_id
            and grant.node_id in above
            and action in ALLOWED[grant.role]
            and grant.in_force(at)
        ):
            return grant
    return None


# Credentials -------------------------------------------------------------------------------------------------------


class TokenKind(StrEnum):
    BEARER = "bearer"
    SESSION = "session"
    LOGIN_LINK = "login_link"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A credential, known by the SHA-256 of its secret alone, bound to one person.

    With `grant_id` it carries that one grant and nothing else of what its person may do; it ends where the grant ends.
    """

    digest: str
    kind: TokenKind
    person_id: str
    valid_until: datetime
    grant_id: str | None = None
    ended: bool = False


@topic("token.issued")
class TokenIssued(Event, frozen=True, kw_only=True):
    token: Token


@topic("token.ended")
class TokenEnded(Event, frozen=True, kw_only=True):
    """Used up (a login link) or withdrawn."""

    digest: str
    why: str


def issue_token(state: Token | None, token: Token) -> list[Event]:
    if state is not None:
        raise Refused("token.exists", "This credential exists.")
    return [TokenIssued(token=token)]


def end_token(state: Token | None, *, why: str, at: datetime) -> list[Event]:
    """Ends a credential. Using a login link twice is refused."""
    if state is None or state.ended or at >= state.valid_until:
        raise Refused("token.spent", "This link was used, has expired or never existed.", "Ask for a new one.")
    return [TokenEnded(digest=state.digest, why=why)]


def evolve_token(state: Token | None, event: Event) -> Token | None:
    match event:
        case TokenIssued(token=token):
            return token
        case TokenEnded() if state:
            return msgspec.structs.replace(state, ended=True)
    return state
