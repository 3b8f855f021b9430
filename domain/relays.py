"""Relays: what one node did with one warning. Each (warning, node) is a stream, so thousands never conflict.

Told, delivered, acknowledged, relayed, assessed; escalated where there is silence. Late answers count like any other.

A level's quota says how many of a node's staff must acknowledge before its silence is over: one, so many, or all who
were told. The first acknowledgement is already the order to relay (where the level says so): a warning does not wait
for a second signature. What the quota holds up is the end of the escalation alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from domain.errors import InvalidInput, Refused
from domain.events import Event, topic
from domain.private import Personal
from domain.rulepacks import EscalationStep, LevelRule


@topic("relay.opened")
class RelayOpened(Event, frozen=True, kw_only=True):
    """The node is concerned; `steps` are the rules of its escalation, `opened_at` when their time began.

    `staff` are those of the node who were told then; `quota` is how many must acknowledge, 0 for all of them.
    """

    warning_id: str
    node_id: str
    opened_at: datetime
    steps: tuple[EscalationStep, ...]
    relay_on_acknowledge: bool
    direct: bool
    quota: int = 1
    staff: tuple[str, ...] = ()


@topic("relay.delivered")
class RelayDelivered(Event, frozen=True, kw_only=True):
    """A receipt says that a message reached somebody of the node's staff."""

    warning_id: str
    node_id: str
    channel: str


@topic("relay.acknowledged")
class RelayAcknowledged(Event, frozen=True, kw_only=True):
    """One person has it, for the node. `missing`: how many more the quota wants after this; 0 ends the silence."""

    warning_id: str
    node_id: str
    by: str
    channel: str
    missing: int = 0


@topic("relay.passed")
class RelayPassed(Event, frozen=True, kw_only=True):
    """The node relays (传递): its own people are told. `automatic` where the system did it for a sleeping node."""

    warning_id: str
    node_id: str
    by: str
    automatic: bool = False


@topic("relay.assessed")
class RelayAssessed(Event, frozen=True, kw_only=True):
    """研判: what the node thinks of the harm on the spot; a later one supersedes, none is erased."""

    warning_id: str
    node_id: str
    by: str
    harm: str
    personal: Personal


@topic("relay.escalated")
class RelayEscalated(Event, frozen=True, kw_only=True):
    """Too few of the node answered within `after_s`: the next `action` of the level's rule is taken.

    `spared` have acknowledged by then and are not told again.
    """

    warning_id: str
    node_id: str
    step: int
    action: str
    after_s: int
    spared: tuple[str, ...] = ()


class Relay(msgspec.Struct, frozen=True, kw_only=True):
    warning_id: str
    node_id: str
    opened_at: datetime
    steps: tuple[EscalationStep, ...]
    relay_on_acknowledge: bool
    direct: bool
    quota: int = 1
    staff: tuple[str, ...] = ()
    delivered: bool = False
    acknowledged_by: tuple[str, ...] = ()
    passed: bool = False
    escalated: int = 0

    @property
    def needed(self) -> int:
        """How many must acknowledge: never more than were told, since the rest could not; at least one."""
        return needed(self.quota, len(self.staff))

    @property
    def missing(self) -> int:
        """How many acknowledgements the quota still wants. Of "all" only those who were told count."""
        return missing(self.quota, self.staff, self.acknowledged_by)

    @property
    def acknowledged(self) -> bool:
        return bool(self.acknowledged_by) and self.missing == 0

    def next_escalation(self) -> datetime | None:
        """When silence is escalated next (UTC); None once enough have answered or nothing is left to try.

        Counted from the recorded opening, so that restarts and lateness move no step.
        """
        if self.acknowledged or self.escalated >= len(self.steps):
            return None
        return self.opened_at + timedelta(seconds=self.steps[self.escalated].after_s)


def needed(quota: int, staff: int) -> int:
    """How many acknowledgements end the silence of a node of whose staff so many were told."""
    if quota == 1:
        return 1
    return max(1, min(quota, staff) if quota else staff)


def missing(quota: int, staff: Sequence[str], acknowledged_by: Collection[str]) -> int:
    """How many acknowledgements are still wanted, 0 where the quota is met."""
    if quota == 0 and staff:
        return sum(person not in acknowledged_by for person in staff)
    return max(0, needed(quota, len(staff)) - len(acknowledged_by))


