"""What a feed's bytes say: CAP messages or an index of them, Atom, RSS, or a JSON list; each item as a possible draft.

Sources: CAP 1.2 (OASIS), Atom (RFC 4287), RSS 2.0. Everything read here is a stranger's word: sizes and counts are
limited, and an item that cannot be drafted from says why instead of stopping the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin
from xml.etree.ElementTree import Element

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from api import capmap
from api.cap import Alert, read
from api.cap.notes import Notes, Refused
from api.cap.source import decode
from api.cap.values import format_time
from domain.content import Area, ContactCard, Content, Source, Target, Text, check_content
from domain.errors import InvalidInput
from domain.feeds import MOST_ITEMS, Feed, Form, Found
from domain.ids import cap_warning_id
from domain.rulepacks import Level

LONGEST_TITLE = 300  # characters
LONGEST_TEXT = 5_000
MOST_LINKS = 500  # messages that an index may lead to in one reading
_CAP_TYPES = ("application/cap+xml", "application/emergency+xml")


class Entry(msgspec.Struct, frozen=True):
    """An item of a reading, and the draft that it would make; None where it makes none."""

    found: Found
    content: Content | None


def links(feed: Feed, data: bytes) -> list[str]:
    """The messages that an index of CAP leads to, absolute; none where the file holds the messages themselves.

    Raises InvalidInput where it is neither.
    """
    report = read(data)
    if report.alerts:
        return []
    if any(error.code != "cap.no_alert" for error in report.errors):
        raise InvalidInput(report.errors[0].code, report.errors[0].message, "Ask its publisher.")
    found: list[str] = []
    for item in _items(_root(data)):
        typed = [_attribute(e, "href") for e in _named(item, "link") if e.get("type", "") in _CAP_TYPES]
        plain = [_attribute(e, "href") or (e.text or "").strip() for e in _named(item, "link")]
        if url := next((u for u in (*typed, *plain) if u), ""):
            found.append(urljoin(feed.url, url))
    return list(dict.fromkeys(found))[:MOST_LINKS]


def entries(feed: Feed, data: bytes, linked: Mapping[str, bytes], now: datetime) -> list[Entry]:
    """The items of a reading. `linked` are the messages that `links` named. Raises InvalidInput for a broken file."""
    match feed.form:
        case Form.CAP:
            return list(_cap(feed, data, linked))
        case Form.SYNDICATION:
            return [_entry(feed, fields, now) for fields in map(_syndicated, _items(_root(data))) if fields["key"]]
    return list(_json(feed, data, now))


# CAP -----------------------------------------------------------------------------------------------------------------


def _cap(feed: Feed, data: bytes, linked: Mapping[str, bytes]) -> Iterator[Entry]:
    for url, message in linked.items() or [("", data)]:
        report = read(message)
        if not report.alerts:
            why = report.errors[0].message if report.errors else "It holds no alert."
            yield Entry(Found(key=url or feed.url, fingerprint=_hash(message), why=why), None)
        for alert in report.alerts:
            yield _message(feed, alert, message)


def _message(feed: Feed, alert: Alert, data: bytes) -> Entry:
    def warning_id(sender: str, identifier: str, sent: datetime) -> str:
        return cap_warning_id(sender, identifier, format_time(sent))

    found = Found(
        key=f"{alert.sender} {alert.identifier}"[:500],
        fingerprint=_hash([alert.status, alert.msg_type == "Cancel", alert.info and [_said(i) for i in alert.info]]),
        references=tuple(warning_id(r.sender, r.identifier, r.sent) for r in alert.references)[:100],
    )
    if alert.msg_type == "Cancel":
        return Entry(msgspec.structs.replace(found, ended=True), None)
    try:
        content, own_id = capmap.content_of(alert, data, target=feed.node_id)
        check_content(content)
    except InvalidInput as error:
        return Entry(msgspec.structs.replace(found, why=str(error)), None)
    return Entry(msgspec.structs.replace(found, warning_id=own_id), content)


def _said(info: Any) -> list[Any]:
    """What a block says, without the times at which it was said: those are what a re-stamp changes."""
    areas = [(a.area_desc, a.polygon, a.circle, [(g.value_name, g.value) for g in a.geocode]) for a in info.area]
    return [
        *(info.language, info.event, info.urgency, info.severity, info.certainty),
        *(info.headline, info.description, info.instruction),
        *areas,
    ]


# Atom and RSS --------------------------------------------------------------------------------------------------------


def _root(data: bytes) -> Element:
    try:
        root: Element = fromstring(decode(data, Notes()), forbid_dtd=True)
    except Refused as refused:
        raise InvalidInput(refused.finding.code, refused.finding.message, "Ask its publisher.") from refused
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InvalidInput("feed.xml", "The feed is not well-formed XML.", "Ask its publisher.") from error
    return root


def _items(root: Element) -> list[Element]:
    found = [e for e in root.iter() if _local(e) in {"entry", "item"}]
    if not found and _local(root) not in {"feed", "rss", "RDF"}:
        raise InvalidInput("feed.form", f"This is a <{_local(root)[:50]}>, not a feed.", "Name another form.")
    return found[:MOST_ITEMS]


def _syndicated(item: Element) -> dict[str, str]:
    def text(*names: str) -> str:
        for name in names:
            for element in _named(item, name):
                if said := "".join(element.itertext()).strip():
                    return said
        return ""

    link = next((_attribute(e, "href") or (e.text or "").strip() for e in _named(item, "link")), "")
    return {
        "key": text("guid", "id") or link or text("title"),
        "title": _plain(text("title")),
        "text": _plain(text("content", "summary", "description", "encoded")),
        "level": text("severity", "level") or " ".join(c.get("term") or c.text or "" for c in _named(item, "category")),
        "link": link,
        "updated": text("updated", "pubDate", "published", "date"),
    }


def _named(item: Element, name: str) -> list[Element]:
    return [child for child in item if _local(child) == name]


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _attribute(element: Element, name: str) -> str:
    return (element.get(name) or "").strip()


class _Words(HTMLParser):
    """The words of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.said: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in {"script", "style"}
        self.said.append("\n" if tag in {"p", "br", "li", "div", "tr", "h1", "h2", "h3"} else "")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in {"script", "style"} and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.said.append(data)


