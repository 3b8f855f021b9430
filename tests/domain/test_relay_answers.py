"""A node acknowledges, relays and assesses; each once where once is enough, and late as well as in time."""

from __future__ import annotations

import pytest
from given import NOW, PACK, code_of, names

from domain import relays
from domain.errors import InvalidInput, Refused
from domain.events import Event, fold
from domain.private import Private
from domain.relays import Relay, RelayAcknowledged, RelayAssessed, RelayDelivered, RelayOpened, RelayPassed
from domain.rulepacks import Lane, Level, LevelRule

ORANGE = PACK.levels[Level.ORANGE]
ONLY_TOLD = LevelRule(lane=Lane.HIGH, two_person=True, direct=False, relay_on_acknowledge=False)
NOTE = Private("relay:w1:milan", {"text": "water in the cellars"})


def opened(rule: LevelRule = ORANGE) -> list[Event]:
    return relays.open_relay(None, warning_id="w1", node_id="milan", at=NOW, rule=rule)


def relay(*events: Event) -> Relay:
    state = fold(relays.evolve, events)
    assert state is not None
    return state


def test_a_relay_opens_once_with_the_rules_of_its_level():
    assert [
        RelayOpened(
            warning_id="w1",
            node_id="milan",
            opened_at=NOW,
            steps=ORANGE.escalation,
            relay_on_acknowledge=True,
            direct=False,
        )
    ] == opened()
    assert relays.open_relay(relay(*opened()), warning_id="w1", node_id="milan", at=NOW, rule=ONLY_TOLD) == []


def test_an_acknowledgement_is_the_order_to_relay():
    events = relays.acknowledge(relay(*opened()), by="head", channel="sms")

    assert [
        RelayAcknowledged(warning_id="w1", node_id="milan", by="head", channel="sms"),
        RelayPassed(warning_id="w1", node_id="milan", by="head"),
    ] == events


def test_where_the_rule_says_so_it_is_only_an_acknowledgement():
    events = relays.acknowledge(relay(*opened(ONLY_TOLD)), by="head", channel="sms")

    assert names(events) == ["RelayAcknowledged"]


def test_the_same_person_acknowledges_once_and_another_is_kept_beside_them():
    events = [*opened(), *relays.acknowledge(relay(*opened()), by="head", channel="sms")]

    assert relays.acknowledge(relay(*events), by="head", channel="web") == []
    second = relays.acknowledge(relay(*events), by="liaison", channel="web")
    assert [RelayAcknowledged(warning_id="w1", node_id="milan", by="liaison", channel="web")] == second
    assert relay(*events, *second).acknowledged_by == ("head", "liaison")


def test_an_acknowledgement_after_the_node_relayed_does_not_relay_again():
    state = relay(*opened(), *relays.relay_on(relay(*opened()), by="head"))

    assert names(relays.acknowledge(state, by="head", channel="sms")) == ["RelayAcknowledged"]


def test_a_late_acknowledgement_counts_after_the_system_relayed_by_itself():
    asleep = [*opened(), *relays.escalate(relay(*opened()), at=NOW.replace(year=2027), by="system")]

    assert [RelayAcknowledged(warning_id="w1", node_id="milan", by="head", channel="sms")] == relays.acknowledge(
        relay(*asleep), by="head", channel="sms"
    )


def test_relaying_twice_changes_nothing():
    once = relays.relay_on(relay(*opened(ONLY_TOLD)), by="head")

    assert [RelayPassed(warning_id="w1", node_id="milan", by="head")] == once
    assert relays.relay_on(relay(*opened(ONLY_TOLD), *once), by="liaison") == []


def test_the_first_receipt_of_the_staff_is_the_nodes_delivery():
    events = relays.delivered(relay(*opened()), channel="sms")

    assert [RelayDelivered(warning_id="w1", node_id="milan", channel="sms")] == events
    assert relays.delivered(relay(*opened(), *events), channel="email") == []
    assert relays.delivered(None, channel="sms") == []


@pytest.mark.parametrize("harm", relays.HARM)
def test_every_assessment_is_kept(harm):
    state = relay(*opened())
    expected = [RelayAssessed(warning_id="w1", node_id="milan", by="head", harm=harm, personal=NOTE)]

    events = relays.assess(state, by="head", harm=harm, personal=NOTE)
    assert expected == events
    assert expected == relays.assess(relay(*opened(), *events), by="head", harm=harm, personal=NOTE)


@pytest.mark.parametrize("harm", ["", "Low", "catastrophic"])
def test_an_unknown_word_for_the_harm_is_refused(harm):
    assert (
        code_of(InvalidInput, lambda: relays.assess(relay(*opened()), by="head", harm=harm, personal=NOTE))
        == "relay.harm"
    )


@pytest.mark.parametrize(
    "act",
    [
        lambda: relays.acknowledge(None, by="head", channel="sms"),
        lambda: relays.relay_on(None, by="head"),
        lambda: relays.assess(None, by="head", harm="low", personal=NOTE),
    ],
    ids=["acknowledge", "relay", "assess"],
)
def test_a_node_that_the_warning_does_not_concern_is_refused(act):
    assert code_of(Refused, act) == "relay.unknown"
