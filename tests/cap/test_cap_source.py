"""Bytes that should not be trusted: encodings, byte order marks, entities, sizes, and anything at all."""

import codecs
import re
import time

import pytest
from cap_messages import BODY, message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.cap import Report, grammar, read


def only_error(data: bytes) -> str:
    report = read(data)
    assert report.alerts == ()
    assert len(report.errors) == 1
    return report.errors[0].code


@pytest.mark.parametrize(
    "name",
    ["utf-8", "UTF8", "gb2312", "GBK", "gb18030", "utf-16", "utf-16-le", "utf-16-be", "big5", "utf-8-sig"],
)
def test_chinese_encodings(name: str) -> None:
    text = (
        BODY if name != "big5" else BODY.replace("台风橙色预警", "颱風橙色警報").replace("湾", "灣").replace("风", "風")
    )
    text = text.replace("马", "馬") if name == "big5" else text
    declared = {"utf-16-le": "utf-16", "utf-16-be": "UTF-16", "utf-8-sig": "utf-8"}.get(name, name)
    report = read(f'<?xml version="1.0" encoding="{declared}"?>\n{text}'.encode(name))
    assert report.ok, report.errors
    assert report.alerts[0].info[0].area[0].area_desc in ("马尼拉湾", "馬尼拉灣")


@pytest.mark.parametrize("name", ["iso-8859-1", "ISO-8859-15", "windows-1252", "windows-1250", "cp1252"])
def test_latin_encodings(name: str) -> None:
    text = message(("台风橙色预警", "Äußerste Gefahr"), ("台风", "Sturm"), ("马尼拉湾", "Köln")).decode()
    report = read(f"<?xml version='1.0' encoding='{name}' standalone='yes'?>{text}".encode(name))
    assert report.alerts[0].info[0].headline == "Äußerste Gefahr"


def test_cyrillic_encoding() -> None:
    text = message(("台风橙色预警", "Шторм"), ("台风", "x"), ("马尼拉湾", "Москва")).decode()
    report = read(f'<?xml version="1.0" encoding="windows-1251"?>{text}'.encode("cp1251"))
    assert report.alerts[0].info[0].headline == "Шторм"


def test_byte_order_marks_outrank_the_declaration() -> None:
    text = f'<?xml version="1.0" encoding="iso-8859-1"?>{BODY}'
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        assert read(mark + text.encode(name)).alerts[0].info[0].event == "台风"


def test_utf_16_declared_over_utf_8_bytes() -> None:
    report = read(f'<?xml version="1.0" encoding="utf-16"?>{BODY}'.encode())
    assert report.ok
    assert [finding.code for finding in report.warnings] == ["cap.encoding_declared"]


@pytest.mark.parametrize("name", ["rot13", "zlib", "utf-7", "no-such", "idna", "x" * 39])
def test_other_encodings_are_refused(name: str) -> None:
    assert only_error(f'<?xml version="1.0" encoding="{name}"?><alert/>'.encode()) == "cap.encoding"


def test_bytes_outside_the_encoding_are_placed() -> None:
    report = read(b'<?xml version="1.0" encoding="utf-8"?>\n<alert>\n ab\xff</alert>')
    assert [(finding.code, finding.message) for finding in report.errors] == [
        ("cap.encoding", "The bytes at line 3, column 4 are not valid utf-8.")
    ]


def test_broken_xml_is_placed() -> None:
    report = read(b"<alert>\n  <info>\n</alert>")
    assert report.errors[0].code == "cap.xml"
    assert "line 3, column 3" in report.errors[0].message


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"hello", b"<", b"\x00", b"<?xml?>", b"\xff\xfe", b"<a:b/>", b"<alert/>x"]
)
def test_what_is_no_xml(data: bytes) -> None:
    assert only_error(data) == "cap.xml"


ATTACKS = {
    "a file": '<!DOCTYPE alert [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
    "an address": '<!DOCTYPE alert [<!ENTITY x SYSTEM "http://127.0.0.1:9/">]>',
    "a parameter entity": '<!DOCTYPE alert [<!ENTITY % p SYSTEM "http://127.0.0.1:9/">%p;]><!-- &x; -->',
    "an expansion": "<!DOCTYPE alert [<!ENTITY a 'hahahahaha'>"
    + "".join(f"<!ENTITY {this} '{f'&{last};' * 10}'>" for last, this in zip("abcdefgh", "bcdefghx", strict=True))
    + "]>",
}


