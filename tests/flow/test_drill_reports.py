"""Drills and corrections in a town of their own: what a report measures, what devices get, what the command does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from problems import problem
from terminal import fenghuo
from town import Town, link_in, signed_in

from api.cap import read
from api.drills import time_to
from domain.cases import CaseOpened

STATIONS = {"milan", "rome", "madrid", "village"}


async def drill(town: Town, **body: Any) -> str:
    answer = await town.post("officer1", "/v1/drills", body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/warnings/{answer.json()['id']}"
    await town.quiet()
    return str(answer.json()["id"])


async def report(town: Town, warning_id: str) -> dict[str, Any]:
    answer = await town.get("officer1", f"/v1/warnings/{warning_id}/drill-report")
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def test_the_report_says_how_long_stations_took(the_town: Town) -> None:
    town = the_town
    warning_id = await drill(town)
    fresh = await report(town, warning_id)
    assert (fresh["planned"], fresh["stations"], fresh["acknowledged"]) == (True, 4, 0)
    assert fresh["seconds_to"] == {"50": None, "90": None, "99": None}
    for seconds, who in ((10, "milan"), (20, "rome"), (30, "madrid")):
        town.clock.move(timedelta(seconds=10))
        path = f"/v1/warnings/{warning_id}/nodes/{who}/acknowledge"
        assert (await town.post(f"{who}-head", path)).status_code == 200
        assert (await report(town, warning_id))["acknowledged"] == seconds // 10
    later = await report(town, warning_id)
    assert later["seconds_to"] == {"50": 20.0, "90": None, "99": None}
    assert [a["node_id"] for a in later["answers"]] == ["milan", "rome", "madrid", "village"]
    await town.pass_time(seconds=10)
    await town.until(lambda: True)
    assert (await town.post("village-head", f"/v1/warnings/{warning_id}/nodes/village/acknowledge")).status_code == 200
    assert (await report(town, warning_id))["seconds_to"] == {"50": 20.0, "90": 40.0, "99": 40.0}


async def test_over_the_real_channels_it_is_marked_and_a_call_for_help_is_raised_as_one_of_a_drill(
    the_town: Town,
) -> None:
    town = the_town
    refused = await town.post("officer1", "/v1/drills", {"real_channels": True})
    problem(refused, 409, "warning.reason_missing")
    warning_id = await drill(town, real_channels=True, reason="quarterly drill", node="milan")
    said = await town.device("milan-head").expect_sms("【演习】", "通信演习")
    assert said.startswith("【演习】")
    assert said.endswith("【演习】")
    push = await town.device("milan-liaison").expect_push("[ESERCITAZIONE]")
    page = await town.http.get(link_in(push))
    assert "notice-drill" in page.text
    await town.device("milan-head").reply("救命")
    await town.quiet()

    (opened,) = [r.event for r in town.recorded(CaseOpened)]
    assert (opened.drill, opened.warning_id) == (True, warning_id)  # type: ignore[attr-defined]
    (case,) = (await town.get("officer1", "/v1/cases")).json()["items"]
    assert case["drill"]
    async with aclosing(await signed_in(town, "officer1")) as browser:
        text = (await browser.get(f"/console/warnings/{warning_id}")).text
        assert "chip-drill" in text.partition('id="help"')[2].partition("</section>")[0]
    town.read_all()


async def test_a_correction_says_so_on_every_device_it_goes_to_and_in_cap(the_town: Town) -> None:
    town = the_town
    wrong = await town.release(target={"nodes": ["rome"]})
    await town.device("rome-head").expect_sms("洪水将至")
    await town.quiet()
    right = await town.release(updates=wrong, correction=True, event="Not a flood", target={"nodes": ["office"]})
    await town.device("rome-head").expect_sms("【更正】")
    await town.quiet()

    cap = (await town.get("officer1", f"/v1/warnings/{right}/cap")).content
    (alert,) = read(cap).alerts
    assert (alert.msg_type, [r.identifier for r in alert.references]) == ("Update", [wrong])
    assert f"更正 Correction of {wrong}." in (alert.note or "")
    assert (await town.get("officer1", f"/v1/warnings/{right}")).json()["correction"]
    nothing = await town.post("officer1", "/v1/warnings", town.body(correction=True))
    problem(nothing, 422, "warning.correction_of_nothing")


async def test_the_command_over_the_api(the_town: Town) -> None:
    town = the_town
    env = {"FENGHUO_URL": town.live.url, "FENGHUO_TOKEN": await town.token("officer1")}
    silent = await asyncio.to_thread(fenghuo, "drill", "--limit", "0.02", "--json", env=env)
    assert (silent.status, silent.json["complete"], silent.json["stations"]) == (5, False, 4)
    assert silent.json["real_channels"] is False

    async def answer() -> None:
        await town.until(lambda: len(_drills(town)) == 2)
        (warning_id,) = _drills(town) - {silent.json["warning_id"]}
        await town.quiet()
        for who in STATIONS:
            await town.post(f"{who}-head", f"/v1/warnings/{warning_id}/nodes/{who}/acknowledge")

    ran, _ = await asyncio.gather(asyncio.to_thread(fenghuo, "drill", "--level", "red", env=env), answer())
    assert (ran.status, "4 / 4" in ran.out) == (0, True), ran
    nobody = await asyncio.to_thread(fenghuo, "drill", env={**env, "FENGHUO_TOKEN": await town.token("county1")})
    assert (nobody.status, nobody.err.endswith("[permission.denied]\n")) == (1, True)


def _drills(town: Town) -> set[str]:
    with town.stores.views.reading() as db:
        rows = town.stores.views.warnings.page(db, before=None, limit=50)
    return {row["warning_id"] for row in rows if row["drill"] and row["status"] == "released"}


@pytest.mark.parametrize(("share", "expected"), [(50, 2.0), (75, 3.0), (90, None), (99, None), (1, 1.0)])
def test_the_time_to_a_share_is_that_of_the_last_one_needed(share: int, expected: float | None) -> None:
    assert time_to([1.0, 2.0, 3.0], 4, share) == expected
    assert time_to([], 0, share) is None
