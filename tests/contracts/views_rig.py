"""A log with a bit of everything in it, lived through once by the house of the engine's tests, for folding it again."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path

import msgspec

sys.path.append(str(Path(__file__).parents[1] / "engine"))

from house import EMAIL, NOW, PEOPLE, SMS, House, actor, content, house, personal, phone_of

from api.commands import Once
from api.feeds import forms
from api.rates import Rates
from domain.answers import Answer
from domain.cases import ActionKind, Place
from domain.events import Recorded
from domain.feeds import Feed, Form
from domain.grants import GrantRole, TokenKind
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel, Person, Role
from domain.rates import Rate
from domain.roster import Shift
from domain.rulepacks import Level, standard
from domain.whereabouts import Stay
from infra.clock import ManualClock


class Lived(msgspec.Struct):
    """The events, and the fingerprints of the views that followed them as they happened."""

    events: list[Recorded]
    fingerprints: dict[str, str]

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """As the log's own `read_now`."""
        return [r for r in self.events if r.position > after][:limit]

    @property
    def end(self) -> int:
        return self.events[-1].position


@cache
def lived() -> Lived:
    found: list[Lived] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(_live())))
    thread.start()
    thread.join()
    return found[0]


async def _live() -> Lived:
    folder = Path(tempfile.mkdtemp(prefix="fenghuo-lived-"))
    try:
        async with house(folder, ManualClock(NOW), chunk=2) as h:
            await _registry(h)
            await _duty(h)
            await _flood(h)
            await _fire(h)
            await _drill(h)
            await _others(h)
            await _feeds(h)
            await _night(h)
            await _ladders(h)
            await h.quiet()
            return Lived(events=h.recorded(), fingerprints=h.stores.views.fingerprints())
    finally:
        shutil.rmtree(folder)


async def _registry(h: House) -> None:
    admin = actor("admin")
    given = await h.registry.give_grant(admin, person_id="guest", role=GrantRole.LIAISON, node_id="village")
    await h.registry.revoke_grant(admin, given.id, reason="left")
    await h.registry.issue_token("officer1", TokenKind.BEARER, "secret", timedelta(days=1), admin)
    await h.registry.issue_token("officer1", TokenKind.LOGIN_LINK, "link", timedelta(minutes=5), admin)
    await h.registry.use_login_link("link", "session", timedelta(hours=8))
    await h.registry.adopt_rules(standard(600), admin)
    moved = Person(person_id="milan-it", node_id="milan", role=Role.CITIZEN, language="es", channels=(Channel.EMAIL,))
    await h.registry.register_people([(moved, personal("milan-it"))], admin)
    away = {"zone": "Asia/Tokyo", "from_": NOW.date(), "to": NOW.date() + timedelta(days=9)}
    for who, stay_id in (("milan-zh", "s1"), ("milan-zh", "s2"), ("village-zh", "s1"), ("milan-zh", "s1")):
        await h.registry.record_stay(admin, who, Stay(country="JP", **away), stay_id=stay_id)
    await h.registry.withdraw_stay(admin, "milan-zh", "s2")
    await h.registry.tag(admin, "milan-push", tags=("harbour", "a"), enterprise="e-1")
    await h.registry.forget_person("village-zh", admin)
    rates = Rates(h.stores.log, h.stores.views, h.stores.vault, h.clock, h.stores.new_id)
    for sender, per_s in (("", 50.0), ("+15005550006", 1.0), ("", 20.0)):
        await rates.set(actor("officer1"), "sms", sender, Rate(per_s, 2))
    await h.quiet()


async def _duty(h: House) -> None:
    """A roster that is planned, planned anew and handed over."""
    now, admin = h.clock.now(), actor("admin")
    hours = [now + timedelta(hours=n) for n in range(13)]
    day = [Shift(hours[0], hours[6], "milan-head"), Shift(hours[6], hours[12], "milan-deputy")]
    await h.duty.plan(admin, "milan", from_at=hours[0], to_at=hours[12], shifts=day)
    changed = [Shift(hours[8], hours[9], "milan-head")]
    await h.duty.plan(admin, "milan", from_at=hours[8], to_at=hours[10], shifts=changed)
    await h.duty.take_over(actor("officer1"), "office", note="nothing open")
    await h.quiet()


