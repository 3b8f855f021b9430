"""The live part of a warning's page as it stood at one log position, and the fragments that bring a browser to it.

A View is a snapshot: which rows a range covers is decided from it alone, so that a reader who returns with an old
position gets what it has not seen and nothing twice. Fragments are state: applying one again changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from api.pages import render
from api.pages.model import ConsoleSource, Help, Summary, TreeLine, WarningLine, Who

MANY_ROWS = 150
"""Above this the tree goes out whole: swapping rows one by one costs a browser the square of their number."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A warning's live part at `position`, as one permission scope sees it. `lines` by node, in the tree's order.

    `torn`: the log moved on while it was read, so that its pieces may already show more than `position` says.
    """

    who: Who
    language: str
    position: int
    warning: WarningLine
    summary: Summary
    help: Help
    lines: dict[str, TreeLine]
    parents: frozenset[str]
    pieces: dict[str, str]
    torn: bool


def read(source: ConsoleSource, who: Who, warning_id: str, language: str, before: View | None = None) -> View | None:
    """The view as it is now, from `before` and what changed since; None where the warning may not be seen (any more).

    The position is read first and the tree next: whatever the later reads show beyond it comes again, never never.
    """
    position = source.position()
    changed = source.tree(who, warning_id, language, since=before.position if before else 0)
    warning = source.warning(who, warning_id, language)
    if warning is None:
        return None
    summary = source.summary(who, warning_id)
    asked = source.help(who, warning_id, language)
    lines = {**(before.lines if before else {}), **{line.node_id: line for line in changed}}
    if before is None or any(line.node_id not in before.lines for line in changed):
        lines = {line.node_id: line for line in arranged(lines.values())}
    return View(
        who=who,
        language=language,
        position=max([position, *(line.position for line in changed)]),
        warning=warning,
        summary=summary,
        help=asked,
        lines=lines,
        parents=frozenset(line.parent for line in lines.values() if line.parent),
        pieces={
            "status": _piece("_status.html", language, warning=warning, who=who),
            "words": _piece("_words.html", language, warning=warning),
            "actions": _piece("_actions.html", language, warning=warning, who=who, problems={}),
            "preview": _piece("_preview_slot.html", language, warning=warning, who=who),
            "help": _piece("_help.html", language, help=asked, warning=warning, who=who),
            "summary": _piece("_summary.html", language, summary=summary),
        },
        torn=source.position() != position,
    )


def arranged(lines: Iterable[TreeLine]) -> list[TreeLine]:
    """Each node followed by all below it. A node whose parent is not among them (out of scope) stands as a root."""
    below: dict[str | None, list[TreeLine]] = {}
    everything = list(lines)
    known = {line.node_id for line in everything}
    for line in everything:
        below.setdefault(line.parent if line.parent in known else None, []).append(line)
    ordered: list[TreeLine] = []
    waiting = list(reversed(below.get(None, [])))
    while waiting:
        line = waiting.pop()
        ordered.append(line)
        waiting.extend(reversed(below.get(line.node_id, [])))
    return ordered


def step(before: View, after: View) -> str | None:
    """What takes a browser from `before` to `after`; None where nothing shows."""
    changed = [line for node_id, line in after.lines.items() if before.lines.get(node_id) != line]
    grown = any(line.node_id not in before.lines for line in changed)
    # After a torn view a browser may have joined whose page lacks what the view's pieces ran ahead with: say it again.
    again = _pieces_since(after, before.position) if before.torn else ()
    pieces = [html for name, html in after.pieces.items() if before.pieces[name] != html or name in again]
    return _frame(after, changed, pieces, whole=grown) if changed or pieces else None


def catch_up(view: View, since: int) -> str:
    """What takes a browser that saw everything up to `since` to `view`."""
    changed = [line for line in view.lines.values() if line.position > since]
    return _frame(view, changed, [view.pieces[name] for name in _pieces_since(view, since)], whole=since <= 0)


def _pieces_since(view: View, since: int) -> Collection[str]:
    """Which pieces may show what is not on a page made at `since`. Where the warning did not change, its forms are left
    alone: somebody may be typing a reason."""
    return view.pieces if view.warning.position > since else ("help", "summary")


def _frame(view: View, changed: Sequence[TreeLine], pieces: Sequence[str], *, whole: bool) -> str:
    whole = whole or len(changed) > MANY_ROWS
    rows = list(view.lines.values()) if whole else changed
    if whole or changed:
        tree = _piece("_tree.html", view.language, rows=rows, parents=view.parents, whole=whole)
        return "\n".join([*pieces, tree])
    return "\n".join(pieces)


def _piece(name: str, language: str, **values: Any) -> str:
    return render.page(name, language, oob=True, **values)
