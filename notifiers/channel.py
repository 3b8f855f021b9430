"""The one contract of every channel: messages go in, one result for each comes out, nothing is raised.

A channel translates its provider's answers into outcomes and reasons (domain/outcomes.py) and does not decide about
trying again: that is retry.py. It logs no address, no text and no secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from domain.outcomes import Outcome, Reason
from domain.people import Channel
from domain.rulepacks import Lane, Level
from domain.shards import Purpose

LINK = "{{link}}"
"""Stands in a rendered text where each recipient's own link goes."""


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A warning in one language, as far as it is the same for all recipients. Texts hold LINK where the link goes.

    `voice` is what a call says, in `voice_language`; `number` a short reference that people can name on the phone and
    that stands in the approved templates of providers that allow no free text.
    `warning_id`, `purpose`, `rendered_at` and `expires_at`, when the warning ends, are for receivers that are programs.
    """

    language: str
    subject: str
    text: str
    html: str
    short: str
    push: str = ""  # the body of a notification, which is opened and not replied to; empty: `short` without its link
    voice: str = ""
    voice_language: str = ""
    number: str = ""
    level: Level = Level.RED
    lane: Lane = Lane.NORMAL
    drill: bool = False
    sandboxed: bool = False  # of a drill that reaches no provider: see drill.py
    urgency: str = "high"  # RFC 8030 section 5.3: very-low, low, normal, high
    ttl_s: int = 3600  # seconds until the message is of no use, as of when it is handed over
    warning_id: str = ""
    purpose: Purpose = Purpose.NOTICE
    rendered_at: datetime | None = None
    expires_at: datetime | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one person.

    `message_id` stays the same over every attempt, so that a receiver can drop a repeat. `address` is a phone number
    (E.164), a mail address, a push subscription `{"endpoint", "keys": {"p256dh", "auth"}}`, a webhook
    `{"url", "secret"}`, or a chat's URL. `callback` is where the provider reports on it.
    """

    index: int
    attempt: int
    message_id: str
    address: Any
    link: str
    callback: str = ""

    def __repr__(self) -> str:
        return f"Delivery({self.message_id}, attempt {self.attempt})"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one delivery. `retry_after_s` is what the provider asked for, in seconds; `provider` its name;
    `cost` what it charges, in millionths of its currency, for `segments`."""

    index: int
    outcome: Outcome
    reason: Reason = Reason.NONE
    provider_ref: str = ""
    retry_after_s: float | None = None
    provider: str = ""
    segments: int = 0
    cost: int = 0


class Notifier(Protocol):
    """One channel. Safe to be called for several batches at the same time."""

    channel: Channel

    @property
    def chunk(self) -> int:
        """How many recipients are best handed over at once; it may change while the program runs."""

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """Sends all; one result for each delivery, in any order. Never raises but on cancellation."""

    async def close(self) -> None:
        """Gives back connections. Sending after it opens them again."""
