"""Every act of the desk and the registry: who may, named by the grant; and the denied twin, who writes nothing."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from house import NOW, actor, content, personal, stores

from domain.cases import ActionKind, Place
from domain.errors import NotPermitted
from domain.grants import GrantRole
from domain.ids import relay_stream
from domain.people import Channel, Person, Role
from domain.ports import Append, Origin
from domain.relays import open_relay
from domain.rulepacks import Level, standard
from domain.stations import Kind, Node, Scope
from infra.clock import ManualClock

HALL = Node(
    node_id="turin",
    kind=Kind.STATION,
    parent="north",
    name_zh="都灵领事保护志愿服务站",
    name_en="Turin",
    country="IT",
    lat=45.0,
    lon=7.7,
    zone="Europe/Rome",
    scope=Scope.OVERSEAS,
)
NEW = Person(person_id="new", node_id="milan", role=Role.CITIZEN, language="zh", channels=(Channel.SMS,))


class Desk:
    """What the acts below are done to: a draft, a released warning with a relay in Milan, a case, a grant."""

    def __init__(self, s) -> None:
        self.s, self.desk, self.registry = s, s.desk, s.registry

    async def prepare(self) -> None:
        s = self.s
        self.draft = (await s.desk.draft(actor("officer1"), content(target="milan"))).id
        self.warning = (await s.desk.draft(actor("officer1"), content(target="milan", event="Fire"))).id
        await s.catch_up()
        await s.desk.release(actor("officer2"), self.warning)
        opened = open_relay(None, warning_id=self.warning, node_id="milan", at=NOW, rule=standard().levels[Level.RED])
        stream = relay_stream(self.warning, "milan")
        await s.log.append([Append(stream, 0, opened)], Origin(actor="system:planner", correlation_id="t"))
        self.case = (await s.desk.open_case(actor("milan-head"), node_id="milan", text="x")).id
        await s.desk.task(actor("county1"), self.case, node_id="milan", instruction="go")
        done = await s.registry.give_grant(actor("admin"), person_id="guest", role=GrantRole.LIAISON, node_id="village")
        self.grant = done.id
        await s.catch_up()


ACTS = {
    "draft": lambda d, a: d.desk.draft(a, content(target="milan")),
    "revise": lambda d, a: d.desk.revise(a, d.draft, content(target="milan", event="Quake")),
    "release": lambda d, a: d.desk.release(a, d.draft),
    "break_glass": lambda d, a: d.desk.release(a, d.draft, break_glass=True, reason="alone"),
    "cancel": lambda d, a: d.desk.cancel(a, d.warning, reason="mistake"),
    "acknowledge": lambda d, a: d.desk.acknowledge(a, d.warning, "milan"),
    "relay_on": lambda d, a: d.desk.relay_on(a, d.warning, "milan"),
    "assess": lambda d, a: d.desk.assess(a, d.warning, "milan", harm="low", text="x"),
    "open_case": lambda d, a: d.desk.open_case(a, node_id="milan", text="x"),
    "task": lambda d, a: d.desk.task(a, d.case, node_id="madrid", instruction="x"),
    "record_action": lambda d, a: d.desk.record_action(
        a, d.case, node_id="milan", kind=ActionKind.VERIFIED, place=Place(country="IT"), text="x"
    ),
    "close_case": lambda d, a: d.desk.close_case(a, d.case, result="x"),
    "register_nodes": lambda d, a: d.registry.register_nodes([HALL], a),
    "register_people": lambda d, a: d.registry.register_people([(NEW, personal("milan-zh"))], a),
    "forget_person": lambda d, a: d.registry.forget_person("milan-zh", a),
    "give_grant": lambda d, a: d.registry.give_grant(a, person_id="x", role=GrantRole.LIAISON, node_id="milan"),
    "revoke_grant": lambda d, a: d.registry.revoke_grant(a, d.grant, reason="left"),
}
OFFICER, STATION, COUNTY, ADMIN = "officer2", "milan-head", "county1", "admin"
ALLOWED = {
    "draft": OFFICER,
    "revise": OFFICER,
    "release": OFFICER,
    "break_glass": OFFICER,
    "cancel": OFFICER,
    "acknowledge": STATION,
    "relay_on": STATION,
    "assess": STATION,
    "open_case": STATION,
    "task": COUNTY,
    "record_action": STATION,
    "close_case": COUNTY,
    "register_nodes": ADMIN,
    "register_people": ADMIN,
    "forget_person": ADMIN,
    "give_grant": ADMIN,
    "revoke_grant": ADMIN,
}
EVERYBODY = ("officer2", "county1", "milan-head", "village-liaison", "auditor1", "admin", "milan-zh", "nobody")
MAY_TOO = {  # beside the one above: offices may do what the stations below them may
    **{act: {OFFICER, COUNTY} for act in ("acknowledge", "relay_on", "assess", "open_case", "record_action")},
    **{act: {OFFICER} for act in ("task", "close_case")},
}


@pytest.fixture
async def d(tmp_path):
    async with stores(tmp_path) as s:
        made = Desk(s)
        await made.prepare()
        yield made


async def test_who_may_not_is_denied_and_writes_nothing(d):
    before = d.s.log.last_position_now()
    for act, ask in ACTS.items():
        for who in sorted(set(EVERYBODY) - {ALLOWED[act], *MAY_TOO.get(act, ())}):
            with pytest.raises(NotPermitted) as denied:
                await ask(d, actor(who))
            assert (act, who, denied.value.code) == (act, who, "permission.denied")

    assert d.s.log.last_position_now() == before


@pytest.mark.parametrize("act", ACTS)
async def test_who_may_is_named_by_the_grant_on_every_event(d, act):
    before = d.s.log.last_position_now()
    await ACTS[act](d, actor(ALLOWED[act]))
    written = d.s.log.read_now(before, 99)
    with d.s.views.reading() as db:
        grants = {g.grant_id for g in d.s.views.directory.grants_of(db, ALLOWED[act])}

    assert {r.metadata.actor for r in written} == {ALLOWED[act]}
    assert {r.metadata.grant_id for r in written} <= grants


async def test_the_offices_above_may_too(d):
    for act, people in MAY_TOO.items():
        for who in sorted(people):
            assert (act, who, bool((await ACTS[act](d, actor(who))).id)) == (act, who, True)


async def test_even_what_is_done_already_is_denied_to_who_may_not(d):
    for act in ("acknowledge", "register_nodes", "register_people", "forget_person"):
        await ACTS[act](d, actor(ALLOWED[act]))
        await d.s.catch_up()
        with pytest.raises(NotPermitted):
            await ACTS[act](d, actor("village-liaison"))


async def test_a_grant_over_one_station_is_none_over_another(d):
    with pytest.raises(NotPermitted):
        await d.desk.open_case(actor("milan-head"), node_id="madrid", text="x")
    with pytest.raises(NotPermitted):
        await d.desk.open_case(actor("milan-head"), node_id="nowhere", text="x")
    assert (await d.desk.open_case(actor("milan-head"), node_id="milan", text="x")).id


async def test_a_target_beyond_the_grant_is_denied_as_a_whole(d):
    await d.registry.give_grant(actor("admin"), person_id="north-officer", role=GrantRole.DUTY_OFFICER, node_id="north")
    await d.s.catch_up()
    both = content(target="milan")

    assert (await d.desk.draft(actor("north-officer"), both)).id
    for nodes in (("milan", "village"), ("office",), ("south",)):
        with pytest.raises(NotPermitted):
            await d.desk.draft(
                actor("north-officer"),
                msgspec.structs.replace(both, target=msgspec.structs.replace(both.target, nodes=nodes)),
            )


async def test_a_revision_may_not_carry_a_warning_out_of_ones_reach(d):
    await d.registry.give_grant(actor("admin"), person_id="north-officer", role=GrantRole.DUTY_OFFICER, node_id="north")
    await d.s.catch_up()
    with pytest.raises(NotPermitted):
        await d.desk.revise(actor("north-officer"), d.draft, content(target="office"))


async def test_who_may_is_asked_of_the_warning_that_stands_and_not_of_one_that_the_views_still_show(d):
    await d.registry.give_grant(actor("admin"), person_id="north-officer", role=GrantRole.DUTY_OFFICER, node_id="north")
    await d.s.catch_up()
    acts = [ACTS[act] for act in ("revise", "release", "break_glass")]
    acts.append(lambda d, a: d.desk.cancel(a, d.draft, reason="mistake"))
    await d.desk.revise(actor("officer1"), d.draft, content(target="office"))
    before = d.s.log.last_position_now()
    for _ in range(2):
        for act in acts:
            with pytest.raises(NotPermitted):
                await act(d, actor("north-officer"))
        await d.s.catch_up()
    assert d.s.log.last_position_now() == before

    await d.desk.revise(actor("officer1"), d.draft, content(target="milan"))
    await d.s.catch_up()
    assert (await d.desk.release(actor("north-officer"), d.draft)).position > before


async def test_the_words_of_a_correction_are_revised_by_who_may_correct(d):
    await d.registry.give_grant(actor("admin"), person_id="north-officer", role=GrantRole.DUTY_OFFICER, node_id="north")
    first = (await d.desk.draft(actor("officer1"), content(event="Fire"))).id
    await d.s.catch_up()
    await d.desk.release(actor("officer2"), first)
    wrong = content(target="milan", event="Hoax")
    correction = (await d.desk.draft(actor("officer1"), wrong, updates=first, correction=True)).id
    await d.s.catch_up()

    other = content(target="milan", event="No fire")
    with pytest.raises(NotPermitted):
        await d.desk.revise(actor("north-officer"), correction, other)
    assert (await d.desk.revise(actor("officer2"), correction, other)).position


async def test_a_grant_ends_at_its_hour_and_when_it_is_revoked(tmp_path):
    clock = ManualClock(NOW)
    async with stores(tmp_path, clock) as s:
        for who, until in (("guest1", NOW + timedelta(hours=1)), ("guest2", None)):
            given = await s.registry.give_grant(
                actor("admin"), person_id=who, role=GrantRole.LIAISON, node_id="milan", valid_to=until
            )
        await s.catch_up()
        for who in ("guest1", "guest2"):
            assert (await s.desk.open_case(actor(who), node_id="milan", text="x")).id
        clock.move(timedelta(hours=1))
        with pytest.raises(NotPermitted):
            await s.desk.open_case(actor("guest1"), node_id="milan", text="x")
        await s.registry.revoke_grant(actor("admin"), given.id, reason="left")
        await s.catch_up()
        with pytest.raises(NotPermitted):
            await s.desk.open_case(actor("guest2"), node_id="milan", text="x")
        assert s.registry.may_anywhere("guest2") == frozenset()
