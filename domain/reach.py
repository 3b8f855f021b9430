"""Reachability: which contact points are dead, which were not heard of for long, and test messages to find out.

A contact point is one channel of one person. A test is about no warning: it is a message of its own, in the drill lane,
that says in every language that it is a test and wants no reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain.errors import InvalidInput
from domain.events import Event, topic
from domain.outcomes import Outcome, Reason
from domain.people import Channel
from domain.planning import Told, in_order, shards_of
from domain.rulepacks import Lane
from domain.shards import Purpose, ShardPlanned

LASTING = frozenset({Reason.BAD_ADDRESS, Reason.SUBSCRIPTION_GONE, Reason.BLOCKED})
"""Refusals that say something of the contact point and not of this one message: it is not tried again."""
UNTESTED_DAYS = 90
MOST_POINTS = 5_000  # contact points of one order; what is over is for the next


def is_dead(outcome: Outcome, reason: Reason) -> bool:
    """Whether an outcome marks its contact point as unreachable."""
    return outcome is Outcome.REFUSED and reason in LASTING


@topic("reach.test_ordered")
class ReachTestOrdered(Event, frozen=True, kw_only=True):
    """A test goes out to `points` contact points at or below a node that were not heard of for `untested_days`.

    `channel`: this one alone; None: all. `left`: how many more were due and are left to the next order.
    `canary`: to chosen points, whenever they were heard of, to see that the channels work.
    """

    test_id: str
    node_id: str
    channel: Channel | None
    untested_days: int
    points: int
    left: int
    valid_until: datetime
    scheduled: bool = False
    canary: bool = False


def order(
    state: ReachTestOrdered | None,
    told: Sequence[Told],
    *,
    test_id: str,
    node_id: str,
    channel: Channel | None,
    untested_days: int,
    valid_until: datetime,
    scheduled: bool = False,
    canary: bool = False,
) -> tuple[list[Event], list[ShardPlanned]]:
    """(events of the test's stream, the shards that carry it), at most MOST_POINTS in order of person and channel.

    For nobody nothing is ordered, but that the schedule had its turn.
    """
    if untested_days < 1:
        raise InvalidInput("reach.days", "A contact point is untested for at least a day.")
    if state is not None or not (told or scheduled):
        return [], []
    chosen = sorted(told, key=lambda t: (t.person_id, t.channel))[:MOST_POINTS]
    ordered = ReachTestOrdered(
        test_id=test_id,
        node_id=node_id,
        channel=channel,
        untested_days=untested_days,
        points=len(chosen),
        left=len(told) - len(chosen),
        valid_until=valid_until,
        scheduled=scheduled,
        canary=canary,
    )
    shards = list(
        shards_of(
            in_order(chosen),
            cause=test_id,
            warning_id=test_id,
            purpose=Purpose.TEST,
            lane=Lane.DRILL,
            valid_until=valid_until,
        )
    )
    return [ordered], shards


def evolve(state: ReachTestOrdered | None, event: Event) -> ReachTestOrdered | None:
    match event:
        case ReachTestOrdered():
            return event
    return state
