"""Holds an alert element against CAP 1.2 and turns it into an Alert, saying what is wrong and what is odd.

One principle decides: what the schema of CAP 1.2 forbids refuses the alert (error); what only the prose of the
standard forbids, real senders do, and a receiver who drops a warning over it does harm, so it is accepted and said
(warning). Where accepting would mean guessing a time, a level or an identity, the alert is refused.

Errors (the alert is refused)
    cap.too_large            more bytes than are read                              read.py
    cap.encoding             unknown encoding, or bytes that do not fit it
    cap.xml                  not well-formed, with line and column
    cap.dtd, cap.entity      document type declaration; entities (XXE, expansion bombs)
    cap.limit                depth or number of elements, alerts, infos, areas, points, errors
    cap.no_alert             no CAP alert element, as in a feed that only links
    cap.namespace            an element of no, or of another CAP version's, namespace
    cap.missing              a required element is absent                          3.2
    cap.unexpected           an unknown element, a plain attribute, stray text     3.2
    cap.order                elements out of order                                 3.4
    cap.repeated             more often than allowed                               3.2
    cap.value                not one of the listed words                           3.2.1, 3.2.2
    cap.datetime             no full date and time with offset                     3.3.2
    cap.language             no language tag                                       3.2.2
    cap.number               altitude, ceiling, size: no number                    3.2.3, 3.2.4
    cap.identity             empty identifier or sender: nothing could refer to it 3.2.1

Warnings (accepted, and what was done)
    cap.version              CAP 1.0 or 1.1, read by the rules of 1.2
    cap.legacy               an older version's construct (Very Likely, name=value, password), translated
    cap.wrapper              taken out of a feed or envelope
    cap.encoding_declared    the declared encoding is plainly untrue; read as UTF-8
    cap.signature            an XML signature is there; it is not verified         3.3.4
    cap.extension            elements or attributes of other namespaces, ignored
    cap.identifier           spaces, commas, < or & in identifier or sender, kept  3.2.1
    cap.datetime_z           Z instead of -00:00, read as UTC                      3.3.2
    cap.year                 a year before 1990 or after 2199 (another calendar?), kept
    cap.expires_missing      no expires: the receiver must set an end              3.2.2
    cap.expires_early        expires is not after sent or effective, kept
    cap.language_missing     no language; the standard says en-US, senders do not
    cap.info_missing         no info block
    cap.area_missing         an info without area
    cap.shape_missing        an area with no usable polygon or circle: geocodes or its description only
    cap.polygon              not a ring of four points in range; that polygon is left out
    cap.polygon_open         the ring was not closed; it was closed
    cap.circle               not `lat,lon radius` in range; that circle is left out
    cap.swapped              shapes written longitude first; read that way
    cap.references           pieces that are no sender,identifier,sent; left out
    cap.references_missing   Update, Cancel, Ack or Error that refers to nothing   3.2.1
    cap.references_self      refers to its own sender and identifier
    cap.scope                Restricted without restriction, Private without addresses
    cap.ceiling              ceiling without altitude, or below it                 3.2.4
    cap.empty                a required text is there but empty
    cap.more                 further warnings are not listed
"""

from collections import Counter
from typing import Any, Final

from api.cap import grammar, values
from api.cap.grammar import CAP_VERSIONS, XMLDSIG, Kind, Part, Slot
from api.cap.model import Alert, Area, Info, Pair, Polygon, Resource
from api.cap.notes import Notes, quote
from api.cap.oddities import look_at_alert
from api.cap.source import Node

_BUILD: Final[dict[str, Any]] = {"info": Info, "area": Area, "resource": Resource}
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_XML: Final = "http://www.w3.org/XML/1998/namespace"


class _Reading:
    """What the reading of one alert has to remember across its parts."""

    def __init__(self, root: Node, notes: Notes) -> None:
        self.namespace = root.namespace
        self.version = CAP_VERSIONS[root.namespace]
        self.notes = notes
        self.optional = grammar.OPTIONAL_IN_OLDER.get(self.version, frozenset())
        self.swapped = _longitude_first(root)
        self.extensions: set[str] = set()

    def extension(self, namespace: str, path: str) -> None:
        """Warns of a foreign namespace, once an alert and namespace."""
        if namespace in self.extensions:
            return
        self.extensions.add(namespace)
        if namespace == XMLDSIG:
            self.notes.warn("cap.signature", path, f"{path} is an XML signature; it was not verified.")
        else:
            what = f"{path} belongs to the namespace {quote(namespace)}; it and its kind were ignored."
            self.notes.warn("cap.extension", path, what)