@pytest.mark.parametrize("prologue", ATTACKS.values(), ids=ATTACKS)
def test_entities_are_refused(prologue: str) -> None:
    began = time.perf_counter()
    assert only_error(prologue.encode() + message(("台风橙色预警", "&x;"))) == "cap.entity"
    assert time.perf_counter() - began < 5


def test_document_types_and_undefined_entities_are_refused() -> None:
    assert only_error(b'<!DOCTYPE alert SYSTEM "http://127.0.0.1:9/x.dtd">' + message()) == "cap.dtd"
    assert only_error(message(("台风橙色预警", "&nbsp;"))) == "cap.entity"


def test_an_attack_in_utf_16_is_no_way_round() -> None:
    text = f'<?xml version="1.0" encoding="utf-16"?>{ATTACKS["a file"]}{BODY}'
    assert only_error(text.encode("utf-16")) == "cap.entity"


def test_the_five_entities_of_xml_and_character_references_are_read() -> None:
    report = read(message(("台风橙色预警", "&lt;&amp;&gt;&quot;&apos;&#x53F0;")))
    assert report.alerts[0].info[0].headline == "<&>\"'台"


def test_limits() -> None:
    assert only_error(b" " * (grammar.MAX_BYTES + 1)) == "cap.too_large"
    assert only_error(b"<a>" * (grammar.MAX_DEPTH + 1)) == "cap.limit"
    assert only_error(b"<a>" + b"<b/>" * grammar.MAX_ELEMENTS + b"</a>") == "cap.limit"
    assert only_error(b"<" + b"n" * (grammar.MAX_NAME + 1) + b"/>") == "cap.limit"
    assert only_error(b"<alerts>" + b"<alert/>" * (grammar.MAX_ALERTS + 1) + b"</alerts>") == "cap.limit"
    assert only_error(message(("<info>", "<info/>" * grammar.MAX_INFOS + "<info>"))) == "cap.limit"
    assert only_error(message(("<area>", "<area/>" * grammar.MAX_AREAS + "<area>"))) == "cap.limit"
    ring = " ".join(["1,1", "2,2"] + ["3,3"] * grammar.MAX_POINTS + ["1,1"])
    assert only_error(message(("14.0,120.5 14.9,120.5 14.9,121.2 14.0,120.5", ring))) == "cap.limit"


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PIECES = [
    "<",
    ">",
    "&",
    "</info>",
    "<info>",
    "]]>",
    "<!--",
    "<![CDATA[",
    "<?x",
    "\x00",
    "-",
    "9",
    "é",
    "\ud7ff",
    "Z",
    " ",
]


def sane(report: Report) -> None:
    assert report.ok == (not report.errors)
    assert report.alerts or report.errors


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    sane(read(data))


@FUZZ
@given(st.lists(st.tuples(st.integers(0, len(BODY.encode())), st.integers(0, 40), st.binary(max_size=6)), max_size=4))
def test_mutated_bytes(cuts: list[tuple[int, int, bytes]]) -> None:
    data = BODY.encode()
    for at, length, instead in cuts:
        data = data[:at] + instead + data[at + length :]
    sane(read(data))


@FUZZ
@given(st.lists(st.tuples(st.integers(0, len(BODY)), st.integers(0, 30), st.sampled_from(PIECES)), max_size=3))
def test_mutated_text(cuts: list[tuple[int, int, str]]) -> None:
    text = BODY
    for at, length, instead in cuts:
        text = text[:at] + instead + text[at + length :]
    sane(read(text.encode()))


TEXTS = sorted(set(re.findall(r">([^<>]+)<", BODY)))


@FUZZ
@given(st.sampled_from(TEXTS), st.text(max_size=30))
def test_any_text_in_any_element(old: str, new: str) -> None:
    escaped = new.replace("&", "&amp;").replace("<", "&lt;")
    sane(read(BODY.replace(f">{old}<", f">{escaped}<").encode("utf-8", "replace")))
