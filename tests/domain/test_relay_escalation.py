"""Silence is escalated step by step: deputy, parent office, voice, then the people themselves. Answers end it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import pytest
from given import NOW, PACK
from hypothesis import given
from hypothesis import strategies as st

from domain import relays
from domain.events import Event, fold
from domain.relays import Relay, RelayAcknowledged, RelayEscalated, RelayPassed
from domain.rulepacks import STEPS, EscalationStep, Lane, Level, LevelRule

ORANGE = PACK.levels[Level.ORANGE]


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def relay(*events: Event, rule: LevelRule = ORANGE, staff: Sequence[str] = ()) -> Relay:
    opened = relays.open_relay(None, warning_id="w1", node_id="milan", at=NOW, rule=rule, staff=staff)
    state = fold(relays.evolve, [*opened, *events])
    assert state is not None
    return state


def step(number: int, action: str, after_s: int) -> RelayEscalated:
    return RelayEscalated(warning_id="w1", node_id="milan", step=number, action=action, after_s=after_s)


DEPUTY, PARENT = step(1, "deputy", 900), step(2, "parent", 1800)
VOICE, DIRECT = step(3, "voice", 2250), step(4, "direct", 2700)
BY_ITSELF = RelayPassed(warning_id="w1", node_id="milan", by="system", automatic=True)
ACKNOWLEDGED = RelayAcknowledged(warning_id="w1", node_id="milan", by="head", channel="sms")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (0, []),
        (899.999, []),
        (900, [DEPUTY]),
        (1799, [DEPUTY]),
        (1800, [DEPUTY, PARENT]),
        (2249, [DEPUTY, PARENT]),
        (2250, [DEPUTY, PARENT, VOICE]),
        (2699, [DEPUTY, PARENT, VOICE]),
        (2700, [DEPUTY, PARENT, VOICE, DIRECT, BY_ITSELF]),
        (10**7, [DEPUTY, PARENT, VOICE, DIRECT, BY_ITSELF]),
    ],
)
def test_every_step_that_is_due_is_taken_in_order(at, expected):
    assert expected == relays.escalate(relay(), at=after(at), by="system")


def test_a_step_is_taken_once():
    assert relays.escalate(relay(DEPUTY), at=after(900), by="system") == []
    assert relays.escalate(relay(DEPUTY), at=after(1800), by="system") == [PARENT]
    assert relays.escalate(relay(DEPUTY, PARENT, VOICE, DIRECT, BY_ITSELF), at=after(10**7), by="system") == []


def test_a_node_that_relayed_but_never_acknowledged_is_still_escalated_and_not_relayed_twice():
    passed = RelayPassed(warning_id="w1", node_id="milan", by="head")

    assert relays.escalate(relay(passed), at=after(2700), by="system") == [DEPUTY, PARENT, VOICE, DIRECT]


@pytest.mark.parametrize("steps", [(), (DEPUTY,), (DEPUTY, PARENT)])
def test_an_acknowledgement_ends_the_escalation(steps):
    state = relay(*steps, ACKNOWLEDGED)

    assert relays.escalate(state, at=after(10**7), by="system") == []
    assert None is state.next_escalation()


def test_the_next_escalation_is_counted_from_the_opening():
    assert after(900) == relay().next_escalation()
    assert after(1800) == relay(DEPUTY).next_escalation()
    assert after(2250) == relay(DEPUTY, PARENT).next_escalation()
    assert after(2700) == relay(DEPUTY, PARENT, VOICE).next_escalation()
    assert None is relay(DEPUTY, PARENT, VOICE, DIRECT, BY_ITSELF).next_escalation()


def test_rules_without_steps_never_escalate():
    state = relay(rule=LevelRule(lane=Lane.NORMAL, two_person=False, direct=False))

    assert (relays.escalate(state, at=after(10**7), by="system"), state.next_escalation()) == ([], None)


def test_a_node_that_does_not_exist_does_not_escalate():
    assert relays.escalate(None, at=after(10**7), by="system") == []


rules = st.builds(
    LevelRule,
    lane=st.just(Lane.HIGH),
    two_person=st.just(True),
    direct=st.booleans(),
    relay_on_acknowledge=st.booleans(),
    escalation=st.lists(
        st.builds(EscalationStep, st.integers(1, 5000), st.sampled_from(STEPS)),
        max_size=4,
    ).map(lambda steps: tuple(sorted(steps, key=lambda s: s.after_s))),
    quota=st.integers(0, 4),
)
EVERYBODY = ["head", "liaison", "deputy", "officer"]
acts = st.sampled_from(["acknowledge", "relay", "delivered", "tick", "tick", "tick"])


@given(
    rules,
    st.sets(st.sampled_from(EVERYBODY[:3])),
    st.lists(st.tuples(acts, st.integers(0, 2000), st.sampled_from(EVERYBODY)), max_size=16),
)
def test_silence_is_escalated_until_the_quota_is_met_and_never_after(rule, staff, sequence):
    events: list[Event] = []
    now = 0
    for act, waited, who in sequence:
        now += waited
        state = relay(*events, rule=rule, staff=tuple(staff))
        match act:
            case "acknowledge":
                events += relays.acknowledge(state, by=who, channel="sms")
            case "relay":
                events += relays.relay_on(state, by=who)
            case "delivered":
                events += relays.delivered(state, channel="sms")
            case "tick":
                events += relays.escalate(state, at=after(now), by="system")
    answered: set[str] = set()
    steps: list[RelayEscalated] = []
    for event in events:
        if isinstance(event, RelayAcknowledged):
            assert event.by not in answered  # once each
            answered.add(event.by)
            assert (event.missing == 0) == met(rule.quota, staff, answered)
        if isinstance(event, RelayEscalated):
            assert not met(rule.quota, staff, answered)
            assert set(event.spared) == answered
            steps.append(event)
    kinds = [type(event) for event in events]
    assert kinds.count(RelayPassed) <= 1
    if answered and rule.relay_on_acknowledge:
        assert kinds.index(RelayPassed) <= kinds.index(RelayAcknowledged) + 1  # by the first signature at the latest
    assert list(range(1, len(steps) + 1)) == [event.step for event in steps]
    assert [(s.action, s.after_s) for s in rule.escalation[: len(steps)]] == [(e.action, e.after_s) for e in steps]
    assert all(event.after_s <= now for event in steps)


def met(quota: int, staff: set[str], answered: set[str]) -> bool:
    """The rule in its own words: everybody who was told, or so many, of those there are; somebody in any case."""
    if quota == 0 and staff:
        return staff <= answered
    return len(answered) >= (1 if quota == 1 else max(1, min(quota, len(staff))))


@pytest.mark.parametrize(
    ("quota", "staff", "answers", "missing"),
    [
        (1, "abc", "a", [0]),
        (2, "abc", "ab", [1, 0]),
        (3, "abc", "abc", [2, 1, 0]),
        (0, "abc", "abc", [2, 1, 0]),
        (0, "abc", "dab", [3, 2, 1]),  # of "all", the deputy who was woken is none
        (2, "abc", "da", [1, 0]),  # but one of two he is
        (3, "ab", "ab", [1, 0]),  # more than were told there cannot be
        (2, "", "d", [0]),
        (0, "", "d", [0]),
        (2, "abc", "abc", [1, 0, 0]),  # who comes later is kept too
    ],
)
def test_a_quota_counts_people(quota, staff, answers, missing):
    rule = LevelRule(lane=Lane.HIGH, two_person=True, direct=False, quota=quota)
    events: list[Event] = []
    for who in answers:
        events += relays.acknowledge(relay(*events, rule=rule, staff=staff), by=who, channel="sms")
        assert relays.acknowledge(relay(*events, rule=rule, staff=staff), by=who, channel="web") == []

    signed = [event for event in events if isinstance(event, RelayAcknowledged)]
    assert [(e.by, e.missing) for e in signed] == list(zip(answers, missing, strict=True))
    assert [event.by for event in events if isinstance(event, RelayPassed)] == [answers[0]]


def test_a_relay_of_an_older_log_wants_one_acknowledgement():
    stored = b'{"warning_id":"w1","node_id":"milan","by":"head","channel":"sms"}'
    event = msgspec.json.decode(stored, type=RelayAcknowledged)
    old = relays.RelayOpened(
        warning_id="w1",
        node_id="milan",
        opened_at=NOW,
        steps=ORANGE.escalation,
        relay_on_acknowledge=True,
        direct=False,
    )
    state = fold(relays.evolve, [old, event])

    assert state is not None
    assert (event.missing, state.acknowledged, state.next_escalation()) == (0, True, None)
    assert b"quota" not in msgspec.json.encode(old)
