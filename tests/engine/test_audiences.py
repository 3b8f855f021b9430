"""A warning with an audience reaches those who match as of its release, once each, by the stations of their own."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from house import EMAIL, MILAN, NOW, SMS, STAFF, WEBPUSH, House, actor, house, stores

from api import audience
from api.audience import Asked, Counts, count
from domain import planning
from domain.audience import AllOf, AnyOf, Audience, Circle, Country, Enterprise, HasRole, Itinerary, NotIn, Subtree, Tag
from domain.content import Target
from domain.errors import NotPermitted, Refused, Unreachable
from domain.people import Role
from domain.planning import PlanMade
from domain.relays import RelayOpened
from domain.rulepacks import Level
from domain.shards import ShardPlanned
from domain.whereabouts import Stay
from infra.engine import planner, portions

ADMIN = actor("admin")
TOKYO = (35.68, 139.77)
ABOVE = {("officer1", SMS), ("officer2", EMAIL)}
NORTH = ABOVE | {("county1", SMS), ("county1", EMAIL)}


def at(expression: Audience, *nodes: str) -> Target:
    return Target(nodes=nodes or ("office",), audience=expression)


TODAY = NOW.date()


def stay(country: str = "JP", first: date = TODAY, days: int = 9, **more: Any) -> Stay:
    zone = {"JP": "Asia/Tokyo", "US": "America/New_York"}.get(country, "Europe/Rome")
    return Stay(country=country, zone=zone, from_=first, to=first + timedelta(days=days), **more)


async def travels(h: House, who: str, where: Stay, stay_id: str = "s1") -> int:
    done = await h.registry.record_stay(ADMIN, who, where, stay_id=stay_id)
    await h.stores.follower.reached(done.position)
    return done.position


async def sent(h: House, expression: Audience, level: Level = Level.RED, *nodes: str) -> list[tuple[str, Any]]:
    h.forget_sent()
    warning_id = await h.told(level, target=at(expression, *nodes))
    assert h.planned(warning_id) == h.sent()
    return h.sent()


async def test_the_people_who_match_are_told_and_the_staff_of_their_stations_and_offices(tmp_path):
    async with house(tmp_path) as h:
        assert await sent(h, HasRole(Role.ENTERPRISE)) == sorted(NORTH | {("milan-head", SMS), ("milan-push", WEBPUSH)})
        assert {e.node_id for e in h.events(RelayOpened)} == {"office", "north", "milan"}


async def test_a_warning_that_nobody_matches_opens_nothing_and_tells_nobody(tmp_path):
    async with house(tmp_path) as h:
        assert await sent(h, Tag("none")) == []
        assert h.events(RelayOpened) == []
        assert [(e.recipients, e.shards) for e in h.events(PlanMade)] == [(0, 0)]


async def test_an_audience_stays_within_the_target(tmp_path):
    async with house(tmp_path) as h:
        assert await sent(h, HasRole(Role.CITIZEN), Level.RED, "milan") == sorted(
            MILAN - {("milan-push", WEBPUSH)} | {("milan-head", SMS)}
        )


async def test_who_matches_twice_is_told_once_a_channel(tmp_path):
    async with house(tmp_path) as h:
        twice = AnyOf((Subtree("milan"), Country("IT"), NotIn(Tag("x"))))
        told = await sent(h, twice)

        assert len(told) == len(set(told))
        assert told.count(("milan-both", SMS)) == told.count(("milan-both", EMAIL)) == 1


async def test_tags_and_enterprises_are_those_of_the_moment(tmp_path):
    async with house(tmp_path) as h:
        for tags, enterprise in ((("harbour",), "e-1"), (("harbour", "x"), "e-2")):
            done = await h.registry.tag(ADMIN, "milan-zh", tags=tags, enterprise=enterprise)
            await h.stores.follower.reached(done.position)

        assert ("milan-zh", SMS) in await sent(h, AllOf((Tag("harbour"), Enterprise("e-2"))))
        assert await sent(h, Enterprise("e-1")) == []


async def test_travellers_are_told_where_they_are_by_the_station_of_their_own(tmp_path):
    async with house(tmp_path) as h:
        await travels(h, "milan-zh", stay(lat=TOKYO[0], lon=TOKYO[1]))
        await travels(h, "milan-it", stay("JP", NOW.date() + timedelta(days=30)))
        whoever = sorted(NORTH | {("milan-head", SMS), ("milan-zh", SMS)})

        assert await sent(h, Country("JP")) == whoever
        assert await sent(h, Circle(*TOKYO, 50)) == whoever
        assert ("milan-zh", SMS) not in await sent(h, Country("IT"))
        assert ("milan-zh", SMS) in await sent(h, Subtree("milan"))
        later = Itinerary(NOW.date() + timedelta(days=31), NOW.date() + timedelta(days=31), ("JP",))
        assert await sent(h, later) == sorted(NORTH | {("milan-head", SMS), ("milan-it", EMAIL)})


async def test_a_stay_that_was_withdrawn_or_replaced_counts_no_more(tmp_path):
    async with house(tmp_path) as h:
        await travels(h, "milan-zh", stay())
        await travels(h, "milan-it", stay())
        await travels(h, "milan-it", stay("US"))
        done = await h.registry.withdraw_stay(ADMIN, "milan-zh", "s1")
        await h.stores.follower.reached(done.position)

        assert await sent(h, Country("JP")) == []
        assert ("milan-it", EMAIL) in await sent(h, Country("US"))


async def test_of_one_who_was_forgotten_nothing_is_known_any_more(tmp_path):
    async with house(tmp_path) as h:
        await travels(h, "milan-zh", stay())
        await h.registry.forget_person("milan-zh", ADMIN)
        await h.quiet()

        assert await sent(h, Country("JP")) == []
        with h.stores.views.reading() as db:
            assert h.stores.views.whereabouts.of(db, ["milan-zh"]) == {}
            assert h.stores.views.whereabouts.of(db, ["milan-zh"], 10**6) == {}
        with pytest.raises(Refused) as refused:
            await h.registry.record_stay(ADMIN, "milan-zh", stay())
        assert refused.value.code == "person.forgotten"


async def test_whoever_relays_tells_those_who_matched_at_the_release(tmp_path):
    async with house(tmp_path) as h:
        await travels(h, "milan-zh", stay(days=0))  # until midnight in Tokyo, in seven hours
        warning_id = await h.told(Level.ORANGE, target=at(Country("JP")), lasts=timedelta(hours=20))
        h.forget_sent()
        await h.pass_time(hours=9)
        h.forget_sent()
        await h.desk.acknowledge(actor("milan-head"), warning_id, "milan")
        await h.quiet()

        assert ("milan-zh", SMS) in h.planned(warning_id)
        assert not {("milan-it", EMAIL), ("milan-both", SMS)} & set(h.planned(warning_id))


async def test_the_plan_is_that_of_the_releases_position_whatever_comes_after(tmp_path):
    async with stores(tmp_path) as s:
        registry = s.registry
        await registry.record_stay(ADMIN, "milan-zh", stay(), stay_id="s1")
        await registry.record_stay(ADMIN, "milan-it", stay(), stay_id="s1")
        drafted = await s.desk.draft(actor("officer1"), _content(at(Country("JP"))))
        await s.catch_up()
        await s.desk.release(actor("officer2"), drafted.id)
        await registry.withdraw_stay(ADMIN, "milan-zh", "s1")
        await registry.record_stay(ADMIN, "milan-it", stay("US"), stay_id="s1")
        await registry.record_stay(ADMIN, "milan-push", stay(), stay_id="s1")
        await registry.tag(ADMIN, "milan-zh", tags=("x",), enterprise="")
        await s.catch_up()
        with s.views.reading() as db:
            (trigger,) = s.views.plans.pending(db)
        one = portions.Portions(s.views, s.vault)
        first = list(one.of(trigger))
        s.clock.move(timedelta(days=30))  # type: ignore[attr-defined]

        assert list(one.of(trigger)) == first
        shards = [e for portion in first for append in portion for e in append.events if isinstance(e, ShardPlanned)]
        people = {who for shard in shards for who in shard.recipients}
        assert people == {"officer1", "officer2", "county1", "milan-head", "milan-zh", "milan-it"}
    async with house(tmp_path) as h:
        await h.quiet()
        assert h.planned(drafted.id) == sorted(NORTH | {("milan-head", SMS), ("milan-zh", SMS), ("milan-it", EMAIL)})


def _content(target: Target) -> Any:
    from house import content

    return content(Level.RED, target=target)


async def test_nobody_is_lost_where_one_is_forgotten_between_a_plan_and_its_repeat(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "FIRST_SIZE", 1)
    monkeypatch.setattr(planning, "SHARD_SIZE", 1)
    monkeypatch.setattr(portions, "PORTION", 1)
    async with stores(tmp_path) as s:
        for who in ("milan-both", "milan-zh"):
            await s.registry.record_stay(ADMIN, who, stay(), stay_id="s1")
        drafted = await s.desk.draft(actor("officer1"), _content(at(Country("JP"))))
        await s.catch_up()
        await s.desk.release(actor("officer2"), drafted.id)
        await s.catch_up()
        with s.views.reading() as db:
            (trigger,) = s.views.plans.pending(db)
        one = planner.Planner(s.log, s.views, s.follower, s.clock, s.vault)
        whole = s.log.append

        async def cut(appends, origin):
            if any("milan-zh" in getattr(event, "recipients", ()) for append in appends for event in append.events):
                raise Unreachable("log.write_failed", "cut off")
            return await whole(appends, origin)

        monkeypatch.setattr(s.log, "append", cut)
        with pytest.raises(Unreachable):
            await one.plan(trigger)
        monkeypatch.setattr(s.log, "append", whole)
        await s.registry.forget_person("milan-both", ADMIN)
    async with house(tmp_path) as h:
        await h.quiet()
        assert ("milan-zh", SMS) in h.planned(drafted.id)
        assert h.sent() == sorted(NORTH | {("milan-head", SMS), ("milan-zh", SMS)})


async def test_without_an_audience_everything_is_as_it_was(tmp_path):
    async with house(tmp_path) as h:
        await travels(h, "milan-zh", stay())
        await h.told(Level.RED, target=Target(nodes=("office",), countries=("IT",)))

        assert h.sent() == sorted(NORTH | MILAN | {("milan-head", SMS)})


async def test_a_count_says_who_would_be_told(tmp_path):
    async with house(tmp_path) as h:
        await travels(h, "milan-zh", stay())
        views, vault = h.stores.views, h.stores.vault
        everybody = count(views, vault, Target(nodes=("office",)), NOW)
        found = count(views, vault, at(AnyOf((Country("JP"), HasRole(Role.ENTERPRISE), Subtree("village")))), NOW)

        assert (everybody.people, everybody.unreachable, everybody.by_country["IT"]) == (7, 1, 5)
        assert everybody.staff == len({who for who, _ in STAFF})
        assert found == Counts(
            as_of=views.position,
            people=3,
            staff=5,
            nodes=["office", "north", "milan", "south", "village"],
            by_node={"milan": 2, "village": 1},
            by_channel={"sms": 2, "webpush": 1},
            by_language={"en": 1, "zh": 2},
            by_country={"CN": 1, "IT": 1, "JP": 1},
            unreachable=0,
        )
        before = h.recorded()
        await h.told(Level.RED, target=at(AnyOf((Country("JP"), HasRole(Role.ENTERPRISE), Subtree("village")))))
        assert len({who for who, _ in h.sent()}) == found.people + found.staff
        assert h.recorded()[: len(before)] == before


async def test_stays_and_tags_are_written_by_administrators_of_the_node_alone(tmp_path):
    async with house(tmp_path) as h:
        for who in ("officer1", "county1", "milan-head", "milan-zh", "auditor1"):
            for act in (
                h.registry.record_stay(actor(who), "milan-zh", stay()),
                h.registry.withdraw_stay(actor(who), "milan-zh", "s1"),
                h.registry.tag(actor(who), "milan-zh", tags=("x",), enterprise=""),
                h.registry.stays_of(actor(who), "milan-zh"),
                h.registry.stays_of(actor(who), "nobody"),  # nor may they ask who is here
            ):
                with pytest.raises(NotPermitted):
                    await act
        await travels(h, "milan-zh", stay())
        assert await h.registry.stays_of(ADMIN, "milan-zh") == ["s1"]


async def test_no_whereabouts_are_in_the_log_or_the_views_in_clear(tmp_path):
    async with house(tmp_path) as h:
        await travels(h, "milan-zh", stay("JP", place="Shinjuku", lat=35.6896, lon=139.6921))
        await h.quiet()
    for file in tmp_path.glob("*.sqlite*"):
        held = file.read_bytes()
        assert [word for word in (b"Shinjuku", b"35.6896", b"Asia/Tokyo", b'"JP"') if word in held] == [], file


@pytest.mark.parametrize("page", [1, 2, 3, 5, 1000])
async def test_pages_hold_everybody_once_by_node_whatever_their_size(tmp_path, monkeypatch, page):
    monkeypatch.setattr(audience, "PAGE", page)
    async with stores(tmp_path) as s:
        asked = Asked(s.views, s.vault, s.views.position, NOW)
        nodes = list(asked.hierarchy.nodes)
        pages = list(asked.pages(nodes))
        with s.views.reading() as db:
            everybody = s.views.directory.audience_page(db, nodes, s.views.position)
        assert [person for some in pages for person in some] == everybody
        assert {len(some) for some in pages} <= set(range(1, page + 1))
        acting = [person for some in asked.pages(nodes, planning.STAFF) for person in some]
        assert acting == [person for person in everybody if person.role in planning.STAFF]
