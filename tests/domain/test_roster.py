"""The duty roster: one person at a time, planned ahead, taken over on the spot; the past stays as it was."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from given import NOW, code_of, person
from hypothesis import given
from hypothesis import strategies as st

from domain import roster
from domain.errors import InvalidInput, Refused
from domain.events import Event, fold
from domain.people import Role
from domain.private import Private
from domain.roster import DutyHandedOver, DutyPlanned, Roster, Shift

HEAD, LIAISON, DEPUTY = (person(who, role=Role(who)) for who in ("head", "liaison", "deputy"))
STAFF = [HEAD, LIAISON, DEPUTY]


def at(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


def shift(who: str, begins: float, ends: float) -> Shift:
    return Shift(at(begins), at(ends), who)


def planned(*shifts: Shift, begins: float = 0, ends: float = 24, now: float = 0, before: Roster | None = None):
    return roster.plan(
        before, node_id="milan", from_at=at(begins), to_at=at(ends), shifts=shifts, staff=STAFF, at=at(now)
    )


def timeline(*events: Event) -> Roster | None:
    return fold(roster.evolve, events)


def holders(state: Roster | None, *hours: float) -> list[str | None]:
    turns = [roster.on_duty(state, at(hour)) for hour in hours]
    return [turn.person_id if turn is not None else None for turn in turns]


DAY = planned(shift("head", 0, 8), shift("liaison", 8, 16))


def test_a_plan_says_who_is_on_duty_from_the_beginning_of_a_shift_until_before_its_end():
    assert [
        DutyPlanned(node_id="milan", from_at=at(0), to_at=at(24), shifts=(shift("head", 0, 8), shift("liaison", 8, 16)))
    ] == DAY
    assert holders(timeline(*DAY), -0.001, 0, 7.999, 8, 15.999, 16, 30) == [
        None,
        "head",
        "head",
        "liaison",
        "liaison",
        None,
        None,
    ]
    assert roster.on_duty(None, at(0)) is None


def test_gaps_are_what_no_shift_covers():
    state = timeline(*planned(shift("liaison", 8, 16), shift("head", 2, 6), shift("deputy", 16, 20)))
    assert state is not None

    assert roster.gaps(state.turns, at(0), at(24)) == [(at(0), at(2)), (at(6), at(8)), (at(20), at(24))]
    assert roster.gaps(state.turns, at(9), at(19)) == []
    assert roster.gaps(state.turns, at(3), at(9)) == [(at(6), at(8))]
    assert roster.gaps([], at(0), at(1)) == [(at(0), at(1))]


def test_a_later_plan_takes_the_place_of_the_earlier_within_its_window_alone():
    later = planned(shift("deputy", 6, 10), begins=6, ends=12, before=timeline(*DAY))

    assert holders(timeline(*DAY, *later), 5, 6, 9, 10, 11, 12, 15) == [
        "head", "deputy", "deputy", None, None, "liaison", "liaison",
    ]  # fmt: skip


def test_the_past_is_not_planned_anew():
    late = planned(shift("deputy", 0, 24), now=4, before=timeline(*DAY))

    assert [(e.from_at, e.shifts) for e in late] == [(at(4), (shift("deputy", 4, 24),))]
    assert holders(timeline(*DAY, *late), 3.9, 4, 20) == ["head", "deputy", "deputy"]
    assert code_of(Refused, lambda: planned(shift("head", 0, 8), ends=8, now=8)) == "roster.past"


def test_the_same_plan_again_changes_nothing():
    assert planned(shift("head", 0, 8), shift("liaison", 8, 16), before=timeline(*DAY)) == []


@pytest.mark.parametrize(
    ("shifts", "code"),
    [
        ([shift("head", 0, 8), shift("liaison", 7, 12)], "roster.overlap"),
        ([shift("head", 0, 8), shift("head", 2, 3)], "roster.overlap"),
        ([shift("head", 4, 4)], "roster.shift"),
        ([shift("head", 5, 4)], "roster.shift"),
        ([shift("head", -1, 4)], "roster.shift"),
        ([shift("head", 20, 25)], "roster.shift"),
        ([shift("stranger", 0, 4)], "roster.not_staff"),
        ([shift("head", 0, 0.001)] * 1001, "roster.too_long"),
    ],
)
def test_shifts_that_make_no_roster_are_refused(shifts, code):
    assert code_of(InvalidInput, lambda: planned(*shifts)) == code


@pytest.mark.parametrize("window", [(0, 0), (5, 4), (0, 24 * 401)])
def test_a_window_that_is_none_is_refused(window):
    assert code_of(InvalidInput, lambda: planned(begins=window[0], ends=window[1])) == "roster.window"


@pytest.mark.parametrize(
    "who",
    [
        person("head", role=Role.CITIZEN),
        person("head", node_id="madrid", role=Role.HEAD),
        person("head", role=Role.HEAD, forgotten=True),
    ],
)
def test_only_staff_of_the_node_are_on_its_duty(who):
    def plan():
        return roster.plan(
            None, node_id="milan", from_at=at(0), to_at=at(8), shifts=[shift("head", 0, 8)], staff=[who], at=at(0)
        )

    assert code_of(InvalidInput, plan) == "roster.not_staff"
    assert code_of(Refused, lambda: roster.hand_over(None, node_id="milan", person=who, at=at(0))) == "roster.not_staff"
    assert (
        code_of(Refused, lambda: roster.hand_over(None, node_id="milan", person=None, at=at(0))) == "roster.not_staff"
    )


def taken(who, hour: float, before: Roster | None, until: datetime | None = None, **more) -> list[Event]:
    return roster.hand_over(before, node_id="milan", person=who, at=at(hour), until=until, **more)


def test_who_takes_over_is_on_duty_from_then_to_the_end_of_the_shift():
    note = Private("roster:milan", {"text": "two cases are open"})
    over = taken(DEPUTY, 3, timeline(*DAY), personal=note)

    assert over == [
        DutyHandedOver(node_id="milan", from_person="head", to_person="deputy", at=at(3), until=at(8), personal=note)
    ]
    state = timeline(*DAY, *over)
    assert holders(state, 2.999, 3, 7.9, 8) == ["head", "deputy", "deputy", "liaison"]
    assert [turn.taken_over for turn in state.turns] == [False, True, False]
    assert taken(DEPUTY, 4, state) == []  # it is theirs already


def test_in_a_gap_somebody_takes_over_until_the_next_shift_or_for_a_day():
    assert [(e.from_person, e.until) for e in taken(DEPUTY, -3, timeline(*DAY))] == [(None, at(0))]
    assert [(e.from_person, e.until) for e in taken(DEPUTY, 17, timeline(*DAY))] == [(None, at(41))]
    assert [(e.from_person, e.until) for e in taken(DEPUTY, 0, None)] == [(None, at(24))]


def test_a_handover_with_an_end_goes_beyond_the_shift():
    state = timeline(*DAY, *taken(DEPUTY, 6, timeline(*DAY), until=at(12)))

    assert holders(state, 5, 6, 11.9, 12, 15) == ["head", "deputy", "deputy", "liaison", "liaison"]
    assert code_of(InvalidInput, lambda: taken(HEAD, 6, None, until=at(6))) == "roster.until"
    assert code_of(InvalidInput, lambda: taken(HEAD, 6, None, until=at(24 * 500))) == "roster.until"


acts = st.lists(
    st.one_of(
        st.tuples(
            st.just("plan"),
            st.integers(0, 12),
            st.integers(-10, 30),
            st.integers(1, 30),
            st.lists(
                st.tuples(st.sampled_from(["head", "liaison", "deputy"]), st.integers(0, 9), st.integers(1, 9)),
                max_size=4,
            ),
        ),
        st.tuples(
            st.just("take"), st.integers(0, 12), st.sampled_from(STAFF), st.one_of(st.none(), st.integers(1, 20))
        ),
    ),
    max_size=8,
)


@given(acts)
def test_one_person_at_a_time_and_the_past_never_changes(sequence):
    events: list[Event] = []
    now = 0
    for act in sequence:
        now += act[1]
        state = timeline(*events)
        before = holders(state, *(hour / 2 for hour in range(-40, 2 * now)))
        if act[0] == "plan":
            _, _, begins, lasts, parts = act
            shifts, hour = [], now + begins
            for who, pause, length in parts:
                if (start := hour + pause) + length <= now + begins + lasts:
                    shifts.append(shift(who, start, start + length))
                    hour = start + length
            if begins + lasts <= 0:
                continue
            made = planned(*shifts, begins=now + begins, ends=now + begins + lasts, now=now, before=state)
        else:
            made = taken(act[2], now, state, until=at(now + act[3]) if act[3] else None)
            assert roster.on_duty(timeline(*events, *made), at(now)).person_id == act[2].person_id
        events += made
        after = timeline(*events)
        assert holders(after, *(hour / 2 for hour in range(-40, 2 * now))) == before
        turns = after.turns if after is not None else ()
        assert all(turn.from_at < turn.to_at for turn in turns)
        assert all(one.to_at <= other.from_at for one, other in pairwise(turns))
        free = roster.gaps(turns, at(-20), at(60))
        for hour in range(-40, 120):
            moment = at(hour / 2)
            assert (roster.on_duty(after, moment) is None) == any(a <= moment < b for a, b in free)
