"""`fenghuo feed`: whose publications are read, and what would be drafted from a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.feeds import forms
from domain.errors import InvalidInput
from domain.feeds import Feed, Form, Mapping
from domain.rulepacks import Level
from infra.cli.common import As, DataDir, actor, decoded, listed, read_file, with_stores
from infra.cli.output import AsJson, Row, show, show_rows
from infra.clock import SystemClock
from infra.stores import Stores

app = typer.Typer(help="Feeds of other authorities, whose items become drafts.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The feed's id.", metavar="ID")]
FormOption = Annotated[Form, typer.Option(help="How it is written.")]
MapOption = Annotated[
    Path | None, typer.Option("--mapping", help="Where the fields of JSON items stand: a JSON file; see docs/feeds.md.")
]
Levels = Annotated[
    list[str] | None, typer.Option("--map-level", help="A word of the source's and our level: WORD=red.")
]


@app.command("add")
def add_(
    feed_id: Id,
    url: Annotated[str, typer.Argument(help="Its address.")],
    form: FormOption,
    node: Annotated[str, typer.Option(help="Its drafts concern all below this node.")],
    title: Annotated[str, typer.Option(help="What it is called.")],
    person: As = "",
    language: Annotated[str, typer.Option(help="The language that it is written in.")] = "en",
    every: Annotated[int, typer.Option(help="Seconds between two readings.", min=30, max=86_400)] = 300,
    level: Annotated[Level, typer.Option(help="The level of drafts where the source says none of those mapped.")] = (
        Level.BLUE
    ),
    map_level: Levels = None,
    hours: Annotated[int, typer.Option(help="How long drafts are valid where the source does not say.")] = 24,
    mapping: MapOption = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Begins to read a feed. What is new in it becomes a draft for a person to release."""
    feed = Feed(
        feed_id=feed_id,
        url=url,
        form=form,
        node_id=node,
        title=title,
        language=language,
        every_s=every,
        level=level,
        levels=_levels(map_level or []),
        hours=hours,
        mapping=_mapping(mapping),
    )

    async def act(stores: Stores) -> str:
        return (await stores.feeds.add(actor(person), feed)).id

    done = with_stores(data_dir, act)
    show({"feed": done}, as_json=as_json, text=lambda: f"Feed {done} is read every {every} s.")


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The feeds that are read."""

    def line(row: Row) -> str:
        return f"{row['feed_id']}  {row['feed']['form']:<11}  {row['feed']['node_id']}  {row['feed']['url']}"

    show_rows(listed(data_dir, lambda views, db: views.feeds.rows(db)), line, none="No feeds.", as_json=as_json)


@app.command()
def remove(feed_id: Id, person: As = "", data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Reads it no more; drafts made from it stay."""

    async def act(stores: Stores) -> str:
        return (await stores.feeds.remove(actor(person), feed_id)).id

    done = with_stores(data_dir, act)
    show({"removed": done}, as_json=as_json, text=lambda: f"Feed {done} is read no more.")


@app.command("allow-release")
def allow_release(
    feed_id: Id,
    levels: Annotated[list[Level] | None, typer.Argument(help="Of these levels; of none, to end it.")] = None,
    person: As = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Lets its drafts of these levels go out by themselves. It takes another person than the one who added the feed."""
    wanted = levels or []

    async def act(stores: Stores) -> str:
        return (await stores.feeds.allow_release(actor(person), feed_id, wanted)).id

    done = with_stores(data_dir, act)
    show(
        {"feed": done, "levels": wanted},
        as_json=as_json,
        text=lambda: f"Feed {done} releases by itself: {', '.join(wanted) or 'nothing'}.",
    )


@app.command("try")
def try_(
    file: Annotated[Path, typer.Argument(help="What the feed gave, in a file.")],
    form: FormOption,
    level: Annotated[Level, typer.Option(help="As for add.")] = Level.BLUE,
    map_level: Levels = None,
    mapping: MapOption = None,
    as_json: AsJson = False,
) -> None:
    """Shows what would be drafted from a file, and drafts nothing."""
    feed = Feed(
        feed_id="try",
        url=f"https://{file.name}",
        form=form,
        node_id="try",
        title=file.name,
        level=level,
        levels=_levels(map_level or []),
        mapping=_mapping(mapping),
    )
    found = forms.entries(feed, read_file(file, 8 * 1024 * 1024), {}, SystemClock().now())
    rows = [
        {
            "key": entry.found.key,
            "level": entry.content.level.value if entry.content else "",
            "headline": entry.content.texts[0].headline if entry.content else "",
            "why": entry.found.why,
        }
        for entry in found
    ]

    def line(row: Row) -> str:
        return f"{row['level'] or '-':<6}  {row['headline'] or row['why']}"

    show_rows(rows, line, none="It holds no items.", as_json=as_json)


def _levels(pairs: list[str]) -> dict[str, Level]:
    found: dict[str, Level] = {}
    for pair in pairs:
        word, _, level = pair.rpartition("=")
        if not word or level not in set(Level):
            raise InvalidInput("feed.level", f"{pair} is not WORD=LEVEL.", f"LEVEL is one of {', '.join(Level)}.")
        found[word] = Level(level)
    return found


def _mapping(file: Path | None) -> Mapping:
    if file is None:
        return Mapping()
    return decoded(file, Mapping, 64 * 1024)
