"""`fenghuo rate`: how fast providers are asked. A running program takes it up within a second."""

from __future__ import annotations

from typing import Annotated

import typer

from api.rates import Rates
from domain.errors import NotFound
from domain.rates import Rate
from infra.cli.common import As, DataDir, actor, listed, settings, with_stores
from infra.cli.output import AsJson, Row, show, show_rows
from infra.cli.registry import OPERATOR
from infra.providers import names
from infra.stores import Stores

app = typer.Typer(help="How fast providers are asked, while the program runs.", no_args_is_help=True)


@app.command("set")
def set_(
    provider: Annotated[str, typer.Argument(help="The provider's name in the settings.")],
    per_s: Annotated[float, typer.Argument(help="Messages a second; text messages count by segments.")],
    burst: Annotated[int, typer.Option(help="How many may go at once after a pause.")] = 1,
    sender: Annotated[str, typer.Option(help="For this sender number of the provider alone.")] = "",
    person: As = OPERATOR,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Sets a rate, from now on and after a restart."""
    known = names(settings(data_dir=data_dir))
    if known and provider not in known:
        raise NotFound("provider.unknown", f"There is no provider {provider}.", f"There are: {', '.join(known)}.")

    async def act(stores: Stores) -> int:
        commands = Rates(stores.log, stores.views, stores.vault, stores.clock, stores.new_id)
        done = await commands.set(actor(person), provider, sender, Rate(per_s, burst), bootstrap=person == OPERATOR)
        return done.position

    position = with_stores(data_dir, act)
    done = {"provider": provider, "sender": sender, "per_s": per_s, "burst": burst, "position": position}
    whose = f"{provider}, {sender}" if sender else provider
    show(done, as_json=as_json, text=lambda: f"{whose}: {per_s:g} a second, {burst} at once.")


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The rates that were set; those of the settings hold where nothing was."""

    def line(row: Row) -> str:
        what = f"{row['provider']:<12}  {row['sender'] or 'all':<16}  {row['per_s']:g}/s  burst {row['burst']}"
        return f"{what}  {row['set_at']}  {row['set_by']}"

    rows = listed(data_dir, lambda views, db: views.rates.all(db))
    show_rows(rows, line, none="No rates were set.", as_json=as_json)
