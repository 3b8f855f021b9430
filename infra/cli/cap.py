"""`fenghuo cap check`: says of CAP files whether Fenghuo would take them, and why not."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cap import Finding, Report, read
from api.cap.grammar import MAX_BYTES
from api.cap.notes import quote
from api.cap.values import format_time

app = typer.Typer(help="Common Alerting Protocol (CAP 1.2) files.", no_args_is_help=True)


@app.callback()
def cap() -> None:
    """Common Alerting Protocol (CAP 1.2) files."""  # a callback keeps `check` a command of its own


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="CAP files, feeds or envelopes.", metavar="FILE...")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array on standard output.")] = False,
) -> None:
    """Reads each FILE as CAP and reports its alerts, errors and warnings.

    Exit code 0 if every file is accepted, 1 if any is refused or unreadable, 2 if called wrongly.
    """
    refused = False
    if as_json:
        typer.echo("[", nl=False)
    for number, path in enumerate(files):
        entry = _entry(path)
        refused = refused or not entry["ok"]
        if as_json:  # written as it goes, so that many files need no more memory than one
            typer.echo((",\n" if number else "\n") + json.dumps(entry), nl=False)
        else:
            _say(entry)
    if as_json:
        typer.echo("\n]")
    if refused:
        raise typer.Exit(1)


def _entry(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            report = read(file.read(MAX_BYTES + 1))
    except OSError as fault:
        reason = os.strerror(fault.errno) if fault.errno else type(fault).__name__
        report = Report((), (Finding("cap.unreadable", "error", "", f"The file cannot be read: {reason}."),), ())
    return {
        # A name that is not UTF-8 could not be printed.
        "file": os.fsencode(path).decode("utf-8", "replace"),
        "ok": report.ok,
        "alerts": [
            {
                "identifier": alert.identifier,
                "sender": alert.sender,
                "sent": format_time(alert.sent),
                "msgType": alert.msg_type,
                "infos": len(alert.info),
            }
            for alert in report.alerts
        ],
        "errors": [_finding(finding) for finding in report.errors],
        "warnings": [_finding(finding) for finding in report.warnings],
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {"code": finding.code, "element": finding.element, "message": finding.message}


def _say(entry: dict[str, Any]) -> None:
    lines = [f"{'ok     ' if entry['ok'] else 'REFUSED'} {entry['file']}"]
    for alert in entry["alerts"]:
        # Quoted, because a hostile message could hold terminal commands.
        who = f"{quote(alert['sender'])} {quote(alert['identifier'])}"
        lines.append(f"  alert   {who} {alert['sent']} {alert['msgType']}, {alert['infos']} info")
    lines += [f"  error   {one['code']}: {one['message']}" for one in entry["errors"]]
    lines += [f"  warning {one['code']}: {one['message']}" for one in entry["warnings"]]
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo("\n".join(lines).encode(encoding, "backslashreplace").decode(encoding))
