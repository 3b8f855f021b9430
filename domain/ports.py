"""What the rooms need from the outside world, as protocols. infra implements them; tests hold every backend to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from domain.events import Event, Recorded
from domain.private import Sealed

State = TypeVar("State")


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """The present moment in UTC."""

    def elapsed(self) -> float:
        """Seconds that have passed since some moment of the past. It only grows, whatever `now()` is set to."""

    def sleep_until(self, at: datetime) -> Coroutine[Any, Any, None]:
        """Ends once `now()` is `at` or later, or once as much time has passed as was left when this was called.

        So a wall clock that is set back prolongs no wait, and one that is set ahead ends it within a second.
        """


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who is behind an append and what led to it: the part of the metadata that the caller knows."""

    actor: str
    correlation_id: str
    causation_id: str | None = None
    grant_id: str | None = None
    rule_pack_id: str | None = None
    effective_at: datetime | None = None


class Append(msgspec.Struct, frozen=True):
    """Events for one stream, to follow `expected_version` (0: the stream is new)."""

    stream: str
    expected_version: int
    events: Sequence[Event]


class Log(Protocol):
    """The append-only log."""

    async def append(self, appends: Sequence[Append], origin: Origin) -> list[Recorded]:
        """Stores all events of all streams, or none; returns once they are durable.

        Raises VersionConflict where a stream has moved on, Unreachable where the database does not answer.
        """

    async def load(
        self, stream: str, evolve: Callable[[State | None, Event], State | None]
    ) -> tuple[State | None, int]:
        """The folded state of a stream and its version (None, 0 where it has no events).

        Raises UnknownEvent where it holds an event of a newer program.
        """

    async def execute(
        self,
        stream: str,
        evolve: Callable[[State | None, Event], State | None],
        decide: Callable[[State | None], Sequence[Event]],
        origin: Origin,
    ) -> list[Recorded]:
        """Loads, decides, appends; does it again where somebody else was first. What `decide` raises passes through."""

    async def read(self, after: int, limit: int) -> list[Recorded]:
        """Events with positions above `after`, in order, at most `limit`: those before one that cannot be read.

        Raises UnknownEvent where the first of them is one of a newer program.
        """

    async def last_position(self) -> int:
        """The highest position in the log, 0 while it is empty."""

    def follow(self, after: int) -> AsyncIterator[list[Recorded]]:
        """Batches of events above `after`, for ever, as they are appended. Raises UnknownEvent at such a one."""


class Vault(Protocol):
    """Keys of persons, kept outside the log, and what only the vault may know."""

    def seal(self, key_id: str, bound_to: str, fields: dict[str, Any]) -> Sealed:
        """Seals with the key of `key_id`, made on first use. Raises Refused where that key was destroyed."""

    def open(self, sealed: Sealed) -> dict[str, Any] | None:
        """What was sealed; None where the key was destroyed. Raises VerificationFailed where the box was altered."""

    def open_all(self, boxes: Sequence[Sealed]) -> list[dict[str, Any] | None]:
        """As `open`, for many at a time."""

    def prepare(self, key_ids: list[str]) -> None:
        """Makes the keys that are missing, in one go."""

    def forget(self, key_id: str) -> None:
        """Destroys the key and every address known for it."""

    def remember_addresses(self, rows: list[tuple[str, str, str]]) -> int:
        """Notes whose addresses these are, (kind, address, person id), as keyed digests. Returns the mark of this
        noting: a higher one than of all before it."""

    def forget_addresses(self, person_ids: list[str], before: int) -> None:
        """Drops the addresses of these people that were last noted before a mark."""

    def whose(self, kind: str, address: str) -> str | None:
        """The person who has this address: of several, the one for whom it was noted last."""

    def all_with(self, kind: str, address: str) -> list[str]:
        """Everybody for whom this address is noted, the last noted first."""


class Known(msgspec.Struct, frozen=True):
    """What is known of some people, by their ids: their sealed contacts (who is unknown or forgotten is absent), their
    sealed stays as they stand (whereabouts.py; who has none is absent), and the time zones (IANA) of their node and of
    the offices above it, the nearest first."""

    sealed: dict[str, Sealed]
    stays: dict[str, list[Sealed]] = {}
    zones: tuple[str, ...] = ()


class Contacts(Protocol):
    """The sealed addresses and whereabouts of people, from the views."""

    def of(self, person_ids: Sequence[str], node_id: str | None) -> Known:
        """What is known of people of a node. Without `node_id` it is not asked where they are, nor what time it is."""
