"""Writing: what is written reads back equal, and what CAP or XML cannot hold is refused by name."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import get_args

import msgspec
import pytest
from cap_messages import message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.cap import Alert, Area, CapWriteError, Info, Pair, Reference, Resource, model, read, write
from api.cap.values import BLANK

LEGAL = st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, range(32))) + "\ufffe\uffff")
TEXT = st.text(st.one_of(LEGAL, st.sampled_from("\t\n\r&<>]\"' ")), max_size=12)
TOKEN = TEXT.map(lambda text: text.strip(BLANK))
NAME = st.text(LEGAL, min_size=1, max_size=10).filter(lambda t: not any(c.isspace() or c in ",<&" for c in t))
TIME = st.builds(
    lambda moment, minutes: moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes))),
    st.datetimes().filter(lambda moment: 1 < moment.year < 9999),
    st.integers(-14 * 60, 14 * 60),
)
POINT = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
RING = st.lists(POINT, min_size=3, max_size=5, unique=True).map(lambda points: (*points, points[0]))
PAIR = st.builds(Pair, TOKEN, TOKEN)
NUMBER = st.decimals(-100_000, 100_000, places=3)
LANGUAGE = st.from_regex(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,2}", fullmatch=True)


def some(items: st.SearchStrategy, least: int = 0) -> st.SearchStrategy:
    return st.lists(items, min_size=least, max_size=2).map(tuple)


def word(choices: object) -> st.SearchStrategy:
    return st.sampled_from(get_args(choices))


def maybe(items: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | items


AREA = st.builds(
    Area,
    area_desc=TEXT,
    polygon=some(RING),
    circle=some(st.tuples(st.floats(-90, 90), st.floats(-180, 180), st.floats(0, 1e6))),
    geocode=some(PAIR),
    altitude=maybe(NUMBER),
    ceiling=maybe(NUMBER),
)
RESOURCE = st.builds(
    Resource,
    resource_desc=TEXT,
    mime_type=TOKEN,
    size=maybe(st.integers(0, 2**40)),
    uri=maybe(TOKEN),
    deref_uri=maybe(TEXT),
    digest=maybe(TOKEN),
)
INFO = st.builds(
    Info,
    language=maybe(LANGUAGE),
    category=some(word(model.Category), 1),
    event=TEXT,
    response_type=some(word(model.ResponseType)),
    urgency=word(model.Urgency),
    severity=word(model.Severity),
    certainty=word(model.Certainty),
    audience=maybe(TEXT),
    event_code=some(PAIR),
    effective=maybe(TIME),
    onset=maybe(TIME),
    expires=maybe(TIME),
    sender_name=maybe(TEXT),
    headline=maybe(TEXT),
    description=maybe(TEXT),
    instruction=maybe(TEXT),
    web=maybe(TOKEN),
    contact=maybe(TEXT),
    parameter=some(PAIR),
    resource=some(RESOURCE),
    area=some(AREA),
)
ALERTS = st.builds(
    Alert,
    identifier=NAME,
    sender=NAME,
    sent=TIME,
    status=word(model.Status),
    msg_type=word(model.MsgType),
    source=maybe(TEXT),
    scope=word(model.Scope),
    restriction=maybe(TEXT),
    addresses=maybe(TEXT),
    code=some(TOKEN),
    note=maybe(TEXT),
    references=some(st.builds(Reference, NAME, NAME, TIME)),
    incidents=maybe(TEXT),
    info=some(INFO),
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(ALERTS)
def test_what_is_written_reads_back(alert: Alert) -> None:
    report = read(write(alert))
    assert report.errors == ()
    assert report.alerts == (alert,)


GOOD = read(message()).alerts[0]


def bend(alert: Alert, **fields: object) -> Alert:
    return msgspec.structs.replace(alert, **fields)


def bend_info(**fields: object) -> Alert:
    return bend(GOOD, info=(msgspec.structs.replace(GOOD.info[0], **fields),))


def bend_area(**fields: object) -> Alert:
    return bend_info(area=(msgspec.structs.replace(GOOD.info[0].area[0], **fields),))


def test_the_document() -> None:
    text = write(bend(GOOD, sent=datetime(2026, 3, 1, tzinfo=UTC), note="a\r<&]]>")).decode()
    assert text.startswith(
        '<?xml version="1.0" encoding="UTF-8"?>\n<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">'
    )
    assert "<sent>2026-03-01T00:00:00-00:00</sent>" in text
    assert "<note>a&#13;&lt;&amp;]]&gt;</note>" in text
    assert "<polygon>14.0,120.5 14.9,120.5 14.9,121.2 14.0,120.5</polygon>" in text


LONG = timezone(timedelta(hours=15))
NAIVE = datetime(2026, 3, 1)  # noqa: DTZ001 - the point of the test
REFUSED = [
    ("alert/sent", bend(GOOD, sent=NAIVE)),
    ("alert/sent", bend(GOOD, sent=datetime(2026, 3, 1, 0, 0, 0, 1, tzinfo=UTC))),
    ("alert/sent", bend(GOOD, sent=datetime(2026, 3, 1, tzinfo=LONG))),
    ("alert/sent", bend(GOOD, sent=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))))),
    ("alert/sent", bend(GOOD, sent="2026-03-01T00:00:00-00:00")),
    ("alert/sent", bend(GOOD, sent=None)),
    ("alert/identifier", bend(GOOD, identifier="")),
    ("alert/identifier", bend(GOOD, identifier="a,b")),
    ("alert/sender", bend(GOOD, sender="a b")),
    ("alert/status", bend(GOOD, status="actual")),
    ("alert/note", bend(GOOD, note="bell\x07")),
    ("alert/note", bend(GOOD, note="half \ud800")),
    ("alert/note", bend(GOOD, note="\ufffe")),
    ("alert/note", bend(GOOD, note=7)),
    ("alert/code", bend(GOOD, code=(" x",))),
    ("alert/code", bend(GOOD, code=["x"])),
    ("alert/references", bend(GOOD, references=(("a", "b", NAIVE),))),
    ("alert/references", bend(GOOD, references=(Reference("a", "b", NAIVE),))),
    ("alert/references", bend(GOOD, references=(Reference("a b", "b", datetime(2026, 1, 1, tzinfo=UTC)),))),
    ("alert/info", bend(GOOD, info=("x",))),
    ("alert", bend(GOOD, info=GOOD.info * 101)),
    ("alert/info/category", bend_info(category=())),
    ("alert/info/expires", bend_info(expires=NAIVE)),
    ("alert/info/language", bend_info(language="zh_CN")),
    ("alert/info/event", bend_info(event=None)),
    ("alert/info/resource/mimeType", bend_info(resource=(Resource(resource_desc="x"),))),
    ("alert/info/resource/size", bend_info(resource=(Resource(resource_desc="x", mime_type="a/b", size=True),))),
    ("alert/info/parameter/valueName", bend_info(parameter=(Pair(" x", "y"),))),
    ("alert/info/area/polygon", bend_area(polygon=(((0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)),))),
    ("alert/info/area/polygon", bend_area(polygon=(((0.0, 0.0), (0.0, 1.0), (0.0, 0.0)),))),
    ("alert/info/area/polygon", bend_area(polygon=(((0.0, 0.0), (99.0, 1.0), (1.0, 1.0), (0.0, 0.0)),))),
    ("alert/info/area/polygon", bend_area(polygon=(((0.0, 0.0), (float("nan"), 1.0), (1.0, 1.0), (0.0, 0.0)),))),
    ("alert/info/area/polygon", bend_area(polygon=("0,0",))),
    ("alert/info/area/circle", bend_area(circle=((0.0, 0.0, -1.0),))),
    ("alert/info/area/circle", bend_area(circle=((0.0, 0.0, float("inf")),))),
    ("alert/info/area/circle[2]", bend_area(circle=((0.0, 0.0, 1.0), (91.0, 0.0, 1.0)))),
    ("alert/info/area/altitude", bend_area(altitude=Decimal("NaN"))),
    ("alert/info/area/altitude", bend_area(altitude=Decimal("1E+99"))),
    ("alert/info/area/altitude", bend_area(altitude=1.5)),
]


@pytest.mark.parametrize(("element", "alert"), REFUSED)
def test_refused(element: str, alert: Alert) -> None:
    with pytest.raises(CapWriteError) as fault:
        write(alert)
    assert fault.value.element == element
    assert isinstance(fault.value, ValueError)


def test_too_large_is_refused() -> None:
    with pytest.raises(CapWriteError, match="bytes"):
        write(bend(GOOD, note="x" * 9_000_000))
