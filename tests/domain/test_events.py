"""Topics are part of the stored history: explicit, unique, noticed when they change, raised when an old one is read."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module

import msgspec
import pytest

import domain
from domain import events
from domain.events import Event, class_of, known_topics, raised, topic, topic_of, upcast

for _module in pkgutil.iter_modules(domain.__path__, "domain."):
    import_module(_module.name)

TOPICS = {
    "answer.asked_back.v1": "domain.answers.AnswerAskedBack",
    "answer.opened.v1": "domain.answers.AnswerOpened",
    "answer.received.v1": "domain.answers.AnswerReceived",
    "answer.referred.v1": "domain.answers.AnswerReferred",
    "answer.settled.v1": "domain.answers.AnswerSettled",
    "case.action_recorded.v1": "domain.cases.CaseActionRecorded",
    "case.closed.v1": "domain.cases.CaseClosed",
    "case.help_repeated.v1": "domain.cases.CaseHelpRepeated",
    "case.opened.v1": "domain.cases.CaseOpened",
    "case.tasked.v1": "domain.cases.CaseTasked",
    "command.accepted.v1": "domain.commands.CommandAccepted",
    "feed.added.v1": "domain.feeds.FeedAdded",
    "feed.items_taken.v1": "domain.feeds.FeedItemsTaken",
    "feed.release_allowed.v1": "domain.feeds.FeedReleaseAllowed",
    "feed.removed.v1": "domain.feeds.FeedRemoved",
    "duty.handed_over.v1": "domain.roster.DutyHandedOver",
    "duty.planned.v1": "domain.roster.DutyPlanned",
    "grant.given.v1": "domain.grants.GrantGiven",
    "grant.revoked.v1": "domain.grants.GrantRevoked",
    "ladder.stepped.v1": "domain.ladder.LadderStepped",
    "node.registered.v1": "domain.stations.NodeRegistered",
    "person.contact_changed.v1": "domain.people.ContactChanged",
    "person.forgotten.v1": "domain.people.PersonForgotten",
    "person.registered.v1": "domain.people.PersonRegistered",
    "person.stay_recorded.v1": "domain.whereabouts.StayRecorded",
    "person.stay_withdrawn.v1": "domain.whereabouts.StayWithdrawn",
    "person.tagged.v1": "domain.people.PersonTagged",
    "plan.made.v1": "domain.planning.PlanMade",
    "reach.test_ordered.v1": "domain.reach.ReachTestOrdered",
    "rate.set.v1": "domain.rates.RateSet",
    "relay.acknowledged.v1": "domain.relays.RelayAcknowledged",
    "relay.assessed.v1": "domain.relays.RelayAssessed",
    "relay.delivered.v1": "domain.relays.RelayDelivered",
    "relay.escalated.v1": "domain.relays.RelayEscalated",
    "relay.opened.v1": "domain.relays.RelayOpened",
    "relay.passed.v1": "domain.relays.RelayPassed",
    "rulepack.adopted.v1": "domain.rulepacks.RulePackAdopted",
    "shard.chunk_intended.v1": "domain.shards.ChunkIntended",
    "shard.chunk_recorded.v1": "domain.shards.ChunkRecorded",
    "shard.held.v1": "domain.shards.ShardHeld",
    "shard.leased.v1": "domain.shards.ShardLeased",
    "shard.planned.v1": "domain.shards.ShardPlanned",
    "shard.receipts_recorded.v1": "domain.shards.ReceiptsRecorded",
    "shard.stopped.v1": "domain.shards.ShardStopped",
    "token.ended.v1": "domain.grants.TokenEnded",
    "token.issued.v1": "domain.grants.TokenIssued",
    "warning.cancelled.v1": "domain.warnings.WarningCancelled",
    "warning.drafted.v1": "domain.warnings.WarningDrafted",
    "warning.expired.v1": "domain.warnings.WarningExpired",
    "warning.released.v1": "domain.warnings.WarningReleased",
    "warning.revised.v1": "domain.warnings.WarningRevised",
    "warning.updated.v1": "domain.warnings.WarningUpdated",
}
"""A stored log knows these names: a line of this table is added, its class may move, its topic never changes."""


def ours() -> dict[str, type[Event]]:
    return {name: cls for name, cls in known_topics().items() if cls.__module__.startswith("domain.")}


def test_the_topics_are_those_that_stored_logs_know():
    assert {name: f"{cls.__module__}.{cls.__qualname__}" for name, cls in ours().items()} == TOPICS


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_is_noun_verb_version_and_leads_both_ways(name):
    assert re.fullmatch(r"[a-z]+\.[a-z_]+\.v[1-9][0-9]*", name)
    assert topic_of(class_of(name)) == name


def test_every_event_of_the_domain_has_a_topic():
    def below(cls: type[Event]) -> set[type[Event]]:
        return {cls}.union(*(below(sub) for sub in cls.__subclasses__()))

    everything = {cls for cls in below(Event) - {Event} if cls.__module__.startswith("domain.")}
    assert everything - set(ours().values()) == set()


@pytest.mark.parametrize("cls", ours().values(), ids=ours())
def test_what_happened_does_not_change(cls):
    assert cls.__struct_config__.frozen is True


def test_a_topic_that_is_taken_is_refused():
    with pytest.raises(ValueError, match=r"warning\.drafted\.v1 is taken by WarningDrafted"):
        topic("warning.drafted")(type("Impostor", (Event,), {}))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics that a test registers are gone after it."""
    for name in ("_topics", "_topic_of", "_upcasters"):
        monkeypatch.setattr(events, name, dict(getattr(events, name)))


@pytest.mark.usefixtures("registry")
def test_what_was_stored_under_older_versions_is_read_as_the_newest():
    @topic("beacon.lit", version=3)
    class BeaconLit(Event, frozen=True, kw_only=True):
        tower: str
        smokes: int
        wood: str

    @upcast("beacon.lit", 1)
    def _named(fields):
        return {"tower": fields["place"], "smokes": 1}

    @upcast("beacon.lit", 2)
    def _with_wood(fields):
        return {**fields, "wood": "unknown"}

    def read(name, fields):
        newest, now = raised(name, fields)
        return newest, msgspec.convert(now, class_of(newest))

    lit = BeaconLit(tower="Jiayuguan", smokes=1, wood="unknown")
    assert read("beacon.lit.v1", {"place": "Jiayuguan"}) == ("beacon.lit.v3", lit)
    assert read("beacon.lit.v2", {"tower": "Jiayuguan", "smokes": 1}) == ("beacon.lit.v3", lit)
    assert read("beacon.lit.v3", msgspec.to_builtins(lit)) == ("beacon.lit.v3", lit)
    assert (class_of("beacon.lit.v1"), topic_of(BeaconLit)) == (None, "beacon.lit.v3")
    with pytest.raises(KeyError):
        raised("beacon.lit.v4", {})
