"""Calls through the real program: people whose only channel is the telephone, what they press, and who comes first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from town import Town, signed_in
from townsfolk import SETUP, _node

from api.pages.model import Who
from api.pages.source import Source
from domain.answers import Answer, AnswerReceived
from domain.outcomes import Outcome, Reason
from domain.people import Channel, Person, Role
from domain.relays import RelayAcknowledged, RelayPassed
from domain.shards import ReceiptsRecorded
from domain.stations import Kind
from infra.sandbox.behaviour import Behaviour
from infra.sandbox.behaviour import Kind as Wrong
from infra.sandbox.voice import Call, Callee

NUMBERS = {"turin-head": "+390110000001", "turin-zh": "+390110000002", "turin-it": "+390110000003"}


async def settle(town: Town, *more: str) -> None:
    """A station whose people have telephones and nothing else."""
    registry = town.stores.registry
    await registry.register_nodes([_node("turin", Kind.STATION, "north", "IT")], SETUP)
    await town.stores.follower.reached(await town.stores.log.last_position())
    people = []
    for who in ("turin-head", "turin-zh", "turin-it", *more):
        role = Role.HEAD if who == "turin-head" else Role.CITIZEN
        NUMBERS.setdefault(who, f"+39011000{len(NUMBERS):04d}")
        language = who.rpartition("-")[2] if who[-2:] in ("it", "en", "es", "fr") else "zh"
        person = Person(person_id=who, node_id="turin", role=role, language=language, channels=(Channel.VOICE,))
        people.append((person, {"name": who, "phone": NUMBERS[who]}))
    await registry.register_people(people, SETUP)
    await town.stores.follower.reached(await town.stores.log.last_position())


def called(town: Town, who: str) -> Call:
    (call,) = town.sandbox.voice.calls_to(NUMBERS[who])
    return call


def picks_up(town: Town, who: str, *keys: str, **how: str) -> None:
    town.sandbox.voice.callee(NUMBERS[who], Callee(keys=keys, **how))  # type: ignore[arg-type]


def outcome(town: Town, warning_id: str, who: str) -> tuple[str, str]:
    with town.stores.views.reading() as db:
        rows = town.stores.views.deliveries.page(db, warning_id, after=("", -1), limit=1000)
    (row,) = [row for row in rows if row["person_id"] == who]
    return row["outcome"], row["reason"]


def answers(town: Town) -> list[tuple[str, Answer, str]]:
    return [(e.person_id, e.answer, e.channel) for r in town.recorded(AnswerReceived) for e in [r.event]]


def receipts(town: Town) -> Sequence[tuple[Outcome, Reason]]:
    return [(row.outcome, row.reason) for r in town.recorded(ReceiptsRecorded) for row in r.event.rows]


async def test_one_asks_for_help_one_acknowledges_one_does_not_take_the_call(the_town: Town) -> None:
    town = the_town
    await settle(town)
    picks_up(town, "turin-zh", "2")
    picks_up(town, "turin-head", "1")
    picks_up(town, "turin-it", picks_up="no-answer")
    warning_id = await town.release(level="red", target={"nodes": ["turin"]})
    await town.quiet()

    # The one who needs help hears the warning in their language, and the key read back; a case is open.
    call = called(town, "turin-zh")
    assert call.languages == ["zh-CN", "zh-CN"]
    assert all(word in call.heard[0] for word in ("领事保护", "红色预警", "洪水将至", "请撤到高处", "请按1", "请按2"))
    assert "您按了2" in call.heard[1]
    (case,) = (await town.get("county1", "/v1/cases")).json()["items"]
    assert (case["person_id"], case["warning_id"], case["status"]) == ("turin-zh", warning_id, "open")
    source = Source(town.live.server._app.state.services)
    duty = Who(person_id="officer1", label="", may=frozenset())
    assert source.help(duty, warning_id, "zh").lines[0].person_id == "turin-zh"
    browser = await signed_in(town, "officer1")
    page = (await browser.get(f"/console/warnings/{warning_id}")).text
    await browser.aclose()
    assert page.index(f'id="case-{case["case_id"]}"') < page.index('id="tree"')

    # The station's head acknowledged, and with it the station.
    assert "您按了1：您已收到并转发" in called(town, "turin-head").heard[1]
    assert [(r.event.node_id, r.event.channel) for r in town.recorded(RelayAcknowledged)] == [("turin", "voice")]
    assert [r.event.node_id for r in town.recorded(RelayPassed)] == ["turin"]

    # The one who did not take the call is not reached, and the log says why.
    assert (called(town, "turin-it").heard, called(town, "turin-it").status) == ([], "no-answer")
    assert outcome(town, warning_id, "turin-it") == ("refused", "no_answer")
    assert (outcome(town, warning_id, "turin-zh"), outcome(town, warning_id, "turin-head")) == (("delivered", ""),) * 2
    assert sorted(answers(town)) == [("turin-head", Answer.SAFE, "voice"), ("turin-zh", Answer.HELP, "voice")]
    summary = source.summary(duty, warning_id)
    assert (summary.recipients, summary.delivered, summary.help, summary.unreached) == (3, 2, 1, 1)
    town.read_all()
    assert town.sandbox.voice.callbacks_lost == 0


@pytest.mark.parametrize(
    ("keys", "answered", "last"),
    [
        (("", "1"), [Answer.SAFE], "Ha premuto 1"),
        (("7", "2"), [Answer.HELP], "Ha premuto 2"),
        ((), [], "Arrivederci"),
        (("9", ""), [], "Arrivederci"),
        (("9", "*"), [Answer.UNCLEAR], "Arrivederci"),
    ],
)
async def test_a_key_is_asked_for_once_more_and_then_no_more(
    the_town: Town, keys: tuple[str, ...], answered: list[Answer], last: str
) -> None:
    town = the_town
    await settle(town)
    picks_up(town, "turin-it", *keys)
    await town.release(level="red", target={"nodes": ["turin"]})
    await town.quiet()

    heard = called(town, "turin-it").heard
    assert [len(heard), heard[0].startswith("Buongiorno"), last in heard[2]] == [3, True, True]
    assert "Non abbiamo ricevuto un tasto valido. Prema 1" in heard[1]
    assert [a for who, a, _ in answers(town) if who == "turin-it"] == answered
    town.read_all()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"picks_up": "machine"}, ("refused", "machine")),
        ({"picks_up": "busy"}, ("refused", "busy")),
        ({"picks_up": "failed"}, ("refused", "undelivered")),
        ({"picks_up": "failed", "sip": 404}, ("refused", "bad_address")),
        ({"picks_up": "human"}, ("delivered", "")),
    ],
)
async def test_how_a_call_ended_is_in_the_log(the_town: Town, how: dict[str, str], expected: tuple[str, str]) -> None:
    town = the_town
    await settle(town)
    picks_up(town, "turin-it", **how)
    warning_id = await town.release(level="red", target={"nodes": ["turin"]})
    await town.quiet()

    assert outcome(town, warning_id, "turin-it") == expected
    assert not [a for a in answers(town) if a[0] == "turin-it"]
    town.read_all()


async def test_a_warning_cancelled_while_the_telephone_rang_is_told_as_cancelled(the_town: Town) -> None:
    town = the_town
    await settle(town)
    town.sandbox.voice.behave(NUMBERS["turin-zh"], Behaviour(Wrong.NEVER_DELIVERED))
    warning_id = await town.release(level="red", target={"nodes": ["turin"]})
    await town.quiet()
    answer = await town.post("officer1", f"/v1/warnings/{warning_id}/cancel", {"reason": "over"})
    assert answer.status_code == 200
    await town.quiet()
    first, second = town.sandbox.voice.calls_to(NUMBERS["turin-zh"])
    assert "预警已解除" in second.heard[0]
    status, said = await town.sandbox.voice.post(first.url, {"CallSid": first.sid, "CallStatus": "in-progress"})
    assert (status, "预警已解除" in said, "<Gather" in said) == (200, True, False)
    town.read_all()


async def test_a_call_that_is_a_test_says_so_in_the_callees_language_and_asks_nothing(the_town: Town) -> None:
    town = the_town
    await settle(town)
    picks_up(town, "turin-it")
    picks_up(town, "turin-zh", "2")
    ordered = await town.post("county1", "/v1/reach/tests", {"node_id": "turin"}, headers={"Idempotency-Key": "v"})
    assert ordered.status_code in (200, 201, 202)
    await town.quiet()
    town.read_all()

    (italian,), (chinese,) = called(town, "turin-it").heard, called(town, "turin-zh").heard
    assert "Messaggio di prova" in italian
    assert "测试消息" in chinese
    assert answers(town) == []
    call = called(town, "turin-zh")
    status, said = await town.sandbox.voice.post(call.url, {"CallSid": call.sid, "CallStatus": "in-progress"})
    assert (status, 'language="zh-CN"' in said, "<Gather" in said) == (200, True, False)
    pressed = {"CallSid": call.sid, "CallStatus": "in-progress", "Digits": "2"}
    status, said = await town.sandbox.voice.post(call.url + "/key?asked=1", pressed)
    assert (status, "测试消息" in said) == (200, True)
    town.read_all()
    assert answers(town) == []
