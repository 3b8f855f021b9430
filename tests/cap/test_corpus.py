"""Every file of the CAP corpus gets the verdict, codes and values that `expectations.py` and its manifest say."""

import csv
import os
import re
from functools import cache
from pathlib import Path

import pytest
from expectations import EXPECTED

from api.cap import CapWriteError, Report, read, write

SHARED = Path(os.environ.get("FENGHUO_SHARED") or Path(__file__).parents[2].parent / "shared")
CORPUS = SHARED / "data" / "cap-corpus"

pytestmark = pytest.mark.skipif(
    not (CORPUS / "MANIFEST.csv").is_file(), reason=f"no CAP corpus at {CORPUS}; set FENGHUO_SHARED"
)

# What was accepted from others but would be a fault of our own to send.
NOT_WRITTEN = {
    "oasiscap-rs/v1dot1_appendix_adot1.xml": "alert/info/resource/mimeType",
    "obplayer/2019-01-01T00_04_07_02Iurn3oid32.49.0.1.124.0322195743.2019_001~2.xml": "alert/sender",
    "obplayer/2example_CAPCP_with_Embedded_Large_Audio_File~2.xml": "alert/sender",
    "obplayer/4example_CAPCP_with_External_Large_Audio_File~2.xml": "alert/sender",
}


@cache
def manifest() -> dict[str, dict[str, str]]:
    with (CORPUS / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@cache
def report(path: str) -> Report:
    return read((CORPUS / path).read_bytes())


def test_every_file_of_the_manifest_is_expected() -> None:
    assert set(EXPECTED) == set(manifest())
    assert len(EXPECTED) == 155


@pytest.mark.parametrize("path", EXPECTED)
def test_file(path: str) -> None:
    expected, found = EXPECTED[path], report(path)
    actual = (
        found.ok,
        len(found.alerts),
        frozenset(finding.code for finding in found.errors),
        frozenset(finding.code for finding in found.warnings),
    )
    assert actual == expected[:4], expected.why


@pytest.mark.parametrize("path", EXPECTED)
def test_agrees_with_the_manifest(path: str) -> None:
    row, found = manifest()[path], report(path)
    if row["xsd12_valid"]:
        assert found.ok == (row["xsd12_valid"] == "yes")
    if row["wellformed"] == "no" or row["n_alerts"] == "0":
        assert not found.ok
    if not found.ok:
        return
    assert len(found.alerts) == int(row["n_alerts"])
    first = found.alerts[0]
    assert (first.identifier, first.sender, first.status) == (row["identifier"], row["sender"], row["status"])
    assert (first.msg_type, first.scope) == (row["msgType"], row["scope"])
    assert len(first.info) == int(row["n_info"])
    assert bool(first.references) <= (row["has_references"] == "yes")
    areas = [area for info in first.info for area in info.area]
    assert len(areas) == int(row["n_area"])
    assert sum(len(area.geocode) for area in areas) == int(row["n_geocode"])
    assert sum(len(info.resource) for info in first.info) == int(row["n_resource"])
    left_out = {finding.code for finding in found.warnings} & {"cap.polygon", "cap.circle"}
    if not left_out:
        assert sum(len(area.polygon) for area in areas) == int(row["n_polygon"])
        assert sum(len(area.circle) for area in areas) == int(row["n_circle"])
    if first.info:
        assert (first.info[0].event, first.info[0].severity) == (row["event"], row["severity"])
    assert sum(info.expires is not None for info in first.info) == int(row["n_expires"])
    languages = {info.language for info in first.info if info.language}
    assert languages == set(row["languages"].split())


@pytest.mark.parametrize("path", EXPECTED)
def test_findings_name_their_element(path: str) -> None:
    for finding in (*report(path).errors, *report(path).warnings):
        assert re.fullmatch(r"cap\.[a-z_]+", finding.code)
        assert finding.message.endswith(".")
        assert finding.message.isprintable()
        assert finding.element or finding.code in ("cap.encoding", "cap.entity", "cap.more")


@pytest.mark.parametrize("path", [path for path in EXPECTED if EXPECTED[path].accepted])
def test_what_was_accepted_can_be_written_and_read_again(path: str) -> None:
    for alert in report(path).alerts[:20]:
        if path in NOT_WRITTEN:
            with pytest.raises(CapWriteError) as fault:
                write(alert)
            assert fault.value.element == NOT_WRITTEN[path]
            continue
        again = read(write(alert))
        assert again.alerts == (alert,)
        assert not again.errors
