"""Drills through the whole program: marked wherever they show, counted apart, heard of by nobody outside."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from problems import denied, problem
from setting import SHARED
from town import OURS, Town, signed_in
from townsfolk import STAFF_TOLD

from api import capmap
from api.cap import read

pytestmark = SHARED
STATIONS = {"milan", "rome", "madrid", "village"}


async def drill(town: Town, **body: Any) -> str:
    answer = await town.post("officer1", "/v1/drills", body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/warnings/{answer.json()['id']}"
    await town.quiet()
    return str(answer.json()["id"])


async def metric(town: Town, name: str) -> float:
    lines = (await town.http.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))


async def test_a_drill_shows_as_one_everywhere_and_reaches_nobody(town: Town) -> None:
    real = await metric(town, "fenghuo_messages_total")
    warning_id = await drill(town, level="red")

    shown = (await town.get("officer1", f"/v1/warnings/{warning_id}")).json()
    assert (shown["drill"], shown["real_channels"], shown["release"]) == (True, False, "single")
    tree = (await town.get("officer1", f"/v1/warnings/{warning_id}/tree")).json()
    assert (tree["drill"], {n["state"] for n in tree["nodes"]}) == (True, {"told"})
    inbox = (await town.get("milan-head", "/v1/nodes/milan/inbox")).json()["items"]
    assert [item["drill"] for item in inbox if item["key"] == warning_id] == [True]
    cap = (await town.get("officer1", f"/v1/warnings/{warning_id}/cap")).content
    (alert,) = read(cap).alerts
    assert (alert.status, "DRILL" in (alert.note or "")) == ("Exercise", True)
    assert [i.headline.partition(" ")[0] for i in alert.info if i.headline] == [
        "【演习】", "[DRILL]", "[SIMULACRO]", "[ESERCITAZIONE]", "[EXERCICE]",
    ]  # fmt: skip
    assert capmap.content_of(alert, cap, target="office")[0].drill
    async with aclosing(await signed_in(town, "officer1")) as browser:
        for path in ("/console", f"/console/warnings/{warning_id}"):
            assert "chip-drill" in (page := (await browser.get(path)).text) or "drill-mark" in page
            assert "演习" in page
    assert await metric(town, "fenghuo_messages_total") == real
    assert await metric(town, "fenghuo_drill_messages_total") > 0
    assert town.unread() == []


async def test_neither_turns_into_the_other_over_the_api(town: Town) -> None:
    real, made = await town.draft(), await town.draft(drill=True)
    for warning_id, drill_ in ((real, True), (made, False)):
        answer = await town.ask("officer1", "PUT", f"/v1/warnings/{warning_id}", json=town.body(drill=drill_))
        problem(answer, 409, "warning.drill_kind")
    problem(await town.post("officer2", f"/v1/warnings/{real}/release", {"real_channels": True, "reason": "x"}), 422, (
        "warning.not_a_drill"
    ))  # fmt: skip
    running = await drill(town)
    problem(await town.post("officer1", "/v1/warnings", town.body(updates=running)), 409, "warning.drill_kind")
    problem(await town.get("officer1", f"/v1/warnings/{real}/drill-report"), 409, "drill.not_one")


async def test_who_may_issue_a_drill_read_its_report_and_preview(town: Town) -> None:
    for who in ("county1", "milan-head", "auditor1", "milan-zh"):
        assert denied(await town.post(who, "/v1/drills", {"node": "milan"}))
    warning_id = await drill(town)
    path = f"/v1/warnings/{warning_id}/drill-report"
    assert (await town.get("auditor1", path)).status_code == 200
    assert denied(await town.get("county1", path))
    assert denied(await town.get("milan-head", path))
    problem(await town.get("milan-zh", path), 404, "warning.unknown")
    draft = f"/v1/warnings/{await town.draft(target={'nodes': ['milan']})}/preview"
    assert (await town.get("officer2", draft)).status_code == 200
    assert denied(await town.get("auditor1", draft))
    assert denied(await town.get("milan-head", draft))
    problem(await town.get("rome-head", draft), 404, "warning.unknown")


async def test_one_key_is_one_drill(town: Town) -> None:
    key = {"Idempotency-Key": "drill-1"}
    first = await town.post("officer1", "/v1/drills", {"node": "milan"}, headers=key)
    again = await town.post("officer1", "/v1/drills", {"node": "milan"}, headers=key)
    assert first.json()["id"] == again.json()["id"]
    assert again.json()["repeated"]


# Preview and correction -----------------------------------------------------------------------------------------------


async def test_the_preview_over_the_api_and_in_the_console(town: Town) -> None:
    warning_id = await town.draft()
    said = (await town.get("officer1", f"/v1/warnings/{warning_id}/preview")).json()
    assert {n["node_id"] for n in said["phases"][0]["by_node"]} >= STATIONS
    assert said["phases"][0]["people"] == len(STAFF_TOLD)
    assert said["cost"]["unknown"] == sum(p["by_channel"]["sms"] for p in said["phases"])
    async with aclosing(await signed_in(town, "officer1")) as browser:
        page = (await browser.get(f"/console/warnings/{warning_id}")).text
        assert f'hx-get="/console/warnings/{warning_id}/preview' in page
        whole = (await browser.get(f"/console/warnings/{warning_id}/preview?lang=en")).text
        assert "When their stations relay" in whole
        assert "<html" in whole
        part = (
            await browser.get(f"/console/warnings/{warning_id}/preview?lang=zh", headers={"HX-Request": "true"})
        ).text
        assert "服务站转达后" in part
        assert "<html" not in part
    async with aclosing(await signed_in(town, "auditor1")) as browser:
        assert (await browser.get(f"/console/warnings/{warning_id}/preview")).status_code == 403


async def test_the_console_drafts_and_releases_drills(town: Town) -> None:
    form = {
        "level": "red", "event": "演习", "headline_zh": "演习", "countries": "", "area": "—", "hotline": "12308",
        "mission": "1", "police": "112", "expires": "2026-12-01T00:00", "zone": "Asia/Shanghai", "drill": "yes",
    }  # fmt: skip
    async with aclosing(await signed_in(town, "officer1")) as browser:
        drafted = await browser.post("/console/warnings", data=form, headers=OURS)
        path = drafted.headers["location"]
        page = (await browser.get(path)).text
        assert 'id="release-real"' in page
        assert 'id="break-glass"' not in page
        seen = {"version": "1"}
        why = await browser.post(f"{path}/release", data={**seen, "real_channels": "yes", "reason": " "}, headers=OURS)
        assert (why.status_code, "warning.reason_missing" in why.text) == (409, True)
        assert (await browser.post(f"{path}/release", data=seen, headers=OURS)).status_code == 303
        await town.quiet()
        assert "外部无人收到" in (await browser.get(path)).text
