"""The ladder: a person is told by their next channel when the last one brought nothing, and never after an answer."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from house import EMAIL, NOW, PEOPLE, SMS, WEBPUSH, actor, house, lose_views, personal

from domain.answers import Answer
from domain.ladder import LadderStepped, Why
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel, Person
from domain.planning import PlanMade
from domain.rulepacks import Level, RulePack, standard
from domain.shards import Purpose
from infra.clock import ManualClock

VOICE = Channel.VOICE
LIMIT = 300
BOTH = "milan-both"


def one_by_one(**more) -> RulePack:
    pack = standard()
    levels = {level: msgspec.structs.replace(rule, one_by_one=True, **more) for level, rule in pack.levels.items()}
    return msgspec.structs.replace(pack, rule_pack_id="one-by-one", levels=levels)


async def ladder_of(h, who, *channels):
    """Gives somebody these channels, in this order."""
    node, role, language, _ = PEOPLE[who]
    person = Person(person_id=who, node_id=node, role=role, language=language, channels=channels)
    await h.registry.register_people([(person, personal(who))], actor("admin"))
    await h.quiet()


async def rules(h, pack):
    await h.registry.adopt_rules(pack, actor("system:setup"))
    await h.quiet()


async def receipt(h, warning_id, who, channel, outcome=Outcome.DELIVERED, reason=Reason.NONE):
    shard_id, index = h.place(warning_id, who, channel)
    await h.runtime.receipts.record(shard_id, Row(index, outcome, 1, reason))
    await h.quiet()


def went(h, warning_id, who, purpose=Purpose.NOTICE):
    """By which channels somebody was told, in the order of the plans."""
    plans = h.shards(warning_id, purpose).values()
    return [(plan.channel, plan.rung) for plan in plans if who in plan.recipients]


def steps(h):
    return [
        (event.rung, event.why, {c.value: len(i) for c, i in event.to.items()}) for event in h.events(LadderStepped)
    ]


async def test_a_refusal_for_good_leads_to_the_next_channel_at_once(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        h.notifiers[SMS].answers[BOTH] = [{"outcome": Outcome.REFUSED, "reason": Reason.BAD_ADDRESS}]
        warning_id = await h.told(Level.RED, target="milan")

        assert went(h, warning_id, BOTH) == [(SMS, 0), (EMAIL, 1)]
        assert h.rows(warning_id, BOTH, channel=EMAIL) == [(Outcome.ACCEPTED, Reason.NONE, 1)]
        assert steps(h) == [(1, Why.REFUSED, {"email": 1})]
        (sent,) = [rendered for who, _, rendered in h.notifiers[EMAIL].sent if who == BOTH]
        assert sent.language == "zh"


async def test_without_a_receipt_the_next_channel_follows_after_the_limit(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        warning_id = await h.told(Level.RED, target="milan")
        await h.pass_time(seconds=LIMIT - 1)
        assert went(h, warning_id, BOTH) == [(SMS, 0)]
        await h.pass_time(seconds=1)
        assert went(h, warning_id, BOTH) == [(SMS, 0), (EMAIL, 1)]
        assert steps(h) == [(1, Why.NO_RECEIPT, {"email": 1})]

        await h.pass_time(seconds=LIMIT)  # nothing of the email either: there is no third
        assert [(e.rung, e.to, e.nowhere) for e in h.events(LadderStepped)[1:]] == [(2, {}, (0,))]
        await h.pass_time(hours=1)
        assert len(h.events(LadderStepped)) == 2


@pytest.mark.parametrize("by", ["receipt", "answer", "unclear"])
async def test_a_receipt_or_an_answer_ends_the_climb(tmp_path, by):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        warning_id = await h.told(Level.RED, target="milan")
        await h.pass_time(seconds=LIMIT - 1)
        if by == "receipt":
            await receipt(h, warning_id, BOTH, SMS)
        else:
            answer = Answer.SAFE if by == "answer" else Answer.UNCLEAR
            await h.desk.answer(warning_id=warning_id, person_id=BOTH, answer=answer, channel="link")
        await h.pass_time(hours=1)

        assert went(h, warning_id, BOTH) == [(SMS, 0)]
        assert h.events(LadderStepped) == []


async def test_a_late_receipt_of_an_earlier_rung_stops_the_rest(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        await ladder_of(h, BOTH, SMS, EMAIL, VOICE)
        warning_id = await h.told(Level.RED, target="milan")
        await h.pass_time(seconds=LIMIT)
        await receipt(h, warning_id, BOTH, SMS)
        await h.pass_time(hours=1)

        assert went(h, warning_id, BOTH) == [(SMS, 0), (EMAIL, 1)]


async def test_a_receipt_that_says_undelivered_leads_on_at_once(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        warning_id = await h.told(Level.RED, target="milan")
        await receipt(h, warning_id, BOTH, SMS, Outcome.REFUSED, Reason.UNDELIVERED)

        assert went(h, warning_id, BOTH) == [(SMS, 0), (EMAIL, 1)]


async def test_all_at_once_and_then_the_voice_call(tmp_path):
    async with house(tmp_path) as h:
        await ladder_of(h, BOTH, VOICE, SMS, EMAIL)
        await ladder_of(h, "milan-it", EMAIL, VOICE)
        h.notifiers[SMS].answers[BOTH] = [{"outcome": Outcome.REFUSED, "reason": Reason.BLOCKED}]
        warning_id = await h.told(Level.RED, target="milan")
        assert sorted(went(h, warning_id, BOTH)) == [(EMAIL, 0), (SMS, 0)]  # the email may still arrive
        await receipt(h, warning_id, "milan-it", EMAIL)
        await h.pass_time(seconds=LIMIT)

        assert (VOICE, 1) in went(h, warning_id, BOTH)
        assert went(h, warning_id, "milan-it") == [(EMAIL, 0)]
        assert went(h, warning_id, "milan-zh") == [(SMS, 0)]
        assert [who for who, channel in h.sent() if channel is VOICE] == [BOTH]


async def test_a_provider_that_takes_nothing_is_climbed_past(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        h.notifiers[SMS].answers[BOTH] = [{"outcome": Outcome.DEFERRED, "reason": Reason.UNREACHABLE}] * 40
        warning_id = await h.told(Level.RED, target="milan")
        for _ in range(10):
            await h.pass_time(seconds=LIMIT / 10)

        assert went(h, warning_id, BOTH) == [(SMS, 0), (EMAIL, 1)]


async def test_staff_climb_too_and_an_acknowledgement_ends_it(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        await ladder_of(h, "milan-head", SMS, EMAIL)
        warning_id = await h.told(Level.ORANGE, target="north")
        await h.desk.acknowledge(actor("milan-head"), warning_id, "milan")
        await h.pass_time(seconds=LIMIT)

        assert went(h, warning_id, "milan-head") == [(SMS, 0)]
        assert went(h, warning_id, "county1") == [(SMS, 0), (EMAIL, 1)]


async def test_the_chasing_of_silence_climbs_as_well(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        await ladder_of(h, "milan-deputy", SMS, EMAIL)
        warning_id = await h.told(Level.ORANGE, target="milan")
        await h.pass_time(minutes=15)
        assert went(h, warning_id, "milan-deputy", Purpose.ESCALATION) == [(SMS, 0)]
        await h.pass_time(seconds=LIMIT)

        assert went(h, warning_id, "milan-deputy", Purpose.ESCALATION) == [(SMS, 0), (EMAIL, 1)]


async def test_a_cancellation_ends_all_climbs_and_goes_to_those_reached_on_every_rung(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        await ladder_of(h, BOTH, SMS, EMAIL, VOICE)
        h.notifiers[SMS].answers["milan-head"] = [{"outcome": Outcome.REFUSED, "reason": Reason.BAD_ADDRESS}]
        warning_id = await h.told(Level.RED, target="milan")
        await h.pass_time(seconds=LIMIT)
        await h.desk.cancel(actor("officer1"), warning_id, reason="mistake")
        await h.pass_time(hours=1)

        told = {(who, channel) for who, channel in h.planned(warning_id, Purpose.CANCEL)}
        assert {(BOTH, SMS), (BOTH, EMAIL)} <= told
        assert not {(BOTH, VOICE), ("milan-head", SMS)} & told
        assert len(h.events(LadderStepped)) == 1
        assert all(
            plan.rung == 0 and plan.receipt_limit_s == 0 for plan in h.shards(warning_id, Purpose.CANCEL).values()
        )


async def test_an_update_and_the_end_of_validity_end_all_climbs(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        short = await h.told(Level.RED, target="milan", lasts=timedelta(seconds=LIMIT))
        await h.pass_time(hours=1)
        assert went(h, short, BOTH) == [(SMS, 0)]
        until = h.clock.now() + timedelta(hours=2)
        first = await h.told(Level.RED, target="milan", expires_at=until)
        worse = await h.draft(Level.RED, target="milan", expires_at=until)
        assert worse
        await h.desk.cancel(actor("officer1"), worse, reason="twice")
        await h.desk.cancel(actor("officer1"), first, reason="over")
        await h.pass_time(hours=1)

        assert h.events(LadderStepped) == []


async def test_a_restart_in_the_middle_neither_forgets_nor_repeats_a_step(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        await ladder_of(h, BOTH, SMS, EMAIL, VOICE)
        warning_id = await h.told(Level.RED, target="milan")
    async with house(tmp_path, ManualClock(NOW + timedelta(seconds=LIMIT))) as h:
        await h.quiet()
        assert went(h, warning_id, BOTH) == [(SMS, 0), (EMAIL, 1)]
        h.forget_sent()
    lose_views(tmp_path)
    async with house(tmp_path, ManualClock(NOW + timedelta(seconds=LIMIT + 1))) as h:
        await h.quiet()
        assert h.sent() == []
        await h.pass_time(seconds=LIMIT)
        assert went(h, warning_id, BOTH) == [(SMS, 0), (EMAIL, 1), (VOICE, 2)]
        assert steps(h) == [(1, Why.NO_RECEIPT, {"email": 1}), (2, Why.NO_RECEIPT, {"voice": 1})]


async def test_a_clock_set_back_delays_no_step(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        warning_id = await h.told(Level.RED, target="milan")
        await h.pass_time(seconds=100)
        h.clock.jump(timedelta(hours=-1))
        await h.pass_time(seconds=LIMIT - 101)
        assert went(h, warning_id, BOTH) == [(SMS, 0)]
        h.clock.move(timedelta(seconds=1))
        await h.until(lambda: len(went(h, warning_id, BOTH)) == 2)
        await h.quiet()
        assert went(h, warning_id, BOTH) == [(SMS, 0), (EMAIL, 1)]
        # What was sent since goes by the present clock alone: its limit is as long as any other.
        await h.pass_time(seconds=LIMIT - 1)
        assert len(steps(h)) == 1
        await h.pass_time(seconds=1)
        assert [rung for rung, _, _ in steps(h)] == [1, 2]
        await h.pass_time(hours=2)  # past where the old clock was: nothing is taken again
        assert len(steps(h)) == 2


async def test_a_restart_after_the_clock_was_set_back_delays_no_step(tmp_path):
    clock = ManualClock(NOW)
    async with house(tmp_path, clock) as h:
        await rules(h, one_by_one())
        warning_id = await h.told(Level.RED, target="milan")
    clock.jump(timedelta(hours=-1))
    async with house(tmp_path, clock) as h:
        await h.until(lambda: h.runtime.ladder.looked == h.stores.views.position)
        h.clock.move(timedelta(seconds=LIMIT))
        await h.until(lambda: len(went(h, warning_id, BOTH)) == 2)
        await h.quiet()
        assert steps(h) == [(1, Why.NO_RECEIPT, {"email": 1})]


async def test_planning_a_step_again_changes_nothing(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        warning_id = await h.told(Level.RED, target="milan")
        await h.pass_time(seconds=LIMIT)
        before = [r.position for r in h.recorded(PlanMade)], went(h, warning_id, BOTH)
    lose_views(tmp_path)
    async with house(tmp_path, ManualClock(NOW + timedelta(seconds=LIMIT))) as h:
        await h.quiet()
        assert ([r.position for r in h.recorded(PlanMade)], went(h, warning_id, BOTH)) == before


# Contact points ------------------------------------------------------------------------------------------------------


async def test_an_expired_subscription_is_not_tried_again_until_its_person_changes_it(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[WEBPUSH].answers["milan-push"] = [
            {"outcome": Outcome.REFUSED, "reason": Reason.SUBSCRIPTION_GONE},
        ]
        first = await h.told(Level.RED, target="milan")
        assert went(h, first, "milan-push") == [(WEBPUSH, 0)]
        second = await h.told(Level.RED, target="milan", event="Again")
        assert went(h, second, "milan-push") == []
        made = h.events(PlanMade)
        assert (made[0].unreachable, made[1].unreachable) == ({"milan": 1}, {"milan": 2})

        await ladder_of(h, "milan-push", WEBPUSH)
        third = await h.told(Level.RED, target="milan", event="Third")
        assert went(h, third, "milan-push") == [(WEBPUSH, 0)]


async def test_a_dead_point_is_skipped_on_the_ladder(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, one_by_one())
        await ladder_of(h, BOTH, SMS, EMAIL, VOICE)
        h.notifiers[SMS].answers[BOTH] = [{"outcome": Outcome.REFUSED, "reason": Reason.BAD_ADDRESS}]
        h.notifiers[EMAIL].answers[BOTH] = [{"outcome": Outcome.REFUSED, "reason": Reason.BAD_ADDRESS}]
        first = await h.told(Level.RED, target="milan")
        assert went(h, first, BOTH) == [(SMS, 0), (EMAIL, 1), (VOICE, 2)]
        second = await h.told(Level.RED, target="milan", event="Again")
        assert went(h, second, BOTH) == [(VOICE, 0)]


async def test_a_delivery_after_all_makes_a_point_reachable_again(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["milan-zh"] = [{"outcome": Outcome.REFUSED, "reason": Reason.BLOCKED}]
        first = await h.told(Level.RED, target="milan")
        await receipt(h, first, "milan-zh", SMS)
        second = await h.told(Level.RED, target="milan", event="Again")

        assert went(h, second, "milan-zh") == [(SMS, 0)]


async def test_what_passes_by_itself_does_not_make_a_point_unreachable(tmp_path):
    async with house(tmp_path) as h:
        first = await h.told(Level.RED, target="milan")
        await receipt(h, first, "milan-zh", SMS, Outcome.REFUSED, Reason.UNDELIVERED)
        second = await h.told(Level.RED, target="milan", event="Again")

        assert went(h, second, "milan-zh") == [(SMS, 0)]
