"""Writes an alert as CAP 1.2 XML, and refuses what the standard cannot carry: stricter than the reader, on purpose."""

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from xml.sax.saxutils import escape

from api.cap import grammar, values
from api.cap.grammar import CAP_1_2, Kind, Part, Slot
from api.cap.model import Alert, Area, Info, Pair, Reference, Resource
from api.cap.notes import quote

# XML 1.0 section 2.2: what a document cannot contain, not even escaped.
_ILLEGAL: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CLASSES: Final[dict[str, type]] = {"info": Info, "area": Area, "resource": Resource}


class CapWriteError(ValueError):
    """The alert cannot be written as CAP 1.2. `element` is the path of what is wrong (`alert/info[2]/expires`)."""

    def __init__(self, element: str, problem: str) -> None:
        super().__init__(f"{element}: {problem}")
        self.element = element


def write(alert: Alert) -> bytes:
    """`alert` as a CAP 1.2 document in UTF-8, elements in the order of section 3.2.

    What is written reads back equal: `read(write(alert)).alerts == (alert,)`. Raises CapWriteError for what CAP or
    XML cannot hold (times without offset or with fractions of a second, control characters, open polygons, unknown
    codes, spaces in identifiers, white space around short codes) and for more than `read` would take.
    """
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<alert xmlns="{CAP_1_2}">']
    lines += _part(alert, grammar.ALERT, "alert", "  ")
    lines += ["</alert>", ""]
    points = sum(len(ring) for info in alert.info for area in info.area for ring in area.polygon)
    areas = sum(len(info.area) for info in alert.info)
    if len(alert.info) > grammar.MAX_INFOS or areas > grammar.MAX_AREAS or points > grammar.MAX_POINTS:
        raise CapWriteError("alert", "more infos, areas or polygon points than a reader takes")
    if len(lines) > grammar.MAX_ELEMENTS:
        raise CapWriteError("alert", "more elements than a reader takes")
    data = "\n".join(lines).encode("utf-8")
    if len(data) > grammar.MAX_BYTES:
        raise CapWriteError("alert", f"{len(data)} bytes, more than the {grammar.MAX_BYTES} that a reader takes")
    return data


def _part(value: Any, part: Part, path: str, indent: str) -> Iterator[str]:
    for slot in part.slots:
        held = getattr(value, slot.field)
        if slot.many:
            if not isinstance(held, tuple):
                raise CapWriteError(f"{path}/{slot.name}", "a tuple is expected")
            items = held
        elif slot.kind is Kind.REFERENCES:
            items = (held,) if held else ()
        else:
            items = () if held is None else (held,)
        if slot.required and not items:
            raise CapWriteError(f"{path}/{slot.name}", "CAP requires this element")
        for number, item in enumerate(items, 1):
            here = f"{path}/{slot.name}" + (f"[{number}]" if len(items) > 1 else "")
            yield from _element(item, slot, here, indent)


def _element(item: Any, slot: Slot, path: str, indent: str) -> Iterator[str]:
    if slot.kind in (Kind.PART, Kind.PAIR):
        pair = slot.kind is Kind.PAIR
        wanted: type = Pair if pair else _CLASSES[slot.name]
        part = grammar.PAIR if pair else grammar.PARTS[slot.name]
        if not isinstance(item, wanted):
            raise CapWriteError(path, f"a {wanted.__name__} is expected")
        yield f"{indent}<{slot.name}>"
        yield from _part(item, part, path, indent + "  ")
        yield f"{indent}</{slot.name}>"
        return
    try:
        text = _text(item, slot)
    except ValueError as fault:
        raise CapWriteError(path, str(fault)) from fault
    # A reader turns a bare carriage return into a line feed, so it has to be escaped.
    yield f"{indent}<{slot.name}>{escape(text, {chr(13): '&#13;'})}</{slot.name}>"


def _text(item: Any, slot: Slot) -> str:
    """The characters of a leaf. Raises ValueError saying what is wrong with the value."""
    match slot.kind, item:
        case Kind.TIME, datetime():
            return values.format_time(item)
        case Kind.DECIMAL, Decimal():
            return values.format_decimal(item)
        case Kind.INTEGER, int():
            if isinstance(item, bool) or abs(item) >= 10**30:
                raise ValueError("a whole number of at most 30 digits is expected")
            return str(item)
        case Kind.POLYGON, tuple():
            return _polygon(item)
        case Kind.CIRCLE, (float() | int() as latitude, float() | int() as longitude, float() | int() as radius):
            if not values.in_range((latitude, longitude)) or not 0 <= radius < float("inf"):
                raise ValueError("a centre in range and a radius in km are expected")
            centre = ",".join(map(values.format_float, (latitude, longitude)))
            return f"{centre} {values.format_float(radius)}"
        case Kind.REFERENCES, tuple():
            return " ".join(map(_reference, item))
        case ((Kind.TEXT | Kind.TOKEN | Kind.IDENTITY | Kind.CHOICE | Kind.LANGUAGE), str()):
            return _string(item, slot)
    raise ValueError(f"a {type(item).__name__} cannot be written here")


def _string(text: str, slot: Slot) -> str:
    illegal = _ILLEGAL.search(text)
    if illegal:
        raise ValueError(f"XML cannot hold the character U+{ord(illegal[0]):04X}")
    if slot.kind is not Kind.TEXT and text != text.strip(values.BLANK):
        raise ValueError(f"{quote(text)} has white space around it")
    if slot.kind is Kind.IDENTITY:
        _identity(text)
    if slot.kind is Kind.CHOICE and text not in slot.choices:
        raise ValueError(f"{quote(text)} is not one of {', '.join(slot.choices)}")
    if slot.kind is Kind.LANGUAGE and not values.is_language(text):
        raise ValueError(f"{quote(text)} is no language tag")
    return text


def _identity(text: str) -> str:
    if not text or any(c.isspace() or c in ",<&" for c in text) or _ILLEGAL.search(text):
        raise ValueError(f"{quote(text)} is empty or has spaces, commas, < or &")
    return text


def _polygon(ring: tuple[Any, ...]) -> str:
    for point in ring:
        if not (isinstance(point, tuple) and len(point) == 2 and all(isinstance(n, float | int) for n in point)):
            raise ValueError("a point is a pair of numbers, latitude and longitude")
        if not values.in_range(point):
            raise ValueError("a point has latitude within 90 and longitude within 180 degrees")
    if not values.is_ring(ring):
        raise ValueError("a polygon is a closed ring of at least four points that encloses something")
    return " ".join(f"{values.format_float(latitude)},{values.format_float(longitude)}" for latitude, longitude in ring)


def _reference(one: Any) -> str:
    if not isinstance(one, Reference):
        raise ValueError("a Reference is expected")
    return f"{_identity(one.sender)},{_identity(one.identifier)},{values.format_time(one.sent)}"
