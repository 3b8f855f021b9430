"""Commands that carry an idempotency key: accepted once, answered the same ever after.

The acceptance is an event beside those that the command caused, in the same append: both are in the log, or none.
"""

from __future__ import annotations

import msgspec

from domain.errors import Refused
from domain.events import Event, topic


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered. `fingerprint` is a SHA-256 over method, path and body."""

    fingerprint: str
    result: str


@topic("command.accepted")
class CommandAccepted(Event, frozen=True, kw_only=True):
    accepted: Accepted


def accept(state: Accepted | None, *, fingerprint: str, result: str) -> list[Event]:
    """Notes a command. Refused where the same key came with another request."""
    if state is None:
        return [CommandAccepted(accepted=Accepted(fingerprint=fingerprint, result=result))]
    if state.fingerprint != fingerprint:
        raise Refused(
            "command.key_reused", "This idempotency key came with another request.", "Use a new key for a new request."
        )
    return []


def evolve(state: Accepted | None, event: Event) -> Accepted | None:
    match event:
        case CommandAccepted(accepted=accepted):
            return accepted
    return state
