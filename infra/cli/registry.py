"""`fenghuo init | hierarchy | people | grant | token`: what an installation needs before its first warning."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from api.commands import Actor
from domain.errors import InvalidInput
from domain.grants import GrantRole, TokenKind
from domain.people import Channel, Person, Role
from domain.rulepacks import standard
from domain.stations import Node
from infra.cli import stays
from infra.cli.common import As, DataDir, actor, correlation, decoded, settings, with_stores
from infra.cli.output import AsJson, progress, show
from infra.stores import Stores

hierarchy_app = typer.Typer(help="The tree of offices and stations.", no_args_is_help=True)
people_app = typer.Typer(help="People: staff, citizens, enterprise contacts.", no_args_is_help=True)
grant_app = typer.Typer(help="Who may do what, where.", no_args_is_help=True)
token_app = typer.Typer(help="Credentials: API tokens and one-time login links.", no_args_is_help=True)
people_app.add_typer(stays.app, name="stay")
people_app.command("tag")(stays.tag)

OPERATOR = "system:operator"
"""Who can run commands on the machine itself may give the first grants."""


def init(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Makes the data folder with its log, vault and views, and adopts the default rules."""
    limit = settings(data_dir=data_dir).ack_limit_s

    async def act(stores: Stores) -> str:
        await stores.registry.adopt_standard(standard(limit), _operator())
        await stores.catch_up()
        return stores.desk.rules(stores.clock.now()).rule_pack_id

    done = with_stores(data_dir, act, must_exist=False)
    show({"rule_pack": done}, as_json=as_json, text=lambda: f"Ready; the rules in force are {done}.")


@hierarchy_app.command("load")
def load_hierarchy(
    file: Annotated[Path, typer.Argument(help="JSON: a list of nodes, parents before children.")],
    person: As = OPERATOR,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Registers the nodes of a file; those that are there already are left as they are."""
    nodes = decoded(file, list[Node])

    async def act(stores: Stores) -> int:
        return await stores.registry.register_nodes(nodes, actor(person))

    new = with_stores(data_dir, act)
    show({"nodes": len(nodes), "new": new}, as_json=as_json, text=lambda: f"{new} of {len(nodes)} nodes are new.")


class PersonLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person of a file: what the log may know, and `personal`, which is sealed."""

    person_id: str
    node_id: str
    role: Role
    language: str
    channels: tuple[Channel, ...]
    personal: dict[str, Any]
    tags: tuple[str, ...] = ()
    enterprise: str = ""

    def split(self) -> tuple[Person, dict[str, Any]]:
        person = Person(
            person_id=self.person_id,
            node_id=self.node_id,
            role=self.role,
            language=self.language,
            channels=self.channels,
            tags=self.tags,
            enterprise=self.enterprise,
        )
        return person, self.personal


@people_app.command("load")
def load_people(
    file: Annotated[Path, typer.Argument(help="JSON: a list of people.")],
    person: As,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Registers the people of a file. Their names and addresses are sealed before they are stored."""
    lines = decoded(file, list[PersonLine])
    for person_id, times in Counter(line.person_id for line in lines).items():
        if times > 1:
            raise InvalidInput(
                "person.twice", f"{person_id} stands in {file} {times} times.", "Keep one of these lines."
            )

    def split() -> Iterator[tuple[Person, dict[str, Any]]]:
        for line in lines:
            yield line.split()

    async def act(stores: Stores) -> int:
        with progress("people", len(lines)) as told:
            return await stores.registry.register_people(split(), actor(person), told)

    count = with_stores(data_dir, act)
    show({"people": count}, as_json=as_json, text=lambda: f"{count} people are registered.")


@people_app.command("forget")
def forget(
    person_id: Annotated[str, typer.Argument(help="Who is to be forgotten.")],
    person: As,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Destroys a person's key: what is sealed of them can never be opened again. The log stays whole."""

    async def act(stores: Stores) -> str:
        return (await stores.registry.forget_person(person_id, actor(person))).id

    done = with_stores(data_dir, act)
    show({"forgotten": done}, as_json=as_json, text=lambda: f"{done} is forgotten.")


@grant_app.command("give")
def give(
    person_id: Annotated[str, typer.Argument(help="Who gets it.", metavar="PERSON")],
    role: Annotated[GrantRole, typer.Argument(help="As what.")],
    node_id: Annotated[str, typer.Argument(help="Over this node and all below it.", metavar="NODE")],
    person: As = OPERATOR,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Gives a role over a subtree."""

    async def act(stores: Stores) -> str:
        done = await stores.registry.give_grant(
            actor(person), person_id=person_id, role=role, node_id=node_id, bootstrap=person == OPERATOR
        )
        return done.id

    grant_id = with_stores(data_dir, act)
    show({"grant": grant_id}, as_json=as_json, text=lambda: f"Grant {grant_id}: {person_id} is {role} over {node_id}.")


@grant_app.command("revoke")
def revoke(
    grant_id: Annotated[str, typer.Argument(help="Which grant.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    person: As,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Takes a grant back, from now on."""

    async def act(stores: Stores) -> str:
        return (await stores.registry.revoke_grant(actor(person), grant_id, reason=reason)).id

    done = with_stores(data_dir, act)
    show({"revoked": done}, as_json=as_json, text=lambda: f"Grant {done} is revoked.")


@token_app.command("issue")
def issue(
    person_id: Annotated[str, typer.Argument(help="Whose it is.", metavar="PERSON")],
    days: Annotated[int, typer.Option(help="How long it holds.", min=1, max=3650)] = 90,
    grant: Annotated[str | None, typer.Option(help="Carry this one grant alone.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Makes a bearer token for the API. It is shown once; the log keeps its SHA-256 alone."""
    secret = secrets.token_urlsafe(32)

    async def act(stores: Stores) -> str:
        lasts = timedelta(days=days)
        done = await stores.registry.issue_token(person_id, TokenKind.BEARER, secret, lasts, _operator(), grant)
        return done.id

    digest = with_stores(data_dir, act)
    show({"token": secret, "digest": digest}, as_json=as_json, text=lambda: secret)


@token_app.command("revoke")
def revoke_token(
    digest: Annotated[str, typer.Argument(help="The token's SHA-256: its `digest` when it was issued, or in the log.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Withdraws a token, a session or a login link, at once."""

    async def act(stores: Stores) -> str:
        return (await stores.registry.revoke_token(digest, _operator(), reason=reason)).id

    done = with_stores(data_dir, act)
    show({"revoked": done}, as_json=as_json, text=lambda: f"Token {done[:12]}… is revoked.")


@token_app.command("login-link")
def login_link(
    person_id: Annotated[str, typer.Argument(help="Who signs in with it.", metavar="PERSON")],
    minutes: Annotated[int, typer.Option(help="How long it holds.", min=1, max=1440)] = 15,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Makes a link that signs one person in to the console, once."""
    secret = secrets.token_urlsafe(32)
    url = f"{settings(data_dir=data_dir).reached_at()}/login/{secret}"

    async def act(stores: Stores) -> None:
        await stores.registry.issue_token(
            person_id, TokenKind.LOGIN_LINK, secret, timedelta(minutes=minutes), _operator()
        )

    with_stores(data_dir, act)
    show({"url": url}, as_json=as_json, text=lambda: url)


def _operator() -> Actor:
    return Actor(person_id=OPERATOR, correlation_id=correlation())
