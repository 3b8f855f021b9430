"""Reachability: the audit of an installation, and test messages that are no warnings."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from house import EMAIL, NOW, SMS, WEBPUSH, actor, house, stores
from test_ladder import ladder_of, receipt

from api.commands import Once
from domain.answers import Answer
from domain.errors import InvalidInput, NotFound, NotPermitted
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.reach import ReachTestOrdered
from domain.relays import RelayDelivered
from domain.rulepacks import Lane, Level
from domain.shards import Purpose, ShardPlanned
from infra.clock import ManualClock
from infra.engine.trials import ReachTests
from notifiers.channel import LINK

GONE = {"outcome": Outcome.REFUSED, "reason": Reason.SUBSCRIPTION_GONE}


def findings(h, *nodes, days=90):
    audit = h.stores.reachability.audit(list(nodes) or h.stores.reachability.subtree(), days)
    return audit, {node.node_id: node for node in audit.nodes}


async def ordered(h, who="officer1", node="office", **more):
    _, event = await h.stores.reachability.order_test(actor(who), node_id=node, **more)
    await h.quiet()
    return event


def went_to(h, event):
    return {
        (who, shard.channel) for shard in h.shards(event.test_id, Purpose.TEST).values() for who in shard.recipients
    }


async def test_the_audit_names_who_cannot_be_told_and_sums_it_up_the_tree(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[WEBPUSH].answers["milan-push"] = [GONE]
        warning_id = await h.told(Level.RED, target="milan")
        await receipt(h, warning_id, "milan-both", SMS)
        audit, nodes = findings(h)
        milan = nodes["milan"]

        assert milan.unreachable == ("milan-none", "milan-push")
        assert [(p.person_id, p.channel, p.reason) for p in milan.dead] == [
            ("milan-push", WEBPUSH, "subscription_gone")
        ]
        # head sms, deputy email, zh sms, it email, both email; both's sms was delivered
        assert milan.untested == {EMAIL: 3, SMS: 2}
        assert (milan.no_contact, milan.no_deputy) == (False, False)
        assert {n: (node.no_contact, node.no_deputy) for n, node in nodes.items() if node.kind.value == "station"} == {
            "milan": (False, False),
            "madrid": (False, True),
            "village": (False, True),
        }
        north = nodes["north"].below
        assert (north.people, north.unreachable, north.dead, north.untested) == (10, 2, 1, 9)
        assert (north.without_contact, north.without_deputy) == (0, 1)
        assert nodes["office"].below == audit.total
        assert (audit.total.without_deputy, audit.total.people) == (2, 14)  # the auditor is not told of anything
        assert [node.node_id for node in audit.nodes][:2] == ["office", "north"]


async def test_a_station_whose_head_cannot_be_reached_has_no_duty_contact(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["milan-head"] = [{"outcome": Outcome.REFUSED, "reason": Reason.BAD_ADDRESS}]
        await h.told(Level.RED, target="milan")
        _, nodes = findings(h, "milan", "madrid")

        assert (nodes["milan"].no_contact, nodes["milan"].no_deputy) == (True, False)
        assert (nodes["milan"].depth, nodes["milan"].parent) == (0, None)


async def test_a_contact_point_is_untested_again_after_the_days(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="village")
        await receipt(h, warning_id, "village-zh", SMS)
        assert findings(h, "village")[1]["village"].untested == {SMS: 1}
        await h.pass_time(days=90)
        assert findings(h, "village")[1]["village"].untested == {SMS: 2}
        assert findings(h, "village", days=91)[1]["village"].untested == {SMS: 1}


async def test_a_changed_contact_is_untested(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="village")
        await receipt(h, warning_id, "village-zh", SMS)
        await ladder_of(h, "village-zh", SMS)
        assert findings(h, "village")[1]["village"].untested == {SMS: 2}


# Tests ---------------------------------------------------------------------------------------------------------------


async def test_a_test_goes_to_the_untested_points_in_their_languages_and_is_marked(tmp_path):
    async with house(tmp_path) as h:
        event = await ordered(h, node="milan")
        assert went_to(h, event) == {
            ("milan-head", SMS),
            ("milan-deputy", EMAIL),
            ("milan-zh", SMS),
            ("milan-it", EMAIL),
            ("milan-both", SMS),
            ("milan-both", EMAIL),
            ("milan-push", WEBPUSH),
        }
        assert set(h.sent()) == went_to(h, event)
        said = {who: rendered for notifier in h.notifiers.values() for who, _, rendered in notifier.sent}
        assert said["milan-zh"].short == "测试消息，无需回复 / Test message, no reply needed"
        assert said["milan-it"].subject.startswith("Messaggio di prova, non serve rispondere / 测试消息，无需回复")
        for rendered in said.values():
            words = (rendered.subject, rendered.text, rendered.html, rendered.short)
            assert all("测试消息，无需回复" in each and "no reply needed" in each for each in words)
            assert not any(LINK in each for each in (*words, rendered.push, rendered.voice))
        assert {plan.lane for plan in h.shards(event.test_id).values()} == {Lane.DRILL}


async def test_a_test_is_no_warning(tmp_path):
    async with house(tmp_path) as h:
        before = await h.told(Level.RED, target="village")
        event = await ordered(h, node="village")
        for shard in h.shards(event.test_id).values():
            for index in range(len(shard.recipients)):
                await h.runtime.receipts.record(shard.shard_id, Row(index, Outcome.DELIVERED, 1))
        await h.quiet()

        assert h.events(RelayDelivered) == []
        listed = h.view(lambda v, db: v.warnings.page(db, before=None, limit=9))
        assert [row["warning_id"] for row in listed] == [before]
        assert h.view(lambda v, db: v.tree.rows(db, event.test_id)) == {}
        assert len(h.view(lambda v, db: v.inbox.page(db, "village", before=None, limit=9))) == 1
        # A reply by SMS is about the last warning, not about the test that came after it.
        assert h.view(lambda v, db: v.deliveries.latest_warning_of(db, "village-zh", SMS))[0] == before
        assert findings(h, "village")[1]["village"].untested == {}


async def test_nobody_is_tested_twice_within_the_days(tmp_path):
    async with house(tmp_path) as h:
        first = await ordered(h, node="milan", channel=SMS)
        assert went_to(h, first) == {("milan-head", SMS), ("milan-zh", SMS), ("milan-both", SMS)}
        assert await ordered(h, node="milan", channel=SMS) is None
        second = await ordered(h, node="milan")
        assert not went_to(h, first) & went_to(h, second)
        await h.pass_time(days=90)
        again = await ordered(h, node="milan")
        assert went_to(h, again) == went_to(h, first) | went_to(h, second)


async def test_a_dead_point_is_not_tested(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[WEBPUSH].answers["milan-push"] = [GONE]
        await h.told(Level.RED, target="milan")
        event = await ordered(h, node="milan", channel=WEBPUSH)
        assert event is None


async def test_the_same_order_again_is_one_order(tmp_path):
    async with house(tmp_path) as h:
        once = Once(key="k", fingerprint="f")
        reach = h.stores.reachability
        first, event = await reach.order_test(actor("officer1"), node_id="milan", once=once)
        again, same = await reach.order_test(actor("officer1"), node_id="milan", once=once)
        assert (again.id, again.repeated, same) == (first.id, True, event)
        assert len(h.events(ReachTestOrdered)) == 1


@pytest.mark.parametrize("who", ["milan-head", "village-liaison", "auditor1", "milan-zh", "nobody"])
async def test_tests_are_ordered_by_offices_alone(tmp_path, who):
    async with stores(tmp_path) as s:
        with pytest.raises(NotPermitted):
            await s.reachability.order_test(actor(who), node_id="milan")


async def test_a_county_tests_its_own_stations_and_no_others(tmp_path):
    async with stores(tmp_path) as s:
        assert (await s.reachability.order_test(actor("county1"), node_id="milan"))[1]
        with pytest.raises(NotPermitted):
            await s.reachability.order_test(actor("county1"), node_id="village")
        with pytest.raises(InvalidInput):
            await s.reachability.order_test(actor("county1"), node_id="milan", untested_days=0)
        with pytest.raises(NotFound):
            s.reachability.subtree("nowhere")


async def test_the_link_of_a_test_has_nothing_to_answer(tmp_path):
    async with house(tmp_path) as h:
        event = await ordered(h, node="village")
        with pytest.raises(NotFound):
            await h.desk.answer(warning_id=event.test_id, person_id="village-zh", answer=Answer.SAFE, channel="link")


# The schedule --------------------------------------------------------------------------------------------------------


async def test_the_schedule_orders_once_in_its_days_and_knows_it_after_a_restart(tmp_path):
    async with stores(tmp_path) as s:
        clock = s.clock
        tests = ReachTests(s.reachability, s.views, s.follower, clock, 30)

        async def turns():
            await s.catch_up()
            for node_id, turn, due in tests._turns():
                if due <= clock.now():
                    await s.reachability.order_scheduled(node_id, 30, turn)
                    await s.reachability.order_scheduled(node_id, 30, turn)  # a crash before it was known
            await s.catch_up()
            return [r for r in s.log.read_now(0, 10_000) if isinstance(r.event, ReachTestOrdered)]

        assert [r.event.points for r in await turns()] == [15]
        assert len(await turns()) == 1
        clock.move(timedelta(days=29, hours=23))
        assert len(await turns()) == 1
    async with stores(tmp_path, ManualClock(NOW + timedelta(days=30))) as s:
        clock, tests = s.clock, ReachTests(s.reachability, s.views, s.follower, s.clock, 30)
        found = await turns()
        assert [(r.event.points, r.event.scheduled, r.metadata.actor) for r in found] == [
            (15, True, "system:reach"),
            (15, True, "system:reach"),
        ]


async def test_the_schedule_runs_beside_the_rest_and_sends(tmp_path):
    async with house(tmp_path) as h:
        stores = h.stores
        part = ReachTests(stores.reachability, stores.views, stores.follower, h.clock, 30)
        running = asyncio.create_task(part.run())
        await h.until(lambda: len(h.sent()) == 15)
        await h.pass_time(days=29)
        assert len(h.events(ReachTestOrdered)) == 1
        await h.pass_time(days=1)
        await h.until(lambda: len(h.events(ReachTestOrdered)) == 2)
        await h.quiet()
        assert len(h.sent()) == 30
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_is_too_much_for_one_order_is_left_to_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("domain.reach.MOST_POINTS", 10)
    async with house(tmp_path) as h:
        first, second = await ordered(h), await ordered(h)
        assert (first.points, first.left, second.points, second.left) == (10, 5, 5, 0)
        assert not went_to(h, first) & went_to(h, second)
        assert len(h.events(ShardPlanned)) == len(h.shards(first.test_id)) + len(h.shards(second.test_id))
        assert {shard.channel for shard in h.events(ShardPlanned)} <= set(Channel)
