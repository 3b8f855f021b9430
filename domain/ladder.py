"""The climb: who is told by the next rung of their ladder, and when. Receipts may come in any order.

A person is climbed with when every message of their present rung was refused for good, or when none of them brought a
receipt within the level's limit. A receipt that says "delivered", or any answer, ends the climb.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from domain.events import Event, topic
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.planning import rungs
from domain.rulepacks import LevelRule
from domain.shards import TELLING, Purpose, ShardPlanned
from domain.warnings import Status, WarningState


class Why(StrEnum):
    REFUSED = "refused"  # no channel of the rung took it
    EXPIRED = "expired"  # the providers gave up in time
    NO_RECEIPT = "no_receipt"  # taken, or tried again and again, and nothing came back within the limit


@topic("ladder.stepped")
class LadderStepped(Event, frozen=True, kw_only=True):
    """These recipients of the shard are told by their next rung, number `rung`.

    `to` are their indices by the channels of that rung; `nowhere` those who have no channel left.
    """

    warning_id: str
    shard_id: str
    rung: int
    why: Why
    to: dict[Channel, tuple[int, ...]] = msgspec.field(default_factory=dict)
    nowhere: tuple[int, ...] = ()


# One person's climb --------------------------------------------------------------------------------------------------


class Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of the present rung. `since`: from when on a receipt is waited for; `failed_at`: it was in vain."""

    since: datetime | None = None
    accepted: bool = False
    failed_at: datetime | None = None
    expired: bool = False


class Climb(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where one person stands on their ladder.

    `plan`: what the climb began with; `shard_id` and `index`: the first message of the present rung, in whose shard the
    next step is written down; `sent`: the messages of the present rung by shard; `tried`: the channels so far.
    """

    plan: str
    shard_id: str
    index: int
    limit_s: int
    valid_until: datetime
    rung: int = 0
    sent: dict[str, Sent] = msgspec.field(default_factory=dict)
    tried: tuple[Channel, ...] = ()
    ended: bool = False


def told(climb: Climb | None, event: ShardPlanned, index: int, plan: str) -> Climb:
    """A message was planned. What another plan of the same purpose tells somebody is no second climb."""
    if climb is None:
        climb = Climb(
            plan=plan,
            shard_id=event.shard_id,
            index=index,
            limit_s=event.receipt_limit_s,
            valid_until=event.valid_until,
            rung=event.rung,
        )
    joins = event.rung == climb.rung and (event.rung > 0 or plan == climb.plan)
    first = joins and not climb.sent
    return msgspec.structs.replace(
        climb,
        shard_id=event.shard_id if first else climb.shard_id,
        index=index if first else climb.index,
        sent={**climb.sent, event.shard_id: Sent()} if joins else climb.sent,
        tried=climb.tried if event.channel in climb.tried else (*climb.tried, event.channel),
    )


def recorded(climb: Climb, shard_id: str, row: Row, at: datetime) -> Climb:
    """What the ledger says of a message."""
    sent = climb.sent.get(shard_id)
    if row.outcome is Outcome.DELIVERED:
        return ended(climb)
    if sent is None:
        return climb
    final = row.retry_at is None and row.outcome is not Outcome.UNKNOWN
    if row.outcome is Outcome.ACCEPTED:
        sent = msgspec.structs.replace(sent, since=at, accepted=True)
    elif final:
        sent = _failed(sent, row.outcome, at)
    elif sent.since is None and row.reason is not Reason.QUIET_HOURS:  # who sleeps is not climbed to either
        sent = msgspec.structs.replace(sent, since=at)
    return msgspec.structs.replace(climb, sent={**climb.sent, shard_id: sent})


def receipt(climb: Climb, shard_id: str, row: Row, at: datetime) -> Climb:
    """What the provider said later of a message, of this rung or of one before."""
    if row.outcome is Outcome.DELIVERED:
        return ended(climb)
    sent = climb.sent.get(shard_id)
    if sent is None or row.outcome not in (Outcome.REFUSED, Outcome.EXPIRED):
        return climb
    return msgspec.structs.replace(climb, sent={**climb.sent, shard_id: _failed(sent, row.outcome, at)})


def ended(climb: Climb) -> Climb:
    return msgspec.structs.replace(climb, ended=True)


def stepped(climb: Climb, rung: int) -> Climb:
    """The next rung begins with the messages that are planned for it."""
    return msgspec.structs.replace(climb, rung=rung, sent={})


def due(climb: Climb) -> tuple[datetime, Why] | None:
    """When the next rung is due and why; None while nothing calls for it, and where the validity ends first."""
    if climb.ended or not climb.sent:
        return None
    waiting = [sent for sent in climb.sent.values() if sent.failed_at is None]
    if not waiting:
        expired = all(sent.expired for sent in climb.sent.values())
        at = max(sent.failed_at for sent in climb.sent.values() if sent.failed_at is not None)
        why = Why.EXPIRED if expired else Why.REFUSED
    else:
        clocks = [sent.since for sent in waiting if sent.since is not None]
        if not clocks:
            return None
        at, why = max(clocks) + timedelta(seconds=climb.limit_s), Why.NO_RECEIPT
    return (at, why) if at < climb.valid_until else None


def _failed(sent: Sent, outcome: Outcome, at: datetime) -> Sent:
    expired = outcome is Outcome.EXPIRED and (sent.failed_at is None or sent.expired)
    return msgspec.structs.replace(sent, failed_at=max(at, sent.failed_at or at), expired=expired)


# The decision --------------------------------------------------------------------------------------------------------


def next_rung(channels: Sequence[Channel], rule: LevelRule, tried: Collection[Channel]) -> tuple[Channel, ...]:
    """The first rung with a channel that was not tried yet, without those that were. Empty: there is none."""
    for rung in rungs(channels, rule):
        left = tuple(channel for channel in rung if channel not in tried)
        if left:
            return left
    return ()


class Steps(msgspec.Struct, frozen=True):
    """Who of a shard was taken to the next rung already, by index."""

    indices: frozenset[int] = frozenset()


def step(
    state: Steps | None,
    *,
    warning: WarningState,
    shard_id: str,
    purpose: Purpose,
    rung: int,
    why: Why,
    climbing: Mapping[int, Sequence[Channel]],
    now: datetime,
) -> list[Event]:
    """Takes recipients of a shard to their next rung: by index the channels of it. Nobody is taken there twice."""
    # A withdrawal goes to those reached by what reached them, and by nothing else.
    if purpose not in TELLING or warning.status is not Status.RELEASED or now >= warning.content.expires_at:
        return []
    known = state.indices if state else frozenset()
    to: dict[Channel, list[int]] = {}
    nowhere: list[int] = []
    for index, channels in sorted(climbing.items()):
        if index in known:
            continue
        if not channels:
            nowhere.append(index)
        for channel in channels:
            to.setdefault(channel, []).append(index)
    if not to and not nowhere:
        return []
    return [
        LadderStepped(
            warning_id=warning.warning_id,
            shard_id=shard_id,
            rung=rung,
            why=why,
            to={channel: tuple(to[channel]) for channel in sorted(to)},
            nowhere=tuple(nowhere),
        )
    ]


def everybody(event: LadderStepped) -> list[int]:
    """The indices of all whom a step is about."""
    return sorted({index for indices in event.to.values() for index in indices} | set(event.nowhere))


def evolve(state: Steps | None, event: Event) -> Steps | None:
    match event:
        case LadderStepped():
            return Steps((state.indices if state else frozenset()) | frozenset(everybody(event)))
    return state
