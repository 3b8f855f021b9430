"""Who may do what, where, when. Each thing that is allowed stands beside its denied twin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from given import HIERARCHY, NOW, code_of

from domain import grants
from domain.errors import InvalidInput, Refused
from domain.events import fold
from domain.grants import ALLOWED, Action, Grant, GrantGiven, GrantRevoked, GrantRole, Token, TokenKind, can

SECOND = timedelta(seconds=1)
GRANT = Grant(
    grant_id="g1",
    person_id="ann",
    role=GrantRole.COUNTY_OFFICER,
    node_id="north",
    valid_from=NOW,
    valid_to=NOW + timedelta(days=1),
)


def asked(*, grant: Grant = GRANT, **changes: Any) -> Grant | None:
    question: dict[str, Any] = {"person_id": "ann", "action": Action.RELAY_ACT, "node_id": "milan", "at": NOW}
    return can([grant], HIERARCHY, **{**question, **changes})


def test_a_grant_allows_its_own_node_and_all_below_it():
    assert [asked(node_id=node_id) for node_id in ("north", "milan", "madrid")] == [GRANT] * 3


@pytest.mark.parametrize("node_id", ["office", "south", "village", "nowhere", ""])
def test_above_beside_and_nowhere_is_denied(node_id):
    assert asked(node_id=node_id) is None


def test_a_node_that_is_not_in_the_tree_is_denied_even_to_a_grant_that_names_it():
    assert asked(grant=msgspec.structs.replace(GRANT, node_id="nowhere"), node_id="nowhere") is None


def test_somebody_else_is_denied():
    assert asked(person_id="bob") is None


@pytest.mark.parametrize("role", list(GrantRole))
@pytest.mark.parametrize("action", list(Action))
def test_a_role_allows_its_own_actions_alone(role, action):
    grant = msgspec.structs.replace(GRANT, role=role)

    assert asked(grant=grant, action=action) == (grant if action in ALLOWED[role] else None)


def test_what_each_role_may_do_is_noticed_when_it_changes():
    station = {"warning.read", "relay.read", "relay.act", "duty.take", "case.read", "case.open", "case.act"}
    county = station | {"case.task", "people.open", "roster.write", "reach.test"}
    assert {role.value: {action.value for action in allowed} for role, allowed in ALLOWED.items()} == {
        "station_head": station | {"roster.write"},
        "liaison": station,
        "county_officer": county,
        "duty_officer": county
        | {"warning.draft", "warning.release", "warning.break_glass", "warning.cancel"}
        | {"provider.read", "rate.write"},
        "auditor": {"warning.read", "relay.read", "case.read", "log.read", "provider.read"},
        "administrator": {"hierarchy.write", "people.write", "grant.write", "roster.write", "warning.read"}
        | {"relay.read", "provider.read", "rate.write"},
    }


@pytest.mark.parametrize(
    ("at", "allowed"),
    [(NOW - SECOND, False), (NOW, True), (NOW + timedelta(days=1) - SECOND, True), (NOW + timedelta(days=1), False)],
)
def test_a_grant_holds_from_its_beginning_until_before_its_end(at, allowed):
    assert asked(at=at) == (GRANT if allowed else None)


def test_a_grant_without_an_end_holds_until_it_is_revoked():
    lasting = msgspec.structs.replace(GRANT, valid_to=None)
    revoked = msgspec.structs.replace(lasting, revoked_at=NOW + 2 * SECOND)

    assert asked(grant=lasting, at=NOW.replace(year=2099)) == lasting
    assert [asked(grant=revoked, at=NOW + n * SECOND) for n in (1, 2, 3)] == [revoked, None, None]


def test_of_several_grants_the_one_that_allows_it_is_named():
    auditor = msgspec.structs.replace(GRANT, grant_id="g0", role=GrantRole.AUDITOR)

    assert can([auditor, GRANT], HIERARCHY, "ann", Action.RELAY_ACT, "milan", NOW) == GRANT
    assert can([], HIERARCHY, "ann", Action.RELAY_ACT, "milan", NOW) is None


# Giving and revoking -------------------------------------------------------------------------------------------------


def test_a_grant_is_given_once():
    assert grants.give(None, GRANT) == [GrantGiven(grant=GRANT)]
    assert grants.give(GRANT, GRANT) == []
    other = msgspec.structs.replace(GRANT, node_id="south")
    assert code_of(Refused, lambda: grants.give(GRANT, other)) == "grant.exists"


@pytest.mark.parametrize("lasts", [timedelta(0), -SECOND])
def test_a_grant_that_ends_before_it_begins_is_refused(lasts):
    wrong = msgspec.structs.replace(GRANT, valid_to=NOW + lasts)

    assert code_of(InvalidInput, lambda: grants.give(None, wrong)) == "grant.validity"


def test_a_grant_is_revoked_once_and_denies_from_then_on():
    events = grants.revoke(GRANT, at=NOW + SECOND, reason="left")
    revoked = fold(grants.evolve, [GrantGiven(grant=GRANT), *events])

    assert events == [GrantRevoked(grant_id="g1", revoked_at=NOW + SECOND, reason="left")]
    assert grants.revoke(revoked, at=NOW + 2 * SECOND, reason="again") == []
    assert (asked(grant=revoked, at=NOW), asked(grant=revoked, at=NOW + SECOND)) == (revoked, None)


def test_a_grant_that_does_not_exist_is_not_revoked():
    assert code_of(Refused, lambda: grants.revoke(None, at=NOW, reason="r")) == "grant.unknown"


# Credentials ---------------------------------------------------------------------------------------------------------

LINK = Token(digest="d1", kind=TokenKind.LOGIN_LINK, person_id="ann", valid_until=NOW + timedelta(minutes=5))


def test_a_login_link_is_spent_once():
    issued = grants.issue_token(None, LINK)
    state = fold(grants.evolve_token, issued)
    ended = grants.end_token(state, why="used", at=NOW)
    spent = fold(grants.evolve_token, [*issued, *ended])

    assert (state, spent.ended) == (LINK, True)
    assert code_of(Refused, lambda: grants.end_token(spent, why="used", at=NOW)) == "token.spent"


@pytest.mark.parametrize("at", [LINK.valid_until, LINK.valid_until + SECOND])
def test_an_expired_link_is_not_spent(at):
    assert code_of(Refused, lambda: grants.end_token(LINK, why="used", at=at)) == "token.spent"
    assert len(grants.end_token(LINK, why="used", at=LINK.valid_until - SECOND)) == 1


def test_a_link_that_never_existed_is_not_spent_and_a_taken_one_not_issued():
    assert code_of(Refused, lambda: grants.end_token(None, why="used", at=NOW)) == "token.spent"
    assert code_of(Refused, lambda: grants.issue_token(LINK, LINK)) == "token.exists"
