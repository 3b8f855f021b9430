"""The climb: nobody climbs after a receipt or an answer, nobody twice to a rung, in whatever order receipts come."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from given import CANCELLED, DRAFTED, EXPIRED, EXPIRES, NOW, PACK, RELEASED, UPDATED, warning
from hypothesis import given
from hypothesis import strategies as st

from domain import ladder
from domain.events import fold
from domain.ladder import Climb, LadderStepped, Why
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.rulepacks import Lane, Level
from domain.shards import Circle, Purpose, ShardPlanned

SMS, EMAIL, VOICE, PUSH = Channel.SMS, Channel.EMAIL, Channel.VOICE, Channel.WEBPUSH
AT_ONCE = PACK.levels[Level.RED]
ONE_BY_ONE = msgspec.structs.replace(AT_ONCE, one_by_one=True)
OUT = warning(DRAFTED, RELEASED)
LIMIT = 300
SOON = NOW + timedelta(seconds=1)


def shard(shard_id: str, channel: Channel = SMS, **changes) -> ShardPlanned:
    fields = {
        "warning_id": "w1",
        "node_id": "milan",
        "circle": Circle.PEOPLE,
        "purpose": Purpose.NOTICE,
        "language": "zh",
        "lane": Lane.EXTREME,
        "recipients": ("anna",),
        "valid_until": EXPIRES,
        "receipt_limit_s": LIMIT,
    }
    return ShardPlanned(shard_id=shard_id, channel=channel, **{**fields, **changes})


def climb(**channels: Channel) -> Climb:
    """Somebody who was told by these shards of one plan."""
    state = None
    for shard_id, channel in channels.items():
        state = ladder.told(state, shard(shard_id, channel), 0, "release")
    assert state is not None
    return state


def row(outcome: Outcome, *, again: bool = False, attempt: int = 1) -> Row:
    return Row(0, outcome, attempt, Reason.NONE, "", NOW + timedelta(minutes=1) if again else None)


def after(state: Climb, *happened: tuple[str, str, Row]) -> Climb:
    """What the ledger ("row") and the provider ("receipt") said, each of a shard."""
    for kind, shard_id, said in happened:
        state = (ladder.recorded if kind == "row" else ladder.receipt)(state, shard_id, said, NOW)
    return state


ACCEPTED, REFUSED = row(Outcome.ACCEPTED), row(Outcome.REFUSED)
IN_TIME = NOW + timedelta(seconds=LIMIT)


# When the next rung is due --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("happened", "due"),
    [
        ([], None),
        ([("row", "s", ACCEPTED)], (IN_TIME, Why.NO_RECEIPT)),
        ([("row", "s", REFUSED)], (NOW, Why.REFUSED)),
        ([("row", "s", row(Outcome.EXPIRED))], (NOW, Why.EXPIRED)),
        ([("row", "s", row(Outcome.DEFERRED, again=True))], (IN_TIME, Why.NO_RECEIPT)),
        ([("row", "s", row(Outcome.DEFERRED))], (NOW, Why.REFUSED)),
        ([("row", "s", row(Outcome.UNKNOWN, again=True))], (IN_TIME, Why.NO_RECEIPT)),
        ([("row", "s", row(Outcome.UNKNOWN))], (IN_TIME, Why.NO_RECEIPT)),
        ([("row", "s", ACCEPTED), ("receipt", "s", row(Outcome.DELIVERED))], None),
        ([("row", "s", row(Outcome.DELIVERED))], None),
        ([("row", "s", ACCEPTED), ("receipt", "s", REFUSED)], (NOW, Why.REFUSED)),
        ([("receipt", "s", REFUSED), ("row", "s", ACCEPTED)], (NOW, Why.REFUSED)),
        ([("row", "s", ACCEPTED), ("receipt", "s", row(Outcome.EXPIRED))], (NOW, Why.EXPIRED)),
        ([("row", "s", ACCEPTED), ("receipt", "s", ACCEPTED)], (IN_TIME, Why.NO_RECEIPT)),
    ],
)
def test_one_message(happened, due):
    assert ladder.due(after(climb(s=SMS), *happened)) == due


@pytest.mark.parametrize(
    ("happened", "due"),
    [
        ([("row", "s", REFUSED)], None),  # the email was not tried yet
        ([("row", "s", REFUSED), ("row", "e", ACCEPTED)], (IN_TIME, Why.NO_RECEIPT)),
        ([("row", "s", REFUSED), ("row", "e", REFUSED)], (NOW, Why.REFUSED)),
        ([("row", "s", REFUSED), ("row", "e", row(Outcome.EXPIRED))], (NOW, Why.REFUSED)),
        ([("row", "s", ACCEPTED)], (IN_TIME, Why.NO_RECEIPT)),
        ([("row", "s", ACCEPTED), ("row", "e", ACCEPTED), ("receipt", "e", row(Outcome.DELIVERED))], None),
    ],
)
def test_several_messages_at_once(happened, due):
    assert ladder.due(after(climb(s=SMS, e=EMAIL), *happened)) == due


def test_who_is_let_sleep_is_not_called_instead():
    night = Row(0, Outcome.DEFERRED, 1, Reason.QUIET_HOURS, "", SOON)
    state = ladder.recorded(climb(s=SMS), "s", night, NOW)
    assert ladder.due(state) is None
    assert ladder.due(ladder.recorded(state, "s", row(Outcome.ACCEPTED, attempt=2), SOON)) is not None


def test_the_limit_runs_from_the_last_acceptance():
    state = ladder.recorded(climb(s=SMS), "s", row(Outcome.DEFERRED, again=True), NOW)
    state = ladder.recorded(state, "s", row(Outcome.ACCEPTED, attempt=2), SOON)

    assert ladder.due(state) == (SOON + timedelta(seconds=LIMIT), Why.NO_RECEIPT)


def test_nothing_is_due_after_the_validity():
    late = EXPIRES - timedelta(seconds=LIMIT)
    assert ladder.due(ladder.recorded(climb(s=SMS), "s", ACCEPTED, late)) is None
    assert ladder.due(ladder.recorded(climb(s=SMS), "s", ACCEPTED, late - timedelta(seconds=1))) is not None


def test_a_step_begins_the_next_rung_and_remembers_the_channels():
    state = ladder.stepped(after(climb(s=SMS), ("row", "s", REFUSED)), 1)
    assert ladder.due(state) is None
    state = ladder.told(state, shard("e", EMAIL, rung=1), 7, "step")

    assert (state.rung, state.shard_id, state.index, state.tried) == (1, "e", 7, (SMS, EMAIL))
    assert ladder.due(after(state, ("row", "e", ACCEPTED))) == (IN_TIME, Why.NO_RECEIPT)
    assert ladder.due(after(state, ("row", "e", ACCEPTED), ("receipt", "s", row(Outcome.DELIVERED)))) is None


def test_another_plan_of_the_same_purpose_is_no_second_climb():
    state = after(climb(s=SMS), ("row", "s", ACCEPTED))
    again = ladder.told(state, shard("t", EMAIL), 3, "another release")

    assert (again.shard_id, again.index, list(again.sent)) == ("s", 0, ["s"])
    assert ladder.due(after(again, ("row", "t", REFUSED))) == (IN_TIME, Why.NO_RECEIPT)


HAPPENED = st.lists(
    st.tuples(
        st.sampled_from(["row", "receipt"]),
        st.sampled_from(["s", "e"]),
        st.builds(row, st.sampled_from(Outcome), again=st.booleans()),
    ),
    max_size=8,
)


@given(HAPPENED, HAPPENED, st.booleans())
def test_nobody_climbs_after_a_receipt_or_an_answer(before, then, answered):
    state = after(climb(s=SMS, e=EMAIL), *before)
    state = ladder.ended(state) if answered else after(state, ("receipt", "s", row(Outcome.DELIVERED)))

    assert ladder.due(after(state, *then)) is None


@given(HAPPENED, st.randoms(use_true_random=False))
def test_the_order_of_receipts_makes_no_difference(happened, random):
    """The ledger's own rows come in their order; receipts come whenever they come."""
    rows = [h for h in happened if h[0] == "row"]
    receipts = [h for h in happened if h[0] == "receipt"]
    mixed = [*rows]
    for each in random.sample(receipts, len(receipts)):
        mixed.insert(random.randint(0, len(mixed)), each)

    def what(states):
        state = after(climb(s=SMS, e=EMAIL), *states)
        return (True, None) if state.ended else (False, ladder.due(state))

    assert what(mixed) == what([*rows, *receipts])


