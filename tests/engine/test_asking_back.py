"""An answer that is not clear: asked about once over the same channel, then left to a person; never lost."""

from __future__ import annotations

import asyncio

import pytest
from house import EMAIL, SMS, actor, house, phone_of, stores

from api.commands import Once
from domain.answers import Answer, AnswerAskedBack, AnswerOpened, AnswerReceived, AnswerReferred, AnswerSettled
from domain.cases import CaseOpened
from domain.errors import NotFound, NotPermitted, Refused
from domain.planning import PlanMade
from domain.relays import RelayAcknowledged, RelayEscalated
from domain.rulepacks import Level
from domain.shards import Circle, Purpose, ShardPlanned

WHO = "milan-zh"


async def say(s, text, ref, who=WHO):
    return await s.desk.reply(phone=phone_of(who), text=text, provider_ref=ref)


def asked(h, warning_id):
    return h.planned(warning_id, Purpose.ASK)


def unread(h):
    rows = h.view(lambda v, db: v.unclear.page(db, limit=99))
    return sorted((row["person_id"], row["state"]) for row in rows)


async def test_the_person_alone_is_asked_again_in_their_language_by_the_channel_they_used(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED)
        h.forget_sent()
        assert await say(h, "¿quién es?", "m1", "madrid-es") is Answer.UNCLEAR
        await h.quiet()

        assert h.sent() == [("madrid-es", SMS)]
        ((_, _, said),) = h.notifiers[SMS].sent
        assert "No hemos entendido su respuesta" in said.short
        assert "Responda 1 si está a salvo, 2 si necesita ayuda" in said.short
        (shard,) = h.shards(warning_id, Purpose.ASK).values()
        assert (shard.recipients, shard.circle, shard.node_id) == (("madrid-es",), Circle.PEOPLE, "madrid")
        assert unread(h) == [("madrid-es", "asked")]
        assert h.view(lambda v, db: v.tree.totals(db, warning_id))["acknowledged"] == 0


async def test_one_of_the_staff_is_asked_as_staff(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.ORANGE)
        h.forget_sent()
        await say(h, "哪位？", "m1", "village-liaison")
        await h.quiet()

        ((_, _, said),) = h.notifiers[SMS].sent
        assert "没有看懂您的回复" in said.short
        assert "收到并转发请回复1" in said.short


async def test_a_clear_answer_after_it_settles_the_matter(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.RED, target="milan")
        await say(h, "啊", "m1")
        await h.quiet()
        await say(h, "1", "m2")
        await h.pass_time(minutes=6)

        assert (unread(h), h.events(AnswerReferred)) == ([], [])


