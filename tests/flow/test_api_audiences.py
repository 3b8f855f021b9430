"""Audiences through the whole program: counted, drafted, sent; stays and tags over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from problems import problem
from setting import SHARED
from town import Town

pytestmark = SHARED
STAY = {"country": "JP", "zone": "Asia/Tokyo", "from": "2026-07-01", "to": "2026-07-09", "place": "大阪"}
IN_JAPAN = {"is": "country", "country": "JP"}
CAP = """<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>{id}</identifier><sender>s@x.example</sender>
<sent>2026-07-01T08:00:00-00:00</sent><status>Actual</status><msgType>Alert</msgType><scope>Public</scope>
<info><language>en</language><category>Met</category><event>Flood</event><urgency>Expected</urgency>
<severity>Severe</severity><certainty>Likely</certainty><expires>2026-07-01T18:00:00-00:00</expires>
<headline>Flood</headline><area><areaDesc>Po</areaDesc>{area}</area></info></alert>"""
AREA = "<polygon>44,8 44,11 47,11 47,8 44,8</polygon><circle>45,9 30</circle><circle>1,1 0</circle>"


async def noted(town: Town, who: str, **more: Any) -> str:
    answer = await town.post("admin", f"/v1/people/{who}/stays", {**STAY, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def counted(town: Town, audience: Any, *nodes: str) -> dict[str, Any]:
    answer = await town.post(
        "officer1", "/v1/audience", {"target": {"nodes": nodes or ["office"], "audience": audience}}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_travellers_are_counted_and_told_where_they_are(town: Town) -> None:
    stay_id = await noted(town, "rome-it")
    found = await counted(town, IN_JAPAN)
    assert (found["people"], found["by_node"], found["by_channel"]) == (1, {"rome": 1}, {"sms": 1})
    assert (found["by_country"], found["by_language"]) == ({"JP": 1}, {"it": 1})
    assert found["nodes"] == ["office", "north", "rome"]

    warning_id = await town.release(level="red", target={"nodes": ["office"], "audience": IN_JAPAN})
    await town.quiet()
    await town.device("rome-it").expect_sms("Alluvione")
    for who in ("officer1", "officer2", "county1", "rome-head"):
        await town.device(who).expect("洪水")
    assert town.unread() == []
    kept = (await town.get("officer1", f"/v1/warnings/{warning_id}")).json()["content"]["target"]
    assert kept == {"nodes": ["office"], "audience": IN_JAPAN}
    tree = (await town.get("officer1", f"/v1/warnings/{warning_id}/tree")).json()["nodes"]
    assert {n["node_id"] for n in tree} == {"office", "north", "rome"}
    assert (await town.get("rome-head", f"/v1/warnings/{warning_id}")).status_code == 200
    assert (await town.get("milan-head", f"/v1/warnings/{warning_id}")).status_code == 404

    assert (await town.get("admin", "/v1/people/rome-it/stays")).json()["stays"] == [stay_id]
    gone = await town.post("admin", f"/v1/people/rome-it/stays/{stay_id}/withdraw")
    assert gone.json()["position"] > 0
    assert (await town.post("admin", f"/v1/people/rome-it/stays/{stay_id}/withdraw")).json()["position"] == 0
    assert (await counted(town, IN_JAPAN))["people"] == 0


async def test_tags_and_enterprises_choose_people(town: Town) -> None:
    for who in ("milan-en", "madrid-en"):
        tagged = await town.post("admin", f"/v1/people/{who}/tags", {"tags": ["port", who], "enterprise": "e-7"})
        assert tagged.status_code == 200, tagged.text
    both = {"is": "enterprise", "enterprise": "e-7"}

    assert (await counted(town, both))["by_node"] == {"madrid": 1, "milan": 1}
    assert (await counted(town, both, "milan"))["by_node"] == {"milan": 1}
    one = {"is": "and", "of": [both, {"is": "not", "of": {"is": "tag", "tag": "milan-en"}}]}
    assert (await counted(town, one))["by_node"] == {"madrid": 1}
    await town.post("admin", "/v1/people/madrid-en/tags", {})
    assert (await counted(town, both))["by_node"] == {"milan": 1}


async def test_the_same_key_notes_a_stay_once(town: Town) -> None:
    key = {"Idempotency-Key": "stay-1"}
    first, again = [await town.post("admin", "/v1/people/village-zh/stays", STAY, headers=key) for _ in range(2)]

    assert (first.status_code, again.json()["repeated"]) == (201, True)
    assert again.json()["id"] == first.json()["id"]
    assert (await town.get("admin", "/v1/people/village-zh/stays")).json()["stays"] == [first.json()["id"]]
    other = await town.post("admin", "/v1/people/village-zh/stays", {**STAY, "country": "IT"}, headers=key)
    problem(other, 409, "command.key_reused")


@pytest.mark.parametrize(
    ("audience", "code"),
    [
        ({}, "audience.form"),
        ({"is": "planet"}, "audience.form"),
        ({"is": "tag"}, "audience.form"),
        ({"is": "tag", "tag": 7}, "audience.form"),
        ({"is": "role", "role": "emperor"}, "audience.form"),
        ({"is": "itinerary", "from": "soon", "to": "2026-07-01"}, "audience.form"),
        ({"is": "country", "country": "Italy"}, "audience.country"),
        ({"is": "polygon", "ring": [[0, 0], [1, 1]]}, "audience.polygon"),
        ({"is": "circle", "lat": 120.7, "lon": 28.0, "km": 3}, "audience.point"),
    ],
)
async def test_an_audience_that_means_nothing_is_a_problem_with_a_code(town: Town, audience: Any, code: str) -> None:
    target = {"nodes": ["office"], "audience": audience}

    problem(await town.post("officer1", "/v1/audience", {"target": target}), 422, code)
    problem(await town.post("officer1", "/v1/warnings", town.body(target=target)), 422, code)


@pytest.mark.parametrize("levels", [9, 60, 400])
async def test_an_audience_is_only_so_deep(town: Town, levels: int) -> None:
    audience: dict[str, Any] = {"is": "tag", "tag": "a"}
    for _ in range(levels - 1):
        audience = {"is": "not", "of": audience}
    answer = await town.post("officer1", "/v1/audience", {"target": {"nodes": ["office"], "audience": audience}})

    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("change", "code"),
    [({"zone": "Mars/Olympus"}, "stay.zone"), ({"to": "2026-06-01"}, "stay.dates"), ({"lat": 1}, "stay.point")],
)
async def test_what_cannot_be_a_stay_is_refused_and_not_repeated(town: Town, change: Any, code: str) -> None:
    said = problem(await town.post("admin", "/v1/people/milan-it/stays", {**STAY, **change}), 422, code)

    assert "大阪" not in json.dumps(said, ensure_ascii=False)


async def test_who_is_not_there_is_not_found_by_those_who_may_write_and_denied_to_others(town: Town) -> None:
    problem(await town.post("admin", "/v1/people/nobody/stays", STAY), 404, "person.unknown")
    problem(await town.post("officer1", "/v1/people/nobody/stays", STAY), 403, "permission.denied")


async def test_a_cap_files_area_is_the_audience_only_where_an_officer_says_so(town: Town) -> None:
    async def imported(identifier: str, query: str, area: str = AREA) -> Any:
        data = CAP.format(id=identifier, area=area).encode()
        return await town.post("officer1", f"/v1/warnings/import{query}", content=data)

    async def target(identifier: str, query: str) -> Any:
        answer = await imported(identifier, query)
        assert answer.status_code == 201, answer.text
        return (await town.get("officer1", f"/v1/warnings/{answer.json()['id']}")).json()["content"]["target"]

    assert await target("plain", "") == {"nodes": ["office"]}
    chosen = await target("chosen", "?area=true&node=milan")
    assert (chosen["nodes"], [one["is"] for one in chosen["audience"]["of"]]) == (["milan"], ["polygon", "circle"])
    assert (await counted(town, chosen["audience"], "milan"))["people"] == (await counted(town, None, "milan"))[
        "people"
    ]
    problem(await imported("nowhere", "?area=true", area=""), 422, "cap.no_area")
