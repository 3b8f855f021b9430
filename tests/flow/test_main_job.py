"""The whole way of one warning through the real program: from a CAP file to the cancellation, and looked back upon."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from zoneinfo import ZoneInfo

from terminal import Ran, fenghuo
from town import OURS, Town, link_in
from townsfolk import PEOPLE, STAFF_TOLD

from domain.answers import AnswerReceived
from domain.outcomes import Outcome
from domain.relays import RelayAcknowledged, RelayEscalated
from domain.shards import ReceiptsRecorded
from infra.demo.warning import warning_cap

HEADLINE = {"zh": "普拉托至佛罗伦萨西郊", "it": "Da Prato a Firenze", "en": "Prato to west Florence", "es": "普拉托"}
NOT_REACHED = (
    "milan-deputy",
    "auditor1",
    "village-none",
)  # the reserve of a station that answered, and two for no station


async def _import(town: Town) -> str:
    cap = warning_cap(town.clock.now().astimezone(ZoneInfo("Asia/Shanghai")))
    answer = await town.post(
        "officer1", "/v1/warnings/import", content=cap, headers={"Content-Type": "application/cap+xml"}
    )
    assert answer.status_code == 201, answer.text
    town.clock.move(timedelta(minutes=1))
    again = await town.post("officer1", "/v1/warnings/import", content=cap)
    assert again.status_code == 201, again.text
    assert again.json()["id"] == answer.json()["id"]
    return str(answer.json()["id"])


async def _states(town: Town, warning_id: str) -> dict[str, str]:
    tree = (await town.get("officer1", f"/v1/warnings/{warning_id}/tree")).json()
    return {node["node_id"]: node["state"] for node in tree["nodes"]}


async def _open_and_press(town: Town, said: str, answer: str) -> str:
    """Opens a link twice, as previews do, then presses the button; the page that comes after."""
    path = link_in(said)
    before = len(town.recorded(AnswerReceived))
    for _ in range(2):
        assert (await town.http.get(path)).status_code == 200
    assert len(town.recorded(AnswerReceived)) == before
    pressed = await town.http.post(path, data={"answer": answer}, headers=OURS)
    assert (pressed.status_code, pressed.headers["location"]) == (303, path)
    assert len(town.recorded(AnswerReceived)) == before + 1
    return (await town.http.get(path)).text


async def test_a_warning_goes_out_comes_back_and_is_looked_back_upon(the_town: Town) -> None:
    town = the_town
    warning_id = await _import(town)
    await town.quiet()
    assert town.unread() == []
    draft_at = town.stores.log.last_position_now()

    # Release: by a second person alone.
    alone = await town.post("officer1", f"/v1/warnings/{warning_id}/release")
    assert (alone.status_code, alone.json()["code"]) == (409, "warning.second_person")
    assert (await town.post("officer2", f"/v1/warnings/{warning_id}/release")).status_code == 200

    # Staff are told, each over their own channel and in their language; nobody else is.
    said: dict[str, str] = {}
    for who in STAFF_TOLD:
        level, language = ("Allerta arancione", "it") if who == "milan-liaison" else ("橙色预警", "zh")
        said[who] = await town.device(who).expect(level, HEADLINE[language])
    await town.quiet()
    assert town.unread() == []

    # The SMS provider's receipts are signed, and in the log.
    receipts = [row.outcome for r in town.recorded(ReceiptsRecorded) for row in r.event.rows]
    assert receipts.count(Outcome.DELIVERED) == 5  # of officer1, county1 and the heads of milan, rome and the village
    states = await _states(town, warning_id)
    assert {states[n] for n in ("milan", "rome", "village", "north")} == {"delivered"}
    assert {states[n] for n in ("madrid", "south")} == {"told"}  # by mail and push: there are no receipts

    # A head's reply acknowledges for the station and relays: its people are told.
    assert await town.device("milan-head").reply("收到") == 200
    for who, language in [("milan-zh", "zh"), ("milan-it", "it"), ("milan-en", "en"), ("milan-both", "zh")]:
        said[who] = await town.device(who).expect(HEADLINE[language])
    await town.quiet()
    assert town.unread() == []
    assert (await _states(town, warning_id))["milan"] == "relayed"

    # A link: opening it does nothing, the button answers.
    page = await _open_and_press(town, said["madrid-head"], "safe")
    assert "thanks-safe" in page
    for who, language in [("madrid-es", "es"), ("madrid-zh", "zh"), ("madrid-en", "en")]:
        said[who] = await town.device(who).expect(HEADLINE[language])
    await _open_and_press(town, said["village-liaison"], "safe")
    said["village-zh"] = await town.device("village-zh").expect(HEADLINE["zh"])
    for office in ("officer1", "county1"):
        assert await town.device(office).reply("1") == 200
    await _open_and_press(town, said["county2"], "safe")
    middle = town.stores.log.last_position_now()

    # People answer; a call for help is a case.
    assert await town.device("village-zh").reply("1") == 200
    assert await town.device("milan-zh").reply("2 need help") == 200
    await town.quiet()
    (case,) = (await town.get("county1", "/v1/cases")).json()["items"]
    assert (case["node_id"], case["person_id"], case["warning_id"]) == ("milan", "milan-zh", warning_id)
    assert (await town.get("county2", "/v1/cases")).json()["items"] == []
    await _work_on(town, case["case_id"])

    # Rome sleeps: its deputy is told, then its office, then its people over its head.
    assert (await _states(town, warning_id))["rome"] == "delivered"
    await town.pass_time(seconds=899)
    assert town.unread() == []
    await town.pass_time(seconds=1)
    await town.device("rome-deputy").expect_sms("Risposte insufficienti", HEADLINE["it"])
    await town.pass_time(seconds=900)
    await town.device("county1").expect_sms("【催办：尚无足够回应】")
    await town.pass_time(seconds=900)
    for who, language in [("rome-it", "it"), ("rome-zh", "zh"), ("rome-push", "zh")]:
        await town.device(who).expect(HEADLINE[language])
    assert [(r.event.node_id, r.event.action) for r in town.recorded(RelayEscalated)] == [
        ("rome", "deputy"), ("rome", "parent"), ("rome", "voice"), ("rome", "direct"),
    ]  # fmt: skip
    assert (await _states(town, warning_id))["rome"] == "asleep"
    assert await town.device("rome-head").reply("收到") == 200  # late, and it counts
    assert [r.event.node_id for r in town.recorded(RelayAcknowledged)][-1] == "rome"
    await town.quiet()

    # The cancellation goes to exactly those reached, over the same channels, in their language.
    cancelled = await town.post("officer1", f"/v1/warnings/{warning_id}/cancel", {"reason": "警报解除"})
    assert cancelled.status_code == 200
    words = {"zh": "【解除】", "it": "[ANNULLATO]", "en": "[CANCELLED]", "es": "[ANULADO]"}
    for who, (_, _, language, _) in PEOPLE.items():
        if who not in NOT_REACHED:
            await town.device(who).expect(words[language])
    await town.quiet()
    assert town.unread() == []

    await _look_back(town, warning_id, draft_at, middle)


async def _work_on(town: Town, case_id: str) -> None:
    """Only a tasked station acts (D1); what was said stays sealed; the county closes."""
    action = {"node_id": "milan", "kind": "contacted", "country": "IT", "city": "Milano", "text": "电话联系上，在二楼"}
    early = await town.post("milan-head", f"/v1/cases/{case_id}/actions", action)
    assert (early.status_code, early.json()["code"]) == (409, "case.not_tasked")
    task = {"node_id": "milan", "instruction": "请联系并核实"}
    denied = await town.post("milan-head", f"/v1/cases/{case_id}/task", task)
    assert (denied.status_code, denied.json()["code"]) == (403, "permission.denied")
    assert (await town.post("county1", f"/v1/cases/{case_id}/task", task)).status_code == 200
    assert (await town.post("milan-head", f"/v1/cases/{case_id}/actions", action)).status_code == 201
    closed = await town.post("county1", f"/v1/cases/{case_id}/close", {"result": "本人安全"})
    assert closed.status_code == 200
    case = await town.get("county1", f"/v1/cases/{case_id}")
    assert case.json()["status"] == "closed"
    assert [entry["kind"] for entry in case.json()["entries"]] == ["opened", "tasked", "contacted", "closed"]
    assert "电话联系上" not in case.text
    assert "need help" not in case.text
    hidden = await town.get("county2", f"/v1/cases/{case_id}")
    assert (hidden.status_code, hidden.json()["code"]) == (404, "case.unknown")


async def _look_back(town: Town, warning_id: str, draft_at: int, middle: int) -> None:
    """Replay shows what was then, every view comes out the same again, the log is whole."""
    folder = town.stores.folder

    async def run(*arguments: str) -> Ran:
        return await asyncio.to_thread(fenghuo, *arguments, folder=folder)

    for at, status in [(draft_at, "draft"), (middle, "released"), (town.stores.log.last_position_now(), "cancelled")]:
        then = (await run("replay", "--at", str(at), "--json")).json
        (row,) = then["tables"]["warnings"]
        assert (then["position"], row["warning_id"], row["status"]) == (at, warning_id, status)
    then = (await run("replay", "--at", str(middle), "--view", "tree", "--json")).json
    relayed = {row["node_id"] for row in then["tables"]["relays"] if row["relayed_at"]}
    assert relayed == {"office", "north", "south", "milan", "madrid", "village"}
    before = (town.clock.now() - timedelta(seconds=2700)).isoformat()
    assert (await run("replay", "--at", before, "--json")).json["position"] < town.stores.log.last_position_now()

    fingerprints = town.stores.views.fingerprints()
    rebuilt = await run("views", "rebuild", "--json")
    assert (rebuilt.status, rebuilt.json["identical"]) == (0, True)
    assert town.stores.views.fingerprints() == fingerprints
    verified = await run("log", "verify", "--json")
    assert (verified.status, verified.json["ok"]) == (0, True), verified
    assert verified.json["views"] == fingerprints
    said = (await run("log", "verify")).out
    assert re.fullmatch(r"The log is whole: \d+ events in \d+ streams, \d+ views agree\.\n", said)
