"""Silence is escalated step by step: deputy, parent office, then the people themselves. An answer ends it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from given import NOW, PACK
from hypothesis import given
from hypothesis import strategies as st

from domain import relays
from domain.events import Event, fold
from domain.relays import Relay, RelayAcknowledged, RelayEscalated, RelayPassed
from domain.rulepacks import EscalationStep, Lane, Level, LevelRule

ORANGE = PACK.levels[Level.ORANGE]


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def relay(*events: Event, rule: LevelRule = ORANGE) -> Relay:
    opened = relays.open_relay(None, warning_id="w1", node_id="milan", at=NOW, rule=rule)
    state = fold(relays.evolve, [*opened, *events])
    assert state is not None
    return state


def step(number: int, action: str, after_s: int) -> RelayEscalated:
    return RelayEscalated(warning_id="w1", node_id="milan", step=number, action=action, after_s=after_s)


DEPUTY, PARENT, DIRECT = step(1, "deputy", 900), step(2, "parent", 1800), step(3, "direct", 2700)
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
        (2699, [DEPUTY, PARENT]),
        (2700, [DEPUTY, PARENT, DIRECT, BY_ITSELF]),
        (10**7, [DEPUTY, PARENT, DIRECT, BY_ITSELF]),
    ],
)
def test_every_step_that_is_due_is_taken_in_order(at, expected):
    assert expected == relays.escalate(relay(), at=after(at), by="system")


def test_a_step_is_taken_once():
    assert relays.escalate(relay(DEPUTY), at=after(900), by="system") == []
    assert relays.escalate(relay(DEPUTY), at=after(1800), by="system") == [PARENT]
    assert relays.escalate(relay(DEPUTY, PARENT, DIRECT, BY_ITSELF), at=after(10**7), by="system") == []


def test_a_node_that_relayed_but_never_acknowledged_is_still_escalated_and_not_relayed_twice():
    passed = RelayPassed(warning_id="w1", node_id="milan", by="head")

    assert relays.escalate(relay(passed), at=after(2700), by="system") == [DEPUTY, PARENT, DIRECT]


@pytest.mark.parametrize("steps", [(), (DEPUTY,), (DEPUTY, PARENT)])
def test_an_acknowledgement_ends_the_escalation(steps):
    state = relay(*steps, ACKNOWLEDGED)

    assert relays.escalate(state, at=after(10**7), by="system") == []
    assert None is state.next_escalation()


def test_the_next_escalation_is_counted_from_the_opening():
    assert after(900) == relay().next_escalation()
    assert after(1800) == relay(DEPUTY).next_escalation()
    assert after(2700) == relay(DEPUTY, PARENT).next_escalation()
    assert None is relay(DEPUTY, PARENT, DIRECT, BY_ITSELF).next_escalation()


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
        st.builds(EscalationStep, st.integers(1, 5000), st.sampled_from(["deputy", "parent", "direct"])),
        max_size=4,
    ).map(lambda steps: tuple(sorted(steps, key=lambda s: s.after_s))),
)
acts = st.sampled_from(["acknowledge", "relay", "delivered", "tick", "tick", "tick"])


@given(rules, st.lists(st.tuples(acts, st.integers(0, 2000)), max_size=12))
def test_no_escalation_follows_an_acknowledgement_and_no_relay_a_relay(rule, sequence):
    events: list[Event] = []
    now = 0
    for act, waited in sequence:
        now += waited
        state = relay(*events, rule=rule)
        match act:
            case "acknowledge":
                events += relays.acknowledge(state, by="head", channel="sms")
            case "relay":
                events += relays.relay_on(state, by="head")
            case "delivered":
                events += relays.delivered(state, channel="sms")
            case "tick":
                events += relays.escalate(state, at=after(now), by="system")
    kinds = [type(event) for event in events]
    tail = kinds[kinds.index(RelayAcknowledged) :] if RelayAcknowledged in kinds else []
    taken = [event for event in events if isinstance(event, RelayEscalated)]
    assert tail.count(RelayEscalated) == 0
    assert (kinds.count(RelayAcknowledged) <= 1, kinds.count(RelayPassed) <= 1) == (True, True)
    assert list(range(1, len(taken) + 1)) == [event.step for event in taken]
    assert [(s.action, s.after_s) for s in rule.escalation[: len(taken)]] == [(e.action, e.after_s) for e in taken]
    assert all(event.after_s <= now for event in taken)
