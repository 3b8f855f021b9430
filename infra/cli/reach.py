"""`fenghuo reach` and `fenghuo reach test`: who cannot be told, and messages that find out."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from domain.people import Channel
from domain.reach import UNTESTED_DAYS, ReachTestOrdered
from infra.cli.common import As, DataDir, actor, with_stores
from infra.cli.output import AsJson, drawn, show
from infra.stores import Stores
from projections.reach import Audit

app = typer.Typer(help="Who can be reached, and who cannot.", invoke_without_command=True)

Node = Annotated[str | None, typer.Option("--node", help="This node and all below it; every node where none is named.")]


@app.callback()
def reach(
    context: typer.Context,
    node: Node = None,
    days: Annotated[int, typer.Option(help="Untested: no receipt for so many days.", min=1, max=3650)] = UNTESTED_DAYS,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prints people without a working channel, stations without duty contact or deputy, untested contact points."""
    if context.invoked_subcommand is not None:
        return

    async def act(stores: Stores) -> Audit:
        return stores.reachability.audit(stores.reachability.subtree(node), days)

    found = with_stores(data_dir, act)
    total = found.total
    lacking = f"{total.without_contact} stations without duty contact, {total.without_deputy} without deputy"
    show(found, as_json=as_json, text=lambda: f"{drawn(_table(found))}\n{lacking}")


def _table(found: Audit) -> Table:
    total = found.total
    table = Table(
        title=f"触达 / Reach: {total.people} people as of position {found.position}",
        caption=f"untested: no receipt for {found.days} days; --json names the people",
    )
    table.add_column("node")
    for heading in ("people", "unreachable", "dead points", "untested"):
        table.add_column(heading, justify="right")
    table.add_column("missing")
    for node in found.nodes:
        if not node.below.findings:
            continue
        missing = [word for word, lacks in (("duty contact", node.no_contact), ("deputy", node.no_deputy)) if lacks]
        figures = [node.below.people, node.below.unreachable, node.below.dead, node.below.untested]
        name = f"{'  ' * node.depth}{node.name_zh} {node.name_en}"
        table.add_row(name, *(str(figure) for figure in figures), ", ".join(missing))
    below = [total.people, total.unreachable, total.dead, total.untested]
    table.add_section()
    table.add_row("all", *(str(figure) for figure in below), "")
    return table


@app.command("test")
def test(
    node: Annotated[str, typer.Option("--node", help="This node and all below it.")],
    person: As,
    channel: Annotated[Channel | None, typer.Option("--channel", help="This channel alone.")] = None,
    untested: Annotated[
        int, typer.Option("--untested", help="What had no receipt for so many days.", min=1, max=3650)
    ] = UNTESTED_DAYS,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Sends test messages, marked as such, to contact points that were not heard of. A running `serve` sends them."""

    async def act(stores: Stores) -> ReachTestOrdered | None:
        _, ordered = await stores.reachability.order_test(
            actor(person), node_id=node, channel=channel, untested_days=untested
        )
        return ordered

    ordered = with_stores(data_dir, act)
    value: dict[str, Any] = {"test": None, "points": 0, "left": 0}
    if ordered is not None:
        value = {"test": ordered.test_id, "points": ordered.points, "left": ordered.left}
    said = "Nothing to test: every contact point was heard of, or tested, lately."
    if ordered is not None:
        said = f"Test {ordered.test_id}: {ordered.points} contact points, {ordered.left} left for another."
    show(msgspec.to_builtins(value), as_json=as_json, text=lambda: said)
