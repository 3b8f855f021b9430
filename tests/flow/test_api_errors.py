"""Whatever the API refuses, it says as problem details (RFC 9457), with a stable code and nothing of its inside."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from problems import problem
from setting import SHARED, Errors
from town import Town

from api.app import MAX_BODY
from api.warnings import MAX_CAP

pytestmark = SHARED
SECRET = "13800138000"


async def test_without_a_credential_nothing_is_answered(town: Town) -> None:
    missing = await town.http.get("/v1/warnings")
    problem(missing, 401, "token.missing")
    assert missing.headers["www-authenticate"] == "Bearer"
    for sent in ("Bearer wrong", "Bearer " + "x" * 5000, "bearer é".encode("latin-1").decode("latin-1")):
        wrong = await town.http.get("/v1/warnings", headers={"Authorization": sent.encode("latin-1")})
        problem(wrong, 401, "token.invalid")
    problem(await town.http.get("/v1/warnings", headers={"Authorization": "Basic eDp5"}), 401, "token.missing")


async def test_no_grant_is_403_and_with_one_it_works(town: Town) -> None:
    said = problem(await town.post("milan-head", "/v1/warnings", town.body()), 403, "permission.denied")
    assert said["remedy"]
    assert (await town.post("officer1", "/v1/warnings", town.body())).status_code == 201


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
async def test_what_does_not_exist_is_404(town: Town, method: str, path: str, code: str) -> None:
    problem(await town.ask("officer1", method, path, json={} if method == "POST" else None), 404, code)


async def test_another_method_is_405(town: Town) -> None:
    answer = await town.ask("officer1", "DELETE", "/v1/warnings")
    problem(answer, 405, "http.405")
    assert answer.headers["allow"]


async def test_a_rule_that_says_no_is_409(town: Town) -> None:
    warning_id = await town.draft()
    said = problem(await town.post("officer1", f"/v1/warnings/{warning_id}/release"), 409, "warning.second_person")
    assert said["remedy"]
    path = f"/v1/warnings/{warning_id}/nodes/milan/acknowledge"
    problem(await town.post("milan-head", path), 409, "relay.unknown")


async def test_a_version_that_was_overtaken_is_412(town: Town) -> None:
    path = f"/v1/warnings/{await town.draft()}"
    seen = (await town.get("officer1", path)).headers["etag"]
    assert seen == '"v1"'
    changed = await town.ask("officer2", "PUT", path, json=town.body(event="Fire"), headers={"If-Match": seen})
    assert changed.status_code == 200
    stale = await town.ask("officer1", "PUT", path, json=town.body(event="Wind"), headers={"If-Match": seen})
    problem(stale, 412, "version.stale")
    problem(await town.post("officer2", f"{path}/release", headers={"If-Match": seen}), 412, "version.stale")
    problem(
        await town.post("officer1", f"{path}/cancel", {"reason": "x"}, headers={"If-Match": seen}),
        412,
        "version.stale",
    )
    problem(await town.post("officer1", f"{path}/release", headers={"If-Match": "tomorrow"}), 422, "version.etag")

    now = await town.get("officer1", path)
    assert (now.json()["content"]["event"], now.headers["etag"]) == ("Fire", '"v2"')
    fresh = {"If-Match": now.headers["etag"]}
    assert (await town.ask("officer1", "PUT", path, json=town.body(), headers=fresh)).status_code == 200


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
async def test_a_body_of_another_form_is_422_and_is_not_repeated(town: Town, changes: dict[str, Any]) -> None:
    answer = await town.post("officer1", "/v1/warnings", town.body(**changes))
    assert problem(answer, 422, "request.invalid")["errors"]
    assert SECRET not in answer.text


@pytest.mark.parametrize("sent", [b"{", b"\xff\xfe", b"[]", b"", b'{"a":1}x'])
async def test_a_body_that_is_no_json_is_422(town: Town, sent: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    problem(await town.post("officer1", "/v1/warnings", content=sent, headers=headers), 422, "request.invalid")


@pytest.mark.parametrize("radius", ["1e999", "NaN", "-Infinity", "-1", "20100"])
async def test_a_circle_without_a_size_is_422_and_stops_nothing(town: Town, radius: str) -> None:
    body = town.body()
    body["area"]["circles"] = [[45.0, 9.0, 12.5]]
    text = json.dumps(body).replace("12.5", radius)
    sent = await town.post("officer1", "/v1/warnings", content=text, headers={"Content-Type": "application/json"})
    problem(sent, 422, "request.invalid")
    assert (await town.post("officer1", "/v1/warnings", body)).status_code == 201
    assert (await town.http.get("/readyz")).status_code == 200


async def test_a_body_that_says_nonsense_is_422(town: Town) -> None:
    body = town.body()
    late = town.body(expires_at=body["effective_at"])
    problem(await town.post("officer1", "/v1/warnings", late), 422, "warning.validity")
    never = town.body(expires_at="9999-12-31T23:59:59-08:00")
    problem(await town.post("officer1", "/v1/warnings", never), 422, "warning.time")
    not_ours = [{"language": "zh", "headline": "暂勿前往意大利"}]
    problem(
        await town.post("officer1", "/v1/warnings", town.body(texts=not_ours)),
        422,
        "warning.official_level",
    )


async def test_a_code_that_is_no_countrys_is_422_and_tells_nobody(town: Town) -> None:
    target = {"nodes": ["office"], "countries": ["IT", "QQ"]}
    said = problem(await town.post("officer1", "/v1/warnings", town.body(target=target)), 422, "warning.countries")
    assert "QQ is the code of no country." in said["detail"]
    path = f"/v1/warnings/{await town.draft(target={**target, 'countries': ['IT', 'PE']})}"
    problem(await town.ask("officer1", "PUT", path, json=town.body(target=target)), 422, "warning.countries")


async def test_bodies_have_a_limit(town: Town) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 1_000_000 + 2):
            yield b" " * 1_000_000

    json = {"Content-Type": "application/json"}
    declared = await town.post("officer1", "/v1/warnings", content=b" " * (MAX_BODY + 1), headers=json)
    problem(declared, 413, "request.too_large")
    streamed = await town.post("officer1", "/v1/warnings", content=endless(), headers=json)
    problem(streamed, 413, "request.too_large")
    problem(
        await town.post("officer1", "/v1/warnings/import", content=b"<" * (MAX_CAP + 1)),
        413,
        "request.too_large",
    )
    assert (await town.post("officer1", "/v1/warnings", town.body())).status_code == 201


async def test_what_nobody_foresaw_is_500_and_says_nothing(
    town: Town, errors: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(town.stores.desk, "draft", broken)
    errors.expect("Exception in ASGI application")
    answer = await town.post("officer1", "/v1/warnings", town.body())
    problem(answer, 500, "internal")
    assert SECRET not in answer.text


async def test_a_vault_or_proofs_that_cannot_be_read_are_503_until_they_can_be(town: Town, errors: Errors) -> None:
    errors.expect("proof_stopped")
    await asyncio.to_thread(town.stores.prover.extend)
    stay = {"country": "IT", "zone": "Europe/Rome", "from": "2026-11-21", "to": "2026-11-22"}
    asked: dict[tuple[str, str], Callable[[], Awaitable[httpx.Response]]] = {
        ("vault", "person_key"): lambda: town.post("admin", "/v1/people/milan-zh/stays", stay),
        ("proof", "checkpoint"): lambda: town.http.get("/v1/log/checkpoint"),
    }
    for (part, table), ask in asked.items():
        path = town.stores.folder / f"{part}.sqlite"
        renamed(path, table, "elsewhere")
        try:
            said = problem(await ask(), 503, f"{part}.failed")
        finally:
            renamed(path, "elsewhere", table)
        assert said["remedy"]
        assert (await ask()).is_success


def renamed(path: Path, table: str, to: str) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as db:
        db.execute(f"ALTER TABLE {table} RENAME TO {to}")
