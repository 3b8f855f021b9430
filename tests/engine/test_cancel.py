"""A cancellation stops what is under way, then tells exactly those whom the warning reached, as it reached them."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from house import EMAIL, MILAN, OTHERS, PEOPLE, SMS, STAFF, WEBPUSH, actor, house, personal

from domain.answers import Answer, AnswerReceived
from domain.content import Text
from domain.outcomes import Outcome, Reason, Row
from domain.people import Person
from domain.planning import PlanMade
from domain.rulepacks import Level
from domain.shards import ChunkIntended, Purpose, ShardStopped


async def cancel(h, warning_id, **more):
    await h.desk.cancel(actor("officer1"), warning_id, reason="mistake", **more)


async def test_everybody_who_was_told_is_told_of_the_cancellation(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED)
        h.forget_sent()
        await cancel(h, warning_id)
        await h.quiet()

        assert h.sent() == h.planned(warning_id, Purpose.CANCEL) == sorted(STAFF | MILAN | OTHERS)
        assert h.view(lambda v, db: v.tree.totals(db, warning_id))["recipients"] == 12


async def test_only_those_reached_are_told_over_the_channel_that_reached_them(tmp_path):
    async with house(tmp_path) as h:
        answers = h.notifiers[SMS].answers
        answers["milan-zh"] = [{"outcome": Outcome.REFUSED, "reason": Reason.BAD_ADDRESS}]
        answers["milan-both"] = [{"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY}]
        answers["madrid-es"] = [{"outcome": Outcome.UNKNOWN, "reason": Reason.TIMEOUT}]
        warning_id = await h.told(Level.RED)
        await h.runtime.receipts.record(*_receipt(h.place(warning_id, "village-zh"), Outcome.DELIVERED, Reason.NONE))
        await h.runtime.receipts.record(
            *_receipt(h.place(warning_id, "village-liaison"), Outcome.REFUSED, Reason.UNDELIVERED)
        )
        h.forget_sent()
        await cancel(h, warning_id)
        await h.quiet()

        not_reached = {("milan-zh", SMS), ("milan-both", SMS), ("village-liaison", SMS)}
        assert h.sent() == sorted((STAFF | MILAN | OTHERS) - not_reached)
        await h.pass_time(minutes=1)
        assert h.sent().count(("milan-both", SMS)) == 0  # its retry went with the warning


async def test_who_may_have_it_is_told_even_if_a_later_attempt_was_refused(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["milan-zh"] = [
            {"outcome": Outcome.UNKNOWN, "reason": Reason.TIMEOUT},
            {"outcome": Outcome.REFUSED, "reason": Reason.BLOCKED},
        ]
        warning_id = await h.told(Level.RED)
        await h.pass_time(minutes=1)
        await h.quiet()
        assert h.rows(warning_id, "milan-zh", channel=SMS)[-1][0] is Outcome.REFUSED
        h.notifiers[SMS].answers.clear()
        h.forget_sent()
        await cancel(h, warning_id)
        await h.quiet()

        assert ("milan-zh", SMS) in h.sent()


def _receipt(place, outcome, reason):
    shard_id, index = place
    return shard_id, Row(index, outcome, 1, reason)


async def test_a_fan_out_that_is_under_way_stops_and_what_it_sent_is_followed(tmp_path):
    async with house(tmp_path, chunk=1) as h:
        h.notifiers[SMS].hanging = {"milan-both"}
        warning_id = await h.release(Level.RED, target="milan")
        await h.until(lambda: ("milan-both", SMS) in h.sent())
        shard_id, _ = h.place(warning_id, "milan-both", SMS)
        assert ("milan-zh", SMS) not in h.sent()
        await cancel(h, warning_id)
        await h.until(lambda: shard_id in {e.shard_id for e in h.events(ShardStopped)})
        assert h.planned(warning_id, Purpose.CANCEL) == []  # who was reached is not known yet
        h.notifiers[SMS].release()
        await h.quiet()

        assert [e.indices for e in h.events(ChunkIntended) if e.shard_id == shard_id] == [(0,)]
        assert h.rows(warning_id, "milan-both", channel=SMS)[0] == (Outcome.ACCEPTED, Reason.NONE, 1)
        reached = [told for told in h.planned(warning_id) if told != ("milan-zh", SMS)]
        assert ("milan-both", SMS) in h.planned(warning_id, Purpose.CANCEL)
        assert set(h.planned(warning_id, Purpose.CANCEL)) <= set(reached)
        assert ("milan-zh", SMS) not in h.sent()


async def test_the_cancellation_comes_in_the_language_that_the_warning_came_in(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        node, role, _, channels = PEOPLE["milan-it"]
        now_spanish = Person(person_id="milan-it", node_id=node, role=role, language="es", channels=channels)
        await h.registry.register_people([(now_spanish, personal("milan-it"))], actor("admin"))
        h.forget_sent()
        await cancel(h, warning_id, texts=(Text(language="it", headline="Falso allarme"),))
        await h.quiet()

        ((_, rendered),) = [(d, r) for who, d, r in h.notifiers[EMAIL].sent if who == "milan-it"]
        assert (rendered.language, "[ANNULLATO]" in rendered.subject) == ("it", True)
        assert "Falso allarme" in rendered.text


async def test_the_cancellation_says_why(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        h.forget_sent()
        await cancel(h, warning_id)
        await h.quiet()

        (rendered,) = {r.text for who, _, r in h.notifiers[WEBPUSH].sent}
        assert "Reason: mistake" in rendered


async def test_a_warning_cancelled_at_once_reaches_nobody_or_is_followed(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.release(Level.RED)
        await cancel(h, warning_id)
        await h.quiet()

        told = {(who, n.channel) for n in h.notifiers.values() for who, d, r in n.sent if "解除" not in r.subject}
        assert len(h.events(PlanMade)) == 2
        assert set(h.planned(warning_id, Purpose.CANCEL)) <= set(h.planned(warning_id))
        assert {who for who, _ in h.planned(warning_id, Purpose.CANCEL)} <= {who for who, _ in told}


@pytest.mark.parametrize("level", [Level.RED, Level.ORANGE])
async def test_cancelling_a_draft_tells_nobody(tmp_path, level):
    async with house(tmp_path) as h:
        warning_id = await h.draft(level)
        await cancel(h, warning_id)
        await h.quiet()

        assert h.sent() == []
        assert [(plan.shards, plan.recipients) for plan in h.events(PlanMade)] == [(0, 0)]


async def test_after_a_cancellation_a_station_may_answer_but_its_people_are_not_told(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)
        await cancel(h, warning_id)
        await h.quiet()
        h.forget_sent()
        await h.desk.acknowledge(actor("milan-head"), warning_id, "milan")
        await h.desk.answer(warning_id=warning_id, person_id="madrid-head", answer=Answer.SAFE, channel="link")
        await h.pass_time(hours=2)

        assert h.sent() == []
        assert [(e.person_id, e.late) for e in h.events(AnswerReceived)] == [("madrid-head", True)]


async def test_the_cancellation_goes_out_though_the_validity_ends_meanwhile(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="madrid", lasts=timedelta(minutes=10))
        h.forget_sent()
        h.notifiers[SMS].answers["madrid-es"] = [{"outcome": Outcome.UNKNOWN, "reason": Reason.TIMEOUT}]
        h.clock.move(timedelta(minutes=9, seconds=59))
        await cancel(h, warning_id)
        await h.quiet()
        await h.pass_time(minutes=1)

        assert h.sent().count(("madrid-head", EMAIL)) == 1
        assert h.rows(warning_id, "madrid-es", Purpose.CANCEL)[0] == (Outcome.UNKNOWN, Reason.TIMEOUT, 1)


async def test_a_withdrawal_that_nobody_takes_is_tried_for_a_day_after_the_warnings_end_and_no_longer(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="madrid", lasts=timedelta(minutes=10))
        busy = {"outcome": Outcome.DEFERRED, "reason": Reason.RATE_LIMITED, "retry_after_s": 18_000.0}
        h.notifiers[SMS].answers["madrid-es"] = [busy] * 9
        h.clock.move(timedelta(minutes=9))
        await cancel(h, warning_id)
        await h.quiet()
        for _ in range(9):
            await h.pass_time(hours=5)

        rows = h.rows(warning_id, "madrid-es", Purpose.CANCEL)
        assert rows == [(Outcome.DEFERRED, Reason.RATE_LIMITED, n + 1) for n in range(5)]  # at 0, 5, 10, 15, 20 hours


async def test_an_update_is_told_to_all_and_ends_the_warning_before(tmp_path):
    async with house(tmp_path) as h:
        first = await h.told(Level.RED, target="madrid")
        draft = await h.desk.draft(
            actor("officer1"),
            msgspec.structs.replace(h.view(lambda v, db: v.warnings.state(db, first)).content, event="Worse"),
            updates=first,
        )
        await h.stores.follower.reached(draft.position)
        await h.desk.release(actor("officer2"), draft.id)
        await h.quiet()

        assert h.planned(draft.id) == h.planned(first) == sorted({("madrid-es", SMS), ("madrid-head", EMAIL)})
        row = h.view(lambda v, db: v.warnings.one(db, first))
        assert (row["status"], row["updated_by"]) == ("updated", draft.id)