def _plain(text: str) -> str:
    if "<" not in text and "&" not in text:
        return text
    words = _Words()
    words.feed(text[: LONGEST_TEXT * 10])
    words.close()
    lines = (" ".join(line.split()) for line in "".join(words.said).splitlines())
    return "\n".join(line for line in lines if line)


# JSON ----------------------------------------------------------------------------------------------------------------


def _json(feed: Feed, data: bytes, now: datetime) -> Iterator[Entry]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("feed.json", "The feed is not JSON.", "Ask its publisher, or name another form.") from error
    for name in filter(None, feed.mapping.items.split(".")):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, list):
        raise InvalidInput("feed.items", "The feed has no list of items there.", "Correct mapping.items.")
    m = feed.mapping
    for item in found[:MOST_ITEMS]:
        if not isinstance(item, dict):
            continue
        names = {"key": m.key, "title": m.title, "text": m.text, "level": m.level, "link": m.link, "updated": m.updated}
        fields = {field: str(item.get(name) or "").strip() if name else "" for field, name in names.items()}
        news = [item.get(name) for name in m.changes] or None
        if fields["key"]:
            yield _entry(feed, fields, now, news)


# A draft -------------------------------------------------------------------------------------------------------------


def _entry(feed: Feed, fields: Mapping[str, str], now: datetime, news: Any = None) -> Entry:
    said = [fields["title"], fields["text"], fields["level"]]
    found = Found(key=fields["key"][:500], fingerprint=_hash(news if news is not None else said))
    title = " ".join(fields["title"].split())[:LONGEST_TITLE]
    headline = f"{title}: {fields['level']}"[:LONGEST_TITLE] if fields["level"] and feed.form is Form.JSON else title
    link = fields["link"] if fields["link"].startswith(("https://", "http://")) else ""
    content = Content(
        event=title[:200] or feed.title,
        level=level_of(feed, fields["level"]),
        texts=(Text(language=feed.language, headline=headline, description=fields["text"][:LONGEST_TEXT]),),
        area=Area(description=feed.title),
        target=Target(nodes=(feed.node_id,)),
        contact=ContactCard(
            hotline=capmap.HOTLINE, mission="12308", police=capmap.POLICE, valid_from=now, web=link[:500]
        ),
        effective_at=now,
        expires_at=now + timedelta(hours=feed.hours),
        source=Source(
            kind="feed", sender=feed.feed_id, identifier=found.key, sent=fields["updated"][:100], reference=link[:500]
        ),
    )
    try:
        check_content(content)
    except InvalidInput as error:
        return Entry(msgspec.structs.replace(found, why=str(error)), None)
    return Entry(found, content)


def level_of(feed: Feed, word: str) -> Level:
    """Our level for a source's own word: as mapped, whatever its case; else the feed's."""
    said = word.strip().casefold()
    mapped = {name.strip().casefold(): level for name, level in feed.levels.items()}
    return mapped.get(said, feed.level)


def _hash(said: Any) -> str:
    raw = said if isinstance(said, bytes) else msgspec.json.encode(said)
    return hashlib.sha256(raw).hexdigest()[:32]