# The decision ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "channels", "tried", "next_"),
    [
        (ONE_BY_ONE, (SMS, EMAIL, VOICE), (SMS,), (EMAIL,)),
        (ONE_BY_ONE, (SMS, EMAIL, VOICE), (SMS, EMAIL), (VOICE,)),
        (ONE_BY_ONE, (SMS, EMAIL), (SMS, EMAIL), ()),
        (ONE_BY_ONE, (), (SMS,), ()),
        (AT_ONCE, (SMS, VOICE, EMAIL), (SMS, EMAIL), (VOICE,)),
        (AT_ONCE, (SMS, EMAIL), (SMS, EMAIL), ()),
        (AT_ONCE, (SMS, EMAIL, PUSH, VOICE), (SMS, EMAIL), (PUSH,)),  # a channel that was added since
        (AT_ONCE, (VOICE,), (SMS,), (VOICE,)),
    ],
)
def test_the_next_rung_is_the_first_with_a_channel_that_was_not_tried(rule, channels, tried, next_):
    assert ladder.next_rung(channels, rule, tried) == next_


def step(state=None, climbing=None, *, of=OUT, purpose=Purpose.NOTICE, now=NOW):
    return ladder.step(
        state,
        warning=of,
        shard_id="s",
        purpose=purpose,
        rung=1,
        why=Why.NO_RECEIPT,
        climbing={0: (EMAIL,)} if climbing is None else climbing,
        now=now,
    )


