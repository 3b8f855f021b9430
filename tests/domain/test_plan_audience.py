"""Who is told of a warning, and in which shards: the same for the same people, however often it is planned."""

from __future__ import annotations

import pytest
from given import DRAFTED, EXPIRES, HIERARCHY, PACK, RELEASED, person, warning
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import planning
from domain.content import Target
from domain.people import Channel, Role
from domain.planning import Told, chased, people_told, staff_told
from domain.rulepacks import Lane, Level, LevelRule
from domain.shards import SHARD_SIZE, Circle, Purpose, ShardPlanned

SMS, EMAIL, VOICE = Channel.SMS, Channel.EMAIL, Channel.VOICE
AT_ONCE = LevelRule(lane=Lane.HIGH, two_person=True, direct=False)
ONE_BY_ONE = LevelRule(lane=Lane.HIGH, two_person=True, direct=False, one_by_one=True)
STATE = warning(DRAFTED, RELEASED)
ORANGE = PACK.levels[Level.ORANGE]
EVERY_ROLE = [person(role.value, role=role, channels=(SMS, EMAIL)) for role in Role]


def plan(told: list[Told], trigger: str = "e1", purpose: Purpose = Purpose.NOTICE) -> list[ShardPlanned]:
    return planning.plan(told, trigger_event_id=trigger, warning=STATE, rule=ORANGE, purpose=purpose)


def told(person_id: str, node_id: str = "milan", channel: Channel = SMS, language: str = "zh") -> Told:
    return Told(node_id, Circle.PEOPLE, channel, language, person_id)


@pytest.mark.parametrize(
    ("nodes", "countries", "expected"),
    [
        (("office",), (), ["office", "north", "madrid", "milan", "south", "village"]),
        (("north",), (), ["north", "madrid", "milan"]),
        (("milan",), (), ["milan"]),
        (("south", "milan"), (), ["south", "village", "milan"]),
        (("milan", "milan"), (), ["milan"]),
        (("office",), ("IT",), ["office", "north", "milan"]),
        (("office",), ("IT", "ES"), ["office", "north", "madrid", "milan"]),
        (("north",), ("CN",), []),
        (("milan",), ("IT",), ["milan"]),
        (("nowhere",), (), []),
    ],
)
def test_a_warning_concerns_the_nodes_below_its_targets_kept_to_the_countries_named(nodes, countries, expected):
    assert planning.concerned(Target(nodes=nodes, countries=countries), HIERARCHY) == expected


def test_staff_are_told_first_and_deputies_are_the_reserve():
    assert [t.person_id for t in staff_told(EVERY_ROLE, AT_ONCE) if t.channel is SMS] == [
        "duty_officer",
        "county_officer",
        "head",
        "liaison",
    ]
    assert [
        t.person_id for t in chased("deputy", AT_ONCE, own=EVERY_ROLE, above=[], on_duty=()) if t.channel is SMS
    ] == ["deputy"]


def test_the_people_are_citizens_and_enterprises_and_nobody_who_acts_for_a_node():
    assert [(t.person_id, t.circle) for t in people_told(EVERY_ROLE, AT_ONCE) if t.channel is SMS] == [
        ("citizen", Circle.PEOPLE),
        ("enterprise", Circle.PEOPLE),
    ]


def test_the_ladder_is_all_but_the_call_at_once_or_one_after_the_other():
    every = (VOICE, SMS, EMAIL)

    assert planning.rungs(every, AT_ONCE) == [(SMS, EMAIL), (VOICE,)]
    assert planning.rungs((VOICE,), AT_ONCE) == [(VOICE,)]
    assert planning.rungs(every, ONE_BY_ONE) == [(VOICE,), (SMS,), (EMAIL,)]
    assert planning.rungs((), ONE_BY_ONE) == []
    assert [t.channel for t in people_told([person("ann", channels=every)], ONE_BY_ONE)] == [VOICE]


def test_everybody_is_told_on_every_channel_of_theirs_in_their_language():
    ann = person("ann", "madrid", language="es", channels=(SMS, EMAIL))
    nobody = person("nobody", channels=())

    assert list(people_told([ann, nobody], AT_ONCE)) == [
        Told("madrid", Circle.PEOPLE, SMS, "es", "ann"),
        Told("madrid", Circle.PEOPLE, EMAIL, "es", "ann"),
    ]


def test_a_shard_says_all_that_its_sending_needs():
    (shard,) = plan([told("b"), told("a")], purpose=Purpose.CANCEL)

    assert shard == ShardPlanned(
        shard_id=shard.shard_id,
        warning_id="w1",
        node_id="milan",
        circle=Circle.PEOPLE,
        purpose=Purpose.CANCEL,
        channel=SMS,
        language="zh",
        lane=Lane.HIGH,
        recipients=("a", "b"),
        valid_until=EXPIRES,
    )


