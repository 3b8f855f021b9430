"""A program that ends between sending and recording leaves a doubt in the log, in so many words, and sends again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from house import EMAIL, MILAN, NOW, SMS, actor, content, house, stores

from domain.errors import Unreachable
from domain.outcomes import Outcome, Reason
from domain.planning import PlanMade
from domain.rulepacks import Level
from domain.shards import ChunkIntended, ShardPlanned
from infra.clock import ManualClock
from infra.engine import planner, portions
from infra.runtime import Runtime

TOLD = sorted(MILAN | {("milan-head", SMS)})


async def test_what_was_sent_and_not_recorded_is_unknown_and_sent_again(tmp_path):
    clock = ManualClock(NOW)
    async with house(tmp_path, clock) as h:
        h.notifiers[EMAIL].hanging = {"milan-it"}
        warning_id = await h.release(Level.RED, target="milan")
        others = {who for who, _ in TOLD if who != "milan-it"}
        await h.until(lambda: ("milan-it", EMAIL) in h.sent() and all(h.rows(warning_id, who) for who in others))
        first = [d.message_id for who, d, _ in h.notifiers[EMAIL].sent if who == "milan-it"]
    async with house(tmp_path, clock) as h:
        await h.quiet()

        assert h.rows(warning_id, "milan-it") == [
            (Outcome.UNKNOWN, Reason.CRASH, 1),
            (Outcome.ACCEPTED, Reason.NONE, 2),
        ]
        assert h.rows(warning_id, "milan-zh") == [(Outcome.ACCEPTED, Reason.NONE, 1)]
        assert h.sent() == [("milan-it", EMAIL)]
        assert [d.message_id for _, d, _ in h.notifiers[EMAIL].sent] == first


@pytest.mark.parametrize(("level", "seconds"), [(Level.RED, 90), (Level.ORANGE, 300)])
async def test_what_another_worker_began_is_free_once_its_lease_is_over(tmp_path, level, seconds):
    clock = ManualClock(NOW)
    async with house(tmp_path, clock) as h:
        h.notifiers[EMAIL].hanging = {"milan-head"}
        h.notifiers[SMS].hanging = {"milan-head"}
        warning_id = await h.release(level, target="milan")
        await h.until(lambda: any(who == "milan-head" for who, _ in h.sent()))
    async with stores(tmp_path) as s:
        await s.catch_up()
        begun = {r.event.shard_id for r in s.log.read_now(0, 1000) if isinstance(r.event, ChunkIntended)}
        with s.views.reading() as db:
            waiting = begun & set(s.views.deliveries.unfinished(db, warning_id))
            assert waiting

            def offered(after: int) -> set[str]:
                now = NOW + timedelta(seconds=after)
                return begun & {row.shard_id for row in s.views.deliveries.queue(db, now, "another", 100)}

            assert offered(seconds - 1) == set()
            assert offered(seconds + 1) == waiting


async def test_a_crash_after_the_validity_leaves_the_doubt_and_sends_nothing(tmp_path):
    clock = ManualClock(NOW)
    async with house(tmp_path, clock) as h:
        h.notifiers[EMAIL].hanging = {"milan-it"}
        warning_id = await h.release(Level.RED, target="milan")
        await h.until(lambda: ("milan-it", EMAIL) in h.sent())
    clock.move(content().expires_at - NOW)
    async with house(tmp_path, clock) as h:
        await h.quiet()

        assert h.rows(warning_id, "milan-it") == [
            (Outcome.UNKNOWN, Reason.CRASH, 1),
            (Outcome.EXPIRED, Reason.VALIDITY_OVER, 2),
        ]
        assert h.sent() == []


async def test_a_release_that_nobody_planned_yet_is_planned_at_the_next_start(tmp_path):
    async with stores(tmp_path) as s:
        warning_id = (await s.desk.draft(actor("officer1"), content(target="milan"))).id
        await s.catch_up()
        await s.desk.release(actor("officer2"), warning_id)
    async with house(tmp_path) as h:
        await h.quiet()

        assert h.sent() == h.planned(warning_id) == TOLD


async def test_a_plan_that_was_cut_off_is_completed_without_doubling(tmp_path, monkeypatch):
    monkeypatch.setattr(portions, "PORTION", 2)
    async with stores(tmp_path) as s:
        warning_id = (await s.desk.draft(actor("officer1"), content(target="milan"))).id
        await s.catch_up()
        await s.desk.release(actor("officer2"), warning_id)
        await s.catch_up()
        with s.views.reading() as db:
            (trigger,) = s.views.plans.pending(db)
        whole, left = s.log.append, iter([True, True, False])

        async def cut(appends, origin):
            if not next(left):
                raise Unreachable("log.write_failed", "cut off")
            return await whole(appends, origin)

        monkeypatch.setattr(s.log, "append", cut)
        one = planner.Planner(s.log, s.views, s.follower, s.clock, s.vault)
        with pytest.raises(Unreachable):
            await one.plan(trigger)
        assert 0 < sum(isinstance(r.event, ShardPlanned) for r in s.log.read_now(0, 999)) < 4
    async with house(tmp_path) as h:
        await h.quiet()

        assert h.planned(warning_id) == h.sent() == TOLD
        assert [plan.shards for plan in h.events(PlanMade)] == [len(h.shards(warning_id))]


async def test_planning_the_same_trigger_again_writes_nothing(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED)
        before = h.recorded()
        release = next(r for r in before if type(r.event).__name__ == "WarningReleased")
        trigger = {
            "event_id": release.metadata.event_id,
            "kind": "released",
            "warning_id": warning_id,
            "node_id": "",
            "action": "",
            "correlation_id": release.metadata.correlation_id,
            "position": release.position,
        }
        again = planner.Planner(h.stores.log, h.stores.views, h.stores.follower, h.clock, h.stores.vault)
        await asyncio.gather(again.plan(trigger), again.plan(trigger))
        await h.quiet()

        assert h.recorded() == before


async def test_a_plan_that_fails_for_a_moment_is_tried_again_though_nothing_else_happens(tmp_path, monkeypatch):
    async with house(tmp_path) as h:
        whole, failures = h.stores.log.append, [True]

        async def failing(appends, origin):
            if origin.actor == "system:planner" and failures and failures.pop():
                raise Unreachable("log.write_failed", "the disk is full for a moment")
            return await whole(appends, origin)

        monkeypatch.setattr(h.stores.log, "append", failing)
        warning_id = await h.release(Level.RED, target="milan")
        await h.until(lambda: len(h.events(PlanMade)) == 1, seconds=10)
        await h.quiet()

        assert h.planned(warning_id) == TOLD


async def test_views_that_were_deleted_come_back_the_same_and_nothing_is_done_twice(tmp_path):
    clock = ManualClock(NOW)
    async with house(tmp_path, clock) as h:
        await h.told(Level.ORANGE)
        await h.pass_time(hours=1)
        end, fingerprints = h.stores.log.last_position_now(), h.stores.views.fingerprints()
    for file in tmp_path.glob("views.sqlite*"):
        file.unlink()
    async with house(tmp_path, clock) as h:
        await h.quiet()

        assert (h.stores.log.last_position_now(), h.sent()) == (end, [])
        assert h.stores.views.fingerprints() == fingerprints


async def test_a_second_runtime_on_the_same_folder_is_refused_until_the_first_ends(tmp_path):
    async with house(tmp_path) as h:
        async with stores(tmp_path) as second:
            with pytest.raises(Unreachable) as refused:
                await Runtime(second, {}, "https://warn.example").start()
        assert (refused.value.code, h.runtime.alive) == ("runtime.running", True)
    async with house(tmp_path) as h:
        assert h.runtime.alive is True


async def test_a_channel_that_raises_leaves_a_doubt_and_is_tried_later(tmp_path):
    async with house(tmp_path) as h:
        whole, calls = h.notifiers[EMAIL].send, []

        async def broken(rendered, deliveries):
            calls.append(len(deliveries))
            if len(calls) == 1:
                raise RuntimeError("a fault of the channel")
            return await whole(rendered, deliveries)

        h.notifiers[EMAIL].send = broken
        warning_id = await h.told(Level.RED, target="madrid")
        assert h.rows(warning_id, "madrid-head") == [(Outcome.UNKNOWN, Reason.PROVIDER_ERROR, 1)]
        await h.pass_time(seconds=3)
        assert h.rows(warning_id, "madrid-head")[1:] == [(Outcome.ACCEPTED, Reason.NONE, 2)]
