"""A correction goes to exactly those who have the wrong words, as these came to them; an update to its own audience."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from house import EMAIL, MILAN, OTHERS, SMS, STAFF, WEBPUSH, actor, content, house, stores

from domain.content import Target
from domain.errors import FenghuoError
from domain.outcomes import Outcome, Reason, Row
from domain.planning import PlanMade
from domain.relays import RelayOpened
from domain.rulepacks import Level
from domain.shards import Purpose, ShardPlanned, ShardStopped
from infra.engine.planner import Planner


async def update(h, warning_id, *, correction=True, **changes):
    """Drafted by officer1 and released by officer2; the id."""
    before = h.view(lambda v, db: v.warnings.state(db, warning_id)).content
    words = msgspec.structs.replace(before, **{"event": "Put right", **changes})
    drafted = await h.desk.draft(actor("officer1"), words, updates=warning_id, correction=correction)
    await h.stores.follower.reached(drafted.position)
    await h.desk.release(actor("officer2"), drafted.id)
    return drafted.id


def told(h, warning_id, purpose=Purpose.NOTICE):
    return {(who, s.channel, s.language) for s in h.shards(warning_id, purpose).values() for who in s.recipients}


def reached(h, warning_id):
    found = h.view(lambda v, db: v.deliveries.reached(db, warning_id))
    return {(t.person_id, t.channel, t.language) for t in found}


async def test_exactly_those_reached_get_the_correction_as_it_reached_them(tmp_path):
    async with house(tmp_path) as h:
        answers = h.notifiers[SMS].answers
        answers["milan-zh"] = [{"outcome": Outcome.REFUSED, "reason": Reason.BAD_ADDRESS}]
        answers["milan-both"] = [{"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY}]
        answers["madrid-es"] = [{"outcome": Outcome.UNKNOWN, "reason": Reason.TIMEOUT}]
        wrong = await h.told(Level.RED)
        shard_id, index = h.place(wrong, "village-liaison")
        await h.runtime.receipts.record(shard_id, Row(index, Outcome.REFUSED, 1, Reason.UNDELIVERED))
        await h.quiet()
        h.forget_sent()
        before = reached(h, wrong)
        right = await update(h, wrong)
        await h.quiet()

        not_reached = {("milan-zh", SMS), ("milan-both", SMS), ("village-liaison", SMS)}
        assert told(h, right) == before
        assert h.sent() == sorted((STAFF | MILAN | OTHERS) - not_reached)
        assert [e for e in h.events(RelayOpened) if e.warning_id == right] == []
        assert told(h, wrong, Purpose.CANCEL) == set()
        await h.pass_time(hours=2)  # no escalation, no retry of what was wrong
        assert h.sent().count(("milan-both", SMS)) == 0


async def test_stations_that_did_not_relay_keep_their_people_out_of_it(tmp_path):
    async with house(tmp_path) as h:
        wrong = await h.told(Level.ORANGE)
        await h.desk.acknowledge(actor("milan-head"), wrong, "milan")
        await h.quiet()
        h.forget_sent()
        right = await update(h, wrong)
        await h.quiet()

        assert h.sent() == sorted(STAFF | MILAN)
        assert told(h, right) == reached(h, wrong)


async def test_it_says_correction_in_the_language_that_the_wrong_words_came_in(tmp_path):
    async with house(tmp_path) as h:
        wrong = await h.told(Level.RED)
        h.forget_sent()
        await update(h, wrong)
        await h.quiet()

        says = {who: r for n in h.notifiers.values() for who, _, r in n.sent}
        assert "【更正】" in says["milan-zh"].short
        assert says["milan-it"].subject.startswith("[RETTIFICA]")
        assert "[CORRECCIÓN]" in says["madrid-es"].short
        assert says["milan-push"].subject.startswith("[CORRECTION]")


async def test_what_is_under_way_is_stopped_and_followed(tmp_path):
    async with house(tmp_path, chunk=1) as h:
        h.notifiers[SMS].hanging = {"milan-both"}
        wrong = await h.release(Level.RED, target="milan")
        await h.until(lambda: ("milan-both", SMS) in h.sent())
        right = await update(h, wrong)
        shard_id, _ = h.place(wrong, "milan-both", SMS)
        await h.until(lambda: shard_id in {e.shard_id for e in h.events(ShardStopped)})
        assert told(h, right) == set()  # who has the wrong words is not known yet
        h.notifiers[SMS].release()
        await h.quiet()

        assert ("milan-both", SMS, "zh") in told(h, right) == reached(h, wrong)
        assert ("milan-zh", SMS, "zh") not in told(h, right)


@pytest.mark.parametrize("cut", range(6))
async def test_a_plan_that_was_cut_off_is_finished_and_loses_nobody(tmp_path, cut, monkeypatch):
    """Some shards are durable when it ends, and before it is planned again a receipt says that one did not get it."""
    monkeypatch.setattr("infra.engine.portions.PORTION", 1)
    async with house(tmp_path) as h:
        wrong = await h.told(Level.RED)
        whole = reached(h, wrong)
        shard_id, index = h.place(wrong, "county1", SMS)
    async with stores(tmp_path) as s:
        before = s.views.warnings.state
        with s.views.reading() as db:
            words = msgspec.structs.replace(before(db, wrong).content, event="Put right")
        right = (await s.desk.draft(actor("officer1"), words, updates=wrong, correction=True)).id
        await s.catch_up()
        await s.desk.release(actor("officer2"), right)
        await s.catch_up()
        with s.views.reading() as db:
            (trigger,) = [t for t in s.views.plans.pending(db) if t["kind"] == "released"]
        planner = Planner(s.log, s.views, s.follower, s.clock, s.vault)
        appended = s.log.append
        left = [cut]

        async def failing(appends, origin):
            if left[0] == 0:
                raise FenghuoError("disk.full", "cut off")
            left[0] -= 1
            return await appended(appends, origin)

        async def settled(*_):
            return True

        monkeypatch.setattr(planner, "_stop_sending", settled)
        monkeypatch.setattr(s.log, "append", failing)
        with pytest.raises(FenghuoError):
            await planner.plan(trigger)
        monkeypatch.undo()
    async with house(tmp_path) as h:
        assert len(h.shards(right)) >= cut  # those that were durable stay
        await h.runtime.receipts.record(shard_id, Row(index, Outcome.REFUSED, 1, Reason.UNDELIVERED))
        await h.quiet()

        planned = [(who, s.channel) for s in h.events(ShardPlanned) if s.warning_id == right for who in s.recipients]
        assert len(planned) == len(set(planned))
        assert {(who, channel) for who, channel, _ in whole} - set(planned) <= {("county1", SMS)}
        (made,) = [e for e in h.events(PlanMade) if e.warning_id == right]
        assert made.shards == len(h.shards(right))
        assert made.recipients == len({who for who, _ in planned})


async def test_cancelling_a_corrected_warning_reaches_those_reached_by_either(tmp_path):
    async with house(tmp_path) as h:
        wrong = await h.told(Level.RED, target="milan")
        h.notifiers[SMS].answers["milan-zh"] = [{"outcome": Outcome.REFUSED, "reason": Reason.BLOCKED}]
        right = await update(h, wrong)
        await h.quiet()
        assert ("milan-zh", SMS, "zh") not in reached(h, right)
        h.forget_sent()
        await h.desk.cancel(actor("officer1"), right, reason="over")
        await h.quiet()

        assert told(h, right, Purpose.CANCEL) == reached(h, wrong) | reached(h, right)
        assert ("milan-zh", SMS) in h.sent()


async def test_a_correction_of_a_correction_goes_to_whoever_has_wrong_words(tmp_path):
    async with house(tmp_path) as h:
        first = await h.told(Level.RED, target="milan")
        h.notifiers[EMAIL].answers["milan-it"] = [{"outcome": Outcome.REFUSED, "reason": Reason.BLOCKED}]
        second = await update(h, first)
        await h.quiet()
        third = await update(h, second, event="Right at last")
        await h.quiet()

        assert told(h, third) == reached(h, first)


async def test_an_update_tells_those_whom_it_no_longer_concerns_that_it_is_over_for_them(tmp_path):
    async with house(tmp_path) as h:
        first = await h.told(Level.RED)
        h.forget_sent()
        second = await update(h, first, correction=False, target=Target(nodes=("office",), countries=("IT",)))
        await h.quiet()

        out = {("madrid-es", SMS), ("madrid-head", EMAIL), ("village-zh", SMS), ("village-liaison", SMS)}
        assert {(who, channel) for who, channel, _ in told(h, first, Purpose.CANCEL)} == out
        assert {(who, channel) for who, channel, _ in told(h, second)} == (STAFF | MILAN) - out
        (spanish,) = [r for who, _, r in h.notifiers[SMS].sent if who == "madrid-es"]
        assert spanish.text.startswith("[ANULADO]")
        assert "ya no le afecta" in spanish.text
        h.forget_sent()
        await h.desk.cancel(actor("officer1"), second, reason="over")
        await h.quiet()
        assert h.sent() == sorted((STAFF | MILAN) - out)  # for the others it was over already


async def test_an_update_to_the_same_audience_tells_nobody_twice(tmp_path):
    async with house(tmp_path) as h:
        first = await h.told(Level.RED, target="madrid")
        await update(h, first, correction=False)
        await h.quiet()

        assert told(h, first, Purpose.CANCEL) == set()


async def test_the_cancellation_of_an_update_reaches_those_who_only_have_the_words_before(tmp_path):
    async with house(tmp_path) as h:
        first = await h.told(Level.RED, target="milan")
        second = await update(h, first, correction=False, level=Level.ORANGE)
        await h.quiet()
        h.forget_sent()
        await h.desk.cancel(actor("officer1"), second, reason="over")
        await h.quiet()

        assert h.sent() == sorted(MILAN | {("milan-head", SMS)})


# Drills ---------------------------------------------------------------------------------------------------------------


async def drill(h, level=Level.RED, **more):
    drafted = await h.desk.draft(actor("officer1"), content(level, drill=True))
    await h.stores.follower.reached(drafted.position)
    await h.desk.release(actor("officer1"), drafted.id, **more)
    await h.quiet()
    return drafted.id


@pytest.mark.parametrize("level", [Level.RED, Level.ORANGE])
async def test_a_drill_reaches_no_provider_and_is_receipted_a_moment_later(tmp_path, level):
    async with house(tmp_path) as h:
        warning_id = await drill(h, level)
        assert h.sent() == []
        totals = h.view(lambda v, db: v.tree.totals(db, warning_id))
        assert totals["told"] == totals["recipients"] > 0
        assert totals["delivered"] == 0
        h.clock.move(timedelta(seconds=2))
        await h.until(lambda: h.view(lambda v, db: v.tree.totals(db, warning_id))["delivered"] == totals["recipients"])

        await h.desk.cancel(actor("officer1"), warning_id, reason="over")
        await h.quiet()
        assert len(told(h, warning_id, Purpose.CANCEL)) == len(told(h, warning_id))
        assert h.sent() == []


async def test_a_drill_over_the_real_channels_is_marked_in_every_message(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await drill(h, real_channels=True, reason="quarterly")
        assert h.sent() == sorted(STAFF | MILAN | OTHERS)
        await h.desk.cancel(actor("officer1"), warning_id, reason="over")
        await h.quiet()

        marks = {"zh": "【演习】", "it": "[ESERCITAZIONE]", "es": "[SIMULACRO]", "en": "[DRILL]"}
        everything = [r for n in h.notifiers.values() for _, _, r in n.sent]
        assert len(everything) == 2 * len(STAFF | MILAN | OTHERS)
        for rendered in everything:
            mark = marks[rendered.language]
            for part in (rendered.subject, rendered.text, rendered.short, rendered.push):
                assert part.startswith(mark)
                assert part.endswith(mark)


async def test_a_reply_is_never_taken_for_one_to_a_drill_that_nobody_got(tmp_path):
    async with house(tmp_path) as h:
        real = await h.told(Level.RED)
        await drill(h)
        assert h.view(lambda v, db: v.deliveries.latest_warning_of(db, "milan-zh", SMS))[0] == real
        aloud = await drill(h, real_channels=True, reason="quarterly")
        assert h.view(lambda v, db: v.deliveries.latest_warning_of(db, "milan-zh", SMS))[0] == aloud


async def test_push_and_mail_of_a_drill_stay_here_too(tmp_path):
    async with house(tmp_path) as h:
        await drill(h)
        assert [len(h.notifiers[c].sent) for c in (SMS, EMAIL, WEBPUSH)] == [0, 0, 0]
