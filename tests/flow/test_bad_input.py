"""What nobody who means well would send is refused by name: it is never an error of ours."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import pytest
from problems import problem
from setting import SHARED
from town import Town, signed_in

from api.problems import problem as document
from domain.warnings import WarningDrafted

pytestmark = SHARED
HALF = "\ud800"  # of a surrogate pair: JSON can name it, UTF-8 cannot hold it
FORM = {
    **dict.fromkeys(("headline_en", "description_zh", "description_en", "instruction_zh", "instruction_en"), ""),
    **{"level": "orange", "event": "Flood", "headline_zh": "洪水", "countries": "", "area": ""},
    **{"hotline": "12308", "mission": "1", "police": "112", "expires": "2026-07-02T00:00", "zone": "Asia/Shanghai"},
}


@pytest.mark.parametrize("index", ["9" * 5000, "9" * 10, "-1", "1_0", "%D9%A3", "x", "%00"])
@pytest.mark.parametrize("path", ["sms/{}/{}", "voice/{}/{}", "voice/{}/{}/key?asked=1", "voice/{}/{}/status"])
async def test_a_callback_about_a_message_that_cannot_be_is_404(town: Town, path: str, index: str) -> None:
    answer = await town.http.post(f"/callbacks/{path.format('0' * 32, index)}", data={"a": "b"})
    problem(answer, 404, "receipt.unknown")


@pytest.mark.parametrize(
    "audience",
    [
        {"is": HALF},
        {"is": "tag", "tag": HALF},
        {"is": "tag", HALF: 1},
        {"is": "region", "region": HALF},
        {"is": "not", "of": {"is": "subtree", "node": f"milan{HALF}"}},
    ],
)
async def test_an_audience_that_cannot_be_written_is_422(town: Town, audience: dict[str, Any]) -> None:
    target, headers = {"nodes": ["office"], "audience": audience}, {"Content-Type": "application/json"}
    for path, body in (("/v1/audience", {"target": target}), ("/v1/warnings", town.body(target=target))):
        answer = await town.post("officer1", path, content=json.dumps(body).encode(), headers=headers)
        problem(answer, 422, "audience.text")


async def test_a_problem_is_written_whatever_it_names() -> None:
    said = json.loads(bytes(document(422, "x", f"No {HALF}, 洪水", remedy=HALF).body))
    assert (said["detail"], said["remedy"]) == ("No ?, 洪水", "?")


@pytest.mark.parametrize(
    "changes",
    [
        {"zone": "America"},
        {"zone": "a" * 5000},
        {"zone": "\0"},
        {"zone": ""},
        {"expires": "9999-12-31T23:59", "zone": "America/New_York"},
        {"expires": "0001-01-01T00:00", "zone": "Asia/Shanghai"},
    ],
    ids=["folder", "long", "nul", "none", "late", "early"],
)
async def test_an_expiry_that_is_no_time_comes_back_in_the_form(town: Town, changes: dict[str, str]) -> None:
    before = len(town.recorded(WarningDrafted))
    async with aclosing(await signed_in(town, "officer1")) as browser:
        answer = await browser.post("/console/warnings", data={**FORM, **changes})
    assert (answer.status_code, "warning.expires" in answer.text) == (422, True)
    assert len(town.recorded(WarningDrafted)) == before


@pytest.mark.parametrize("charset", ["raw_unicode_escape", "unicode_escape", "punycode", "undefined"])
async def test_a_form_in_an_encoding_of_its_own_is_422(town: Town, charset: str) -> None:
    part = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = "".join(part.format(*field) for field in {**FORM, "event": "\\ud800_"}.items()) + "--x--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    async with aclosing(await signed_in(town, "officer1")) as browser:
        answer = await browser.post("/console/warnings", content=body.encode(), headers=headers)
    assert (answer.status_code, "page.form" in answer.text) == (422, True)


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//[x]", "null"])
@pytest.mark.parametrize("path", ["/login/x", "/logout", "/console/warnings"])
async def test_an_origin_that_is_no_address_is_not_ours(town: Town, path: str, origin: str) -> None:
    answer = await town.http.post(path, data={"a": "b"}, headers={"Origin": origin, "Accept-Language": "en"})
    assert (answer.status_code, "This form was not sent from the console." in answer.text) == (403, True)


@pytest.mark.parametrize("name", ["%00", "%ED%A0%80", "a" * 5000, "x/%00.css", "..%2F..%2Fapp.py", "vendor"])
@pytest.mark.parametrize("path", ["/a/", "/console/static/", "/console/warnings/", "/v1/warnings/"])
async def test_a_path_that_names_nothing_is_404(town: Town, path: str, name: str) -> None:
    async with aclosing(await signed_in(town, "officer1")) as browser:
        asked = town.get("officer1", path + name) if path.startswith("/v1") else browser.get(path + name)
        assert (await asked).status_code == 404
