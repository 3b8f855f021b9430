"""Reachability from outside: the API, the console's page, the command line, and test messages as they arrive."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest
from problems import problem
from setting import History
from terminal import fenghuo
from town import Town, link_in, signed_in
from townsfolk import PEOPLE, phone_of

from domain.answers import AnswerReceived
from domain.reach import ReachTestOrdered

UNTESTED = {"milan": {"email": 3, "sms": 3, "webpush": 2}, "village": {"sms": 2, "webpush": 1}}


async def test_the_audit_over_the_api_holds_ids_of_ones_own_nodes_alone(the_town: Town) -> None:
    answer = await the_town.get("officer1", "/v1/reach")
    assert answer.status_code == 200
    audit = answer.json()
    nodes = {node["node_id"]: node for node in audit["nodes"]}
    assert (audit["days"], audit["next"], set(nodes)) == (90, None, {n for n, *_ in PEOPLE.values()})
    assert nodes["village"]["unreachable"] == ["village-none"]
    assert {name: nodes[name]["untested"] for name in UNTESTED} == UNTESTED
    assert {n: (node["no_contact"], node["no_deputy"]) for n, node in nodes.items() if node["kind"] == "station"} == {
        "milan": (False, False),
        "rome": (False, False),
        "madrid": (False, True),
        "village": (False, True),
    }
    assert audit["total"] == nodes["office"]["below"]
    assert (audit["total"]["people"], audit["total"]["without_deputy"]) == (24, 2)
    for secret in ("Name of", "people.example", *map(phone_of, PEOPLE)):
        assert secret not in answer.text

    own = (await the_town.get("milan-head", "/v1/reach")).json()
    assert [(node["node_id"], node["parent"], node["depth"]) for node in own["nodes"]] == [("milan", None, 0)]
    assert (await the_town.get("milan-zh", "/v1/reach")).json()["nodes"] == []


async def test_the_audit_is_paged_and_knows_wrong_questions(the_town: Town) -> None:
    seen: list[str] = []
    after = ""
    while True:
        page = (await the_town.get("officer1", f"/v1/reach?limit=3{after}")).json()
        seen += [node["node_id"] for node in page["nodes"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert (len(seen), set(seen)) == (7, {n for n, *_ in PEOPLE.values()})
    assert (await the_town.get("officer1", "/v1/reach?days=0")).status_code == 422
    problem(await the_town.get("officer1", "/v1/reach?node=nowhere"), 403, "permission.denied")


async def test_a_test_message_arrives_marked_and_answers_to_it_go_nowhere(the_town: Town) -> None:
    key = {"Idempotency-Key": "test-1"}
    body = {"node_id": "milan"}
    ordered = (await the_town.post("county1", "/v1/reach/tests", body, headers=key)).json()
    assert (ordered["points"], ordered["left"], ordered["repeated"]) == (8, 0, False)
    again = (await the_town.post("county1", "/v1/reach/tests", body, headers=key)).json()
    assert (again["id"], again["points"], again["repeated"]) == (ordered["id"], 8, True)
    await the_town.quiet()
    await the_town.device("milan-zh").expect_sms("测试消息，无需回复", "no reply needed")
    await the_town.device("milan-it").expect_mail("Messaggio di prova", "测试消息", "no reply needed")
    pushed = await the_town.device("milan-en").expect_push("Test message, no reply needed", "测试消息")

    link = link_in(pushed)
    for asked in (await the_town.http.get(link), await the_town.http.post(link, data={"answer": "help"})):
        assert asked.status_code in (403, 404)
    shown = await the_town.http.get(link, headers={"Accept-Language": "zh"})
    assert (shown.status_code, "这是一条测试消息" in shown.text) == (404, True)
    shown = await the_town.http.get(f"{link}?lang=it")
    assert ("Non occorre rispondere." in shown.text, shown.headers["x-robots-tag"]) == (True, "noindex, nofollow")
    await the_town.device("milan-zh").reply("2")
    await the_town.quiet()
    assert the_town.recorded(AnswerReceived) == []
    assert (await the_town.get("officer1", "/v1/warnings")).json()["items"] == []
    assert (await the_town.get("milan-head", "/v1/nodes/milan/inbox")).json()["items"] == []

    reached = (await the_town.get("county1", "/v1/reach?node=milan")).json()["nodes"][0]["untested"]
    assert reached == {"email": 3, "webpush": 2}  # the sandbox's SMS provider sends receipts, the others do not
    none = (await the_town.post("county1", "/v1/reach/tests", body)).json()
    assert (none["id"], none["points"]) == (None, 0)
    assert len(the_town.recorded(ReachTestOrdered)) == 1
    the_town.read_all()


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("zh", ("触达", "没有副负责人的站点", "village-none")),
        ("en", ("Reach", "Stations without a deputy", "village-none")),
    ],
)
async def test_the_page_says_it_in_both_languages(the_town: Town, language: str, words: tuple[str, ...]) -> None:
    async with aclosing(await signed_in(the_town, "officer1")) as browser:
        page = await browser.get(f"/console/reach?lang={language}")
        assert (page.status_code, "default-src 'none'" in page.headers["content-security-policy"]) == (200, True)
        assert [word for word in words if word not in page.text] == []
        assert "<details" in page.text  # unfolds by keyboard, without scripts
        assert "<script" not in page.text
        overview = await browser.get("/console")
        assert 'href="/console/reach"' in overview.text
        for secret in ("Name of", "people.example", *map(phone_of, PEOPLE)):
            assert secret not in page.text


async def test_the_page_shows_a_station_only_itself_and_nobody_else_anything(the_town: Town) -> None:
    async with aclosing(await signed_in(the_town, "rome-head")) as browser:
        page = await browser.get("/console/reach?lang=en")
        assert (page.status_code, "rome" in page.text, "milan" in page.text) == (200, True, False)
    async with aclosing(await signed_in(the_town, "milan-zh")) as browser:
        assert (await browser.get("/console/reach")).status_code == 403
    assert (await the_town.http.get("/console/reach")).status_code == 401


def test_the_command_prints_the_findings_and_succeeds(history: History) -> None:
    ran = fenghuo("reach", folder=history.folder, env={"COLUMNS": "200"})
    assert (ran.status, ran.err) == (0, "")
    assert "village" in ran.out
    assert "2 without deputy" in ran.out
    audit = fenghuo("reach", "--node", "village", "--json", folder=history.folder).json
    assert [node["node_id"] for node in audit["nodes"]] == ["village"]
    assert audit["nodes"][0]["unreachable"] == ["village-none"]


def test_a_test_by_the_command_line_needs_a_grant(history: History) -> None:
    denied = fenghuo("reach", "test", "--node", "milan", "--as", "milan-head", folder=history.folder)
    assert (denied.status, denied.out, "[permission.denied]" in denied.err) == (1, "", True)
    nobody = fenghuo("reach", "test", "--node", "milan", folder=history.folder)
    assert nobody.status == 2
    missing = fenghuo("reach", "--node", "nowhere", folder=history.folder)
    assert (missing.status, "[node.unknown]" in missing.err) == (1, True)
    first = fenghuo("reach", "test", "--node", "rome", "--as", "county1", "--json", folder=history.folder).json
    again = fenghuo("reach", "test", "--node", "rome", "--as", "county1", "--json", folder=history.folder).json
    assert first["points"] > 0
    assert again == {"test": None, "points": 0, "left": 0}


def test_the_settings_say_how_often_and_refuse_nonsense(tmp_path: Path) -> None:
    ran = fenghuo("reach", folder=tmp_path, env={"FENGHUO_REACH_TEST_DAYS": "-1"})
    assert (ran.status, "reach_test_days" in ran.err) == (2, True)
