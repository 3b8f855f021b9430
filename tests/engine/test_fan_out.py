"""A released warning goes to exactly its planned audience, once; what providers answer decides what happens next."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from house import EMAIL, MILAN, NOW, OTHERS, SMS, STAFF, actor, house

from domain.outcomes import Outcome, Reason
from domain.planning import PlanMade
from domain.rulepacks import Level
from domain.shards import ChunkIntended, ChunkRecorded, ShardLeased
from infra.clock import ManualClock

ACCEPTED = (Outcome.ACCEPTED, Reason.NONE, 1)


async def test_a_red_warning_goes_to_staff_and_people_once(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED)

        assert h.sent() == sorted(STAFF | MILAN | OTHERS)
        assert h.planned(warning_id) == h.sent()
        assert {tuple(h.rows(warning_id, who)) for who in ("officer1", "milan-zh", "milan-push")} == {(ACCEPTED,)}
        assert h.view(lambda v, db: v.tree.totals(db, warning_id)) == {
            "recipients": 12,
            "told": 12,
            "held": 0,
            "delivered": 0,
            "acknowledged": 0,
            "help": 0,
            "unreachable": 1,
        }
        (plan,) = h.events(PlanMade)
        assert (plan.recipients, plan.unreachable) == (12, {"milan": 1})


async def test_an_orange_warning_goes_to_staff_alone_at_first(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)

        assert h.sent() == h.planned(warning_id) == sorted(STAFF)


async def test_a_warning_stays_below_its_target(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.RED, target="milan")

        assert h.sent() == sorted(MILAN | {("milan-head", SMS)})


async def test_each_message_is_in_its_persons_language_with_a_link_of_their_own(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED)
        by_person = {
            (who, n.channel): (delivery, rendered) for n in h.notifiers.values() for who, delivery, rendered in n.sent
        }

        languages = {who: rendered.language for (who, _), (_, rendered) in by_person.items()}
        assert {who: languages[who] for who in ("milan-zh", "milan-it", "milan-push", "madrid-es")} == {
            "milan-zh": "zh",
            "milan-it": "it",
            "milan-push": "en",
            "madrid-es": "es",
        }
        assert "Alluvione" in by_person["milan-it", EMAIL][1].text
        links = [delivery.link for delivery, _ in by_person.values()]
        assert len(set(links)) == len(by_person)
        token = by_person["milan-zh", SMS][0].link.rpartition("/")[2]
        assert h.runtime.links.read(token) == h.place(warning_id, "milan-zh")
        assert await h.desk.delivery(*h.runtime.links.read(token)) == (warning_id, "milan-zh")


async def test_the_intent_is_in_the_log_before_anything_is_sent(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].hanging = {"milan-zh"}
        warning_id = await h.release(Level.RED, target="milan")
        await h.until(lambda: ("milan-zh", SMS) in h.sent())
        shard_id, index = h.place(warning_id, "milan-zh")

        assert [index in e.indices for e in h.events(ChunkIntended) if e.shard_id == shard_id] == [True]
        assert [e for e in h.events(ChunkRecorded) if e.shard_id == shard_id] == []
        h.notifiers[SMS].release()
        await h.quiet()
        assert h.rows(warning_id, "milan-zh") == [ACCEPTED]


async def test_what_is_deferred_is_sent_again_when_the_time_has_come(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["milan-zh"] = [{"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY}]
        warning_id = await h.told(Level.RED, target="milan")
        assert h.rows(warning_id, "milan-zh") == [(Outcome.DEFERRED, Reason.PROVIDER_BUSY, 1)]
        assert timedelta(seconds=1) <= h.retry_at(warning_id, "milan-zh") - h.clock.now() <= timedelta(seconds=3)

        await h.pass_time(seconds=0.9)
        assert h.sent().count(("milan-zh", SMS)) == 1
        await h.pass_time(seconds=2.2)

        assert h.rows(warning_id, "milan-zh") == [
            (Outcome.DEFERRED, Reason.PROVIDER_BUSY, 1),
            (Outcome.ACCEPTED, "", 2),
        ]
        ids = [delivery.message_id for who, delivery, _ in h.notifiers[SMS].sent if who == "milan-zh"]
        assert ids == [ids[0]] * 2
        assert h.sent().count(("milan-both", SMS)) == 1  # who shared the shard was not sent to again


async def test_what_the_provider_asks_for_is_waited(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["milan-zh"] = [
            {"outcome": Outcome.DEFERRED, "reason": Reason.RATE_LIMITED, "retry_after_s": 120.0}
        ]
        warning_id = await h.told(Level.RED, target="milan")

        await h.pass_time(seconds=119)
        assert h.sent().count(("milan-zh", SMS)) == 1
        await h.pass_time(seconds=1)
        assert h.sent().count(("milan-zh", SMS)) == 2
        assert h.rows(warning_id, "milan-zh")[-1] == (Outcome.ACCEPTED, Reason.NONE, 2)


async def test_what_is_unknown_is_sent_again_and_the_log_shows_both(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[EMAIL].answers["milan-it"] = [{"outcome": Outcome.UNKNOWN, "reason": Reason.CONNECTION_LOST}]
        warning_id = await h.told(Level.RED, target="milan")
        await h.pass_time(seconds=3)

        assert h.rows(warning_id, "milan-it") == [
            (Outcome.UNKNOWN, Reason.CONNECTION_LOST, 1),
            (Outcome.ACCEPTED, Reason.NONE, 2),
        ]


async def test_a_refusal_settles_it(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["milan-zh"] = [{"outcome": Outcome.REFUSED, "reason": Reason.BAD_ADDRESS}]
        warning_id = await h.told(Level.RED, target="milan")
        await h.pass_time(minutes=14)

        assert h.rows(warning_id, "milan-zh") == [(Outcome.REFUSED, Reason.BAD_ADDRESS, 1)]
        assert h.view(lambda v, db: v.tree.totals(db, warning_id))["told"] == 4


async def test_nothing_is_sent_once_the_validity_is_over(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["milan-zh"] = [
            {"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY, "retry_after_s": 290.0}
        ]
        h.notifiers[SMS].answers["madrid-es"] = [
            {"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY, "retry_after_s": 301.0}
        ]
        warning_id = await h.told(Level.RED, lasts=timedelta(minutes=5))
        assert h.retry_at(warning_id, "madrid-es") is None
        h.forget_sent()
        await h.pass_time(minutes=6)

        assert h.rows(warning_id, "milan-zh")[-1] == (Outcome.EXPIRED, Reason.VALIDITY_OVER, 2)
        assert h.sent() == []
        assert h.view(lambda v, db: v.warnings.one(db, warning_id))["status"] == "expired"


async def test_a_message_that_goes_out_late_is_kept_by_the_provider_no_longer_than_the_warning_holds(tmp_path):
    async with house(tmp_path, ManualClock(NOW)) as h:
        for channel in (SMS, EMAIL):
            h.notifiers[channel].answers["milan-both"] = [
                {"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY, "retry_after_s": 7000.0}
            ]
        warning_id = await h.told(Level.RED, target="milan", lasts=timedelta(hours=2))
        await h.pass_time(seconds=7100)

        for channel in (SMS, EMAIL):
            assert len(h.rows(warning_id, "milan-both", channel=channel)) == 2
            said = [rendered for who, _, rendered in h.notifiers[channel].sent if who == "milan-both"]
            assert [rendered.ttl_s for rendered in said] == [7200, 100]
            assert len({msgspec.structs.replace(rendered, ttl_s=0) for rendered in said}) == 1  # all else is the same
            assert {rendered.expires_at for rendered in said} == {NOW + timedelta(hours=2)}


@pytest.mark.parametrize("chunk", [1, 2, 100])
async def test_while_only_retries_are_left_the_shard_rests(tmp_path, chunk):
    async with house(tmp_path, chunk=chunk) as h:
        busy = {"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY, "retry_after_s": 60.0}
        later = {"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY, "retry_after_s": 200.0}
        h.notifiers[SMS].answers["milan-zh"] = [busy]
        h.notifiers[SMS].answers["milan-both"] = [later]
        warning_id = await h.told(Level.RED, target="milan")
        shard_id, _ = h.place(warning_id, "milan-zh")

        def leases() -> int:
            return sum(e.shard_id == shard_id for e in h.events(ShardLeased))

        assert leases() == 1
        await h.pass_time(seconds=60)
        assert (leases(), h.sent().count(("milan-zh", SMS)), h.sent().count(("milan-both", SMS))) == (2, 2, 1)
        await h.pass_time(seconds=140)
        assert (leases(), h.sent().count(("milan-zh", SMS)), h.sent().count(("milan-both", SMS))) == (3, 2, 2)


async def test_a_retry_is_on_time_while_another_shard_gets_no_answer(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["milan-zh"] = [{"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY}]
        h.notifiers[EMAIL].hanging = {"milan-it"}
        warning_id = await h.release(Level.RED, target="milan")
        await h.until(lambda: ("milan-it", EMAIL) in h.sent() and h.rows(warning_id, "milan-zh") != [])
        await h.until(lambda: h.stores.views.position == h.stores.log.last_position_now())
        h.clock.move(timedelta(seconds=3))

        await h.until(lambda: len(h.rows(warning_id, "milan-zh")) == 2, seconds=5)
        h.notifiers[EMAIL].release()
        await h.quiet()


async def test_a_channel_that_says_nothing_of_a_message_leaves_it_in_doubt(tmp_path):
    async with house(tmp_path) as h:

        async def silent(rendered, deliveries):
            return []

        h.notifiers[SMS].send = silent
        warning_id = await h.told(Level.RED, target="milan")

        assert h.rows(warning_id, "milan-zh") == [(Outcome.UNKNOWN, Reason.PROVIDER_ERROR, 1)]


async def test_two_warnings_at_the_same_time_do_not_mix(tmp_path):
    async with house(tmp_path) as h:
        one = await h.release(Level.RED, target="milan")
        two = await h.release(Level.RED, target="madrid", event="Fire")
        await h.quiet()

        assert h.planned(one) == sorted(MILAN | {("milan-head", SMS)})
        assert h.planned(two) == sorted({("madrid-es", SMS), ("madrid-head", EMAIL)})
        assert h.sent() == sorted([*h.planned(one), *h.planned(two)])


async def test_the_glass_is_broken_by_one_person_alone(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.draft(Level.RED, target="milan")
        await h.desk.release(actor("officer1"), warning_id, break_glass=True, reason="alone at night")
        await h.quiet()

        assert h.sent() == h.planned(warning_id) == sorted(MILAN | {("milan-head", SMS)})
