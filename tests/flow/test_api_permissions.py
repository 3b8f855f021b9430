"""Every right over the API: who has a grant may, and their twin, who has none for this or for here, may not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from problems import denied, problem
from setting import SHARED
from town import Town
from townsfolk import SETUP

from domain.grants import GrantRole
from domain.people import Person, Role
from domain.warnings import WarningDrafted

pytestmark = SHARED
Asked = tuple[str, str, Any]
ASSESS = {"harm": "low", "text": "无人受伤"}
REPORT = {"node_id": "milan", "text": "有人走失"}
TASK = {"node_id": "milan", "instruction": "请核实"}
ACTION = {"node_id": "milan", "kind": "verified", "country": "IT", "text": "已核实"}


async def _case(town: Town, *, tasked: bool) -> str:
    answer = await town.post("milan-head", "/v1/cases", REPORT)
    case_id = str(answer.json()["id"])
    if tasked:
        assert (await town.post("county1", f"/v1/cases/{case_id}/task", TASK)).status_code == 200
    return case_id


async def _draft(town: Town) -> Asked:
    return "POST", "/v1/warnings", town.body()


async def _revise(town: Town) -> Asked:
    return "PUT", f"/v1/warnings/{await town.draft()}", town.body(event="Fire")


async def _release(town: Town) -> Asked:
    return "POST", f"/v1/warnings/{await town.draft()}/release", {}


async def _glass(town: Town) -> Asked:
    return "POST", f"/v1/warnings/{await town.draft()}/release", {"break_glass": True, "reason": "alone"}


async def _cancel(town: Town) -> Asked:
    return "POST", f"/v1/warnings/{await _told(town)}/cancel", {"reason": "over"}


async def _told(town: Town) -> str:
    warning_id = await town.release()
    await town.quiet()
    town.read_all()
    return warning_id


async def _acknowledge(town: Town) -> Asked:
    return "POST", f"/v1/warnings/{await _told(town)}/nodes/milan/acknowledge", None


async def _relay(town: Town) -> Asked:
    return "POST", f"/v1/warnings/{await _told(town)}/nodes/milan/relay", None


async def _assess(town: Town) -> Asked:
    return "POST", f"/v1/warnings/{await _told(town)}/nodes/milan/assess", ASSESS


async def _inbox(town: Town) -> Asked:
    return "GET", "/v1/nodes/milan/inbox", None


async def _roster(town: Town) -> Asked:
    return "GET", "/v1/roster/milan", None


async def _plan(town: Town) -> Asked:
    begins, ends = (town.clock.now() + timedelta(hours=hours) for hours in (0, 8))
    span = {"from_at": begins.isoformat(), "to_at": ends.isoformat()}
    return "PUT", "/v1/roster/milan", {**span, "shifts": [{**span, "person_id": "milan-deputy"}]}


async def _take_over(town: Town) -> Asked:
    return "POST", "/v1/roster/milan/hand-over", {"note": "一切正常"}


async def _report(town: Town) -> Asked:
    return "POST", "/v1/cases", REPORT


async def _task(town: Town) -> Asked:
    return "POST", f"/v1/cases/{await _case(town, tasked=False)}/task", TASK


async def _act(town: Town) -> Asked:
    return "POST", f"/v1/cases/{await _case(town, tasked=True)}/actions", ACTION


async def _close(town: Town) -> Asked:
    return "POST", f"/v1/cases/{await _case(town, tasked=True)}/close", {"result": "well"}


async def _log(town: Town) -> Asked:
    return "GET", "/v1/log", None


async def _deliveries(town: Town) -> Asked:
    return "GET", f"/v1/warnings/{await _told(town)}/deliveries", None


STAY = {"country": "JP", "zone": "Asia/Tokyo", "from": "2026-07-01", "to": "2026-07-09"}


async def _stay(town: Town) -> Asked:
    return "POST", "/v1/people/milan-zh/stays", {**STAY, "stay_id": "s1"}


async def _stays(town: Town) -> Asked:
    return "GET", "/v1/people/milan-zh/stays", None


async def _withdraw(town: Town) -> Asked:
    await town.post("admin", "/v1/people/milan-zh/stays", {**STAY, "stay_id": "s2"})
    return "POST", "/v1/people/milan-zh/stays/s2/withdraw", None


async def _tag(town: Town) -> Asked:
    return "POST", "/v1/people/milan-zh/tags", {"tags": ["harbour"], "enterprise": "e-1"}


async def _audience(town: Town) -> Asked:
    return "POST", "/v1/audience", {"target": {"nodes": ["milan"], "audience": {"is": "country", "country": "IT"}}}


async def _reach(town: Town) -> Asked:
    return "GET", "/v1/reach?node=milan", None


async def _reach_test(town: Town) -> Asked:
    return "POST", "/v1/reach/tests", {"node_id": "rome", "channel": "sms"}


async def _misunderstood(town: Town) -> str:
    warning_id = await _told(town)
    for _ in range(2):
        await town.device("milan-head").reply("什么？")
    await town.quiet()
    town.read_all()
    return f"/v1/unclear/{warning_id}/milan-head"


async def _open_words(town: Town) -> Asked:
    return "POST", f"{await _misunderstood(town)}/open", None


async def _settle(town: Town) -> Asked:
    return "POST", f"{await _misunderstood(town)}/settle", {"meaning": "help"}


async def _providers(town: Town) -> Asked:
    return "GET", "/v1/providers", None


async def _rates(town: Town) -> Asked:
    return "GET", "/v1/rates", None


async def _rate(town: Town) -> Asked:
    return "PUT", "/v1/rates/sms", {"per_s": 1000, "burst": 1000}


RIGHTS: list[tuple[Callable[[Town], Awaitable[Asked]], str, tuple[str, ...]]] = [
    (_draft, "officer1", ("county1", "milan-head", "auditor1", "milan-zh")),
    (_revise, "officer2", ("county1",)),
    (_release, "officer2", ("county1", "auditor1")),
    (_glass, "officer1", ("county1",)),
    (_cancel, "officer1", ("county1", "milan-head")),
    (_acknowledge, "milan-head", ("rome-head", "county2", "auditor1")),
    (_relay, "milan-head", ("rome-head", "milan-zh")),
    (_assess, "milan-head", ("rome-head", "auditor1")),
    (_inbox, "milan-head", ("rome-head", "county2", "milan-zh")),
    (_roster, "milan-head", ("rome-head", "county2", "milan-zh")),
    (_plan, "milan-head", ("rome-head", "county2", "auditor1", "milan-deputy")),
    (_take_over, "milan-head", ("rome-head", "county2", "auditor1", "milan-deputy")),
    (_report, "milan-head", ("rome-head", "auditor1")),
    (_task, "county1", ("milan-head",)),
    (_act, "milan-head", ("rome-head",)),
    (_close, "county1", ("milan-head",)),
    (_log, "auditor1", ("officer1", "county1")),
    (_deliveries, "auditor1", ("county1", "milan-head")),
    (_stay, "admin", ("officer1", "county1", "milan-head", "milan-zh")),
    (_stays, "admin", ("officer1", "milan-head", "milan-zh")),
    (_withdraw, "admin", ("officer1", "milan-zh")),
    (_tag, "admin", ("officer1", "milan-head", "milan-zh")),
    (_audience, "officer1", ("county1", "milan-head", "admin", "auditor1", "milan-zh")),
    (_reach, "milan-head", ("rome-head", "county2", "milan-zh")),
    (_reach_test, "county1", ("county2", "rome-head", "auditor1", "milan-zh")),
    (_open_words, "county1", ("county2", "milan-head", "auditor1")),
    (_settle, "officer1", ("county2", "milan-head", "auditor1", "milan-zh")),
    (_providers, "auditor1", ("county1", "milan-head")),
    (_rates, "officer1", ("county1", "milan-head")),
    (_rate, "officer2", ("county1", "auditor1", "milan-head")),
]


@pytest.mark.parametrize(("prepare", "who", "others"), RIGHTS, ids=[p.__name__[1:] for p, _, _ in RIGHTS])
async def test_who_has_the_right_may_and_the_others_may_not(
    town: Town, prepare: Callable[[Town], Awaitable[Asked]], who: str, others: tuple[str, ...]
) -> None:
    method, path, body = await prepare(town)
    before = town.stores.log.last_position_now()
    for other in others:
        await town.token(other)  # credentials are events too; they come before what is compared
    for other in others:
        answer = await town.ask(other, method, path, json=body)
        assert denied(answer), (other, answer.text)
    written = [r.event for r in town.recorded() if r.position > before]
    assert {type(event).__name__ for event in written} <= {"TokenIssued"}  # a refusal leaves no trace of the command
    allowed = await town.ask(who, method, path, json=body)
    assert allowed.status_code in (200, 201), allowed.text
    await town.quiet()
    town.read_all()


async def test_a_draft_is_read_by_those_above_and_a_released_one_by_those_concerned(town: Town) -> None:
    warning_id = await town.draft(target={"nodes": ["milan"]})
    path = f"/v1/warnings/{warning_id}"

    async def seen(who: str) -> tuple[int, bool]:
        listed = (await town.get(who, "/v1/warnings")).json()["items"]
        return (await town.get(who, path)).status_code, warning_id in [w["warning_id"] for w in listed]

    assert [await seen(who) for who in ("officer1", "auditor1", "county1", "milan-head")] == [(200, True)] * 4
    assert [await seen(who) for who in ("county2", "rome-head", "milan-zh")] == [(404, False)] * 3
    for hidden in ("/tree", "/cap", "/deliveries"):
        answer = await town.get("rome-head", path + hidden)
        assert (answer.status_code, answer.json()["code"]) == (404, "warning.unknown")


async def test_a_tree_shows_a_station_only_itself(town: Town) -> None:
    warning_id = await _told(town)

    async def nodes(who: str) -> list[str]:
        tree = (await town.get(who, f"/v1/warnings/{warning_id}/tree")).json()
        return sorted(node["node_id"] for node in tree["nodes"])

    assert await nodes("officer1") == ["madrid", "milan", "north", "office", "rome", "south", "village"]
    assert await nodes("county1") == ["milan", "north", "rome"]
    assert await nodes("rome-head") == ["rome"]


async def test_a_report_names_only_whom_and_what_its_station_may_know_of(town: Town) -> None:
    gone = Person(person_id="gone", node_id="milan", role=Role.CITIZEN, language="zh", channels=())
    await town.stores.registry.register_people([(gone, {"name": "Gone"})], SETUP)
    forgotten = await town.stores.registry.forget_person("gone", SETUP)
    await town.stores.follower.reached(forgotten.position)
    away, here = await town.draft(target={"nodes": ["south"]}), await town.draft(target={"nodes": ["milan"]})
    through = await _told(town)

    async def ask(**named: str) -> httpx.Response:
        return await town.post("milan-head", "/v1/cases", {**REPORT, **named})

    hidden = [{"person_id": who} for who in ("nobody", "gone", "rome-zh", "county1")]
    hidden += [{"warning_id": warning_id} for warning_id in ("none", away)]
    hidden += [{"person_id": "milan-it", "warning_id": away}, {"person_id": "rome-zh", "warning_id": here}]
    before = town.stores.log.last_position_now()
    said = [problem(await ask(**named), 404, "case.about_unknown") for named in hidden]
    assert all(one == said[0] for one in said)
    assert town.stores.log.last_position_now() == before

    for named in ({"person_id": "milan-it"}, {"warning_id": here}, {"person_id": "milan-head", "warning_id": through}):
        assert (await ask(**named)).status_code == 201
    above = {"node_id": "north", "text": "x", "person_id": "rome-zh"}
    assert (await town.post("county1", "/v1/cases", above)).status_code == 201


async def _officers_of_north(town: Town) -> None:
    """north1 and north2: duty officers of north alone."""
    for who in ("north1", "north2"):
        done = await town.stores.registry.give_grant(
            SETUP, person_id=who, role=GrantRole.DUTY_OFFICER, node_id="north", bootstrap=True
        )
        await town.stores.follower.reached(done.position)
        await town.token(who)


@pytest.mark.parametrize("correction", [False, True], ids=["update", "correction"])
async def test_what_replaces_a_warning_is_drafted_by_who_may_draft_that_one(town: Town, correction: bool) -> None:
    await _officers_of_north(town)
    released = {node: await town.release(target={"nodes": [node]}) for node in ("south", "office", "north")}
    await town.quiet()
    town.read_all()

    async def ask(who: str, updates: str) -> httpx.Response:
        body = town.body(target={"nodes": ["north"]}, event="Hoax", updates=updates, correction=correction)
        return await town.post(who, "/v1/warnings", body)

    before = len(town.recorded(WarningDrafted))
    unknown = problem(await ask("north1", "none"), 404, "warning.unknown")
    assert problem(await ask("north1", released["south"]), 404, "warning.unknown") == unknown
    assert (await town.get("north1", f"/v1/warnings/{released['office']}")).status_code == 200
    assert denied(await ask("north1", released["office"]))  # it may be read, since it goes through north
    assert len(town.recorded(WarningDrafted)) == before
    assert (await ask("north1", released["north"])).status_code == 201
    assert (await ask("officer1", released["south"])).status_code == 201


@pytest.mark.parametrize("correction", [False, True], ids=["update", "correction"])
async def test_what_replaces_a_warning_is_released_by_who_may_release_that_one(town: Town, correction: bool) -> None:
    await _officers_of_north(town)
    for nodes, who in (("south", "officer2"), ("north", "north1")):
        first = await town.release(target={"nodes": [nodes]})
        second = await town.draft(target={"nodes": ["north"]}, event="Hoax", updates=first, correction=correction)
        await town.quiet()
        town.read_all()
        path = f"/v1/warnings/{second}/release"
        for other, how in (("north1", {}), ("north1", {"break_glass": True, "reason": "alone"}), ("county1", {})):
            if other != who:
                assert denied(await town.post(other, path, how))
        assert (await town.get("officer1", f"/v1/warnings/{first}")).json()["status"] == "released"
        assert (await town.post(who, path)).status_code == 200
        assert (await town.get("officer1", f"/v1/warnings/{first}")).json()["status"] == "updated"
        await town.quiet()
        town.read_all()


async def test_a_revoked_grant_allows_nothing_more(town: Town) -> None:
    done = await town.stores.registry.give_grant(
        SETUP, person_id="county1", role=GrantRole.AUDITOR, node_id="office", bootstrap=True
    )
    await town.stores.follower.reached(done.position)
    assert (await town.get("county1", "/v1/log")).status_code == 200
    revoked = await town.stores.registry.revoke_grant(SETUP, done.id, reason="moved")
    await town.stores.follower.reached(revoked.position)
    assert denied(await town.get("county1", "/v1/log"))


async def test_grants_and_people_are_written_by_administrators_alone(town: Town) -> None:
    from api.commands import Actor
    from domain.errors import NotPermitted

    registry = town.stores.registry
    officer = Actor(person_id="officer1", correlation_id="test")
    with pytest.raises(NotPermitted):
        await registry.give_grant(officer, person_id="officer1", role=GrantRole.AUDITOR, node_id="office")
    with pytest.raises(NotPermitted):
        await registry.forget_person("milan-zh", officer)
    assert (await registry.give_grant(SETUP, person_id="officer1", role=GrantRole.AUDITOR, node_id="office")).id
    assert (await registry.forget_person("milan-zh", SETUP)).position > 0
