"""Whatever the API refuses, it says as problem details (RFC 9457), with a stable code and nothing of its inside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from conftest import Errors
from town import Town

from api.app import MAX_BODY
from api.warnings import MAX_CAP

SECRET = "13800138000"


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document, after its form has been looked at."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    said: dict[str, Any] = answer.json()
    assert (said["status"], said["code"], said["type"]) == (status, code, f"urn:fenghuo:problem:{code}")
    assert isinstance(said["title"], str) and said["title"] != "Error"
    assert isinstance(said["detail"], str) and said["detail"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    return said


async def test_without_a_credential_nothing_is_answered(the_town: Town) -> None:
    missing = await the_town.http.get("/v1/warnings")
    problem(missing, 401, "token.missing")
    assert missing.headers["www-authenticate"] == "Bearer"
    for sent in ("Bearer wrong", "Bearer " + "x" * 5000, "bearer é".encode("latin-1").decode("latin-1")):
        wrong = await the_town.http.get("/v1/warnings", headers={"Authorization": sent.encode("latin-1")})
        problem(wrong, 401, "token.invalid")
    problem(await the_town.http.get("/v1/warnings", headers={"Authorization": "Basic eDp5"}), 401, "token.missing")


async def test_no_grant_is_403_and_with_one_it_works(the_town: Town) -> None:
    said = problem(await the_town.post("milan-head", "/v1/warnings", the_town.body()), 403, "permission.denied")
    assert said["remedy"]
    assert (await the_town.post("officer1", "/v1/warnings", the_town.body())).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/warnings/none", "warning.unknown"),
        ("GET", "/v1/warnings/none/tree", "warning.unknown"),
        ("POST", "/v1/warnings/none/release", "warning.unknown"),
        ("GET", "/v1/cases/none", "case.unknown"),
        ("GET", "/nowhere", "http.404"),
        ("GET", "/v1/log/checkpoint/none", "http.404"),
    ],
)
async def test_what_does_not_exist_is_404(the_town: Town, method: str, path: str, code: str) -> None:
    problem(await the_town.ask("officer1", method, path, json={} if method == "POST" else None), 404, code)


async def test_another_method_is_405(the_town: Town) -> None:
    answer = await the_town.ask("officer1", "DELETE", "/v1/warnings")
    problem(answer, 405, "http.405")
    assert answer.headers["allow"]


async def test_a_rule_that_says_no_is_409(the_town: Town) -> None:
    warning_id = await the_town.draft()
    said = problem(await the_town.post("officer1", f"/v1/warnings/{warning_id}/release"), 409, "warning.second_person")
    assert said["remedy"]
    path = f"/v1/warnings/{warning_id}/nodes/milan/acknowledge"
    problem(await the_town.post("milan-head", path), 409, "relay.unknown")


async def test_a_version_that_was_overtaken_is_412(the_town: Town) -> None:
    path = f"/v1/warnings/{await the_town.draft()}"
    seen = (await the_town.get("officer1", path)).headers["etag"]
    assert seen == '"v1"'
    changed = await the_town.ask("officer2", "PUT", path, json=the_town.body(event="Fire"), headers={"If-Match": seen})
    assert changed.status_code == 200
    stale = await the_town.ask("officer1", "PUT", path, json=the_town.body(event="Wind"), headers={"If-Match": seen})
    problem(stale, 412, "version.stale")
    problem(await the_town.post("officer2", f"{path}/release", headers={"If-Match": seen}), 412, "version.stale")
    problem(
        await the_town.post("officer1", f"{path}/cancel", {"reason": "x"}, headers={"If-Match": seen}),
        412,
        "version.stale",
    )
    problem(await the_town.post("officer1", f"{path}/release", headers={"If-Match": "tomorrow"}), 422, "version.etag")

    now = await the_town.get("officer1", path)
    assert (now.json()["content"]["event"], now.headers["etag"]) == ("Fire", '"v2"')
    fresh = {"If-Match": now.headers["etag"]}
    assert (await the_town.ask("officer1", "PUT", path, json=the_town.body(), headers=fresh)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"level": "purple"},
        {"texts": []},
        {"unknown": 1},
        {"texts": [{"language": "zh", "headline": SECRET * 100}]},
        {"expires_at": "2026-07-01T10:00:00"},  # no offset
        {"area": {"description": "x", "polygons": [[[1, 2], [3, 4]]]}},
        {"target": {"nodes": ["a b"]}},
    ],
)
async def test_a_body_of_another_form_is_422_and_is_not_repeated(the_town: Town, changes: dict[str, Any]) -> None:
    answer = await the_town.post("officer1", "/v1/warnings", the_town.body(**changes))
    assert problem(answer, 422, "request.invalid")["errors"]
    assert SECRET not in answer.text


@pytest.mark.parametrize("sent", [b"{", b"\xff\xfe", b"[]", b"", b'{"a":' * 5000])
async def test_a_body_that_is_no_json_is_422(the_town: Town, sent: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    problem(await the_town.post("officer1", "/v1/warnings", content=sent, headers=headers), 422, "request.invalid")


async def test_a_body_that_says_nonsense_is_422(the_town: Town) -> None:
    body = the_town.body()
    late = the_town.body(expires_at=body["effective_at"])
    problem(await the_town.post("officer1", "/v1/warnings", late), 422, "warning.validity")
    not_ours = [{"language": "zh", "headline": "暂勿前往意大利"}]
    problem(
        await the_town.post("officer1", "/v1/warnings", the_town.body(texts=not_ours)), 422, "warning.official_level"
    )


async def test_bodies_have_a_limit(the_town: Town) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 1_000_000 + 2):
            yield b" " * 1_000_000

    json = {"Content-Type": "application/json"}
    declared = await the_town.post("officer1", "/v1/warnings", content=b" " * (MAX_BODY + 1), headers=json)
    problem(declared, 413, "request.too_large")
    streamed = await the_town.post("officer1", "/v1/warnings", content=endless(), headers=json)
    problem(streamed, 413, "request.too_large")
    problem(
        await the_town.post("officer1", "/v1/warnings/import", content=b"<" * (MAX_CAP + 1)), 413, "request.too_large"
    )
    assert (await the_town.post("officer1", "/v1/warnings", the_town.body())).status_code == 201


async def test_a_log_that_takes_nothing_is_503(the_town: Town) -> None:
    await the_town.token("officer1")
    await the_town.draft()
    await the_town.stores.log.close()
    problem(await the_town.post("officer1", "/v1/warnings", the_town.body()), 503, "log.closed")


async def test_what_nobody_foresaw_is_500_and_says_nothing(
    the_town: Town, errors: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(the_town.stores.desk, "draft", broken)
    errors.expect("Exception in ASGI application")
    answer = await the_town.post("officer1", "/v1/warnings", the_town.body())
    problem(answer, 500, "internal")
    assert SECRET not in answer.text
