"""What goes wrong with callbacks, through the real program: twice, out of order, forged, too late, too early.

For receipts and replies of text messages, for endings and keys of calls: nobody is lost, the log has the right reason,
and what is forged leaves no trace.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from problems import problem
from test_voice import NUMBERS, answers, called, outcome, picks_up, receipts, settle
from town import Town
from townsfolk import phone_of
from twilio.request_validator import RequestValidator

from domain.answers import Answer, AnswerReceived
from domain.cases import CaseOpened
from domain.outcomes import Outcome
from domain.shards import ChunkRecorded, ReceiptsRecorded, ShardPlanned
from infra.sandbox.behaviour import Behaviour, Kind

TOKEN = "sandbox-token"
WHO = "turin-it"


async def call(town: Town, path: str, params: dict[str, str], token: str = TOKEN, **more: Any) -> httpx.Response:
    signature = RequestValidator(token).compute_signature(f"{town.live.url}{path}", params)
    return await town.http.post(path, data=params, headers={"X-Twilio-Signature": signature}, **more)


async def rung(town: Town, behaviour: Behaviour, *keys: str, target: str = "turin", **how: str) -> str:
    """A red warning for Turin, where everybody but WHO picks up and presses nothing; the warning's id."""
    await settle(town)
    picks_up(town, WHO, *keys, **how)
    town.sandbox.voice.behave(NUMBERS[WHO], behaviour)
    return await town.release(level="red", target={"nodes": [target]})


async def texted(town: Town, behaviour: Behaviour) -> str:
    town.sandbox.sms.behave(phone_of("rome-head"), behaviour)
    warning_id = await town.release(target={"nodes": ["rome"]})
    await town.until(lambda: town.sandbox.sms.sent_to(phone_of("rome-head")))
    return warning_id


def place(town: Town, warning_id: str, who: str) -> tuple[str, int]:
    with town.stores.views.reading() as db:
        rows = town.stores.views.deliveries.page(db, warning_id, after=("", -1), limit=1000)
    (row,) = [row for row in rows if row["person_id"] == who]
    return row["shard_id"], row["idx"]


# Forged, or nobody's -------------------------------------------------------------------------------------------------


async def test_forged_calls_leave_no_trace(the_town: Town) -> None:
    town = the_town
    warning_id = await rung(town, Behaviour(Kind.NEVER_DELIVERED), picks_up="no-answer")
    await town.quiet()
    shard_id, index = place(town, warning_id, WHO)
    params = {"CallSid": "CA" + "0" * 32, "Digits": "2", "CallStatus": "completed"}
    before = town.stores.log.last_position_now()
    for what in ("", "/key?asked=1", "/key?asked=2", "/status"):
        path = f"/callbacks/voice/{shard_id}/{index}{what}"
        url = f"{town.live.url}{path}"
        problem(await call(town, path, params, token="another"), 403, "callback.signature")
        problem(await town.http.post(path, data=params), 403, "callback.signature")
        for signed_url, signed in ((url, {**params, "Digits": "1"}), (f"{url}0", params), (url, {})):
            signature = RequestValidator(TOKEN).compute_signature(signed_url, signed)
            answer = await town.http.post(path, data=params, headers={"X-Twilio-Signature": signature})
            problem(answer, 403, "callback.signature")

    assert town.stores.log.last_position_now() == before
    assert outcome(town, warning_id, WHO) == ("accepted", "")
    town.read_all()


async def test_a_call_that_is_nobodys_is_404(the_town: Town) -> None:
    town = the_town
    warning_id = await rung(town, Behaviour())
    await town.quiet()
    shard_id, _ = place(town, warning_id, WHO)
    before = town.stores.log.last_position_now()
    for whose in (f"{'0' * 32}/0", f"{shard_id}/77", "xyz/0"):
        for what in ("", "/key?asked=1", "/status"):
            path = f"/callbacks/voice/{whose}{what}"
            answer = await call(town, path, {"CallSid": "CA1", "Digits": "2", "CallStatus": "completed"})
            problem(answer, 404, "receipt.unknown")
    assert town.stores.log.last_position_now() == before
    town.read_all()


