"""Reachability: what marks a contact point as dead, what a plan leaves out, and whom a test goes to."""

from __future__ import annotations

import pytest
from given import EXPIRES, PACK, code_of, person
from hypothesis import given
from hypothesis import strategies as st

from domain import planning, reach
from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from domain.people import Channel
from domain.planning import Told
from domain.rulepacks import Lane, Level
from domain.shards import Circle, Purpose

SMS, EMAIL, VOICE = Channel.SMS, Channel.EMAIL, Channel.VOICE
RULE = PACK.levels[Level.RED]


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_a_refusal_of_the_address_itself_is_lasting(outcome, reason):
    lasting = {Reason.BAD_ADDRESS, Reason.SUBSCRIPTION_GONE, Reason.BLOCKED}
    assert reach.is_dead(outcome, reason) == (outcome is Outcome.REFUSED and reason in lasting)


def test_a_plan_goes_by_the_channels_that_are_left():
    people = [person("anna", channels=(SMS, EMAIL, VOICE)), person("bob", channels=(SMS,)), person("carla")]
    left = list(planning.without(people, {("anna", SMS), ("anna", EMAIL), ("bob", SMS), ("carla", EMAIL)}))

    assert [p.channels for p in left] == [(VOICE,), (), (SMS,)]
    assert [(t.person_id, t.channel) for t in planning.people_told(left, RULE)] == [("anna", VOICE), ("carla", SMS)]


def test_those_with_a_further_rung_are_in_shards_of_their_own():
    people = [person("anna", channels=(SMS, VOICE)), person("bob", channels=(SMS,))]
    told = list(planning.people_told(people, RULE))
    by = {"purpose": Purpose.NOTICE, "lane": RULE.lane, "valid_until": EXPIRES, "receipt_limit_s": 9}
    shards = list(planning.shards_of(planning.in_order(told), cause="c", warning_id="w1", **by))

    assert [(s.recipients, s.channel, s.rung, s.receipt_limit_s) for s in shards] == [
        (("bob",), SMS, 0, 0),
        (("anna",), SMS, 0, 9),
    ]
    assert len({s.shard_id for s in shards}) == 2


def order(told, state=None, **more):
    fields = {"test_id": "t1", "node_id": "milan", "channel": None, "untested_days": 90, "valid_until": EXPIRES}
    return reach.order(state, told, **{**fields, **more})


def told(*people: str, channel: Channel = SMS) -> list[Told]:
    return [Told("milan", Circle.PEOPLE, channel, "zh", each) for each in people]


def test_a_test_is_in_the_lane_of_drills_and_about_no_warning():
    (event,), (shard,) = order(told("anna", "bob"))

    assert (event.points, event.left, event.scheduled) == (2, 0, False)
    assert (shard.warning_id, shard.purpose, shard.lane) == ("t1", Purpose.TEST, Lane.DRILL)
    assert (shard.recipients, shard.receipt_limit_s) == (("anna", "bob"), 0)


def test_the_same_test_again_is_nothing_and_a_test_of_nobody_only_the_schedules_turn():
    (event,), _ = order(told("anna"))
    assert order(told("bob"), reach.evolve(None, event)) == ([], [])
    assert order([]) == ([], [])
    assert [e.points for e in order([], scheduled=True)[0]] == [0]


def test_untested_for_less_than_a_day_is_refused():
    assert code_of(InvalidInput, lambda: order(told("anna"), untested_days=0)) == "reach.days"


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=2), unique=True, max_size=40), st.integers(1, 30))
def test_an_order_has_at_most_so_many_points_and_says_what_is_left(people, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "MOST_POINTS", most)
        events, shards = order(told(*people), scheduled=True)
    chosen = [who for shard in shards for who in shard.recipients]

    assert (events[0].points, events[0].left) == (len(chosen), len(people) - len(chosen))
    assert chosen == sorted(people)[:most]
