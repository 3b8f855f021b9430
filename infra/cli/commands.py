"""The commands of `fenghuo`, and where each lies. A module is loaded once its command is called: one that prints a
version or finds a wrong word need not wait for what the whole program is made of.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from domain.errors import InvalidInput


class Place(NamedTuple):
    """The module below `infra.cli` and the name in it: of a function, or of a group of commands."""

    module: str
    name: str
    help: str  # as the command says it itself, held in step by tests/flow/test_cli_commands.py


HALVES = re.compile("[\ud800-\udfff]")  # what Python makes of bytes that are no UTF-8
HELP = {"help_option_names": ["-h", "--help"]}
PLACES = {
    "demo": Place(
        "demo",
        "demo",
        "Runs one warning end to end over real sockets: draft, release, fan-out, answers, escalation, cancel, replay.",
    ),
    "init": Place(
        "registry", "init", "Makes the data folder with its log, vault and views, and adopts the default rules."
    ),
    "all": Place(
        "serve",
        "everything",
        "Runs everything in one process: the API and the console, planning, sending, chasing, proving.",
    ),
    "serve": Place("serve", "serve", "Serves the API and the console; other processes do the work. As many as wanted."),
    "project": Place("serve", "project", "Folds the views and signs the log. One is active, and others stand by."),
    "relay": Place(
        "serve", "relay", "Plans, chases silence, climbs ladders and reads feeds. One is active, and others stand by."
    ),
    "work": Place(
        "serve",
        "work",
        "Sends what was planned. As many as wanted, each with a name of its own: what it began it goes on with.",
    ),
    "status": Place(
        "status",
        "status",
        "Prints positions, lag, lanes, silence, timers, proof and room on the disk. Changes nothing.",
    ),
    "self-test": Place(
        "canary",
        "self_test",
        "Sends a test message through every configured channel and waits for its receipt. A running program sends it.",
    ),
    "warning": Place("warning", "app", "Warnings: draft, import, release, cancel, export."),
    "audience": Place(
        "audience", "audience", "Counts who an audience is: by node, channel, language and country. Nothing is sent."
    ),
    "drill": Place(
        "drill",
        "drill",
        "Issues a drill, waits for stations to acknowledge, prints the time to 50, 90 and 99 % of them.",
    ),
    "cap": Place("cap", "app", "Common Alerting Protocol (CAP 1.2) files."),
    "feed": Place("feed", "app", "Feeds of other authorities, whose items become drafts."),
    "hierarchy": Place("registry", "hierarchy_app", "The tree of offices and stations."),
    "people": Place("registry", "people_app", "People: staff, citizens, enterprise contacts."),
    "roster": Place("roster", "app", "Who is the duty officer, when (值班表)."),
    "grant": Place("registry", "grant_app", "Who may do what, where."),
    "token": Place("registry", "token_app", "Credentials: API tokens and one-time login links."),
    "reach": Place("reach", "app", "Who can be reached, and who cannot."),
    "rate": Place("rate", "app", "How fast providers are asked, while the program runs."),
    "log": Place("log", "log_app", "The log itself: verify it, print it."),
    "replay": Place("log", "replay", "Prints a view as it was at a moment, folded anew from the log."),
    "views": Place("log", "views_app", "The views, which can be rebuilt from the log at any time."),
    "migrate": Place(
        "database",
        "migrate",
        "Makes the schema on PostgreSQL (FENGHUO_DATABASE_URL) or brings it up to date. May be run again at any time.",
    ),
    "copy": Place(
        "database",
        "copy",
        "Copies log, vault and checkpoints to an empty target; the views are folded anew there. Stop what runs first.",
    ),
    "dead": Place("dead", "app", "Messages that were laid aside on Kafka, and why."),
}


@cache
def loaded(name: str) -> Any:
    """The command itself."""
    place = PLACES[name]
    found = getattr(import_module(f"infra.cli.{place.module}"), place.name)
    if isinstance(found, typer.Typer):
        found.info.name = name
        made: Any = typer.main.get_group(found)
    else:
        app = typer.Typer(add_completion=False)
        app.command(name)(found)
        made = typer.main.get_command(app)
    made.context_settings |= HELP
    _legible(made)
    return made


def _legible(command: Any) -> None:
    """Has a command refuse words that are no UTF-8, which nothing could keep or print. Names of files may be."""
    for below in getattr(command, "commands", {}).values():
        _legible(below)
    act = command.callback
    if act is None:
        return

    def checked(**values: Any) -> Any:
        for param in command.params:
            given = values.get(param.name)
            words = given if isinstance(given, list) else [given]
            if any(isinstance(word, str) and HALVES.search(word) for word in words):
                raise InvalidInput("cli.utf8", f"What is given for {param.get_error_hint()} is not UTF-8.")
        return act(**values)

    command.callback = checked


class Commands(TyperGroup):
    """Shows all commands by what the table says of them, and loads the one that is called."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = {name: TyperCommand(name, help=place.help) for name, place in PLACES.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """As TyperGroup; the command is the loaded one."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else loaded(name), rest