# Twice, out of order -------------------------------------------------------------------------------------------------


async def test_everything_twice_counts_once(the_town: Town) -> None:
    town = the_town
    await rung(town, Behaviour(Kind.DUPLICATE), "2")
    town.sandbox.sms.behave(phone_of("county1"), Behaviour(Kind.DUPLICATE))
    await town.quiet()
    await asyncio.gather(*[town.device("county1").reply("1") for _ in range(2)])  # two messages of theirs, in truth
    await town.quiet()

    assert answers(town).count((WHO, Answer.HELP, "voice")) == 1
    assert [r.event.person_id for r in town.recorded(CaseOpened)] == [WHO]
    rows = [(r.event.shard_id, row.index) for r in town.recorded(ReceiptsRecorded) for row in r.event.rows]
    assert len(rows) == len(set(rows))
    town.read_all()


async def test_a_key_again_after_the_call_and_an_ending_out_of_order_change_nothing(the_town: Town) -> None:
    town = the_town
    warning_id = await rung(town, Behaviour(), "1")
    await town.quiet()
    shard_id, index = place(town, warning_id, WHO)
    path, sid = f"/callbacks/voice/{shard_id}/{index}", called(town, WHO).sid
    before = town.stores.log.last_position_now()
    again = await call(town, f"{path}/key?asked=1", {"CallSid": sid, "Digits": "1"})
    assert (again.status_code, "Ha premuto 1" in again.text) == (200, True)
    for status in ("ringing", "in-progress", "no-answer", "failed", "completed"):
        params = {"CallSid": sid, "CallStatus": status, "AnsweredBy": "machine_start"}
        assert (await call(town, f"{path}/status", params)).status_code == 204

    assert town.stores.log.last_position_now() == before
    assert outcome(town, warning_id, WHO) == ("delivered", "")
    town.read_all()


@pytest.mark.parametrize("order", [("undelivered", "delivered"), ("delivered", "undelivered"), ("delivered", "sent")])
async def test_receipts_out_of_order_end_as_delivered(the_town: Town, order: tuple[str, str]) -> None:
    town = the_town
    warning_id = await texted(town, Behaviour(Kind.NEVER_DELIVERED))
    await quiet_but_one(town)
    shard_id, index = place(town, warning_id, "rome-head")
    (message,) = town.sandbox.sms.sent_to(phone_of("rome-head"))
    for status in order:
        params = {"MessageSid": message.sid, "MessageStatus": status}
        assert (await call(town, f"/callbacks/sms/{shard_id}/{index}", params)).status_code == 204
    await town.quiet()

    assert outcome(town, warning_id, "rome-head") == ("delivered", "")
    town.read_all()


async def test_replies_out_of_order_never_hide_a_call_for_help(the_town: Town) -> None:
    town = the_town
    warning_id = await texted(town, Behaviour())
    await town.quiet()
    for text in ("2 救命", "1"):  # sent the other way round, perhaps: nobody can know
        assert await town.device("rome-head").reply(text) == 200
    await town.quiet()

    assert [r.event.person_id for r in town.recorded(CaseOpened)] == ["rome-head"]
    assert [a for _, a, _ in answers(town)] == [Answer.HELP, Answer.SAFE]
    case = (await town.get("officer1", "/v1/cases")).json()["items"][0]
    assert (case["status"], case["warning_id"]) == ("open", warning_id)
    town.read_all()


# Too early -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"picks_up": "no-answer"}, ("refused", "no_answer")),
        ({"picks_up": "busy"}, ("refused", "busy")),
        ({"picks_up": "machine"}, ("refused", "machine")),
        ({"picks_up": "human"}, ("delivered", "")),
    ],
)
async def test_a_call_that_ends_before_the_answer_to_its_request(
    the_town: Town, how: dict[str, str], expected: tuple[str, str]
) -> None:
    town = the_town
    human = how["picks_up"] == "human"
    warning_id = await rung(town, Behaviour(Kind.SLOW, delay_s=0.7), *(["2"] if human else []), **how)
    await town.until(
        lambda: town.sandbox.voice.calls_to(NUMBERS[WHO]) and called(town, WHO).status == expected_end(how)
    )
    await town.until(lambda: sent(town, WHO) or receipts(town), "the receipt")
    assert not sent(town, WHO)  # the provider has not answered the request itself yet
    await town.quiet()

    assert sent(town, WHO) == [Outcome.ACCEPTED]
    assert outcome(town, warning_id, WHO) == expected
    assert [r.event.person_id for r in town.recorded(CaseOpened)] == ([WHO] if human else [])
    town.read_all()


