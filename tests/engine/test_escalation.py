"""Who is told because a node is silent: each step, the officer on duty first; quotas; clocks that are set meanwhile."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from house import EMAIL, NOW, SMS, actor, content, house, personal

from domain.answers import Answer
from domain.people import Channel, Person, Role
from domain.relays import RelayAcknowledged, RelayEscalated, RelayOpened, RelayPassed
from domain.roster import Shift
from domain.rulepacks import EscalationStep, Level, standard
from domain.shards import Purpose
from infra.clock import ManualClock
from projections.tree import silent_s, state_of

VOICE = Channel.VOICE
ADMIN = actor("admin")


async def rules(h, *steps, **level):
    """Rules under which silence is met by these steps alone, one a minute."""
    escalation = tuple(EscalationStep(60 * n, action) for n, action in enumerate(steps, 1))
    pack = standard()
    changed = {
        name: msgspec.structs.replace(rule, escalation=escalation, **level) for name, rule in pack.levels.items()
    }
    await h.registry.adopt_rules(msgspec.structs.replace(pack, rule_pack_id="these", levels=changed), ADMIN)
    await h.quiet()


async def registered(h, who, node, role, *channels):
    one = Person(person_id=who, node_id=node, role=role, language="zh", channels=channels)
    known = who if who in ("milan-head", "milan-deputy", "county1") else "milan-head"
    await h.registry.register_people([(one, personal(known))], ADMIN)
    await h.quiet()


async def on_duty(h, node, who, begins=0.0, ends=24.0):
    span = [h.clock.now() + timedelta(hours=hours) for hours in (begins, ends)]
    await h.duty.plan(ADMIN, node, from_at=span[0], to_at=span[1], shifts=[Shift(*span, who)])
    await h.quiet()


def chased(h, warning_id):
    return h.planned(warning_id, Purpose.ESCALATION)


def milan(h, warning_id):
    return h.view(lambda v, db: v.tree.rows(db, warning_id))["milan"]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("duty", [("milan-deputy", EMAIL)]),
        ("deputy", [("milan-deputy", EMAIL)]),
        ("head", [("milan-head", SMS)]),
        ("liaisons", [("milan-liaison", SMS)]),
        ("parent", [("county1", EMAIL), ("county1", SMS)]),
        ("voice", [("milan-head", VOICE), ("milan-liaison", VOICE)]),
        ("direct", []),
    ],
)
async def test_each_step_tells_those_that_it_is_for(tmp_path, step, expected):
    async with house(tmp_path) as h:
        await rules(h, step)
        await registered(h, "milan-head", "milan", Role.HEAD, SMS, VOICE)
        await registered(h, "milan-liaison", "milan", Role.LIAISON, SMS, VOICE)
        await on_duty(h, "milan", "milan-deputy")
        warning_id = await h.told(Level.ORANGE, target="milan")
        await h.pass_time(seconds=59)
        assert chased(h, warning_id) == []
        await h.pass_time(seconds=1)

        assert chased(h, warning_id) == expected
        (shown,) = milan(h, warning_id)["escalations"]
        assert (shown["action"], shown["after_s"], shown["at"]) == (step, 60, "2026-07-01T08:01:00Z")
        assert shown["told"] == sorted({who for who, _ in expected})


async def test_nobody_on_duty_is_nobody_told_and_the_office_above_is_told_as_a_whole(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, "duty", "parent")
        await on_duty(h, "north", "county1", begins=3)
        warning_id = await h.told(Level.ORANGE, target="north")
        await h.pass_time(seconds=120)

        assert [step["told"] for step in milan(h, warning_id)["escalations"]] == [[], ["county1"]]
        north = h.view(lambda v, db: v.tree.rows(db, warning_id))["north"]
        assert [step["told"] for step in north["escalations"]] == [[], ["officer1", "officer2"]]


async def test_the_office_above_is_told_by_its_officer_on_duty_where_somebody_is(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, "parent")
        await on_duty(h, "office", "officer2")
        warning_id = await h.told(Level.ORANGE, target="north")
        await h.pass_time(seconds=60)

        north = h.view(lambda v, db: v.tree.rows(db, warning_id))["north"]
        assert [step["told"] for step in north["escalations"]] == [["officer2"]]


async def test_who_is_on_duty_when_the_step_is_taken_is_told_and_a_handover_moves_it(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, "duty", "duty", "duty")
        await on_duty(h, "milan", "milan-deputy", ends=1.5 / 60)
        warning_id = await h.told(Level.ORANGE, target="milan")
        await h.pass_time(seconds=60)
        await h.pass_time(seconds=60)
        await h.duty.take_over(actor("milan-head"), "milan")
        await h.pass_time(seconds=60)

        assert [step["told"] for step in milan(h, warning_id)["escalations"]] == [["milan-deputy"], [], ["milan-head"]]


async def test_an_officer_on_duty_who_was_forgotten_is_not_looked_for(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, "parent")
        await on_duty(h, "office", "officer2")
        await h.registry.forget_person("officer2", ADMIN)
        await h.quiet()
        warning_id = await h.told(Level.ORANGE, target="north")
        await h.pass_time(seconds=60)

        north = h.view(lambda v, db: v.tree.rows(db, warning_id))["north"]
        assert [step["told"] for step in north["escalations"]] == [["officer1"]]


# Quotas ---------------------------------------------------------------------------------------------------------------


async def answers(h, warning_id, *people):
    for who in people:
        await h.desk.answer(warning_id=warning_id, person_id=who, answer=Answer.SAFE, channel="link")
    await h.quiet()


async def test_a_node_is_chased_until_its_quota_is_met_and_who_answered_is_spared(tmp_path):
    async with house(tmp_path) as h:
        await rules(h, "voice", "voice", "voice", quota=0)
        await registered(h, "milan-head", "milan", Role.HEAD, SMS, VOICE)
        await registered(h, "milan-liaison", "milan", Role.LIAISON, SMS, VOICE)
        warning_id = await h.told(Level.ORANGE, target="milan")
        assert [e.staff for e in h.events(RelayOpened)] == [("milan-head", "milan-liaison")]

        await answers(h, warning_id, "milan-head", "milan-head")
        row = milan(h, warning_id)
        assert (state_of(row), row["signed"], row["quota"], row["acknowledged_at"]) == ("partial", 1, 2, None)
        assert [e.automatic for e in h.events(RelayPassed)] == [False]  # the first signature relays
        assert h.view(lambda v, db: v.inbox.page(db, "milan", before=None, limit=9))[0]["state"] == "partial"
        await h.pass_time(seconds=60)
        assert chased(h, warning_id) == [("milan-liaison", VOICE)]

        await answers(h, warning_id, "milan-deputy")  # not one of those who were told at first
        assert state_of(milan(h, warning_id)) == "partial"
        await answers(h, warning_id, "milan-liaison")
        row = milan(h, warning_id)
        assert (state_of(row), row["signed"], row["quota"], row["late"]) == ("relayed", 2, 2, True)
        assert [s["by"] for s in row["signatures"]] == ["milan-head", "milan-deputy", "milan-liaison"]
        item = h.view(lambda v, db: v.inbox.page(db, "milan", before=None, limit=9))[0]
        assert (item["state"], item["acknowledged"], item["needed"]) == ("relayed", 2, 2)
        await h.pass_time(hours=1)
        assert [(e.step, e.spared) for e in h.events(RelayEscalated)] == [(1, ("milan-head",))]
        assert [(e.by, e.missing) for e in h.events(RelayAcknowledged)] == [
            ("milan-head", 1), ("milan-deputy", 1), ("milan-liaison", 0),
        ]  # fmt: skip


async def test_a_second_acknowledgement_of_one_is_kept_and_changes_nothing_else(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE, target="milan")
        await answers(h, warning_id, "milan-head", "milan-deputy")

        row = milan(h, warning_id)
        assert (state_of(row), row["acknowledged_by"], row["late"]) == ("relayed", "milan-head", False)
        assert [s["by"] for s in row["signatures"]] == ["milan-head", "milan-deputy"]
        assert len(h.events(RelayPassed)) == 1


@pytest.mark.parametrize("end", ["cancelled", "updated"])
async def test_no_step_follows_the_end_of_a_warning(tmp_path, end):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE, target="milan")
        await h.pass_time(seconds=900)
        if end == "cancelled":
            await h.desk.cancel(actor("officer1"), warning_id, reason="over")
        else:
            worse = content(Level.ORANGE, target="milan", event="Worse")
            done = await h.desk.draft(actor("officer1"), worse, updates=warning_id)
            await h.quiet()
            await h.desk.release(actor("officer2"), done.id)
        await h.quiet()
        await h.pass_time(hours=3)

        assert [e.action for e in h.events(RelayEscalated) if e.warning_id == warning_id] == ["deputy"]


# Nobody answers -------------------------------------------------------------------------------------------------------


async def test_nobody_answers_and_the_tree_says_who_was_told_when(tmp_path):
    async with house(tmp_path) as h:
        await registered(h, "milan-head", "milan", Role.HEAD, SMS, VOICE)
        await on_duty(h, "north", "county1")
        warning_id = await h.told(Level.ORANGE, target="milan")
        for _ in range(4):
            await h.pass_time(seconds=675)

        row = milan(h, warning_id)
        assert [(s["action"], s["at"][11:16], s["told"]) for s in row["escalations"]] == [
            ("deputy", "08:22", ["milan-deputy"]),
            ("parent", "08:33", ["county1"]),
            ("voice", "08:45", ["milan-head"]),
            ("direct", "08:45", []),
        ]
        assert (state_of(row), silent_s(row)) == ("asleep", 2700)


# Clocks ---------------------------------------------------------------------------------------------------------------


def steps(h):
    return [e.action for e in h.events(RelayEscalated)]


async def looked(h):
    """The timekeeper knows all timers that there are."""
    await h.until(lambda: h.runtime.timekeeper.looked == h.stores.views.position)


async def test_a_clock_set_back_delays_no_step(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE, target="milan")
        await h.pass_time(seconds=600)
        await looked(h)
        h.clock.jump(timedelta(hours=-1))
        await h.pass_time(seconds=299)
        assert steps(h) == []
        for seconds, taken in ((1, 1), (900, 2), (450, 3), (450, 4)):
            h.clock.move(timedelta(seconds=seconds))
            await h.until(lambda wanted=taken: len(steps(h)) >= wanted)
            await h.quiet()
            assert steps(h) == ["deputy", "parent", "voice", "direct"][:taken]
        assert h.clock.now() == NOW - timedelta(minutes=15)
        row = milan(h, warning_id)
        assert (state_of(row), silent_s(row)) == ("asleep", 2700)
        await h.pass_time(hours=2)  # past where the old clock was: nothing is taken again
        assert len(steps(h)) == 4


async def test_a_clock_set_ahead_makes_steps_early_and_taken_once(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.ORANGE, target="milan")
        await looked(h)
        h.clock.jump(timedelta(minutes=20))
        await h.quiet()
        assert steps(h) == ["deputy"]
        h.clock.jump(timedelta(minutes=-20))  # it was a mistake
        await h.pass_time(seconds=900)
        assert steps(h) == ["deputy"]
        h.clock.move(timedelta(seconds=900))
        await h.until(lambda: len(steps(h)) >= 2)
        await h.quiet()
        assert steps(h) == ["deputy", "parent"]


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1)], ids=["back", "ahead"])
async def test_a_restart_after_the_clock_was_set_takes_each_step_once(tmp_path, jump):
    clock = ManualClock(NOW)
    async with house(tmp_path, clock) as h:
        warning_id = await h.told(Level.ORANGE, target="milan")
        await h.pass_time(seconds=900)
        assert steps(h) == ["deputy"]
    clock.jump(jump)
    async with house(tmp_path, clock) as h:
        await h.quiet()
        taken = len(steps(h))
        assert taken == (1 if jump < timedelta(0) else 4)
        await looked(h)
        while taken < 4:  # after the restart the next step comes after its own time at most, not after an hour
            h.clock.move(timedelta(seconds=900))
            taken += 1
            await h.until(lambda wanted=taken: len(steps(h)) >= wanted)
        await h.quiet()
        assert steps(h) == ["deputy", "parent", "voice", "direct"]
        assert state_of(milan(h, warning_id)) == "asleep"
    async with house(tmp_path, clock) as h:
        await h.pass_time(hours=2)
        assert len(steps(h)) == 4
        events = h.recorded()
        assert [e.metadata.recorded_at for e in events] != sorted(e.metadata.recorded_at for e in events) or jump > (
            timedelta(0)
        )
        before = h.stores.views.fingerprints()
        h.stores.views.rebuild(h.stores.log.read_now)
        assert h.stores.views.fingerprints() == before