def test_a_step_says_who_is_told_by_what_and_who_has_nothing_left():
    (event,) = step(climbing={3: (VOICE, EMAIL), 1: (EMAIL,), 2: ()})

    assert event == LadderStepped(
        warning_id="w1",
        shard_id="s",
        rung=1,
        why=Why.NO_RECEIPT,
        to={EMAIL: (1, 3), VOICE: (3,)},
        nowhere=(2,),
    )


@pytest.mark.parametrize("end", [CANCELLED, UPDATED, EXPIRED])
def test_nobody_climbs_for_a_warning_that_has_ended(end):
    assert step(of=warning(DRAFTED, RELEASED, end)) == []


def test_nobody_climbs_for_a_draft_or_after_the_validity():
    assert step(of=warning(DRAFTED)) == []
    assert step(now=EXPIRES) == []
    assert len(step(now=EXPIRES - timedelta(seconds=1))) == 1


@pytest.mark.parametrize("purpose", list(Purpose))
def test_only_what_tells_of_a_warning_is_climbed_for(purpose):
    assert bool(step(purpose=purpose)) == (purpose in (Purpose.NOTICE, Purpose.ESCALATION))


INDICES = st.dictionaries(st.integers(0, 20), st.sampled_from([(), (EMAIL,), (EMAIL, VOICE)]), max_size=10)


@given(st.lists(INDICES, max_size=6))
def test_nobody_is_taken_to_a_rung_twice(waves):
    events = []
    for climbing in waves:
        events += step(fold(ladder.evolve, events), climbing)
    taken = [index for event in events for index in ladder.everybody(event)]

    assert len(taken) == len(set(taken))
    assert set(taken) == {index for climbing in waves for index in climbing}
