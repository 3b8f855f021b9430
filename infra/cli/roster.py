"""`fenghuo roster`: who is on duty, the plan ahead, and taking the duty over."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from api.duty import RosterShown
from domain.errors import InvalidInput
from domain.roster import Shift
from infra.cli.common import As, DataDir, actor, decoded, with_stores
from infra.cli.log import HOME_ZONE
from infra.cli.output import AsJson, show
from infra.stores import Stores

app = typer.Typer(help="Who is the duty officer, when (值班表).", no_args_is_help=True)
NodeId = Annotated[str, typer.Argument(help="Which office or station.", metavar="NODE")]
TIME = "such as 2026-11-21T08:00 (Shanghai where no offset is given)"


class RosterFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan: from when until when it holds, and its shifts."""

    from_at: datetime
    to_at: datetime
    shifts: tuple[Shift, ...]


@app.command("set")
def set_roster(
    node_id: NodeId,
    file: Annotated[Path, typer.Argument(help='JSON: {"from_at", "to_at", "shifts": [{"person_id", "from_at", …}]}.')],
    person: As,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Plans a node's roster ahead; within the file's window it takes the place of what was planned."""
    plan = decoded(file, RosterFile)
    shifts = [msgspec.structs.replace(s, from_at=_aware(s.from_at), to_at=_aware(s.to_at)) for s in plan.shifts]

    async def act(stores: Stores) -> RosterShown:
        by = actor(person)
        await stores.duty.plan(by, node_id, from_at=_aware(plan.from_at), to_at=_aware(plan.to_at), shifts=shifts)
        await stores.catch_up()
        return stores.duty.shown(by, node_id, from_at=_aware(plan.from_at), to_at=_aware(plan.to_at))

    _print(with_stores(data_dir, act), as_json)


@app.command("show")
def show_roster(
    node_id: NodeId,
    person: As,
    at: Annotated[str, typer.Option("--at", help=f"At which moment, {TIME}; now, where none is named.")] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Says who is on duty at a moment, past or to come, the roster for a week from there, and its gaps."""
    moment = _moment(at) if at else None

    async def act(stores: Stores) -> RosterShown:
        return stores.duty.shown(actor(person), node_id, at=moment)

    _print(with_stores(data_dir, act), as_json)


@app.command("hand-over")
def hand_over(
    node_id: NodeId,
    person: As,
    note: Annotated[str, typer.Option("--note", help="What is open. It is kept sealed.")] = "",
    until: Annotated[str, typer.Option("--until", help=f"Until when, {TIME}; to the shift's end.")] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Takes a node's duty over, now: --as names the incoming officer, whose act it is."""
    end = _moment(until) if until else None

    async def act(stores: Stores) -> RosterShown:
        by = actor(person)
        await stores.duty.take_over(by, node_id, note=note, until=end)
        await stores.catch_up()
        return stores.duty.shown(by, node_id)

    _print(with_stores(data_dir, act), as_json)


def _print(shown: RosterShown, as_json: bool) -> None:
    value: dict[str, Any] = msgspec.to_builtins(shown)
    value["gaps"] = [{"from_at": begins, "to_at": ends} for begins, ends in value["gaps"]]

    def text() -> str:
        holder = shown.on_duty
        who = f"{holder.person_id} is on duty until {_said(holder.to_at)}" if holder else "nobody is on duty"
        lines = [f"{shown.node_id}: at {_said(shown.at)} {who}."]
        lines += [
            f"  {_said(t.from_at)} – {_said(t.to_at)}  {t.person_id}{'  (taken over)' if t.taken_over else ''}"
            for t in shown.turns
        ]
        lines += [f"  {_said(begins)} – {_said(ends)}  NOBODY" for begins, ends in shown.gaps]
        return "\n".join(lines)

    show(value, as_json=as_json, text=text)


def _said(at: datetime) -> str:
    return at.astimezone(HOME_ZONE).isoformat(sep=" ", timespec="minutes")


def _moment(said: str) -> datetime:
    try:
        return _aware(datetime.fromisoformat(said))
    except ValueError as error:
        raise InvalidInput("roster.at", f"{said} is not a time.", "Write 2026-11-21T08:00.") from error


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=HOME_ZONE)
