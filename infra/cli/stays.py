"""`fenghuo people stay | tag`: where people will be, one by one or from a file, and their tags."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from domain import whereabouts
from domain.errors import InvalidInput
from domain.whereabouts import Stay
from infra.cli.common import As, DataDir, actor, decoded, with_stores
from infra.cli.output import AsJson, progress, show
from infra.stores import Stores

app = typer.Typer(help="Where people will be, and when. Kept sealed.", no_args_is_help=True)
Who = Annotated[str, typer.Argument(help="The person's id.", metavar="PERSON")]


class StayLine(Stay, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """One stay of a file. `stay_id` is the file's own, so that importing it again replaces and does not double."""

    person_id: str
    stay_id: str

    def stay(self) -> Stay:
        return Stay(**{name: getattr(self, name) for name in Stay.__struct_fields__})


@app.command()
def add(
    who: Who,
    country: Annotated[str, typer.Option(help="Two letters (ISO 3166).")],
    zone: Annotated[str, typer.Option(help="The time zone there, such as Europe/Rome.")],
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="The first day.")],
    to: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The last day.")],
    place: Annotated[str, typer.Option(help="In words.")] = "",
    lat: Annotated[float | None, typer.Option(help="Degrees north.", min=-90, max=90)] = None,
    lon: Annotated[float | None, typer.Option(help="Degrees east.", min=-180, max=180)] = None,
    stay_id: Annotated[str, typer.Option("--id", help="Replace the stay with this id.")] = "",
    person: As = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Notes a stay of a person."""
    stay = Stay(country=country, zone=zone, from_=_day(start), to=_day(to), place=place, lat=lat, lon=lon)

    async def act(stores: Stores) -> str:
        return (await stores.registry.record_stay(actor(person), who, stay, stay_id=stay_id or None)).id

    done = with_stores(data_dir, act)
    show({"stay": done}, as_json=as_json, text=lambda: f"Stay {done} of {who} is noted.")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON: a list of stays with person_id and stay_id.")],
    person: As = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Notes the stays of a file; those with an id that is known already take the earlier one's place."""
    lines = decoded(file, list[StayLine])
    for number, line in enumerate(lines, 1):  # all of them before the first is noted
        try:
            whereabouts.check(line)
        except InvalidInput as error:
            raise InvalidInput(error.code, f"{file}, stay {number}: {error}") from error

    async def act(stores: Stores) -> int:
        with progress("stays", len(lines)) as told:
            for done, line in enumerate(lines, 1):
                await stores.registry.record_stay(actor(person), line.person_id, line.stay(), stay_id=line.stay_id)
                told(done)
        return len(lines)

    count = with_stores(data_dir, act)
    show({"stays": count}, as_json=as_json, text=lambda: f"{count} stays are noted.")


@app.command()
def withdraw(
    who: Who,
    stay_id: Annotated[str, typer.Argument(help="The stay's id.", metavar="STAY")],
    person: As = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Takes a stay back."""

    async def act(stores: Stores) -> str:
        return (await stores.registry.withdraw_stay(actor(person), who, stay_id)).id

    done = with_stores(data_dir, act)
    show({"withdrawn": done}, as_json=as_json, text=lambda: f"Stay {done} is withdrawn.")


def tag(
    who: Who,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be given several times.")] = None,
    enterprise: Annotated[str, typer.Option(help="The id of their enterprise.")] = "",
    person: As = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Gives a person these tags and this enterprise in place of those they had."""

    async def act(stores: Stores) -> str:
        done = await stores.registry.tag(actor(person), who, tags=tuple(tags or ()), enterprise=enterprise)
        return done.id

    done = with_stores(data_dir, act)
    show({"tagged": done}, as_json=as_json, text=lambda: f"{done} is tagged.")


def _day(moment: datetime) -> date:
    return moment.date()
