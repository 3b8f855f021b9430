"""What became of one message to one person, and why: closed lists, so that every provider's answer maps to one.

accepted   the provider took it and will try
delivered  a receipt says that it arrived; never inferred from accepted
deferred   not taken now, to be tried again
refused    not taken, and trying again will not help
expired    the warning's validity ended first
unknown    sent or not: the answer was lost. It is tried again where a repeat does less harm than silence
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    NONE = ""
    NO_ADDRESS = "no_address"  # no address of this kind, or its person was forgotten
    UNREADABLE = "unreadable"  # what the log holds of their address was altered and cannot be opened
    BAD_ADDRESS = "bad_address"  # the provider does not know or cannot parse the address
    BLOCKED = "blocked"  # the recipient or a rule of the provider does not allow it
    SUBSCRIPTION_GONE = "subscription_gone"  # web push: the browser gave it up
    CONTENT_REFUSED = "content_refused"  # too long, not allowed, not renderable
    RATE_LIMITED = "rate_limited"  # nothing was taken; safe to try again
    PROVIDER_BUSY = "provider_busy"  # a temporary refusal, in so many words
    PROVIDER_ERROR = "provider_error"  # the provider failed on its side; where none is named, we did on ours
    CREDENTIALS = "credentials"  # the provider does not accept our account
    UNREACHABLE = "unreachable"  # no connection: nothing was sent
    TIMEOUT = "timeout"  # sent, and no answer in time: in doubt
    CONNECTION_LOST = "connection_lost"  # the connection broke before the answer: in doubt
    CRASH = "crash"  # this program ended between sending and recording: in doubt
    UNDELIVERED = "undelivered"  # a receipt says that it did not arrive
    NO_ANSWER = "no_answer"  # a call that nobody took
    BUSY = "busy"  # a call to somebody who was speaking to somebody else
    MACHINE = "machine"  # a call that a mailbox or a fax took
    VALIDITY_OVER = "validity_over"
    QUIET_HOURS = "quiet_hours"  # it is night where the person is, and the level does not wake them
    NOT_ALLOWED = "not_allowed"  # our own rules: a country or prefix that is not on the list, a limit on what is spent
    STOPPED = "stopped"  # the warning was cancelled before this message was sent


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One line of a shard's ledger. `index` counts the shard's recipients from 0, `attempt` from 1.

    `retry_at`: it will be tried again then; None settles the recipient for this shard. `provider` is who was asked,
    by its name in the settings.
    """

    index: int
    outcome: Outcome
    attempt: int
    reason: Reason = Reason.NONE
    provider_ref: str = ""
    retry_at: datetime | None = None
    provider: str = ""


REACHED = frozenset({Outcome.ACCEPTED, Outcome.DELIVERED, Outcome.UNKNOWN})
"""Outcomes after which the person may have the message, and is told of its cancellation."""
