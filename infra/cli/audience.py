"""`fenghuo audience`: how many people an audience has, before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from api import audience as audiences
from api.audience import Counts
from domain.content import Target
from domain.errors import InvalidInput, NotFound
from domain.grants import Action
from infra.cli.common import As, DataDir, actor, read_file, with_stores
from infra.cli.output import AsJson, show
from infra.stores import Stores

SHOWN = 20  # nodes and languages of a kind that are listed for people; JSON has all


def audience(
    file: Annotated[Path, typer.Argument(help="JSON: an audience, as a warning's target has it.")],
    node: Annotated[
        list[str] | None, typer.Option(help="All below this node; the duty office where none is named.")
    ] = None,
    person: As = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Counts who an audience is: by node, channel, language and country. Nothing is sent."""
    try:
        given: Any = msgspec.json.decode(read_file(file, 4 * 1024 * 1024))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("file.form", f"{file} is not JSON: {error}.") from error
    expression = audiences.expression_of(given)

    async def act(stores: Stores) -> Counts:
        with stores.views.reading() as db:
            nodes = stores.views.directory.hierarchy(db).nodes
        tops = tuple(node or [n.node_id for n in nodes.values() if n.parent is None][:1])
        if not tops:
            raise NotFound("node.none", "No hierarchy is loaded.", "Load one: fenghuo hierarchy load FILE.")
        stores.desk.allow(actor(person), Action.WARNING_DRAFT, tops)
        target = Target(nodes=tops, audience=expression)
        return audiences.count(stores.views, stores.vault, target, stores.clock.now())

    found = with_stores(data_dir, act)
    show(msgspec.to_builtins(found), as_json=as_json, text=lambda: _words(found))


def _words(found: Counts) -> str:
    lines = [
        f"{found.people} people at {len(found.by_node)} nodes, {found.unreachable} of them without a channel;"
        f" {found.staff} staff of {len(found.nodes)} nodes. As of position {found.as_of}."
    ]
    for title, counts in (
        ("channel", found.by_channel),
        ("language", found.by_language),
        ("country", found.by_country),
        ("node", found.by_node),
    ):
        most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN]
        lines += [f"{title:<9} {name:<24} {n}" for name, n in most]
    return "\n".join(lines)
