"""Texts to values and back: times, numbers, language tags, shapes and references of CAP 1.2 sections 3.2 and 3.3."""

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from api.cap.model import Circle, Point, Polygon, Reference

BLANK = " \t\r\n"
"""What XML calls white space; Python's strip() would also take characters that mean something."""

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:([+-])([0-9]{2}):([0-9]{2})|Z)"
)
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_MAX_DIGITS = 40
_MAX_OFFSET = timedelta(hours=14)  # XML Schema part 2, section 3.2.7


def parse_time(text: str) -> datetime | None:
    """A CAP time, or None if `text` is none (section 3.3.2: seconds and a numeric offset are mandatory).

    `Z` is accepted here, for the caller to complain about; 24:00:00 is the next day's beginning, as in XML Schema.
    """
    found = _TIME.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    sign, hours, minutes = found[7], int(found[8] or 0), int(found[9] or 0)
    offset = timedelta(hours=hours, minutes=minutes)
    if minutes > 59 or offset > _MAX_OFFSET:
        return None
    midnight = (hour, minute, second) == (24, 0, 0)
    zone = timezone(-offset if sign == "-" else offset)
    try:
        moment = datetime(year, month, day, 0 if midnight else hour, minute, second, tzinfo=zone)
        if midnight:
            moment += timedelta(days=1)
        moment.astimezone(UTC)  # the first and last day may have no UTC time, and would fail later
    except (ValueError, OverflowError):
        return None
    return moment


def format_time(moment: datetime) -> str:
    """`moment` as CAP writes it, UTC as -00:00 (section 3.3.2). Raises ValueError if CAP cannot write it."""
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError("the time has no UTC offset")
    if moment.microsecond or offset % timedelta(minutes=1):
        raise ValueError("CAP times have whole seconds and offsets of whole minutes")
    if abs(offset) > _MAX_OFFSET:
        raise ValueError("the UTC offset exceeds 14 hours")
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time has no UTC equivalent") from None
    minutes = int(abs(offset).total_seconds()) // 60
    sign = "+" if offset > timedelta(0) else "-"
    plain = moment.replace(tzinfo=None)
    return f"{plain.isoformat(timespec='seconds')}{sign}{minutes // 60:02}:{minutes % 60:02}"


def is_language(text: str) -> bool:
    """Whether `text` has the form of an RFC 3066 tag, which is what XML Schema's `language` asks."""
    return _LANGUAGE.fullmatch(text) is not None


def parse_decimal(text: str) -> Decimal | None:
    """A decimal without exponent, as XML Schema has it, or None."""
    if len(text) > _MAX_DIGITS or not _DECIMAL.fullmatch(text):
        return None
    return Decimal(text)


def format_decimal(number: Decimal) -> str:
    """`number` without exponent. Raises ValueError if it is not finite or would not be read again."""
    if not number.is_finite() or abs(number.adjusted()) > _MAX_DIGITS:
        raise ValueError("the number is not finite or has too many digits")
    text = format(number, "f")
    if len(text) > _MAX_DIGITS:
        raise ValueError("the number has too many digits")
    return text


def parse_integer(text: str) -> int | None:
    """An integer, or None."""
    if len(text) > _MAX_DIGITS or not _INTEGER.fullmatch(text):
        return None
    return int(text)


def parse_pair(text: str) -> Point | None:
    """Two numbers with a comma between them and no space, or None. Ranges are not looked at."""
    first, comma, second = text.partition(",")
    if not comma or not _FLOAT.fullmatch(first) or not _FLOAT.fullmatch(second):
        return None
    pair = (float(first), float(second))
    return pair if all(map(math.isfinite, pair)) else None


def parse_ring(text: str) -> Polygon | None:
    """The pairs of a polygon as written, or None if any is not a pair. Not checked for form or range."""
    pairs = [parse_pair(word) for word in text.split()]
    points = tuple(pair for pair in pairs if pair is not None)
    return points if points and len(points) == len(pairs) else None


def parse_circle(text: str) -> Circle | None:
    """Centre and radius of `lat,lon radius`, or None. The centre's range is not looked at."""
    words = text.split()
    if len(words) != 2 or not _FLOAT.fullmatch(words[1]):
        return None
    centre, radius = parse_pair(words[0]), float(words[1])
    if centre is None or not math.isfinite(radius) or radius < 0:
        return None
    return (*centre, radius)


def in_range(point: Point) -> bool:
    """Whether a point has latitude within 90 and longitude within 180 degrees (section 3.3.1)."""
    return -90 <= point[0] <= 90 and -180 <= point[1] <= 180


def is_ring(points: Polygon) -> bool:
    """Whether points make a polygon: at least four, the last equal to the first, and not all on one spot."""
    return len(points) >= 4 and points[0] == points[-1] and len(set(points)) >= 3


def format_float(number: float) -> str:
    """The shortest decimal without exponent that reads back as the same float."""
    return format(Decimal(repr(float(number))), "f")


def parse_references(text: str) -> tuple[tuple[Reference, ...], list[str]]:
    """The triples of a `references` element (section 3.2.1), and the pieces of it that are none.

    Senders with spaces in their names exist, so a triple ends where a time ends, not at every space.
    """
    good: list[Reference] = []
    bad: list[str] = []
    held: list[str] = []
    for word in text.split():
        held.append(word)
        sent = parse_time(word.rpartition(",")[2])
        if sent is None:
            continue
        parts = " ".join(held).split(",")
        if len(parts) == 3 and parts[0] and parts[1]:
            good.append(Reference(parts[0], parts[1], sent))
        else:
            bad.append(" ".join(held))
        held = []
    if held:
        bad.append(" ".join(held))
    return tuple(good), bad
