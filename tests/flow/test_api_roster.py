"""The duty roster through the real program: planned over HTTP, taken over, asked for any moment, and used at night."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from problems import problem
from setting import History
from terminal import fenghuo
from town import NOW, Town, signed_in
from townsfolk import SETUP

from domain.grants import GrantRole
from domain.roster import DutyHandedOver, DutyPlanned

MILAN = "/v1/roster/milan"


def at(hours: float) -> str:
    return (NOW + timedelta(hours=hours)).isoformat()


def plan(*shifts: tuple[str, float, float], begins: float = 0, ends: float = 24) -> dict[str, Any]:
    return {
        "from_at": at(begins),
        "to_at": at(ends),
        "shifts": [{"person_id": who, "from_at": at(a), "to_at": at(b)} for who, a, b in shifts],
    }


async def holder(town: Town, hours: float) -> str | None:
    shown = (await town.get("officer1", MILAN, params={"at": at(hours)})).json()
    return shown["on_duty"] and str(shown["on_duty"]["person_id"])


async def test_a_roster_is_planned_taken_over_and_asked_for_any_moment(the_town: Town) -> None:
    town = the_town
    assert await holder(town, 0) is None
    key = {"Idempotency-Key": "roster-1"}
    body = plan(("milan-head", 0, 8), ("milan-liaison", 10, 24))
    for repeated in (False, True):
        done = await town.ask("county1", "PUT", MILAN, json=body, headers=key)
        assert (done.status_code, done.json()["repeated"]) == (200, repeated)
    town.clock.move(timedelta(hours=3))
    await town.stores.registry.give_grant(
        SETUP, person_id="milan-deputy", role=GrantRole.LIAISON, node_id="milan", bootstrap=True
    )
    await town.quiet()
    taken = await town.post("milan-deputy", f"{MILAN}/hand-over", {"note": "陈先生的案子未结"})
    assert taken.status_code == 200, taken.text

    assert [await holder(town, hours) for hours in (-1, 0, 2.9, 3, 7.9, 8, 9.9, 10, 23.9, 24)] == [
        None, "milan-head", "milan-head", "milan-deputy", "milan-deputy", None, None, "milan-liaison", "milan-liaison",
        None,
    ]  # fmt: skip
    shown = (await town.get("milan-head", MILAN, params={"from_at": at(0), "to_at": at(24)})).json()
    assert [(t["person_id"], t["taken_over"]) for t in shown["turns"]] == [
        ("milan-head", False), ("milan-deputy", True), ("milan-liaison", False),
    ]  # fmt: skip
    assert [(_hours(gap["from_at"]), _hours(gap["to_at"])) for gap in shown["gaps"]] == [(8, 10)]
    (over,) = town.recorded(DutyHandedOver)
    assert (over.event.from_person, over.event.to_person, over.metadata.actor) == (
        "milan-head", "milan-deputy", "milan-deputy",
    )  # fmt: skip
    stored = b"".join(path.read_bytes() for path in town.stores.folder.iterdir() if path.is_file())
    assert "陈先生".encode() not in stored
    assert len(town.recorded(DutyPlanned)) == 1


def _hours(moment: str) -> float:
    return (datetime.fromisoformat(moment) - NOW).total_seconds() / 3600


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (plan(("milan-head", 0, 8), ("milan-deputy", 7, 9)), 422, "roster.overlap"),
        (plan(("rome-head", 0, 8)), 422, "roster.not_staff"),
        (plan(("milan-zh", 0, 8)), 422, "roster.not_staff"),
        (plan(("milan-head", 0, 25)), 422, "roster.shift"),
        (plan(begins=-8, ends=-4), 409, "roster.past"),
        (plan(begins=4, ends=4), 422, "roster.window"),
        ({**plan(), "from_at": "0001-01-01T00:00:00+14:00"}, 422, "roster.time"),
        ({**plan(), "from_at": "2026-07-01T08:00:00"}, 422, "request.invalid"),
    ],
)
async def test_what_makes_no_roster_is_refused_by_name(the_town: Town, body: Any, status: int, code: str) -> None:
    problem(await the_town.ask("milan-head", "PUT", MILAN, json=body), status, code)
    assert the_town.recorded(DutyPlanned) == []


async def test_only_staff_of_the_node_take_it_over(the_town: Town) -> None:
    problem(await the_town.post("county1", f"{MILAN}/hand-over"), 409, "roster.not_staff")
    problem(await the_town.get("officer1", MILAN, params={"at": "9999-12-31T23:59:59Z"}), 422, "roster.time")


async def test_nobody_answers_and_the_tree_says_who_was_told_and_when(the_town: Town) -> None:
    """Milan sleeps: its deputy, the officer on duty above, then its own people are told, each at their time."""
    town = the_town
    for node, who in (("north", "county1"), ("office", "officer2")):
        put = await town.ask("officer1", "PUT", f"/v1/roster/{node}", json=plan((who, 0, 24)))
        assert put.status_code == 200, put.text
    warning_id = await town.release(target={"nodes": ["milan"]})
    await town.quiet()
    for who in ("milan-head", "milan-liaison"):
        await town.device(who).expect()
    for minutes, woken in ((15, ["milan-deputy"]), (15, ["county1"]), (7.5, [])):
        await town.pass_time(minutes=minutes)
        for who in woken:
            await town.device(who).expect()
        assert town.unread() == []
    await town.pass_time(minutes=7.5)
    for who in ("milan-zh", "milan-it", "milan-en", "milan-both"):
        await town.device(who).expect()

    nodes = (await town.get("officer1", f"/v1/warnings/{warning_id}/tree")).json()["nodes"]
    (milan,) = [node for node in nodes if node["node_id"] == "milan"]
    assert [(_hours(s["at"]) * 60, s["action"], s["told"]) for s in milan["steps"]] == [
        (15, "deputy", ["milan-deputy"]), (30, "parent", ["county1"]), (37.5, "voice", []), (45, "direct", []),
    ]  # fmt: skip
    assert (milan["state"], milan["silent_s"], milan["signed"], milan["quota"]) == ("asleep", 2700, 0, 1)


def test_the_command_line_plans_shows_and_hands_over(history: History, tmp_path: Path) -> None:
    now = datetime.now().astimezone()
    begins, middle, ends = (now + timedelta(hours=hours) for hours in (-1, 4, 24))
    file = tmp_path / "roster.json"
    shift = {"person_id": "milan-head", "from_at": begins.isoformat(), "to_at": middle.isoformat()}
    file.write_text(json.dumps({"from_at": begins.isoformat(), "to_at": ends.isoformat(), "shifts": [shift]}))

    ran = fenghuo("roster", "set", "milan", file, "--as", "county1", "--json", folder=history.folder)
    assert (ran.status, ran.json["on_duty"]["person_id"], len(ran.json["gaps"])) == (0, "milan-head", 2)
    shown = fenghuo("roster", "show", "milan", "--as", "auditor1", folder=history.folder)
    assert "milan-head is on duty until" in shown.out
    assert "NOBODY" in shown.out
    fenghuo("grant", "give", "milan-deputy", "liaison", "milan", folder=history.folder)
    over = fenghuo(
        "roster", "hand-over", "milan", "--note", "王女士", "--as", "milan-deputy", "--json", folder=history.folder
    )
    assert (over.status, over.json["on_duty"]["person_id"], over.json["on_duty"]["taken_over"]) == (
        0, "milan-deputy", True,
    )  # fmt: skip
    log = fenghuo("log", "show", "--limit", "100000", "--json", folder=history.folder)
    assert "duty.handed_over.v1" in log.out
    assert "王女士" not in log.out
    assert fenghuo("log", "verify", folder=history.folder).status == 0


async def test_the_page_says_who_is_on_duty_and_takes_over_in_both_languages(the_town: Town) -> None:
    town = the_town
    put = await town.ask("milan-head", "PUT", MILAN, json=plan(("milan-liaison", 0, 8), ("milan-head", 8, 16)))
    assert put.status_code == 200, put.text
    head = await signed_in(town, "milan-head")
    before = (await head.get("/console/duty?lang=zh")).text
    assert 'id="take-over"' in before
    row = _row(before, "milan")
    assert ("联络员 milan-" in row, "负责人 milan-" in row, "7月2日" in row) == (True, True, True)
    assert 'id="duty-rome"' not in before  # a station sees itself alone

    foreign = await head.post("/console/duty", data={"note": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert (foreign.status_code, town.recorded(DutyHandedOver)) == (403, [])
    done = await head.post("/console/duty", data={"note": "无"})
    assert (done.status_code, done.headers["location"]) == (303, "/console/duty")
    after = (await head.get("/console/duty?lang=en")).text
    assert "You are on duty here." in after
    assert "taken over" in _row(after, "milan")

    officer = await signed_in(town, "officer1")
    everywhere = (await officer.get("/console/duty?lang=en")).text
    assert all(f'id="duty-{node}"' in everywhere for node in ("office", "north", "milan", "rome", "village"))
    assert "nobody" in _row(everywhere, "rome")
    auditor = await signed_in(town, "auditor1")
    assert 'action="/console/duty"' not in (await auditor.get("/console/duty")).text
    refused = await auditor.post("/console/duty", data={"note": "x"})
    assert (refused.status_code, len(town.recorded(DutyHandedOver))) == (403, 1)
    for browser in (head, officer, auditor):
        await browser.aclose()
    assert (await town.http.get("/console/duty")).status_code == 401


def _row(page: str, node_id: str) -> str:
    found = re.search(rf'<tr id="duty-{node_id}">.*?</tr>', page, re.DOTALL)
    assert found is not None
    return found[0]
