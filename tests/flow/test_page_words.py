"""Refusals in the reader's language: whatever the modules behind the console may say is listed for translation."""

from __future__ import annotations

import ast
from pathlib import Path

from test_pages import extracted

import api
from domain import errors
from domain.errors import FenghuoError

SPEAKING = (  # the modules through which the console acts; `api/pages` besides
    "api/auth.py", "api/capmap.py", "api/commands.py", "api/desk.py", "api/duty.py", "api/preview.py", "api/reading.py",
    "domain/answers.py", "domain/content.py", "domain/roster.py", "domain/warnings.py",
)  # fmt: skip
ELSEWHERE = {  # what they say to others than the console
    "A correction names the warning that it corrects.",
    "A duty ends after it begins, within 400 days.",
    "A released warning is not revised.",
    "A roster ends after it begins, and covers at most 400 days.",
    "All of this roster is past; who was on duty then stays as it was.",
    "An idempotency key is 1 to 200 visible ASCII characters.",
    "Choose whom it concerns by nodes.",
    "Draft an update of it.",
    'If-Match looks like "v3".',
    "No bearer token was sent.",
    "One person is on duty at a time: end the one where the other begins.",
    "Only for a drill is it said that it goes over the real channels.",
    "Plan it in parts.",
    "Read it again, then decide.",
    "Say which: updates.",
    "Send Authorization: Bearer ….",
    "Send the ETag that you were given.",
    "The message draws no area.",
    "The span ends after it begins, and covers at most 400 days.",
    "There is no such message.",
    "There is no such person or warning.",
}
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, FenghuoError)}


def said_in(path: Path) -> set[str]:
    """The sentences of the errors that a module raises."""
    return {
        part.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {*ERRORS, "bad"}
        for part in node.args
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and " " in part.value
    }


def test_what_the_console_may_be_told_is_listed_for_translation() -> None:
    root = Path(api.__path__[0]).parent
    modules = [root / name for name in SPEAKING] + list((root / "api" / "pages").glob("*.py"))
    said = set[str]().union(*map(said_in, modules))
    assert said - ELSEWHERE - extracted()["console"] == set()
    assert ELSEWHERE - said == set()
