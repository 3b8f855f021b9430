"""At night people are let sleep until their own morning, unless the level wakes them or they would never hear of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from house import EMAIL, SMS, WEBPUSH, House, actor, house, personal

from domain.outcomes import Outcome, Reason
from domain.people import Channel, Person, Role
from domain.rulepacks import Level, standard
from domain.shards import ChunkIntended, Purpose, ShardHeld
from domain.whereabouts import Stay
from infra.clock import ManualClock
from notifiers import render
from notifiers.quiet import WORDS

ADMIN = actor("admin")
NIGHT = datetime(2026, 7, 1, 15, 30, tzinfo=UTC)  # 23:30 in Shanghai, 17:30 in Rome, 11:30 in New York
MORNING = datetime(2026, 7, 1, 23, 0, tzinfo=UTC)  # 7:00 in Shanghai
DAY = {"lasts": timedelta(hours=30)}
ACCEPTED = (Outcome.ACCEPTED, Reason.NONE, 1)
ASLEEP = ["milan-both", "milan-zh"]  # by SMS; nobody is let sleep by mail


async def relayed(h: House, level: Level = Level.YELLOW, node: str = "milan", **more: Any) -> str:
    """A warning whose people are told when their station relays it."""
    warning_id = await h.told(level, target="office", **{**DAY, **more})
    await h.desk.acknowledge(actor(f"{node}-head"), warning_id, node)
    await h.quiet()
    return warning_id


def by(h: House, channel: Channel, *who: str) -> list[str]:
    """Which of the people of Milan were sent to over a channel."""
    return sorted(name for name, used in h.sent() if used is channel and name in (who or MILAN))


MILAN = ("milan-zh", "milan-it", "milan-both", "milan-push", "milan-none")


async def test_people_are_let_sleep_until_their_morning_and_then_told_once(tmp_path):
    async with house(tmp_path, ManualClock(NIGHT)) as h:
        warning_id = await relayed(h)

        assert by(h, SMS) == by(h, WEBPUSH) == []
        assert by(h, EMAIL) == ["milan-both", "milan-it"]  # a mail wakes nobody
        assert h.rows(warning_id, "milan-zh") == []  # no attempt was made
        assert {r.retry_at for e in h.events(ShardHeld) for r in e.rows} == {MORNING}
        await h.pass_time(hours=7, minutes=29)
        assert by(h, SMS) == []
        await h.pass_time(minutes=1)
        assert by(h, SMS) == ASLEEP
        assert by(h, WEBPUSH) == ["milan-push"]
        assert h.rows(warning_id, "milan-zh") == [ACCEPTED]
        await h.pass_time(hours=3)
        assert by(h, SMS) == ASLEEP


async def test_who_is_let_sleep_is_seen_to_wait_and_not_to_fail(tmp_path):
    async with house(tmp_path, ManualClock(NIGHT)) as h:
        warning_id = await relayed(h)
        row = h.delivery(warning_id, "milan-zh")
        totals = h.view(lambda v, db: v.tree.totals(db, warning_id))

        assert (row["outcome"], row["reason"], row["attempt"]) == ("deferred", "quiet_hours", 0)
        assert (row["retry_at"], row["doubt"]) == (MORNING, 0)
        assert totals["held"] == 2  # milan-zh and milan-push; milan-both has the mail
        assert totals["recipients"] - totals["told"] == totals["held"]
        assert h.view(lambda v, db: v.deliveries.latest_warning_of(db, "milan-zh", SMS)) is None
        await h.pass_time(hours=8)
        assert h.view(lambda v, db: v.tree.totals(db, warning_id))["held"] == 0
        assert h.delivery(warning_id, "milan-zh")["outcome"] == "accepted"


async def test_nothing_was_intended_for_who_is_let_sleep_so_a_crash_leaves_no_doubt(tmp_path):
    async with house(tmp_path, ManualClock(NIGHT)) as h:
        warning_id = await relayed(h)
        shard_id, index = h.place(warning_id, "milan-zh")
        assert not [e for e in h.events(ChunkIntended) if e.shard_id == shard_id]
    async with house(tmp_path, ManualClock(NIGHT + timedelta(minutes=10))) as h:
        await h.quiet()
        assert h.rows(warning_id, "milan-zh") == []
        await h.pass_time(hours=8)
        assert h.rows(warning_id, "milan-zh") == [ACCEPTED]
        assert index in next(e.indices for e in h.events(ChunkIntended) if e.shard_id == shard_id)


@pytest.mark.parametrize("level", [Level.ORANGE, Level.RED])
async def test_a_severe_level_wakes_them_and_says_so_in_their_language(tmp_path, level):
    async with house(tmp_path, ManualClock(NIGHT)) as h:
        away = Stay(country="US", zone="America/New_York", from_=NIGHT.date(), to=NIGHT.date())
        await h.registry.record_stay(ADMIN, "milan-zh", away, stay_id="s1")
        await relayed(h, level)
        words = {(who, n.channel): r.short + r.push + r.text for n in h.notifiers.values() for who, _, r in n.sent}

        assert h.events(ShardHeld) == []
        assert WORDS["zh"][0] in words["milan-both", SMS]
        assert WORDS["en"][0] in words["milan-push", WEBPUSH]
        for key in (("milan-zh", SMS), ("milan-it", EMAIL), ("milan-head", SMS), ("officer1", SMS)):
            assert not [said for both in WORDS.values() for said in both if said in words[key]], key


async def test_by_day_nothing_is_said_of_the_night(tmp_path):
    async with house(tmp_path) as h:
        await relayed(h, Level.RED)

        for who, _, rendered in (sent for n in h.notifiers.values() for sent in n.sent):
            assert not [said for both in WORDS.values() for said in both if said in rendered.text], who


@pytest.mark.parametrize(("lasts", "told"), [(449, True), (450, True), (451, False)])  # minutes; morning is in 450
async def test_a_warning_that_ends_before_the_morning_is_sent_at_once_and_says_why(tmp_path, lasts, told):
    async with house(tmp_path, ManualClock(NIGHT)) as h:
        await relayed(h, expires_at=NIGHT + timedelta(minutes=lasts))

        assert by(h, SMS) == (ASLEEP if told else [])
        assert [WORDS["zh"][1] in r.short for who, _, r in h.notifiers[SMS].sent if who == "milan-zh"] == [True] * told


async def test_it_is_the_night_of_the_place_where_they_are(tmp_path):
    async with house(tmp_path, ManualClock(NIGHT)) as h:
        day = NIGHT.date()

        def away(zone: str, last: int = 9) -> Stay:
            return Stay(country="XX", zone=zone, from_=day - timedelta(days=9), to=day + timedelta(days=last))

        def zoned(who: str, zone: str, channels: tuple[Channel, ...]) -> tuple[Person, dict[str, Any]]:
            one = Person(person_id=who, node_id="milan", role=Role.CITIZEN, language="zh", channels=channels)
            return one, {**personal(who), "zone": zone}

        await h.registry.register_people([zoned("milan-both", "Europe/Rome", (SMS,))], ADMIN)
        await h.registry.record_stay(ADMIN, "milan-zh", away("America/New_York"), stay_id="s1")
        await h.quiet()
        await relayed(h)
        assert by(h, SMS) == ASLEEP  # one at home in Rome, one on a journey in New York
        assert by(h, WEBPUSH) == []  # by the clock of the node, in Shanghai

        h.forget_sent()
        await h.registry.record_stay(ADMIN, "milan-both", away("Asia/Tokyo"), stay_id="s1")
        await h.registry.record_stay(ADMIN, "milan-zh", away("America/New_York", last=-1), stay_id="s1")
        await h.quiet()
        second = await relayed(h)
        assert by(h, SMS) == []  # the journey counts before the home, and not when it is over
        assert h.delivery(second, "milan-both")["retry_at"] == MORNING - timedelta(hours=1)


async def test_where_nobody_knows_the_clock_they_are_told(tmp_path):
    async with house(tmp_path, ManualClock(NIGHT)) as h:
        contacts = h.runtime.worker._chooser._contacts
        real = contacts.of
        nowhere = {"zones": ("Nowhere/Atlantis", "")}
        contacts.of = lambda *asked: msgspec.structs.replace(real(*asked), **nowhere)  # type: ignore[method-assign]
        await relayed(h)

        assert by(h, SMS) == ASLEEP


async def test_a_shard_tells_those_who_are_awake_and_lets_the_others_sleep(tmp_path):
    async with house(tmp_path, ManualClock(NIGHT), chunk=1) as h:
        away = Stay(country="US", zone="America/New_York", from_=NIGHT.date(), to=NIGHT.date())
        await h.registry.record_stay(ADMIN, "milan-both", away, stay_id="s1")
        warning_id = await relayed(h)

        assert h.place(warning_id, "milan-both", SMS)[0] == h.place(warning_id, "milan-zh", SMS)[0]
        assert by(h, SMS) == ["milan-both"]
        await h.pass_time(hours=8)
        assert by(h, SMS) == ASLEEP


async def test_a_retry_that_falls_into_the_night_waits_and_keeps_its_count(tmp_path):
    evening = datetime(2026, 7, 1, 13, 59, 59, tzinfo=UTC)  # a second before ten in Shanghai
    async with house(tmp_path, ManualClock(evening)) as h:
        h.notifiers[SMS].answers["milan-zh"] = [{"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY}]
        warning_id = await relayed(h)
        assert h.rows(warning_id, "milan-zh") == [(Outcome.DEFERRED, Reason.PROVIDER_BUSY, 1)]
        await h.pass_time(seconds=10)
        row = h.delivery(warning_id, "milan-zh")
        assert (row["reason"], row["attempt"], row["retry_at"]) == ("quiet_hours", 1, MORNING)
        await h.pass_time(hours=10)
        assert h.rows(warning_id, "milan-zh")[1:] == [(Outcome.ACCEPTED, Reason.NONE, 2)]


async def test_staff_are_told_at_any_hour(tmp_path):
    async with house(tmp_path, ManualClock(NIGHT)) as h:
        await h.told(Level.BLUE, **DAY)

        assert ("officer1", SMS) in h.sent()
        assert ("milan-head", SMS) in h.sent()
        await h.pass_time(minutes=31)  # the office and the counties are told of the silence below them
        assert h.events(ShardHeld) == []


async def test_a_withdrawal_waits_for_the_morning_too_and_never_reaches_who_slept_through_it_all(tmp_path):
    async with house(tmp_path, ManualClock(NIGHT - timedelta(hours=3))) as h:
        first = await relayed(h)  # by day
        h.clock.move(timedelta(hours=3))
        second = await relayed(h)  # by night
        h.forget_sent()
        for warning_id in (first, second):
            await h.desk.cancel(actor("officer1"), warning_id, reason="over")
        await h.quiet()
        assert by(h, SMS) == []
        assert h.view(lambda v, db: v.tree.totals(db, second))["held"] == 0
        await h.pass_time(hours=8)
        assert by(h, SMS) == ASLEEP
        assert {who for who, _ in h.planned(second, Purpose.CANCEL)} & {"milan-zh", "milan-push"} == set()


async def test_a_withdrawal_that_waited_for_the_morning_is_tried_again_though_the_warning_is_over(tmp_path):
    async with house(tmp_path, ManualClock(NIGHT - timedelta(hours=3))) as h:
        warning_id = await relayed(h, lasts=timedelta(hours=8))  # it ends half an hour into the night
        h.clock.move(timedelta(hours=3))
        await h.desk.cancel(actor("officer1"), warning_id, reason="over")
        await h.quiet()
        h.notifiers[SMS].answers["milan-zh"] = [
            {"outcome": Outcome.DEFERRED, "reason": Reason.RATE_LIMITED, "retry_after_s": 1.0}
        ]
        await h.pass_time(hours=8)
        await h.pass_time(minutes=1)
        assert h.rows(warning_id, "milan-zh", Purpose.CANCEL, SMS) == [
            (Outcome.DEFERRED, Reason.RATE_LIMITED, 1),
            (Outcome.ACCEPTED, Reason.NONE, 2),
        ]


async def test_a_level_and_a_pack_without_quiet_hours_wait_for_nobody(tmp_path):
    async with house(tmp_path, ManualClock(NIGHT)) as h:
        loud = msgspec.structs.replace(standard(), rule_pack_id="loud", quiet=None)
        await h.registry.adopt_rules(loud, ADMIN)
        await h.quiet()
        await relayed(h)

        assert by(h, SMS) == ASLEEP
        assert h.events(ShardHeld) == []


def test_every_language_of_ours_says_why_it_comes_at_night():
    assert WORDS.keys() == render.WORDS.keys()
    assert len({said for both in WORDS.values() for said in both}) == 2 * len(WORDS)
