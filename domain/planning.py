"""The planner: a warning and its audience as of a log position, turned into shards. Pure, so planning twice is once.

The ids of shards depend on the event that triggered the plan and on what the shard holds, never on when or where the
planning ran. Who is told when is the level's rule: staff of every concerned node at once; the people at once (`direct`)
or when their station relays, or when it sleeps through its escalation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from domain.events import Event, topic
from domain.ids import derived
from domain.people import STAFF, Channel, Person, Role
from domain.rulepacks import LevelRule
from domain.shards import SHARD_SIZE, Circle, Purpose, ShardPlanned
from domain.stations import Hierarchy, Kind
from domain.warnings import Target, WarningState


@topic("plan.made")
class PlanMade(Event, frozen=True, kw_only=True):
    """The plan of one trigger is complete in the log; from here on the trigger is never planned again.

    `as_of` is the log position of the audience; `unreachable` counts, by node, those who should be told and have no
    channel at all.
    """

    trigger_event_id: str
    warning_id: str
    as_of: int
    shards: int
    recipients: int
    unreachable: dict[str, int] = msgspec.field(default_factory=dict)


class Told(msgspec.Struct, frozen=True):
    """One person to be told over one channel."""

    node_id: str
    circle: Circle
    channel: Channel
    language: str
    person_id: str


def concerned(target: Target, hierarchy: Hierarchy) -> list[str]:
    """The nodes that a warning goes through, parents before children.

    With countries named: the stations in those countries and the offices above them. Otherwise all below the nodes.
    """
    below = [node_id for top in target.nodes for node_id in hierarchy.subtree(top)]
    if not target.countries:
        return list(dict.fromkeys(below))
    wanted = set(target.countries)
    kept: set[str] = set()
    for node_id in below:
        node = hierarchy.nodes[node_id]
        if node.kind is Kind.STATION and node.country in wanted:
            kept.update(hierarchy.ancestors(node_id))
    tops = [top for top in target.nodes if top in kept]
    return [n for n in dict.fromkeys([*tops, *below]) if n in kept]


def rungs(channels: Sequence[Channel], rule: LevelRule) -> list[tuple[Channel, ...]]:
    """The rungs of a person's ladder under a level's rule: what is tried together, in the order of trying."""
    if rule.one_by_one:
        return [(channel,) for channel in channels]
    at_once = tuple(channel for channel in channels if channel is not Channel.VOICE)
    return [rung for rung in (at_once, tuple(c for c in channels if c is Channel.VOICE)) if rung]


def staff_told(people: Iterable[Person], rule: LevelRule) -> Iterator[Told]:
    """Those who act for their node. Deputies are the reserve: they are told when the node stays silent."""
    for person in people:
        if person.role in STAFF and person.role is not Role.DEPUTY:
            yield from _told(person, Circle.STAFF, rule)


def deputies_told(people: Iterable[Person], rule: LevelRule) -> Iterator[Told]:
    for person in people:
        if person.role is Role.DEPUTY:
            yield from _told(person, Circle.STAFF, rule)


def people_told(people: Iterable[Person], rule: LevelRule) -> Iterator[Told]:
    for person in people:
        if person.role not in STAFF and person.role is not Role.AUDITOR:
            yield from _told(person, Circle.PEOPLE, rule)


def plan(
    told: Iterable[Told], *, trigger_event_id: str, warning: WarningState, rule: LevelRule, purpose: Purpose
) -> list[ShardPlanned]:
    """Shards of at most 500, the same for the same people in any order. Nobody is in a plan twice over one channel."""
    return list(
        shards_of(in_order(told), trigger_event_id=trigger_event_id, warning=warning, rule=rule, purpose=purpose)
    )


def in_order(told: Iterable[Told]) -> list[Told]:
    """Each person once over a channel, in the order that `shards_of` needs."""

    def key(t: Told) -> tuple[str, str, str, str, str]:
        return (t.node_id, t.circle, t.channel, t.language, t.person_id)

    return sorted({(t.person_id, t.channel): t for t in sorted(told, key=key)}.values(), key=key)


def shards_of(
    told: Iterable[Told], *, trigger_event_id: str, warning: WarningState, rule: LevelRule, purpose: Purpose
) -> Iterator[ShardPlanned]:
    """As `plan`, for people who come node by node and in the order of their ids, each once over a channel.

    It holds no more than the shards of one node that are not full yet, so a million people take the memory of one node.
    """
    filling: dict[tuple[str, str, str, str], list[str]] = {}
    numbers: dict[tuple[str, str, str, str], int] = {}

    def shard(key: tuple[str, str, str, str]) -> ShardPlanned:
        node_id, circle, channel, language = key
        n = numbers[key] = numbers.get(key, -1) + 1
        return ShardPlanned(
            shard_id=derived("shard", trigger_event_id, *key, str(n)),
            warning_id=warning.warning_id,
            node_id=node_id,
            circle=Circle(circle),
            purpose=purpose,
            channel=Channel(channel),
            language=language,
            lane=rule.lane,
            recipients=tuple(filling.pop(key)),
            valid_until=warning.content.expires_at,
        )

    node: str | None = None
    for t in told:
        if t.node_id != node:
            yield from map(shard, list(filling))
            numbers.clear()
            node = t.node_id
        key = (t.node_id, t.circle, t.channel, t.language)
        people = filling.setdefault(key, [])
        people.append(t.person_id)
        if len(people) == SHARD_SIZE:
            yield shard(key)
    yield from map(shard, list(filling))


def _told(person: Person, circle: Circle, rule: LevelRule) -> Iterator[Told]:
    """By the first rung; the others are for when that brings no receipt."""
    for channel in next(iter(rungs(person.channels, rule)), ()):
        yield Told(person.node_id, circle, channel, person.language, person.person_id)


def is_staff(person: Person) -> bool:
    return person.role in STAFF
