"""What the SMS provider calls: signed callbacks count once, all others count for nothing."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from problems import problem
from setting import SHARED
from town import Town
from townsfolk import phone_of
from twilio.request_validator import RequestValidator

from api import callbacks
from api.commands import Actor
from domain.answers import AnswerReceived
from domain.shards import ReceiptsRecorded

pytestmark = SHARED
TOKEN = "sandbox-token"


async def call(
    town: Town, path: str, params: dict[str, str], *, token: str = TOKEN, url: str | None = None, **more: Any
) -> httpx.Response:
    """A callback as the provider makes it, signed for `url` (that which is called, for None) with `token`."""
    signature = RequestValidator(token).compute_signature(url or f"{town.live.url}{path}", params)
    return await town.http.post(path, data=params, headers={"X-Twilio-Signature": signature}, **more)


async def a_message(town: Town) -> tuple[str, dict[str, str]]:
    """The callback path and the receipt of a message to milan-head that the provider never reported on."""
    from infra.sandbox.behaviour import Behaviour, Kind

    town.sandbox.sms.behave(phone_of("milan-head"), Behaviour(Kind.NEVER_DELIVERED, times=1))
    warning_id = await town.release()
    await town.device("milan-head").expect_sms()
    await town.until(lambda: len(town.recorded(ReceiptsRecorded)) > 0)
    sms = town.sandbox.sms.sent_to(phone_of("milan-head"))[-1]
    # The message can arrive before the views know of it: it is offered to the worker as soon as it is planned.
    assert await town.stores.follower.reached(town.stores.log.last_position_now())
    with town.stores.views.reading() as db:
        rows = town.stores.views.deliveries.page(db, warning_id, after=("", -1), limit=1000)
    (row,) = [row for row in rows if row["person_id"] == "milan-head"]
    town.read_all()
    receipt = {"MessageSid": sms.sid, "MessageStatus": "delivered", "To": sms.to, "From": sms.sender}
    return f"/callbacks/sms/{row['shard_id']}/{row['idx']}", receipt


async def outcome(town: Town, path: str) -> str:
    shard_id, index = path.split("/")[-2:]
    end = town.stores.log.last_position_now()
    assert await town.stores.follower.reached(end)
    with town.stores.views.reading() as db:
        table = town.stores.views.deliveries.deliveries
        rows = db.execute(table.select().where(table.c.shard_id == shard_id)).mappings()
        return next(str(row["outcome"]) for row in rows if row["idx"] == int(index))


async def test_a_forged_receipt_changes_nothing_and_a_signed_one_does(town: Town) -> None:
    path, receipt = await a_message(town)
    await town.until(lambda: town.sandbox.sms.callbacks_posted > 0)
    before = town.stores.log.last_position_now()

    problem(await call(town, path, receipt, token="another"), 403, "callback.signature")
    problem(await town.http.post(path, data=receipt), 403, "callback.signature")
    problem(await call(town, path, receipt, url=f"{town.live.url}/elsewhere"), 403, "callback.signature")
    signed_for_less = RequestValidator(TOKEN).compute_signature(f"{town.live.url}{path}", receipt)
    added = {**receipt, "ErrorCode": "30003"}
    answer = await town.http.post(path, data=added, headers={"X-Twilio-Signature": signed_for_less})
    problem(answer, 403, "callback.signature")
    assert await outcome(town, path) == "accepted"
    mine = [
        r for r in town.recorded(ReceiptsRecorded) if r.position > before and r.event.shard_id == path.split("/")[-2]
    ]
    assert mine == []

    assert (await call(town, path, receipt)).status_code == 204
    assert await outcome(town, path) == "delivered"
    await quiet(town)


async def quiet(town: Town) -> None:
    """Lets the callbacks that the gateway owes come in; one message above gets two instead of three."""
    await town.until(town.sandbox.sms._queue.empty)
    town.sandbox.sms.callbacks_posted += 1
    await town.quiet()
    town.read_all()


async def test_the_same_receipt_again_and_an_older_one_change_nothing(town: Town) -> None:
    path, receipt = await a_message(town)
    assert (await call(town, path, receipt)).status_code == 204
    await quiet(town)
    before = town.stores.log.last_position_now()
    for status in ("delivered", "sent", "queued", "undelivered"):
        assert (await call(town, path, {**receipt, "MessageStatus": status})).status_code == 204
    assert town.stores.log.last_position_now() == before
    assert await outcome(town, path) == "delivered"


@pytest.mark.parametrize(
    "path",
    [f"/sms/{'0' * 32}/0", "/sms/{shard}/500", "/sms/{shard}/99999999999999999999", "/sms/xyz/0", "/sms/{shard}/x"],
)
async def test_a_receipt_for_nothing_of_ours_is_404(town: Town, path: str) -> None:
    known, receipt = await a_message(town)
    answer = await call(town, "/callbacks" + path.format(shard=known.split("/")[-2]), receipt)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    await quiet(town)


async def test_a_forged_reply_changes_nothing_and_the_same_reply_twice_counts_once(town: Town) -> None:
    await town.release()
    await town.device("rome-head").expect_sms()
    await town.quiet()
    town.read_all()
    path = "/callbacks/sms/inbound"
    reply = {"MessageSid": "SM" + "1" * 32, "From": phone_of("rome-head"), "To": "+15005550006", "Body": "1"}

    def answers() -> int:
        return len(town.recorded(AnswerReceived))

    before = answers()
    problem(await call(town, path, reply, token="another"), 403, "callback.signature")
    assert answers() == before
    for _ in range(3):
        assert (await call(town, path, reply)).status_code == 200
    assert answers() == before + 1
    assert (await call(town, path, {**reply, "MessageSid": "SM" + "2" * 32})).status_code == 200
    assert answers() == before + 2  # said again by the person: that is another message
    await town.quiet()
    town.read_all()


async def test_a_reply_from_an_unknown_number_is_taken_and_left(town: Town) -> None:
    before = town.stores.log.last_position_now()
    reply = {"MessageSid": "SM" + "3" * 32, "From": "+8613800138000", "Body": "救命"}
    assert (await call(town, "/callbacks/sms/inbound", reply)).status_code == 200
    assert town.stores.log.last_position_now() == before


async def test_a_callback_that_is_too_large_or_no_form_is_refused(town: Town) -> None:
    path = "/callbacks/sms/inbound"
    problem(await town.http.post(path, content=b"a=" + b"x" * 70_000), 413, "request.too_large")
    problem(await town.http.post(path, content=b"&".join(b"a=1" for _ in range(300))), 422, "callback.form")
    problem(await town.http.post(path, content=b"Body=\xff\xfe"), 422, "callback.form")


async def test_a_reply_of_a_number_that_the_views_may_not_know_yet_is_asked_for_again(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "SHOWN_S", 0.1)
    written = {"MessageSid": f"SM{'7' * 32}", "From": "+390000000000", "Body": "救命"}
    warning_id = await town.draft()
    await town.quiet()
    with town.stores.views._changing():  # nothing is folded meanwhile
        await town.stores.desk.release(Actor(person_id="officer2", correlation_id="meanwhile"), warning_id)
        problem(await call(town, "/callbacks/sms/inbound", written), 503, "callback.behind")
    await town.quiet()
    town.read_all()
    assert (await call(town, "/callbacks/sms/inbound", written)).status_code == 200
