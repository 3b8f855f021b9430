"""`fenghuo dead`: messages of the Kafka lanes that were laid aside, and sending them on their way again."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from api.schemas import jsonable
from domain.errors import InvalidInput
from infra.cli.common import settings
from infra.cli.output import AsJson, show
from infra.kafka import dead
from infra.kafka.messages import Letter
from infra.kafka.settings import KafkaConfig

UNREADABLE = "This letter itself cannot be read."

app = typer.Typer(help="Messages that were laid aside on Kafka, and why.", no_args_is_help=True)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """What was laid aside, oldest first."""
    found = asyncio.run(dead.laid(_kafka()))
    rows = [_row(letter) for letter in found.letters] + [_odd(letter_id) for letter_id in found.unreadable]
    show(rows, as_json=as_json, text=lambda: _lines(found) or "Nothing was laid aside.")


@app.command()
def redrive(
    letters: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="As `dead list` names them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that lies there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sends them to their lanes again, once what was wrong is mended."""
    if bool(letters) == everything:
        raise InvalidInput("dead.which", "Name the letters, or all of them.", "fenghuo dead redrive ID, or --all")
    done = asyncio.run(dead.redrive(_kafka(), None if everything else letters))
    show(
        {"redriven": [_row(letter) for letter in done]},
        as_json=as_json,
        text=lambda: f"{len(done)} sent to their lanes again.",
    )


def _kafka() -> KafkaConfig:
    config = settings().kafka
    if config is None:
        raise InvalidInput("kafka.none", "There is no Kafka in the settings.", "Set kafka.bootstrap.")
    return config


def _row(letter: Letter) -> dict[str, Any]:
    return jsonable(
        {
            "id": letter.letter_id,
            "lane": letter.lane.value,
            "reason": letter.reason,
            "at": letter.at,
            "shard_id": letter.shard_id,
            "position": letter.position,
            "failures": letter.failures,
        }
    )


def _odd(letter_id: str) -> dict[str, Any]:
    fields: dict[str, Any] = dict.fromkeys(("lane", "at", "shard_id", "position", "failures"))
    return {"id": letter_id, "reason": UNREADABLE, **fields}


def _lines(found: dead.Laid) -> str:
    lines = [
        f"{letter.letter_id:<34}  {letter.lane.value:<8}  {letter.at:%Y-%m-%d %H:%M:%S}  {letter.reason}"
        for letter in found.letters
    ]
    return "\n".join(lines + [f"{letter_id:<34}  {'-':<8}  {'-':<19}  {UNREADABLE}" for letter_id in found.unreadable])
