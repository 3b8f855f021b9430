"""`fenghuo log`, `fenghuo views`, `fenghuo replay`: verify, look back, rebuild."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import typer

from api.events import public
from domain.errors import InvalidInput
from infra.cli.common import DataDir, settings, with_stores
from infra.cli.output import AsJson, progress, show
from infra.fsck import check_file, rebuilt, verify
from infra.stores import Stores

log_app = typer.Typer(help="The log itself: verify it, print it.", no_args_is_help=True)
views_app = typer.Typer(help="The views, which can be rebuilt from the log at any time.", no_args_is_help=True)
LAST = 2**63 - 1  # the highest position that a database can count to
HOME_ZONE = ZoneInfo("Asia/Shanghai")


@log_app.command("verify")
def verify_log(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Derives everything again and compares: proofs, events, streams, views. Exits 3 on a mismatch."""

    async def act(stores: Stores) -> Any:
        total = await stores.log.last_position()
        with progress("verifying", total) as told:
            return await asyncio.to_thread(verify, stores, told)

    read = settings(data_dir=data_dir)
    if read.database is None and (read.data_dir / "log.sqlite").is_file():
        check_file(read.data_dir)  # before anything else reads from it
    done = with_stores(data_dir, act)
    show(
        {"ok": True, **msgspec.to_builtins(done)},
        as_json=as_json,
        text=lambda: (
            f"The log is whole: {done.events} events in {done.streams} streams, {len(done.views)} views agree."
        ),
    )


@log_app.command("show")
def show_log(
    after: Annotated[int, typer.Option(help="Start after this position.", min=0, max=LAST)] = 0,
    limit: Annotated[int, typer.Option(help="How many events.", min=1, max=100_000)] = 50,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prints events in order; sealed fields stay sealed."""

    async def act(stores: Stores) -> list[dict[str, Any]]:
        return [public(r) for r in await stores.log.read(after, limit)]

    events = with_stores(data_dir, act)
    show(
        events,
        as_json=as_json,
        text=lambda: "\n".join(
            f"{e['position']:>8}  {e['metadata']['recorded_at']}  {e['topic']:<28}  {e['stream']}" for e in events
        ),
    )


@log_app.command("checkpoint")
def checkpoint(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Signs the log as it is and prints the signed head (C2SP tlog-checkpoint) with the key to check it by."""

    async def act(stores: Stores) -> dict[str, str | None]:
        await asyncio.to_thread(stores.prover.extend)
        return {"note": stores.prover.note(), "key": stores.prover.verifier.encode()}

    done = with_stores(data_dir, act)
    show(done, as_json=as_json, text=lambda: f"{done['note'] or ''}# {done['key']}")


@views_app.command("catch-up")
def catch_up(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Folds what the views lack: those of a new version beforehand, while the old one runs on with its own."""

    async def act(stores: Stores) -> int:
        return stores.views.position

    position = with_stores(data_dir, act)
    show({"position": position}, as_json=as_json, text=lambda: f"The views are at position {position}.")


@views_app.command("rebuild")
def rebuild(
    names: Annotated[list[str] | None, typer.Argument(help="Views to rebuild; all where none is named.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Builds views anew beside the old, switches, and says whether they came out the same."""

    async def act(stores: Stores) -> dict[str, Any]:
        _known(stores, names or [])
        before = stores.views.snapshot()
        total = await stores.log.last_position()
        with progress("rebuilding", total) as told:
            await asyncio.to_thread(stores.views.rebuild, stores.log.read_now, names or None, told)
        after = stores.views.snapshot()
        return {
            "views": names or stores.views.names(),
            # Beside a running program the log may have grown: then there is nothing to compare with.
            "identical": before == after if before[0] == after[0] else None,
            "position": after[0],
        }

    done = with_stores(data_dir, act)
    same = {True: "the same as before", False: "DIFFERENT from before", None: "the log grew meanwhile"}
    show(done, as_json=as_json, text=lambda: f"Rebuilt to position {done['position']}: {same[done['identical']]}.")
    if done["identical"] is False:
        raise typer.Exit(3)


def replay(
    at: Annotated[
        str,
        typer.Option(
            "--at", help="A log position, or a time such as 2026-11-21T08:13 (Shanghai where no offset is given)."
        ),
    ],
    view: Annotated[str, typer.Option("--view", help="Which view.")] = "warnings",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prints a view as it was at a moment, folded anew from the log."""

    async def act(stores: Stores) -> dict[str, Any]:
        _known(stores, [view])
        position = await asyncio.to_thread(position_at, stores, at)
        with progress("replaying", position) as told:
            then = await asyncio.to_thread(rebuilt, stores, position, told)
        try:
            with then.reading() as db:
                tables: dict[str, list[dict[str, Any]]] = {}
                for table, row in then.view(view).dump(db):
                    tables.setdefault(table, []).append(row)
        finally:
            then.close()
        return {"view": view, "position": position, "tables": tables}

    done = with_stores(data_dir, act)

    def text() -> str:
        lines = [f"{view} as of position {done['position']}"]
        for table, rows in done["tables"].items():
            lines.append(f"{table}: {len(rows)}")
            lines += [f"  {msgspec.json.encode(row).decode()}" for row in rows[:20]]
            if len(rows) > 20:
                lines.append(f"  … {len(rows) - 20} more; --json prints all")
        return "\n".join(lines)

    show(done, as_json=as_json, text=text)


def position_at(stores: Stores, at: str) -> int:
    """The last position at or before a moment. Raises InvalidInput for what is neither a position nor a time."""
    last = stores.log.last_position_now()
    if at.isdecimal() and len(at) < len(str(LAST)):
        return min(int(at), last)
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as error:
        raise InvalidInput(
            "replay.at", f"{at} is neither a position nor a time.", "Write 1200 or 2026-11-21T08:13."
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=HOME_ZONE)
    low, high = 0, last  # events are recorded in the order of their time, but for a clock that was set back
    while low < high:
        middle = (low + high + 1) // 2
        recorded_at = stores.log.recorded_at_now(middle - 1)
        if recorded_at is not None and recorded_at <= moment:
            low = middle
        else:
            high = middle - 1
    return low


def _known(stores: Stores, names: list[str]) -> None:
    for name in names:
        if name not in stores.views.names():
            raise InvalidInput(
                "view.unknown", f"There is no view {name}.", f"There are: {', '.join(stores.views.names())}."
            )