def check(node: Node, path: str, notes: Notes) -> Alert | None:
    """The alert that `node` holds, or None if `notes` got errors about it. `path` names the element in findings."""
    before = len(notes.errors)
    reading = _Reading(node, notes)
    if reading.version != "1.2":
        notes.warn("cap.version", path, f"{path} is CAP {reading.version}; it was read by the rules of CAP 1.2.")
    fields = _read(node, grammar.ALERT, path, reading)
    if reading.swapped:
        what = "The coordinates only make sense as longitude,latitude; they were exchanged to CAP's latitude,longitude."
        notes.warn("cap.swapped", path, what)
    if len(notes.errors) > before:
        return None
    alert = Alert(**fields)
    look_at_alert(alert, path, notes)
    return alert


def _longitude_first(root: Node) -> bool:
    """Whether shapes are out of range as written, in range when exchanged, and none says the contrary."""
    suspected = False
    for node in root.walk():
        if node.name not in ("polygon", "circle"):
            continue
        words = node.text.split()[: 1 if node.name == "circle" else None]
        pairs = [pair for pair in map(values.parse_pair, words) if pair is not None]
        if not all(map(values.in_range, pairs)):
            if not all(values.in_range((second, first)) for first, second in pairs):
                return False
            suspected = True
        elif any(abs(second) > 90 for _, second in pairs):
            return False
    return suspected


def _read(node: Node, part: Part, path: str, reading: _Reading) -> dict[str, Any]:
    """The model fields of a group of elements. Findings go to the reading's notes; fields in error are left out."""
    notes = reading.notes
    _attributes(node, path, reading)
    if node.text.strip(values.BLANK):
        what = f"{path} may hold only elements, but has the text {quote(node.text)}."
        notes.error("cap.unexpected", path, what)
    totals = Counter(child.name for child in node.children)
    seen: Counter[str] = Counter()
    fields: dict[str, Any] = {}
    repeated: dict[str, list[Any]] = {slot.field: [] for slot in part.slots if slot.many}
    reached = -1
    late: set[str] = set()  # one error for each element that is out of order, not for each repetition
    for child in node.children:
        seen[child.name] += 1
        here = f"{path}/{child.name}" + (f"[{seen[child.name]}]" if totals[child.name] > 1 else "")
        if not _ours(child, here, reading):
            continue
        place = part.position.get(child.name)
        if place is None:
            if reading.version == "1.0" and child.name == "password":
                notes.warn("cap.legacy", here, f"{here} is a CAP 1.0 element that later versions dropped; ignored.")
            else:
                notes.error("cap.unexpected", here, f"{here} is not an element that CAP has in {part.name}.")
            continue
        slot = part.slots[place]
        if place < reached:
            after = part.slots[reached].name
            what = f"{here} stands after {after}, but CAP expects {child.name} before {after}."
            if child.name not in late:
                notes.error("cap.order", here, what)
            late.add(child.name)
        reached = max(reached, place)
        if seen[child.name] > 1 and not slot.many:
            if seen[child.name] == 2:
                notes.error("cap.repeated", here, f"{here} is one too many; CAP allows at most one {child.name}.")
            continue
        value = _value(child, slot, here, reading)
        if value is None:
            continue
        if slot.many:
            repeated[slot.field].append(value)
        else:
            fields[slot.field] = value
    for slot in part.slots:
        if slot.required and not seen[slot.name] and slot.name not in reading.optional:
            notes.error("cap.missing", path, f"{path} has no {slot.name}, which CAP requires.")
    return fields | {field: tuple(items) for field, items in repeated.items()}


def _ours(child: Node, here: str, reading: _Reading) -> bool:
    """Whether a child is an element of this alert's CAP version; if not, says so."""
    if child.namespace == reading.namespace:
        return True
    if child.namespace == "" or child.namespace in CAP_VERSIONS:
        where = f"in the namespace {quote(child.namespace)}" if child.namespace else "in no namespace"
        what = f"{here} is {where}, but the alert's elements are expected in {quote(reading.namespace)}."
        reading.notes.error("cap.namespace", here, what)
    else:
        reading.extension(child.namespace, here)
    return False


def _attributes(node: Node, path: str, reading: _Reading) -> None:
    for attribute in node.attributes:
        namespace, brace, name = attribute.rpartition("}")
        if not brace:
            what = f"{path} has the attribute {quote(name)}, but CAP elements have no attributes."
            reading.notes.error("cap.unexpected", path, what)
        elif namespace[1:] not in (_XSI, _XML):
            reading.extension(namespace[1:], path)