async def test_a_second_unclear_answer_goes_to_a_person_and_nobody_is_asked_again(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        for n in range(4):
            await say(h, f"啊{n}", f"m{n}")
        await h.quiet()

        assert asked(h, warning_id) == [(WHO, SMS)]
        assert [len(h.events(kind)) for kind in (AnswerReceived, AnswerAskedBack, AnswerReferred)] == [4, 1, 1]
        assert unread(h) == [(WHO, "referred")]


async def test_silence_after_being_asked_goes_to_a_person_even_when_the_program_was_down(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.RED, target="milan")
        await say(h, "啊", "m1")
        await h.pass_time(seconds=299)
        assert h.events(AnswerReferred) == []
        clock = h.clock
    async with house(tmp_path, clock) as h:
        await h.pass_time(seconds=1)

        assert len(h.events(AnswerReferred)) == 1
        assert unread(h) == [(WHO, "referred")]


async def test_the_providers_repeats_and_many_at_once_ask_once(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await asyncio.gather(*[say(h, "啊", f"m{n % 2}") for n in range(8)])
        await h.quiet()

        assert asked(h, warning_id) == [(WHO, SMS)]
        assert [len(h.events(kind)) for kind in (AnswerReceived, AnswerAskedBack, AnswerReferred)] == [2, 1, 1]


async def test_a_crash_before_or_amid_the_asking_asks_once(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        clock = h.clock
    async with stores(tmp_path, clock) as s:  # nothing runs: as if it was killed right after the answer was durable
        await say(s, "啊", "m1")
    async with house(tmp_path, clock) as h:
        await say(h, "啊", "m1")  # the provider, which got no answer, says it again
        await h.quiet()
        assert asked(h, warning_id) == [(WHO, SMS)]
        assert h.sent() == [(WHO, SMS)]
    async with house(tmp_path, clock) as h:
        await h.quiet()

        assert h.sent() == []
        trigger = [r.metadata.event_id for r in h.recorded(AnswerAskedBack)]
        assert [e.trigger_event_id for e in h.events(PlanMade) if e.trigger_event_id in trigger] == trigger


async def test_after_the_end_nobody_is_asked_and_a_person_reads_it(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await h.desk.cancel(actor("officer1"), warning_id, reason="over")
        await h.quiet()
        await say(h, "水很大", "m1")
        await h.quiet()

        assert (asked(h, warning_id), unread(h)) == ([], [(WHO, "referred")])


async def test_an_end_between_answer_and_asking_loses_nobody(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        clock = h.clock
    async with stores(tmp_path, clock) as s:
        await say(s, "水很大", "m1")
        await s.desk.cancel(actor("officer1"), warning_id, reason="over")
    async with house(tmp_path, clock) as h:
        await h.quiet()
        assert (asked(h, warning_id), unread(h)) == ([], [(WHO, "asked")])
        await h.pass_time(minutes=5)

        assert unread(h) == [(WHO, "referred")]


async def test_being_asked_again_is_no_further_reach_and_no_further_recipient_of_the_cancellation(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        before = h.view(lambda v, db: v.tree.totals(db, warning_id))
        await say(h, "啊", "m1")
        await h.quiet()
        assert h.view(lambda v, db: v.tree.totals(db, warning_id)) == before
        await h.desk.cancel(actor("officer1"), warning_id, reason="over")
        await h.quiet()

        assert h.planned(warning_id, Purpose.CANCEL).count((WHO, SMS)) == 1


async def test_a_person_reads_the_words_and_says_what_they_mean(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        for n, text in enumerate(("水很大", "门打不开")):
            await say(h, text, f"m{n}")
        await h.quiet()
        words, _ = await h.desk.open_answer(actor("county1"), warning_id, WHO)
        assert words == ["水很大", "门打不开"]
        assert [(e.person_id, e.by) for e in h.events(AnswerOpened)] == [(WHO, "county1")]
        once = Once(key="k", fingerprint="f")
        for _ in range(2):
            await h.desk.settle_answer(actor("county1"), warning_id, WHO, meaning=Answer.HELP, once=once)
        await h.quiet()

        (case,) = h.events(CaseOpened)
        assert (case.person_id, case.opened_by, len(h.events(AnswerSettled))) == (WHO, "county1", 1)
        assert unread(h) == []
        with pytest.raises(Refused) as refused:  # clear by now: what it means is not changed by the way
            await h.desk.settle_answer(actor("county1"), warning_id, WHO, meaning=Answer.SAFE)
        assert refused.value.code == "answer.clear"
        totals = h.view(lambda v, db: v.tree.totals(db, warning_id))
        assert (totals["acknowledged"], totals["help"]) == (1, 1)


@pytest.mark.parametrize(("meaning", "counted"), [(Answer.SAFE, 1), (Answer.UNCLEAR, 0)])
async def test_settled_as_safe_counts_and_as_nothing_does_not(tmp_path, meaning, counted):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await say(h, "谢谢你们", "m1")
        await h.desk.settle_answer(actor("officer1"), warning_id, WHO, meaning=meaning)
        await h.pass_time(minutes=6)

        assert (unread(h), h.events(AnswerReferred)) == ([], [])
        assert h.view(lambda v, db: v.tree.totals(db, warning_id))["acknowledged"] == counted
        await say(h, "还有一件事", "m2")  # something new is for a person at once: they were asked already
        await h.quiet()
        assert unread(h) == [(WHO, "referred")]


async def test_an_answer_to_a_drill_that_means_help_opens_a_case_marked_as_one_of_a_drill(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.draft(Level.RED, target="milan", drill=True)
        await h.desk.release(actor("officer2"), warning_id)
        await h.quiet()
        await h.desk.answer(warning_id=warning_id, person_id=WHO, answer=Answer.UNCLEAR, channel="api", words="水很大")
        await h.desk.settle_answer(actor("officer1"), warning_id, WHO, meaning=Answer.HELP)

        assert [(e.person_id, e.drill) for e in h.events(CaseOpened)] == [(WHO, True)]


async def test_who_has_no_grant_for_it_reads_and_settles_nothing(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await say(h, "水很大", "m1")
        await h.quiet()
        end = h.stores.log.last_position_now()
        for who in ("milan-head", "auditor1", "village-liaison", "nobody"):
            with pytest.raises(NotPermitted):
                await h.desk.open_answer(actor(who), warning_id, WHO)
            with pytest.raises(NotPermitted):
                await h.desk.settle_answer(actor(who), warning_id, WHO, meaning=Answer.HELP)
            with pytest.raises(NotPermitted):  # nor do they learn who has not answered
                await h.desk.open_answer(actor(who), warning_id, "milan-both")
        for unknown in ("milan-both", "stranger"):
            with pytest.raises(NotFound):
                await h.desk.open_answer(actor("officer1"), warning_id, unknown)
        assert h.stores.log.last_position_now() == end
        await say(h, "1", "m2")
        with pytest.raises(Refused):
            await h.desk.open_answer(actor("officer1"), warning_id, WHO)


async def test_a_link_is_always_clear_and_mail_is_asked_back_by_mail(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await h.desk.answer(
            warning_id=warning_id, person_id="milan-it", answer=Answer.UNCLEAR, channel="email", words="?"
        )
        await h.desk.answer(
            warning_id=warning_id, person_id="milan-push", answer=Answer.UNCLEAR, channel="voice", words="5"
        )
        await h.quiet()

        assert asked(h, warning_id) == [("milan-it", EMAIL)]
        assert unread(h) == [("milan-it", "asked"), ("milan-push", "referred")]
        assert all(isinstance(plan, ShardPlanned) for plan in h.events(ShardPlanned))


@pytest.mark.parametrize(
    ("meaning", "acknowledges"), [(Answer.SAFE, True), (Answer.HELP, True), (Answer.UNCLEAR, False)]
)
async def test_what_somebody_says_an_answer_of_a_station_means_acknowledges_if_it_is_clear(
    tmp_path, meaning, acknowledges
):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE, target="milan")
        await h.desk.reply(phone=phone_of("milan-head"), text="we have it and are on our way", provider_ref="s1")
        await h.quiet()
        await h.desk.settle_answer(actor("officer2"), warning_id, "milan-head", meaning=meaning)
        await h.quiet()

        assert [e.by for e in h.events(RelayAcknowledged)] == ["milan-head"] * acknowledges
        await h.pass_time(seconds=901)
        assert bool(h.events(RelayEscalated)) is not acknowledges