HARM = ("none", "low", "medium", "high", "severe")


def open_relay(
    state: Relay | None,
    *,
    warning_id: str,
    node_id: str,
    at: datetime,
    rule: LevelRule,
    staff: Collection[str] = (),
) -> list[Event]:
    """Opens it, once. `staff`: the ids of those of the node who are told now and can be reached."""
    if state is not None:
        return []
    return [
        RelayOpened(
            warning_id=warning_id,
            node_id=node_id,
            opened_at=at,
            steps=rule.escalation,
            relay_on_acknowledge=rule.relay_on_acknowledge,
            direct=rule.direct,
            quota=rule.quota,
            staff=tuple(sorted(staff)),
        )
    ]


def delivered(state: Relay | None, *, channel: str) -> list[Event]:
    if state is None or state.delivered:
        return []
    return [RelayDelivered(warning_id=state.warning_id, node_id=state.node_id, channel=channel)]


def acknowledge(state: Relay | None, *, by: str, channel: str) -> list[Event]:
    """Somebody has it, for the node. The same person again changes nothing; each other one is kept, late ones too.

    Where the rule says so, the first one is the order to relay.
    """
    relay = _existing(state)
    if by in relay.acknowledged_by:
        return []
    events: list[Event] = [
        RelayAcknowledged(
            warning_id=relay.warning_id,
            node_id=relay.node_id,
            by=by,
            channel=channel,
            missing=missing(relay.quota, relay.staff, (*relay.acknowledged_by, by)),
        )
    ]
    if relay.relay_on_acknowledge and not relay.passed:
        events.append(RelayPassed(warning_id=relay.warning_id, node_id=relay.node_id, by=by))
    return events


def relay_on(state: Relay | None, *, by: str, automatic: bool = False) -> list[Event]:
    relay = _existing(state)
    if relay.passed:
        return []
    return [RelayPassed(warning_id=relay.warning_id, node_id=relay.node_id, by=by, automatic=automatic)]


def assess(state: Relay | None, *, by: str, harm: str, personal: Personal) -> list[Event]:
    relay = _existing(state)
    if harm not in HARM:
        raise InvalidInput("relay.harm", f"The harm is one of {', '.join(HARM)}.")
    return [RelayAssessed(warning_id=relay.warning_id, node_id=relay.node_id, by=by, harm=harm, personal=personal)]


def escalate(state: Relay | None, *, at: datetime, by: str) -> list[Event]:
    """Takes every step that is due by `at`, in order; the step `direct` relays in the node's stead."""
    events: list[Event] = []
    while state is not None and (due := state.next_escalation()) is not None and due <= at:
        step = state.steps[state.escalated]
        escalated = RelayEscalated(
            warning_id=state.warning_id,
            node_id=state.node_id,
            step=state.escalated + 1,
            action=step.action,
            after_s=step.after_s,
            spared=state.acknowledged_by,
        )
        events.append(escalated)
        state = evolve(state, escalated)
        if step.action == "direct" and state is not None and not state.passed:
            passed = relay_on(state, by=by, automatic=True)
            events.extend(passed)
            state = evolve(state, passed[0])
    return events


def evolve(state: Relay | None, event: Event) -> Relay | None:
    match event:
        case RelayOpened():
            return Relay(
                warning_id=event.warning_id,
                node_id=event.node_id,
                opened_at=event.opened_at,
                steps=event.steps,
                relay_on_acknowledge=event.relay_on_acknowledge,
                direct=event.direct,
                quota=event.quota,
                staff=event.staff,
            )
        case RelayDelivered() if state:
            return msgspec.structs.replace(state, delivered=True)
        case RelayAcknowledged() if state:
            return msgspec.structs.replace(state, acknowledged_by=(*state.acknowledged_by, event.by))
        case RelayPassed() if state:
            return msgspec.structs.replace(state, passed=True)
        case RelayEscalated() if state:
            return msgspec.structs.replace(state, escalated=event.step)
    return state


def _existing(state: Relay | None) -> Relay:
    if state is None:
        raise Refused("relay.unknown", "This warning does not concern that node.")
    return state