@pytest.mark.parametrize(
    ("people", "sizes"), [(0, []), (1, [1]), (500, [100, 400]), (601, [100, 500, 1]), (1250, [100, 500, 500, 150])]
)
def test_a_shard_has_500_people_at_the_most(people, sizes):
    shards = plan([told(f"{n:05}") for n in range(people)])

    assert [len(shard.recipients) for shard in shards] == sizes
    assert [r for shard in shards for r in shard.recipients] == [f"{n:05}" for n in range(people)]
    assert len({shard.shard_id for shard in shards}) == len(sizes)


def test_nodes_channels_and_languages_do_not_share_a_shard():
    shards = plan([told("a"), told("b", node_id="madrid"), told("c", channel=EMAIL), told("d", language="en")])

    assert sorted((s.node_id, s.channel, s.language, s.recipients) for s in shards) == [
        ("madrid", "sms", "zh", ("b",)),
        ("milan", "email", "zh", ("c",)),
        ("milan", "sms", "en", ("d",)),
        ("milan", "sms", "zh", ("a",)),
    ]


def test_nobody_is_in_a_plan_twice_over_one_channel():
    shards = plan([told("a"), told("a"), told("a", node_id="madrid"), told("a", channel=EMAIL)])

    assert sorted((r, s.channel) for s in shards for r in s.recipients) == [("a", "email"), ("a", "sms")]


def test_the_ids_of_shards_are_fixed_for_ever_by_trigger_and_place():
    (shard,) = plan([told("a")])
    (other,) = plan([told("a")], trigger="e2")

    assert shard.shard_id == "e902fbeb5aea51ca806b147967fe24e6"
    assert other.shard_id != shard.shard_id


audiences = st.lists(
    st.builds(
        told,
        st.sampled_from([f"p{n}" for n in range(12)]),
        st.sampled_from(["milan", "madrid"]),
        st.sampled_from([SMS, EMAIL]),
        st.sampled_from(["zh", "en"]),
    ),
    max_size=30,
)


@settings(max_examples=50, deadline=None)
@given(audiences, st.randoms(use_true_random=False))
def test_planning_again_in_any_order_gives_the_same_shards(audience, random):
    shuffled = audience.copy()
    random.shuffle(shuffled)

    assert plan(shuffled) == plan(audience)


@settings(max_examples=50, deadline=None)
@given(audiences)
def test_everybody_is_in_the_plan_once_for_each_channel(audience):
    shards = plan(audience)
    entries = [(r, s.channel) for s in shards for r in s.recipients]

    assert sorted(entries) == sorted({(t.person_id, t.channel) for t in audience})
    assert all(0 < len(s.recipients) <= SHARD_SIZE for s in shards)
    assert len({s.shard_id for s in shards}) == len(shards)


VOICE = Channel.VOICE
OWN = [
    person("head", role=Role.HEAD, channels=(SMS, VOICE)),
    person("deputy", role=Role.DEPUTY, channels=(VOICE,)),
    person("liaison", role=Role.LIAISON, channels=(SMS,)),
    person("citizen", channels=(SMS, VOICE)),
]
ABOVE = [
    person("chief", node_id="north", role=Role.COUNTY_OFFICER),
    person("officer", node_id="north", role=Role.COUNTY_OFFICER),
    person("mute", node_id="north", role=Role.COUNTY_OFFICER, channels=()),
    person("neighbour", node_id="north"),
]


@pytest.mark.parametrize(
    ("action", "on_duty", "spared", "expected"),
    [
        ("duty", ["liaison"], (), [("liaison", SMS)]),
        ("duty", [], (), []),
        ("duty", ["citizen"], (), []),
        ("duty", ["liaison"], ["liaison"], []),
        ("deputy", [], (), [("deputy", VOICE)]),
        ("head", [], (), [("head", SMS)]),
        ("liaisons", [], (), [("liaison", SMS)]),
        ("parent", [], (), [("chief", SMS), ("officer", SMS)]),
        ("parent", ["officer"], (), [("officer", SMS)]),
        ("parent", ["mute"], (), [("chief", SMS), ("officer", SMS)]),
        ("parent", ["neighbour"], (), [("chief", SMS), ("officer", SMS)]),
        ("voice", [], (), [("head", VOICE), ("deputy", VOICE)]),
        ("voice", [], ["head"], [("deputy", VOICE)]),
        ("direct", ["head"], (), []),
        ("pigeon", ["head"], (), []),  # of a log whose rules were never looked at
    ],
)
def test_who_is_told_because_a_node_is_silent(action, on_duty, spared, expected):
    told = chased(action, AT_ONCE, own=OWN, above=ABOVE, on_duty=on_duty, spared=spared)

    assert [(t.person_id, t.channel) for t in told] == expected
    assert {t.circle for t in told} <= {Circle.STAFF}
