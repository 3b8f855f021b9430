"""What people answer and how it comes to the duty officer: help first, and below it what nobody understood."""

from __future__ import annotations

import re

from test_voice import NUMBERS, settle
from town import Town, signed_in
from townsfolk import phone_of

from domain.answers import Answer, AnswerOpened, AnswerReceived
from domain.cases import CaseOpened
from domain.shards import Purpose, ShardPlanned
from infra.sandbox.voice import Callee


async def page(town: Town, warning_id: str, who: str = "officer1") -> str:
    browser = await signed_in(town, who)
    text = (await browser.get(f"/console/warnings/{warning_id}?lang=en")).text
    await browser.aclose()
    return text


def listed(text: str) -> list[str]:
    """The ids of the entries of the help list, in their order on the page."""
    return re.findall(r'<li id="((?:case|unread)-[^"]+)"', text)


async def test_help_by_sms_and_by_key_comes_first_and_what_is_not_understood_below(the_town: Town) -> None:
    town = the_town
    await settle(town)
    town.sandbox.voice.callee(NUMBERS["turin-zh"], Callee(keys=("2",)))
    town.sandbox.voice.callee(NUMBERS["turin-it"], Callee(keys=("9", "0")))
    warning_id = await town.release(level="red", target={"nodes": ["north"]})
    await town.quiet()
    for text in ("？？", "听不懂"):
        assert await town.device("rome-it").reply(text) == 200
    assert await town.device("milan-zh").reply("２　救命！") == 200
    await town.quiet()
    town.read_all()

    cases = {r.event.person_id: r.event.case_id for r in town.recorded(CaseOpened)}
    assert set(cases) == {"turin-zh", "milan-zh"}
    text = await page(town, warning_id)
    by_sms, by_key = f"case-{cases['milan-zh']}", f"case-{cases['turin-zh']}"
    assert listed(text) == [by_key, by_sms, "unread-turin-it", "unread-rome-it"]
    assert text.index('id="help"') < text.index("unread-") < text.index('id="status"')
    assert "Not understood: needs a person to read it" in text
    assert "听不懂" not in text

    # A closed case goes below the open ones, and the same person asking again is among the open ones once more.
    assert (await town.post("county1", f"/v1/cases/{cases['milan-zh']}/close", {"result": "well"})).status_code == 200
    assert listed(await page(town, warning_id))[:2] == [by_key, by_sms]
    assert await town.device("milan-zh").reply("又来了，救命") == 200
    await town.quiet()
    again = [r.event.case_id for r in town.recorded(CaseOpened)][-1]
    assert listed(await page(town, warning_id))[:3] == [by_key, f"case-{again}", by_sms]
    # Another county's office sees nothing of it.
    assert listed(await page(town, warning_id, "county1")) != []
    assert (await town.get("county2", "/v1/unclear")).json()["items"] == []


async def test_somebody_is_asked_back_read_and_settled(the_town: Town) -> None:
    town = the_town
    warning_id = await town.release(level="red", target={"nodes": ["rome"]})
    await town.device("rome-it").expect_sms("Rispondi 1 se sei al sicuro")
    assert await town.device("rome-it").reply("chi parla") == 200
    await town.device("rome-it").expect_sms("Non abbiamo capito la risposta", "Rispondi 1 se sei al sicuro")
    await town.quiet()
    (item,) = (await town.get("county1", "/v1/unclear")).json()["items"]
    assert (item["person_id"], item["state"], item["channel"]) == ("rome-it", "asked", "sms")
    assert listed(await page(town, warning_id)) == []  # they may yet answer
    assert await town.device("rome-it").reply("l'acqua sale") == 200
    await town.quiet()
    assert listed(await page(town, warning_id)) == ["unread-rome-it"]
    asked = [p for r in town.recorded(ShardPlanned) if (p := r.event).purpose is Purpose.ASK]
    assert [p.recipients for p in asked] == [("rome-it",)]

    path = f"/v1/unclear/{warning_id}/rome-it"
    words = await town.post("county1", f"{path}/open")
    assert words.json() == {"person_id": "rome-it", "words": ["chi parla", "l'acqua sale"]}
    assert [r.event.by for r in town.recorded(AnswerOpened)] == ["county1"]
    key = {"Idempotency-Key": "settle-1"}
    for repeated in (False, True):
        done = await town.post("county1", f"{path}/settle", {"meaning": "help"}, headers=key)
        assert (done.status_code, done.json()["repeated"]) == (200, repeated)
    (case,) = (await town.get("officer1", "/v1/cases")).json()["items"]
    assert case["person_id"] == "rome-it"
    assert listed(await page(town, warning_id)) == [f"case-{case['case_id']}"]
    assert (await town.post("county1", f"{path}/settle", {"meaning": "maybe"})).status_code == 422
    unknown = await town.post("county1", f"/v1/unclear/{warning_id}/rome-zh/open")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "answer.unknown")
    town.read_all()


async def test_a_number_that_was_given_up_answers_for_nobody(the_town: Town) -> None:
    from townsfolk import PEOPLE, SETUP

    from domain.people import Channel, Person

    town = the_town
    await town.release(level="red", target={"nodes": ["rome"]})
    await town.quiet()
    town.read_all()
    node, role, language, _ = PEOPLE["rome-it"]
    person = Person(person_id="rome-it", node_id=node, role=role, language=language, channels=(Channel.SMS,))
    new = "+393470099999"
    await town.stores.registry.register_people([(person, {"name": "x", "phone": new})], SETUP)
    assert await town.sandbox.sms.reply(phone_of("rome-it"), "1") == 200
    assert town.recorded(AnswerReceived) == []
    assert await town.sandbox.sms.reply(new, "1") == 200
    assert [(r.event.person_id, r.event.answer) for r in town.recorded(AnswerReceived)] == [("rome-it", Answer.SAFE)]
    await town.quiet()