@pytest.mark.parametrize(
    ("code", "reason"),
    [(30003, "undelivered"), (30005, "bad_address"), (30007, "blocked"), (30002, "credentials"), (0, "")],
)
async def test_a_receipt_before_the_answer_to_the_send_keeps_its_own_reason(
    the_town: Town, code: int, reason: str
) -> None:
    town = the_town
    warning_id = await texted(town, Behaviour(Kind.SLOW, delay_s=0.7, code=code))
    await town.until(lambda: town.recorded(ReceiptsRecorded), "the receipt")
    assert not sent(town, "rome-head")
    await town.quiet()

    assert sent(town, "rome-head") == [Outcome.ACCEPTED]
    assert outcome(town, warning_id, "rome-head") == ("refused" if code else "delivered", reason)
    town.read_all()


async def test_a_reply_before_the_answer_to_the_send_counts(the_town: Town) -> None:
    town = the_town
    await texted(town, Behaviour(Kind.SLOW, delay_s=0.7))
    assert await town.device("rome-head").reply("2") == 200
    assert [r.event.person_id for r in town.recorded(CaseOpened)] == ["rome-head"]
    assert not sent(town, "rome-head")
    await town.quiet()
    town.read_all()


# Too late ------------------------------------------------------------------------------------------------------------


async def test_keys_replies_and_receipts_after_the_end_count_as_late(the_town: Town) -> None:
    town = the_town
    warning_id = await rung(town, Behaviour(Kind.NEVER_DELIVERED, times=1), target="north", picks_up="no-answer")
    await town.quiet()
    shard_id, index = place(town, warning_id, WHO)
    sid = called(town, WHO).sid
    ended = await town.post("officer1", f"/v1/warnings/{warning_id}/cancel", {"reason": "over"})
    assert ended.status_code == 200
    await town.quiet()
    pressed = await call(town, f"/callbacks/voice/{shard_id}/{index}/key?asked=1", {"CallSid": sid, "Digits": "2"})
    assert "Ha premuto 2" in pressed.text
    assert await town.device("county1").reply("2") == 200
    await call(town, f"/callbacks/voice/{shard_id}/{index}/status", {"CallSid": sid, "CallStatus": "completed"})
    await town.quiet()

    found = [(r.event.person_id, r.event.answer, r.event.late) for r in town.recorded(AnswerReceived)]
    assert found == [(WHO, Answer.HELP, True), ("county1", Answer.HELP, True)]
    assert sorted(r.event.person_id for r in town.recorded(CaseOpened)) == ["county1", WHO]
    with town.stores.views.reading() as db:
        table = town.stores.views.deliveries.deliveries
        rows = db.execute(table.select().where(table.c.shard_id == shard_id, table.c.idx == index)).mappings().all()
    assert [row["outcome"] for row in rows] == ["delivered"]
    town.read_all()


# Helpers of this file ------------------------------------------------------------------------------------------------


def sent(town: Town, who: str) -> list[Outcome]:
    """The outcomes of the sends themselves, as the ledger has them."""
    plans = {r.event.shard_id: r.event for r in town.recorded(ShardPlanned)}
    return [
        row.outcome
        for r in town.recorded(ChunkRecorded)
        for row in r.event.rows
        if plans[r.event.shard_id].recipients[row.index] == who
    ]


def expected_end(how: dict[str, str]) -> str:
    return "completed" if how["picks_up"] in ("human", "machine") else how["picks_up"]


async def quiet_but_one(town: Town) -> None:
    """One message gets two callbacks of the gateway instead of three."""
    town.sandbox.sms.callbacks_posted += 1
    await town.quiet()
