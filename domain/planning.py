"""The planner: a warning and its audience as of a log position, turned into shards. Pure, so planning twice is once.

The ids of shards depend on the event that triggered the plan and on what the shard holds, never on when or where the
planning ran. Who is told when is the level's rule: staff of every concerned node at once; the people at once (`direct`)
or when their station relays, or when it sleeps through its escalation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from datetime import datetime

import msgspec

from domain.content import Target
from domain.events import Event, topic
from domain.ids import derived
from domain.people import STAFF, Channel, Person, Role
from domain.quiet import WAKING
from domain.rulepacks import Lane, LevelRule
from domain.shards import FIRST_SIZE, SHARD_SIZE, Circle, Purpose, ShardPlanned
from domain.stations import Hierarchy, Kind
from domain.warnings import WarningState


@topic("plan.made")
class PlanMade(Event, frozen=True, kw_only=True):
    """The plan of one trigger is complete in the log; from here on the trigger is never planned again.

    `as_of` is the log position of the audience; `unreachable` counts, by node, those who should be told and have no
    channel at all. For an escalation `node_id` is the node that was silent, and `told` who was told of it.
    """

    trigger_event_id: str
    warning_id: str
    as_of: int
    shards: int
    recipients: int
    unreachable: dict[str, int] = msgspec.field(default_factory=dict)
    node_id: str | None = None
    told: tuple[str, ...] = ()


class Told(msgspec.Struct, frozen=True):
    """One person to be told over one channel, which belongs to their rung number `rung`; `climbs`: others follow."""

    node_id: str
    circle: Circle
    channel: Channel
    language: str
    person_id: str
    rung: int = 0
    climbs: bool = False


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


def concerned_by(at: Iterable[str], nodes: Sequence[str], hierarchy: Hierarchy) -> list[str]:
    """Of the nodes that a warning may go through, those at which people who match are registered and those above."""
    kept = {above for node_id in set(at) for above in hierarchy.ancestors(node_id)}
    return [node_id for node_id in nodes if node_id in kept]


def rungs(channels: Sequence[Channel], rule: LevelRule) -> list[tuple[Channel, ...]]:
    """The rungs of a person's ladder under a level's rule: what is tried together, in the order of trying."""
    channels = list(dict.fromkeys(channels))  # named twice, it is the same
    if rule.one_by_one:
        return [(channel,) for channel in channels]
    at_once = tuple(channel for channel in channels if channel is not Channel.VOICE)
    return [rung for rung in (at_once, tuple(c for c in channels if c is Channel.VOICE)) if rung]


def staff_told(people: Iterable[Person], rule: LevelRule) -> Iterator[Told]:
    """Those who act for their node. Deputies are the reserve: they are told when the node stays silent."""
    for person in people:
        if person.role in STAFF and person.role is not Role.DEPUTY:
            yield from _told(person, Circle.STAFF, rule)


IN_ROLE = {"deputy": Role.DEPUTY, "head": Role.HEAD, "liaisons": Role.LIAISON}
"""Steps of an escalation that tell those of the silent node who have a role."""


def chased(
    action: str,
    rule: LevelRule,
    *,
    own: Sequence[Person],
    above: Sequence[Person],
    on_duty: Collection[str],
    spared: Collection[str] = (),
) -> list[Told]:
    """Who is told because a node is silent. `own` are its people, `above` those of the office above it.

    `on_duty` are the ids of those on duty at either. `duty`: whoever of the node is on duty. `parent`: whoever is on
    duty above; all its staff where nobody is, or where nobody who is can be reached. `voice`: a call to each of the
    node's staff who can be called, the deputies too. `spared` have answered already.
    """
    own = [person for person in own if is_staff(person) and person.person_id not in spared]
    match action:
        case "deputy" | "head" | "liaisons":
            return _all(own, rule, lambda p: p.role is IN_ROLE[action])
        case "duty":
            return _all(own, rule, lambda p: p.person_id in on_duty)
        case "parent":
            officers = [person for person in above if is_staff(person)]
            return _all(officers, rule, lambda p: p.person_id in on_duty) or list(staff_told(officers, rule))
        case "voice":
            return [
                Told(person.node_id, Circle.STAFF, Channel.VOICE, person.language, person.person_id)
                for person in own
                if Channel.VOICE in person.channels
            ]
    return []  # `direct` is a relay, planned as such


def _all(people: Iterable[Person], rule: LevelRule, chosen: Callable[[Person], bool]) -> list[Told]:
    return [told for person in people if chosen(person) for told in _told(person, Circle.STAFF, rule)]


def people_told(people: Iterable[Person], rule: LevelRule) -> Iterator[Told]:
    for person in people:
        if person.role not in STAFF and person.role is not Role.AUDITOR:
            yield from _told(person, Circle.PEOPLE, rule)


def lane_of(warning: WarningState, rule: LevelRule) -> Lane:
    """A drill has a lane of its own, whatever its level."""
    return Lane.DRILL if warning.content.drill else rule.lane


def asked(person: Person, channel: Channel) -> Iterator[Told]:
    """Somebody whose answer was not clear, over the channel that it came by."""
    if not person.forgotten:
        circle = Circle.STAFF if is_staff(person) else Circle.PEOPLE
        yield Told(person.node_id, circle, channel, person.language, person.person_id)


def plan(
    told: Iterable[Told],
    *,
    trigger_event_id: str,
    warning: WarningState,
    rule: LevelRule,
    purpose: Purpose,
    quiet: tuple[int, int] | None = None,
) -> list[ShardPlanned]:
    """Shards of at most 500, the first of a kind of 100; the same for the same people in any order. Nobody is in a plan
    twice over one channel.

    `quiet` are the rule pack's hours. Staff are on duty at any hour.
    """
    return list(
        planned(
            in_order(told), trigger_event_id=trigger_event_id, warning=warning, rule=rule, purpose=purpose, quiet=quiet
        )
    )


def planned(
    told: Iterable[Told],
    *,
    trigger_event_id: str,
    warning: WarningState,
    rule: LevelRule,
    purpose: Purpose,
    quiet: tuple[int, int] | None = None,
) -> Iterator[ShardPlanned]:
    """As `plan`, one shard after the other, for people who come as `shards_of` wants them."""
    return shards_of(
        told,
        cause=trigger_event_id,
        warning_id=warning.warning_id,
        purpose=purpose,
        lane=lane_of(warning, rule),
        valid_until=warning.content.expires_at,
        receipt_limit_s=rule.receipt_limit_s,
        quiet=quiet,
        overrides_quiet=rule.overrides_quiet,
        sandboxed=warning.sandboxed,
    )


_Key = tuple[str, str, str, str, bool, int]


def _key(t: Told) -> _Key:
    return (t.node_id, t.circle, t.channel, t.language, t.climbs, t.rung)


def in_order(told: Iterable[Told]) -> list[Told]:
    """Each person once over a channel, in the order that `shards_of` needs."""

    def key(t: Told) -> tuple[_Key, str]:
        return (_key(t), t.person_id)

    return sorted({(t.person_id, t.channel): t for t in sorted(told, key=key)}.values(), key=key)


def shards_of(
    told: Iterable[Told],
    *,
    cause: str,
    warning_id: str,
    purpose: Purpose,
    lane: Lane,
    valid_until: datetime,
    receipt_limit_s: int = 0,
    quiet: tuple[int, int] | None = None,
    overrides_quiet: bool = False,
    sandboxed: bool = False,
) -> Iterator[ShardPlanned]:
    """The shards of people who come node by node and in the order of their ids, each once over a channel.

    Their ids depend on `cause`, the id of what called for them, and on who is in them. It holds no more than the shards
    of one node that are not full yet, so a million people take the memory of one node.
    """
    filling: dict[_Key, list[str]] = {}
    numbers: dict[_Key, int] = {}

    def shard(key: _Key) -> ShardPlanned:
        node_id, circle, channel, language, climbs, rung = key
        n = numbers[key] = numbers.get(key, -1) + 1
        hours = quiet if circle == Circle.PEOPLE and channel in WAKING else None
        apart = ("climbs",) if climbs else ()
        return ShardPlanned(
            shard_id=derived("shard", cause, node_id, circle, channel, language, str(n), *apart),
            warning_id=warning_id,
            node_id=node_id,
            circle=Circle(circle),
            purpose=purpose,
            channel=Channel(channel),
            language=language,
            lane=lane,
            recipients=tuple(filling.pop(key)),
            valid_until=valid_until,
            quiet=hours,
            wakes=hours is not None and overrides_quiet,
            sandboxed=sandboxed,
            rung=rung,
            receipt_limit_s=receipt_limit_s if climbs else 0,
        )

    node: str | None = None
    for t in told:
        if t.node_id != node:
            yield from map(shard, list(filling))
            numbers.clear()
            node = t.node_id
        key = _key(t)
        people = filling.setdefault(key, [])
        people.append(t.person_id)
        if len(people) == (SHARD_SIZE if key in numbers else FIRST_SIZE):
            yield shard(key)
    yield from map(shard, list(filling))


def _told(person: Person, circle: Circle, rule: LevelRule) -> Iterator[Told]:
    """By the first rung; the others are for when that brings no receipt."""
    ladder = rungs(person.channels, rule)
    for channel in next(iter(ladder), ()):
        yield Told(person.node_id, circle, channel, person.language, person.person_id, climbs=len(ladder) > 1)


def without(people: Iterable[Person], dead: Set[tuple[str, Channel]]) -> Iterator[Person]:
    """The people with the channels that are left to them: `dead` are the (person, channel) that lead nowhere."""
    for person in people:
        left = tuple(channel for channel in person.channels if (person.person_id, channel) not in dead)
        yield person if left == person.channels else msgspec.structs.replace(person, channels=left)


def is_staff(person: Person) -> bool:
    return person.role in STAFF
