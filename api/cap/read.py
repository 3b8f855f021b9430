"""Reads CAP messages from bytes: a bare alert, or alerts inside feeds and envelopes. Never raises on bad input."""

from api.cap import grammar
from api.cap.grammar import CAP_VERSIONS, MAX_ALERTS, MAX_AREAS, MAX_INFOS, MAX_POINTS
from api.cap.model import Alert, Report
from api.cap.notes import Notes, Refused, quote
from api.cap.rules import check
from api.cap.source import Node, grow


def read(data: bytes) -> Report:
    """The CAP alerts in a file, with all errors and warnings (CAP 1.2 section 3; codes: api/cap/rules.py).

    Alerts are found at any depth, so Atom and RSS feeds, EDXL-DE and plain `alerts` envelopes are read too. Size,
    depth and counts are limited (api/cap/grammar.py). Raises nothing for any bytes.
    """
    notes = Notes()
    alerts: list[Alert] = []
    try:
        root = grow(data, notes)
        found = _alerts(root)
        if not found:
            raise _none(root)
        if len(found) > MAX_ALERTS:
            raise Refused("cap.limit", f"The file has {len(found)} alerts; at most {MAX_ALERTS} are read.")
        if found[0] is not root:
            what = f"The file is a <{quote(root.name)[1:-1]}> around {len(found)} alert element(s), not a CAP message."
            notes.warn("cap.wrapper", root.name, what)
        for number, node in enumerate(found, 1):
            path = "alert" if len(found) == 1 else f"alert[{number}]"
            alert = _alert(node, path, notes)
            if alert is not None:
                alerts.append(alert)
    except Refused as refused:
        notes.errors.append(refused.finding)
    return Report(tuple(alerts), tuple(notes.errors), tuple(notes.warnings))


def _alerts(root: Node) -> list[Node]:
    """The outermost elements named alert, in document order."""
    found: list[Node] = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.name == "alert":
            found.append(node)
        else:
            waiting.extend(reversed(node.children))
    return found


def _none(root: Node) -> Refused:
    what = f"The file is a <{quote(root.name)[1:-1]}> without any CAP alert element."
    if root.name in ("feed", "rss", "RDF"):
        what = f"{what[:-1]}; if it links to messages, those are the ones to read."
    return Refused("cap.no_alert", what, root.name)


def _alert(node: Node, path: str, notes: Notes) -> Alert | None:
    if node.namespace not in CAP_VERSIONS:
        where = f"in the namespace {quote(node.namespace)}" if node.namespace else "in no namespace"
        notes.error("cap.namespace", path, f"{path} is {where}, but {quote(grammar.CAP_1_2)} is expected.")
        return None
    infos = [child for child in node.children if child.name == "info"]
    areas = sum(child.name == "area" for info in infos for child in info.children)
    if len(infos) > MAX_INFOS or areas > MAX_AREAS:
        what = f"{path} has {len(infos)} infos and {areas} areas; at most {MAX_INFOS} and {MAX_AREAS} are read."
        notes.error("cap.limit", path, what)
        return None
    # Counted by their commas, because parsing millions of points to count them is what the limit is against.
    points = sum(below.text.count(",") for below in node.walk() if below.name == "polygon")
    if points > MAX_POINTS:
        notes.error("cap.limit", path, f"{path} has {points} polygon points; at most {MAX_POINTS} are read.")
        return None
    return check(node, path, notes)
