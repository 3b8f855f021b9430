"""Commands over the API: one idempotency key is one command, pages stay as they were while the log grows."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from problems import problem
from setting import SHARED
from town import Town

from domain.commands import CommandAccepted
from domain.warnings import WarningDrafted, WarningReleased

pytestmark = SHARED


def drafts(town: Town) -> int:
    return len(town.recorded(WarningDrafted))


async def test_the_same_key_with_the_same_body_is_one_command(town: Town) -> None:
    body, key = town.body(), {"Idempotency-Key": "draft-1"}
    before = drafts(town)
    first = await town.post("officer1", "/v1/warnings", body, headers=key)
    again = await town.post("officer1", "/v1/warnings", body, headers=key)

    assert (first.status_code, again.status_code) == (201, 201)
    assert (first.json()["repeated"], again.json()["repeated"]) == (False, True)
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"] == again.headers["location"] == f"/v1/warnings/{first.json()['id']}"
    assert drafts(town) == before + 1


async def test_the_same_key_with_another_body_or_path_is_refused(town: Town) -> None:
    key = {"Idempotency-Key": "draft-2"}
    drafted = await town.post("officer1", "/v1/warnings", town.body(), headers=key)
    before = drafts(town)
    other = await town.post("officer1", "/v1/warnings", town.body(event="Fire"), headers=key)
    problem(other, 409, "command.key_reused")
    elsewhere = await town.post("officer1", f"/v1/warnings/{drafted.json()['id']}/release", headers=key)
    problem(elsewhere, 409, "command.key_reused")
    assert drafts(town) == before


async def test_a_key_belongs_to_whoever_sent_it(town: Town) -> None:
    key = {"Idempotency-Key": "draft-3"}
    one = await town.post("officer1", "/v1/warnings", town.body(), headers=key)
    two = await town.post("officer2", "/v1/warnings", town.body(event="Fire"), headers=key)
    assert two.status_code == 201
    assert one.json()["id"] != two.json()["id"]


async def test_many_at_once_with_one_key_are_one_command(town: Town) -> None:
    body, key = town.body(), {"Idempotency-Key": "draft-4"}
    await town.get("officer1", "/v1/warnings")
    before = drafts(town), len(town.recorded(CommandAccepted))
    answers = await asyncio.gather(*[town.post("officer1", "/v1/warnings", body, headers=key) for _ in range(8)])

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.json()["repeated"] for answer in answers].count(False) == 1
    assert (drafts(town), len(town.recorded(CommandAccepted))) == (before[0] + 1, before[1] + 1)


async def test_a_key_outlives_the_refusal_of_its_command(town: Town) -> None:
    warning_id, key = await town.draft(), {"Idempotency-Key": "release-1"}
    path = f"/v1/warnings/{warning_id}/release"
    problem(await town.post("officer1", path, headers=key), 409, "warning.second_person")
    glass = await town.post("officer1", path, {"break_glass": True, "reason": "alone"}, headers=key)
    assert glass.status_code == 200  # a refusal took nothing, the key was free
    released = [r.event.released_by for r in town.recorded(WarningReleased) if r.event.warning_id == warning_id]
    assert released == ["officer1"]
    await town.quiet()
    town.read_all()


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "é".encode()])
async def test_a_key_that_is_none_is_422(town: Town, key: str | bytes) -> None:
    answer = await town.post("officer1", "/v1/warnings", town.body(), headers={"Idempotency-Key": key})
    problem(answer, 422, "request.invalid" if len(key) > 200 else "command.key")


async def _pages(town: Town, path: str, limit: int, between: Any = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = await town.get("officer1", f"{path}?limit={limit}{after}")
        assert page.status_code == 200, page.text
        found += page.json()["items"]
        if page.json()["next"] is None:
            return found
        after = f"&after={page.json()['next']}"
        if between is not None:
            await between()


async def test_pages_stay_as_they_were_while_new_ones_come(town: Town) -> None:
    for _ in range(5):
        await town.draft()
    whole = [w["warning_id"] for w in await _pages(town, "/v1/warnings", 200)]
    paged = [w["warning_id"] for w in await _pages(town, "/v1/warnings", 2, between=town.draft)]
    assert paged == whole
    assert len(set(paged)) == len(paged) >= 5
    assert len(await _pages(town, "/v1/warnings", 200)) > len(whole)


async def test_deliveries_are_paged_without_loss(town: Town) -> None:
    path = f"/v1/warnings/{await town.release()}/deliveries"
    await town.quiet()
    town.read_all()
    whole = [(d["shard_id"], d["idx"]) for d in await _pages(town, path, 1000)]
    assert [(d["shard_id"], d["idx"]) for d in await _pages(town, path, 3)] == whole
    assert len(set(whole)) == len(whole) == 10
    for cursor in ("x", "x.y", f"{whole[0][0]}.{'9' * 30}"):
        problem(await town.get("officer1", f"{path}?after={cursor}"), 422, "page.cursor")


@pytest.mark.parametrize("path", ["/v1/warnings", "/v1/cases", "/v1/nodes/office/inbox"])
async def test_a_cursor_that_is_not_ours_is_422(town: Town, path: str) -> None:
    huge = base64.urlsafe_b64encode(b"p" + b"9" * 30).decode()
    for cursor in ("x", "cDE=!", "cC0x", "%00", "8J%2BYgA", huge):
        problem(await town.get("officer1", f"{path}?after={cursor}"), 422, "page.cursor")
    problem(await town.get("officer1", f"{path}?limit=0"), 422, "request.invalid")
    problem(await town.get("officer1", f"{path}?after={'x' * 101}"), 422, "request.invalid")


async def test_an_update_takes_the_place_of_what_it_updates(town: Town) -> None:
    first = await town.release()
    await town.quiet()
    town.read_all()
    second = await town.release(updates=first, event="Flood, rising")
    assert (await town.get("officer1", f"/v1/warnings/{first}")).json()["status"] == "updated"
    assert (await town.get("officer1", f"/v1/warnings/{second}")).json()["updates"] == first
    cap = (await town.get("officer1", f"/v1/warnings/{second}/cap")).text
    assert "<msgType>Update</msgType>" in cap
    assert f"<references>fenghuo@localhost,{first}," in cap
    problem(await town.post("officer1", "/v1/warnings", town.body(updates=first)), 409, "warning.parent_not_released")
    problem(await town.post("officer1", "/v1/warnings", town.body(updates="none")), 404, "warning.unknown")
    await town.quiet()
    town.read_all()
