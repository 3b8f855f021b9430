"""What a process keeps of grants, credentials, rules and the tree is never older than what the views show."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from api.commands import Actor
from api.registry import digest_of
from domain.errors import NotPermitted, NotSignedIn
from domain.grants import Action, GrantRole, TokenKind
from domain.people import Person, Role
from domain.rulepacks import standard
from domain.stations import Kind, Node
from infra.stores import Stores
from projections.kept import MOST, Kept

SETUP = Actor(person_id="system:setup", correlation_id="test")
OFFICER = Actor(person_id="officer", correlation_id="test")
BEARER = TokenKind.BEARER


def node(node_id: str, kind: Kind, parent: str | None) -> Node:
    return Node(
        node_id=node_id,
        kind=kind,
        parent=parent,
        name_zh=node_id,
        name_en=node_id,
        country="CN",
        lat=28.0,
        lon=120.7,
        zone="Asia/Shanghai",
    )


@pytest.fixture(params=["files", "postgresql"])
def pair(request, tmp_path):
    """Two processes of one installation, of which the first has registered an officer with a grant and a credential."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[tuple[Stores, Stores, str]]:
        async with Stores(tmp_path, database=database) as one, Stores(tmp_path, database=database) as two:
            registry = one.registry
            await registry.register_nodes([node("office", Kind.DUTY_OFFICE, None)], SETUP)
            await registry.adopt_rules(standard(), SETUP)
            await registry.give_grant(
                SETUP, person_id=SETUP.person_id, role=GrantRole.ADMINISTRATOR, node_id="office", bootstrap=True
            )
            await one.catch_up()
            officer = Person(
                person_id="officer", node_id="office", role=Role.DUTY_OFFICER, language="zh-CN", channels=()
            )
            await registry.register_people([(officer, {"name": "x"})], SETUP)
            given = await registry.give_grant(
                SETUP, person_id="officer", role=GrantRole.DUTY_OFFICER, node_id="office", bootstrap=True
            )
            await registry.issue_token("officer", BEARER, "secret", timedelta(days=1), SETUP)
            await one.catch_up()
            for stores in (one, two):
                stores.desk.allow(OFFICER, Action.WARNING_DRAFT, ["office"])
                assert stores.registry.token_of("secret", BEARER).person_id == "officer"
            yield one, two, given.id

    database = None
    with contextlib.ExitStack() as kept:
        if request.param == "postgresql":
            database = kept.enter_context(request.getfixturevalue("postgres").schema())
        yield opened


async def test_a_grant_that_one_process_revokes_allows_nothing_in_the_other(pair):
    async with pair() as (one, two, grant_id):
        await one.registry.revoke_grant(SETUP, grant_id, reason="left")
        await one.catch_up()
        for stores in (one, two):
            with pytest.raises(NotPermitted):
                stores.desk.allow(OFFICER, Action.WARNING_DRAFT, ["office"])


async def test_a_credential_that_one_process_withdraws_the_other_takes_no_more(pair):
    async with pair() as (one, two, _):
        await one.registry.revoke_token(digest_of("secret"), SETUP, reason="lost")
        await one.catch_up()
        for stores in (one, two):
            with pytest.raises(NotSignedIn):
                stores.registry.token_of("secret", BEARER)


async def test_a_node_that_one_process_registers_is_in_the_tree_of_the_other(pair):
    async with pair() as (one, two, _):
        assert two.desk.nodes_allowed("officer", Action.WARNING_DRAFT) == {"office"}
        await one.registry.register_nodes([node("ouhai", Kind.COUNTY, "office")], SETUP)
        await one.catch_up()
        assert two.desk.nodes_allowed("officer", Action.WARNING_DRAFT) == {"office", "ouhai"}


def test_no_more_is_kept_than_may_be():
    kept = Kept(1)
    for n in range(MOST + 1):
        kept.keep(kept.grants, str(n), ())
    assert kept.grants == {str(MOST): ()}
