"""`fenghuo warning`: draft, import, list, show, release, cancel, export, from the command line of the machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from pydantic import ValidationError

from api import capmap
from api.preview import preview as previewed
from api.preview_shapes import Preview
from api.schemas import WarningIn, jsonable
from domain.errors import InvalidInput, NotFound
from infra.cli.common import As, DataDir, actor, listed, read_file, settings, with_stores
from infra.cli.output import AsJson, Row, show, show_rows, write
from infra.cli.preview import preview_text
from infra.stores import Stores
from notifiers.links import Links

app = typer.Typer(help="Warnings: draft, import, release, cancel, export.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="The warning's id.", metavar="ID")]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CAP 1.2 file.")],
    person: As = "",
    node: Annotated[
        str, typer.Option(help="Whom it concerns: all below this node; the duty office where none is named.")
    ] = "",
    area: Annotated[bool, typer.Option("--area", help="Of these, tell those who are in the area of the file.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Drafts from a CAP file. Importing the same message again is the same draft."""
    data = read_file(file)

    async def act(stores: Stores) -> str:
        alert = capmap.one_alert(data)
        content, warning_id = capmap.content_of(alert, data, target=node or _top(stores))
        if area:
            content = capmap.to_its_area(content)
        return (await stores.desk.draft(actor(person), content, warning_id=warning_id)).id

    _done(with_stores(data_dir, act), "drafted", as_json)


@app.command()
def draft(
    file: Annotated[Path, typer.Argument(help="The draft as JSON, in the form of POST /v1/warnings.")],
    person: As = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Drafts from a JSON file."""
    try:
        body = WarningIn.model_validate_json(read_file(file, 4 * 1024 * 1024))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise InvalidInput("draft.invalid", f"{file}: {at or 'the file'}: {first['msg']}.") from None

    async def act(stores: Stores) -> str:
        done = await stores.desk.draft(actor(person), body.content(), updates=body.updates, correction=body.correction)
        return done.id

    _done(with_stores(data_dir, act), "drafted", as_json)


@app.command()
def release(
    warning_id: Id,
    person: As = "",
    break_glass: Annotated[bool, typer.Option("--break-glass", help="Release alone; needs --reason.")] = False,
    real_channels: Annotated[
        bool, typer.Option("--real-channels", help="Send a drill by the real providers; needs --reason.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why there is no second person, or why a drill reaches people.")] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Lets a draft go out: as the second person, or by breaking the glass."""

    async def act(stores: Stores) -> str:
        done = await stores.desk.release(
            actor(person), warning_id, break_glass=break_glass, reason=reason, real_channels=real_channels
        )
        return done.id

    _done(with_stores(data_dir, act), "released", as_json)


@app.command()
def cancel(
    warning_id: Id,
    reason: Annotated[str, typer.Option(help="Why it is withdrawn.")],
    person: As = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Withdraws a warning; those whom it reached are told."""

    async def act(stores: Stores) -> str:
        return (await stores.desk.cancel(actor(person), warning_id, reason=reason)).id

    _done(with_stores(data_dir, act), "cancelled", as_json)


@app.command()
def preview(warning_id: Id, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """What the release of a draft would do: recipients, cost, words, the difference to the last issue."""

    async def act(stores: Stores) -> Preview:
        setting = settings(data_dir=data_dir)
        links = Links(setting.reached_at(), stores.vault.secret("links"))
        now = stores.clock.now()
        pack = stores.desk.rules(now)
        return await asyncio.to_thread(
            previewed, stores.views, stores.vault, links, setting.prices.table(), pack, warning_id, now
        )

    done = with_stores(data_dir, act)
    show(done.model_dump(mode="json"), as_json=as_json, text=lambda: preview_text(done))


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The latest 200 warnings, newest first."""

    def line(row: Row) -> str:
        headline = row["content"]["texts"][0]["headline"]
        return f"{row['warning_id']}  {row['status']:<9}  {row['level']:<6}  {headline}"

    rows = listed(data_dir, lambda views, db: views.warnings.page(db, before=None, limit=200))
    show_rows(rows, line, none="No warnings.", as_json=as_json)


@app.command("show")
def show_(warning_id: Id, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """One warning, and how far it came."""

    async def act(stores: Stores) -> dict[str, Any]:
        row = _row(stores, warning_id)
        with stores.views.reading() as db:
            return {
                **jsonable(row),
                "reached": stores.views.tree.totals(db, warning_id),
                "deliveries": [
                    {"purpose": p, "channel": c, "outcome": o, "count": n}
                    for p, c, o, n in stores.views.deliveries.counts(db, warning_id)
                ],
            }

    done = with_stores(data_dir, act)
    show(done, as_json=as_json, text=lambda: msgspec.json.format(msgspec.json.encode(done)).decode())


@app.command()
def export(
    warning_id: Id,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Writes a warning as CAP 1.2."""

    async def act(stores: Stores) -> bytes:
        row = _row(stores, warning_id)
        parent = _row(stores, row["updates"]) if row["updates"] else None
        return await asyncio.to_thread(capmap.cap_of, row, sender=capmap.SENDER, parent=parent)

    data = with_stores(data_dir, act)
    if output is None:
        write(data)
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise InvalidInput("file.unwritable", f"{output} cannot be written: {error.strerror}.") from error


def _row(stores: Stores, warning_id: str) -> dict[str, Any]:
    with stores.views.reading() as db:
        row = stores.views.warnings.one(db, warning_id)
    if row is None:
        raise NotFound("warning.unknown", f"There is no warning {warning_id}.", "fenghuo warning list shows them.")
    return row


def _top(stores: Stores) -> str:
    with stores.views.reading() as db:
        for node in stores.views.directory.hierarchy(db).nodes.values():
            if node.parent is None:
                return node.node_id
    raise NotFound("node.none", "No hierarchy is loaded.", "Load one: fenghuo hierarchy load FILE.")


def _done(warning_id: str, what: str, as_json: bool) -> None:
    show({"id": warning_id, "done": what}, as_json=as_json, text=lambda: f"{warning_id} {what}")