async def _flood(h: House) -> None:
    """A red warning with everything that providers and people can do, cancelled in the end."""
    answers = h.notifiers[SMS].answers
    answers["milan-zh"] = [{"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY}]
    answers["madrid-es"] = [{"outcome": Outcome.ACCEPTED, "provider": "sms", "segments": 2, "cost": 90_000}]
    answers["milan-head"] = [{"outcome": Outcome.ACCEPTED, "provider": "backup", "segments": 1, "cost": 45_000}]
    answers["milan-both"] = [{"outcome": Outcome.UNKNOWN, "reason": Reason.TIMEOUT}]
    answers["county1"] = [{"outcome": Outcome.REFUSED, "reason": Reason.BLOCKED}]
    flood = await h.told(Level.RED)
    for who, outcome in (("milan-head", Outcome.DELIVERED), ("milan-both", Outcome.DELIVERED)):
        shard_id, index = h.place(flood, who, SMS)
        await h.runtime.receipts.record(shard_id, Row(index, outcome, 1))
    shard_id, index = h.place(flood, "madrid-head", EMAIL)
    await h.runtime.receipts.record(shard_id, Row(index, Outcome.REFUSED, 1, Reason.UNDELIVERED))
    await h.pass_time(seconds=3)
    await h.desk.reply(phone=phone_of("milan-zh"), text="救命", provider_ref="m1")
    await h.desk.reply(phone=phone_of("milan-both"), text="1", provider_ref="m2")
    await h.desk.reply(phone=phone_of("madrid-es"), text="¿quién es?", provider_ref="m3")
    for n, who in enumerate(("milan-both", "officer1", "county1", "officer1")):
        await h.desk.reply(phone=phone_of(who), text=f"啊 {n}", provider_ref=f"u{n}")
    await h.quiet()
    await h.desk.open_answer(actor("officer2"), flood, "officer1")
    await h.desk.settle_answer(actor("officer2"), flood, "officer1", meaning=Answer.SAFE)
    await h.desk.reply(phone=phone_of("milan-zh"), text="救命啊", provider_ref="m4")
    await h.desk.answer(warning_id=flood, person_id="milan-head", answer=Answer.SAFE, channel="link")
    await h.desk.assess(actor("milan-head"), flood, "milan", harm="high", text="water in the cellars")
    await h.quiet()
    case_id = h.view(lambda v, db: v.cases.page(db, before=None, limit=1))[0]["case_id"]
    await h.desk.task(actor("county1"), case_id, node_id="milan", instruction="visit")
    done = {"kind": ActionKind.COMFORTED, "place": Place(country="IT"), "text": "at home"}
    await h.desk.record_action(actor("milan-head"), case_id, node_id="milan", **done)
    await h.desk.close_case(actor("county1"), case_id, result="safe")
    await h.desk.cancel(actor("officer1"), flood, reason="over")
    await h.quiet()
    await h.desk.answer(warning_id=flood, person_id="milan-push", answer=Answer.SAFE, channel="link")


async def _fire(h: House) -> None:
    """An orange warning that half of the stations sleep through, updated and then left to expire."""
    fire = await h.told(Level.ORANGE, event="Fire")
    await h.desk.acknowledge(actor("milan-head"), fire, "milan")
    await h.pass_time(minutes=16)
    await h.pass_time(hours=1)
    await h.desk.answer(warning_id=fire, person_id="madrid-head", answer=Answer.HELP, channel="link", words="2")
    worse = await h.desk.draft(actor("officer1"), content(Level.YELLOW, event="Worse"), updates=fire)
    await h.quiet()
    await h.desk.revise(actor("officer2"), worse.id, content(Level.YELLOW, event="Far worse"))
    await h.quiet()
    await h.desk.release(actor("officer1"), worse.id, break_glass=True, reason="alone")
    await h.pass_time(hours=6)


async def _night(h: House) -> None:
    """A yellow warning that comes when it is night, and one that is withdrawn before the morning."""
    late = await h.told(Level.YELLOW, target="milan", event="Rain", expires_at=h.clock.now() + timedelta(hours=20))
    await h.desk.acknowledge(actor("milan-head"), late, "milan")
    await h.pass_time(minutes=1)
    soon = await h.told(Level.YELLOW, target="milan", event="Hail", expires_at=h.clock.now() + timedelta(hours=20))
    await h.desk.acknowledge(actor("milan-head"), soon, "milan")
    await h.quiet()
    await h.desk.cancel(actor("officer1"), soon, reason="it passed by")


async def _drill(h: House) -> None:
    """A drill that somebody asks for help in; a warning that is corrected, updated for fewer, and then cancelled."""
    drill = await h.desk.draft(
        actor("officer1"), content(Level.RED, event="Drill", drill=True, lasts=timedelta(days=1))
    )
    await h.quiet()
    await h.desk.release(actor("officer1"), drill.id, real_channels=True, reason="quarterly")
    await h.quiet()
    await h.desk.reply(phone=phone_of("milan-zh"), text="救命", provider_ref="m9")
    wrong = await h.told(Level.RED, event="Wrong", lasts=timedelta(days=1))
    for event, correction, node in (("Right", True, "office"), ("For fewer", False, "milan")):
        changed = content(Level.RED, event=event, target=node, lasts=timedelta(days=1))
        done = await h.desk.draft(actor("officer1"), changed, updates=wrong, correction=correction)
        await h.quiet()
        await h.desk.release(actor("officer2"), done.id)
        await h.quiet()
        wrong = done.id
    await h.desk.cancel(actor("officer1"), wrong, reason="over")
    await h.quiet()


async def _others(h: House) -> None:
    """What stays unfinished: a draft, a shard that waits for its retry."""
    h.notifiers[EMAIL].answers["madrid-head"] = [
        {"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY, "retry_after_s": 600.0}
    ]
    last = h.clock.now() + timedelta(hours=2)
    await h.told(Level.RED, target="madrid", event="Quake", expires_at=last)
    h.notifiers[SMS].answers["village-liaison"] = [{"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY}]
    storm = await h.told(Level.RED, target="village", event="Storm", expires_at=last)
    await h.desk.cancel(actor("officer1"), storm, reason="it passed by")
    once = Once(key="k1", fingerprint="f1")
    await h.desk.draft(actor("officer1"), content(Level.BLUE, event="Draft", expires_at=last), once=once)


async def _feeds(h: House) -> None:
    """Two feeds, one of them gone again, whose address the poller refuses to ask."""
    desk = h.stores.feeds
    for feed_id in ("advice", "gone"):
        feed = Feed(
            feed_id=feed_id, url="https://127.0.0.1/", form=Form.JSON, node_id="office", title="Advice", baseline=False
        )
        await desk.add(actor("officer1"), feed)
        await h.quiet()
        for said in (b'[{"id": "a", "title": "A"}, {"id": "b"}]', b'[{"id": "a", "title": "B"}]'):
            await desk.take(feed_id, forms.entries(feed, said, {}, h.clock.now()))
            await h.quiet()
    await desk.allow_release(actor("officer2"), "advice", [Level.RED, Level.ORANGE])
    await desk.remove(actor("officer2"), "gone")


async def _ladders(h: House) -> None:
    """Channels one after the other, dead contact points, tests of those not heard of."""
    pack = standard()
    levels = {level: msgspec.structs.replace(rule, one_by_one=True) for level, rule in pack.levels.items()}
    one_by_one = msgspec.structs.replace(pack, rule_pack_id="one-by-one", levels=levels)
    await h.registry.adopt_rules(one_by_one, actor("admin"))
    climbers = ("milan-both", "county1", "milan-zh", "milan-head")
    await h.registry.register_people([(_on_ladder(who), personal(who)) for who in climbers], actor("admin"))
    await h.quiet()
    refused = {"outcome": Outcome.REFUSED, "reason": Reason.BAD_ADDRESS}
    h.notifiers[SMS].answers.update({"milan-both": [refused], "county1": [refused]})
    h.notifiers[Channel.WEBPUSH].answers["milan-push"] = [{**refused, "reason": Reason.SUBSCRIPTION_GONE}]
    wave = await h.told(Level.RED, target="north", event="Wave", expires_at=h.clock.now() + timedelta(hours=1))
    shard_id, index = h.place(wave, "milan-zh", SMS)
    await h.runtime.receipts.record(shard_id, Row(index, Outcome.DELIVERED, 1))
    await h.pass_time(seconds=300)
    await h.registry.register_people([(_on_ladder("milan-both"), personal("milan-both"))], actor("admin"))
    for node_id in ("milan", "village"):
        await h.stores.reachability.order_test(actor("officer1"), node_id=node_id)
        await h.quiet()


def _on_ladder(who: str) -> Person:
    node, role, language, _ = PEOPLE[who]
    channels = (Channel.SMS, Channel.EMAIL, Channel.VOICE)
    return Person(person_id=who, node_id=node, role=role, language=language, channels=channels)
