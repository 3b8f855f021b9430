"""Reading: what is accepted with a warning, what is refused and how the refusal names the element."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from cap_messages import BODY, CAP, message

from api.cap import Alert, Area, Info, Pair, Reference, grammar, read

CHINA = timezone(timedelta(hours=8))
ALERT = Alert(
    identifier="FH-2026-0001",
    sender="duty@consulate.example",
    sent=datetime(2026, 3, 1, 8, tzinfo=CHINA),
    status="Actual",
    msg_type="Alert",
    scope="Public",
    info=(
        Info(
            language="zh-CN",
            category=("Met",),
            event="台风",
            urgency="Expected",
            severity="Severe",
            certainty="Likely",
            expires=datetime(2026, 3, 2, 8, tzinfo=CHINA),
            headline="台风橙色预警",
            area=(
                Area(
                    area_desc="马尼拉湾",
                    polygon=(((14.0, 120.5), (14.9, 120.5), (14.9, 121.2), (14.0, 120.5)),),
                    circle=((14.5, 120.9, 30.0),),
                    altitude=Decimal("0"),
                    ceiling=Decimal("300.5"),
                ),
            ),
        ),
    ),
)
SENT = "<sent>2026-03-01T08:00:00+08:00</sent>"
RING = "14.0,120.5 14.9,120.5 14.9,121.2 14.0,120.5"


def codes(data: bytes) -> tuple[list[str], list[str]]:
    report = read(data)
    return [finding.code for finding in report.errors], [finding.code for finding in report.warnings]


def test_a_plain_message_is_read_without_findings() -> None:
    report = read(message())
    assert report.alerts == (ALERT,)
    assert (report.errors, report.warnings, report.ok) == ((), (), True)


REFUSED = [
    ("a required element is absent", ("    <severity>Severe</severity>\n", ""), "cap.missing", "alert/info"),
    ("an unknown element", ("<status>", "<state/><status>"), "cap.unexpected", "alert/state"),
    ("a plain attribute", ("<status>", '<status lang="en">'), "cap.unexpected", "alert/status"),
    ("text between elements", ("<info>", "stray<info>"), "cap.unexpected", "alert"),
    ("an element inside a text", ("马尼拉湾", "<b>马尼拉湾</b>"), "cap.unexpected", "alert/info/area/areaDesc/b"),
    ("out of order", ("<status>Actual</status>", "<scope>Public</scope><status>Actual</status>"), "cap.order", ""),
    ("twice", ("<status>", "<status>Actual</status><status>"), "cap.repeated", "alert/status[2]"),
    ("an unknown word", ("Severe<", "Dreadful<"), "cap.value", "alert/info/severity"),
    ("white space in a listed word", ("Severe<", " Severe <"), "cap.value", "alert/info/severity"),
    ("Very Likely", ("Likely", "Very Likely"), "cap.value", "alert/info/certainty"),
    ("a time without offset", ("01T08:00:00+08:00", "01T08:00:00"), "cap.datetime", "alert/sent"),
    ("a time with fractions", ("01T08:00:00+", "01T08:00:00.5+"), "cap.datetime", "alert/sent"),
    ("no such day", ("2026-03-01", "2026-02-30"), "cap.datetime", "alert/sent"),
    ("an offset beyond fourteen hours", ("01T08:00:00+08:00", "01T08:00:00+15:00"), "cap.datetime", "alert/sent"),
    ("before the first UTC day", ("2026-03-01T08:00:00", "0001-01-01T00:00:00"), "cap.datetime", "alert/sent"),
    ("an empty time", ("2026-03-02T08:00:00+08:00", ""), "cap.datetime", "alert/info/expires"),
    ("an underscore in a language", ("zh-CN", "zh_CN"), "cap.language", "alert/info/language"),
    ("an empty language", ("zh-CN", ""), "cap.language", "alert/info/language"),
    ("words for a height", ("300.5", "high"), "cap.number", "alert/info/area/ceiling"),
    ("a height with exponent", ("300.5", "3e2"), "cap.number", "alert/info/area/ceiling"),
    ("an empty identifier", ("FH-2026-0001", " "), "cap.identity", "alert/identifier"),
    ("an element in no namespace", ("<scope>", '<scope xmlns="">'), "cap.namespace", "alert/scope"),
    ("another version inside", ("<scope>", f'<scope xmlns="{CAP[:-1]}1">'), "cap.namespace", "alert/scope"),
    ("no namespace at all", (f' xmlns="{CAP}"', ""), "cap.namespace", "alert"),
    ("an unknown namespace", (CAP, "urn:x"), "cap.namespace", "alert"),
    ("not an alert", ("alert", "feed"), "cap.no_alert", "feed"),
]


@pytest.mark.parametrize(("why", "change", "code", "element"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(why: str, change: tuple[str, str], code: str, element: str) -> None:
    report = read(message(change))
    assert not report.ok, why
    assert report.alerts == ()
    assert code in [finding.code for finding in report.errors]
    first = next(finding for finding in report.errors if finding.code == code)
    if element:
        assert first.element == element
        assert element.rpartition("/")[2] in first.message


INFO = BODY[BODY.index("<info>") : BODY.index("</alert>")]
EXPIRES = "    <expires>2026-03-02T08:00:00+08:00</expires>\n"
AREA = BODY[BODY.index("    <area>") : BODY.index("  </info>")]
SHAPES = BODY[BODY.index("      <polygon>") : BODY.index("      <altitude>")]
SIGNATURE = '<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo/></Signature></alert>'
ODD = [
    ("Z for UTC", ("01T08:00:00+08:00", "01T08:00:00Z"), ["cap.datetime_z"]),
    ("no end", (EXPIRES, ""), ["cap.expires_missing"]),
    ("an end before it was sent", ("2026-03-02", "2026-02-28"), ["cap.expires_early"]),
    ("no language", ("<language>zh-CN</language>", ""), ["cap.language_missing"]),
    ("no info", (INFO, ""), ["cap.info_missing"]),
    ("a Cancel of nothing", ("<msgType>Alert", "<msgType>Cancel"), ["cap.references_missing"]),
    ("no area", (AREA, ""), ["cap.area_missing"]),
    ("no shape", (SHAPES, ""), ["cap.shape_missing"]),
    ("an empty area description", ("马尼拉湾", ""), ["cap.empty"]),
    ("a Buddhist year", ("<sent>2026", "<sent>2569"), ["cap.year", "cap.expires_early"]),
    ("spaces in the identifier", ("FH-2026-0001", "FH 2026, 1"), ["cap.identifier"]),
    ("restricted to nobody", ("Public", "Restricted"), ["cap.scope"]),
    ("private to nobody", ("Public", "Private"), ["cap.scope"]),
    ("a ceiling below the altitude", (">0<", ">400<"), ["cap.ceiling"]),
    ("a signature", ("</alert>", SIGNATURE), ["cap.signature"]),
    (
        "an extension",
        ("</alert>", '<x:a xmlns:x="urn:x"><x:b/></x:a><y:c xmlns:y="urn:x"/></alert>'),
        ["cap.extension"],
    ),
    ("a foreign attribute", ("<info>", '<info xmlns:x="urn:x" x:a="1">'), ["cap.extension"]),
    ("a schema location", ("<info>", '<info xmlns:x="http://www.w3.org/2001/XMLSchema-instance" x:nil="1">'), []),
    ("CAP 1.1", (CAP, f"{CAP[:-1]}1"), ["cap.version"]),
    ("an open ring", (RING, RING.removesuffix(" 14.0,120.5")), ["cap.polygon_open"]),
    ("a ring of words", (RING, "here there"), ["cap.polygon"]),
    ("an empty ring", (RING, ""), ["cap.polygon"]),
    ("a ring around nothing", (RING, "14,120 14,120 14,120 14,120"), ["cap.polygon"]),
    ("a ring off the globe", (RING, "14,190 95,190 95,191 14,190"), ["cap.polygon"]),
    ("a circle without radius", ("14.5,120.9 30", "14.5,120.9"), ["cap.circle"]),
    ("a negative radius", ("14.5,120.9 30", "14.5,120.9 -1"), ["cap.circle"]),
]


@pytest.mark.parametrize(("why", "change", "warned"), ODD, ids=[row[0] for row in ODD])
def test_accepted_with_a_warning(why: str, change: tuple[str, str], warned: list[str]) -> None:
    assert codes(message(change)) == ([], warned), why


def test_latitude_and_longitude_exchanged_are_put_right() -> None:
    report = read(message((RING, "120.5,14.0 120.5,14.9 121.2,14.9 120.5,14.0"), ("14.5,120.9", "120.9,14.5")))
    assert [finding.code for finding in report.warnings] == ["cap.swapped"]
    assert report.alerts[0].info[0].area == ALERT.info[0].area


def test_shapes_that_contradict_each_other_are_not_exchanged() -> None:
    report = read(message((RING, "120.5,14.0 120.5,14.9 121.2,14.9 120.5,14.0")))
    assert [finding.code for finding in report.warnings] == ["cap.polygon"]
    assert report.alerts[0].info[0].area[0].circle == ((14.5, 120.9, 30.0),)


def test_references() -> None:
    text = "a@b,ID 1,2026-01-01T00:00:00-00:00\n Duty Office,2,2026-01-02T00:00:00+08:00 nonsense"
    report = read(message(("<info>", f"<references>{text}</references><info>")))
    assert report.alerts[0].references == (
        Reference("a@b", "ID 1", datetime(2026, 1, 1, tzinfo=UTC)),
        Reference("Duty Office", "2", datetime(2026, 1, 2, tzinfo=CHINA)),
    )
    assert [finding.code for finding in report.warnings] == ["cap.references"]
    assert '"nonsense"' in report.warnings[0].message


def test_an_update_of_itself_is_accepted_with_a_warning() -> None:
    text = "<references>duty@consulate.example,FH-2026-0001,2026-03-01T08:00:00+08:00</references><info>"
    assert codes(message(("<msgType>Alert", "<msgType>Update"), ("<info>", text))) == ([], ["cap.references_self"])


def test_midnight_as_the_end_of_a_day() -> None:
    assert read(message(("01T08:00:00", "01T24:00:00"))).alerts[0].sent == datetime(2026, 3, 2, tzinfo=CHINA)


def test_elements_that_repeat_are_numbered_in_paths() -> None:
    second = INFO.replace("Severe<", "Bad<")
    report = read(message((INFO, INFO + second)))
    assert [(finding.code, finding.element) for finding in report.errors] == [("cap.value", "alert/info[2]/severity")]
    assert report.errors[0].message == (
        'alert/info[2]/severity is "Bad", but one of Extreme, Severe, Moderate, Minor, Unknown is expected.'
    )


def test_cap_1_0_is_translated() -> None:
    old = message(
        (CAP, "http://www.incident.com/cap/1.0"),
        ("<status>", "<password>x</password><status>"),
        ("Likely", "Very Likely"),
        ("<expires>", "<eventCode>SAME=TOR</eventCode><expires>"),
    )
    report = read(old)
    assert report.ok
    assert [finding.code for finding in report.warnings] == ["cap.version", "cap.legacy", "cap.legacy", "cap.legacy"]
    assert report.alerts[0].info[0].event_code == (Pair("SAME", "TOR"),)
    assert report.alerts[0].info[0].certainty == "Likely"


@pytest.mark.parametrize(
    "frame",
    [
        '<feed xmlns="http://www.w3.org/2005/Atom"><entry><content type="text/xml">%s</content></entry></feed>',
        '<EDXLDistribution xmlns="urn:oasis:names:tc:emergency:EDXL:DE:1.0"><contentObject><xmlContent>'
        "<embeddedXMLContent>%s</embeddedXMLContent></xmlContent></contentObject></EDXLDistribution>",
        "<alerts>%s</alerts>",
        '<rss version="2.0"><channel><item><title>x</title>%s</item></channel></rss>',
    ],
    ids=["atom", "edxl-de", "alerts", "rss"],
)
def test_alerts_are_taken_out_of_envelopes(frame: str) -> None:
    report = read((frame % BODY).encode())
    assert report.alerts == (ALERT,)
    assert [finding.code for finding in report.warnings] == ["cap.wrapper"]


def test_a_bad_alert_in_a_feed_does_not_hide_the_good_ones() -> None:
    report = read(f"<alerts>{BODY}{BODY.replace('Severe<', 'Bad<')}{BODY}</alerts>".encode())
    assert report.alerts == (ALERT, ALERT)
    assert [finding.element for finding in report.errors] == ["alert[2]/info/severity"]


def test_a_feed_that_only_links_holds_no_alert() -> None:
    feed = b'<feed xmlns="http://www.w3.org/2005/Atom"><entry><link href="https://a.example/1"/></entry></feed>'
    assert codes(feed) == (["cap.no_alert"], [])


def test_findings_are_bounded() -> None:
    many = message(("<info>", "<odd/>" * (grammar.MAX_FINDINGS + 5) + "<info>"))
    errors, _ = codes(many)
    assert len(errors) == grammar.MAX_FINDINGS + 1
    assert errors[-1] == "cap.limit"
    rings = "<polygon/>" * (grammar.MAX_FINDINGS + 5)
    _, warnings = codes(message(("<polygon>", f"{rings}<polygon>")))
    assert warnings[grammar.MAX_FINDINGS :] == ["cap.more"]


def test_messages_hold_nothing_a_terminal_obeys() -> None:
    report = read(message(("Severe<", "\x9b31m&#x202e;Severe<")))
    assert report.errors[0].message.isprintable()