def _value(node: Node, slot: Slot, path: str, reading: _Reading) -> Any:
    """What an element holds, as its model type; None if it is in error or has to be left out."""
    notes = reading.notes
    if slot.kind is Kind.PART:
        before = len(notes.errors)
        fields = _read(node, grammar.PARTS[slot.name], path, reading)
        return _BUILD[slot.name](**fields) if len(notes.errors) == before else None
    if slot.kind is Kind.PAIR:
        return _pair(node, path, reading)
    _leaf(node, path, reading)
    if slot.kind is Kind.TEXT:
        if slot.required and not node.text.strip():
            notes.warn("cap.empty", path, f"{path} is empty, but CAP requires it to say something.")
        return node.text
    text = node.text.strip(values.BLANK)
    match slot.kind:
        case Kind.IDENTITY:
            return _identity(text, path, notes)
        case Kind.CHOICE:
            return _choice(node.text, slot, path, reading)
        case Kind.TIME:
            return _time(text, path, notes)
        case Kind.LANGUAGE if not values.is_language(text):
            notes.error("cap.language", path, f"{path} is {quote(text)}, but a language tag such as zh-CN is expected.")
            return None
        case Kind.DECIMAL | Kind.INTEGER:
            return _number(text, slot, path, notes)
        case Kind.POLYGON:
            return _polygon(text, path, reading)
        case Kind.CIRCLE:
            return _circle(text, path, reading)
        case Kind.REFERENCES:
            references, bad = values.parse_references(text)
            if bad:
                what = f"{path} holds {quote(bad[0])}, but triples sender,identifier,sent are expected; left out."
                notes.warn("cap.references", path, what)
            return references
    return text


def _leaf(node: Node, path: str, reading: _Reading) -> None:
    _attributes(node, path, reading)
    for child in node.children[:1]:
        what = f"{path} may hold only text, but has the element {quote(child.name)}."
        reading.notes.error("cap.unexpected", f"{path}/{child.name}", what)


def _pair(node: Node, path: str, reading: _Reading) -> Pair | None:
    if reading.version == "1.0" and not node.children:
        name, equals, value = node.text.strip(values.BLANK).partition("=")
        if equals:
            reading.notes.warn("cap.legacy", path, f"{path} is written name=value as in CAP 1.0; it was split.")
            return Pair(name, value)
    before = len(reading.notes.errors)
    fields = _read(node, grammar.PAIR, path, reading)
    return Pair(**fields) if len(reading.notes.errors) == before else None


def _identity(text: str, path: str, notes: Notes) -> str | None:
    if not text:
        notes.error("cap.identity", path, f"{path} is empty, but the message is identified by it.")
        return None
    if any(c.isspace() or c in ",<&" for c in text):
        what = f"{path} is {quote(text)}, but spaces, commas, < and & are not allowed in it; it was kept as it is."
        notes.warn("cap.identifier", path, what)
    return text


def _choice(text: str, slot: Slot, path: str, reading: _Reading) -> str | None:
    if text in slot.choices:
        return text
    if text == "Very Likely" and slot.name == "certainty" and reading.version != "1.2":
        reading.notes.warn("cap.legacy", path, f'{path} is "Very Likely" as in CAP 1.0; it was read as "Likely".')
        return "Likely"
    what = f"{path} is {quote(text)}, but one of {', '.join(slot.choices)} is expected."
    reading.notes.error("cap.value", path, what)
    return None


def _time(text: str, path: str, notes: Notes) -> Any:
    moment = values.parse_time(text)
    if moment is None:
        what = f"{path} is {quote(text)}, but a time such as 2024-07-12T21:31:38+08:00 is expected."
        notes.error("cap.datetime", path, what)
    elif text.endswith("Z"):
        notes.warn("cap.datetime_z", path, f"{path} ends in Z, but CAP writes UTC as -00:00; it was read as UTC.")
    return moment


def _number(text: str, slot: Slot, path: str, notes: Notes) -> Any:
    number = values.parse_integer(text) if slot.kind is Kind.INTEGER else values.parse_decimal(text)
    if number is None:
        wanted = "a whole number" if slot.kind is Kind.INTEGER else "a decimal number"
        notes.error("cap.number", path, f"{path} is {quote(text)}, but {wanted} is expected.")
    return number


def _polygon(text: str, path: str, reading: _Reading) -> Polygon | None:
    points = values.parse_ring(text)
    if points is not None and reading.swapped:
        points = tuple((second, first) for first, second in points)
    if points is None or not all(map(values.in_range, points)):
        what = f"{path} is {quote(text)}, but pairs latitude,longitude in degrees are expected; it was left out."
        reading.notes.warn("cap.polygon", path, what)
        return None
    closed = points if points[0] == points[-1] else (*points, points[0])
    if not values.is_ring(closed):
        what = f"{path} encloses nothing, but a closed ring of four or more points is expected; it was left out."
        reading.notes.warn("cap.polygon", path, what)
        return None
    if closed is not points:
        what = f"{path} does not end where it begins; it was closed."
        reading.notes.warn("cap.polygon_open", path, what)
    return closed


def _circle(text: str, path: str, reading: _Reading) -> Any:
    circle = values.parse_circle(text)
    if circle is not None and reading.swapped:
        circle = (circle[1], circle[0], circle[2])
    if circle is None or not values.in_range(circle[:2]):
        what = f"{path} is {quote(text)}, but latitude,longitude radius (degrees, km) is expected; it was left out."
        reading.notes.warn("cap.circle", path, what)
        return None
    return circle
