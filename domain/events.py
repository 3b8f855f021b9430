"""What an event is: a frozen record with an explicit topic, and the envelope in which the log keeps it.

A topic is `noun.verb.vN`. It is part of the stored history, so it never follows a class that is renamed or moved.
When an event's shape changes, its class moves to the next version and a function registered with `upcast` turns the
older stored form into the newer; nothing that is stored is rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of every event: what happened, in the past tense, and nothing about how it was stored."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of every event beside its own facts.

    `recorded_at` is when the log took it (the clock port, UTC); `effective_at` when it holds, where that differs;
    `actor` is a person id or `system:<part>`; `grant_id` the grant that allowed it; `correlation_id` is shared by all
    that followed from one request; `causation_id` is the event that led to this one; `rule_pack_id` the rules in force.
    """

    event_id: str
    recorded_at: datetime
    actor: str
    correlation_id: str
    causation_id: str | None = None
    effective_at: datetime | None = None
    grant_id: str | None = None
    rule_pack_id: str | None = None


class Recorded(msgspec.Struct, frozen=True):
    """An event in its stream. `position` is the log's own number for it (0 while it is not stored yet).

    The first two names are those of the `eventsourcing` library's event protocol.
    """

    originator_id: str
    originator_version: int
    metadata: Metadata
    event: Event
    position: int = 0

    @property
    def stream(self) -> str:
        return self.originator_id

    @property
    def version(self) -> int:
        return self.originator_version


E_ = TypeVar("E_", bound=type[Event])
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

_topics: dict[str, type[Event]] = {}
_topic_of: dict[type[Event], str] = {}
_upcasters: dict[str, tuple[str, Upcaster]] = {}


def topic(name: str, version: int = 1) -> Callable[[E_], E_]:
    """Gives an event class its stored name, `name.vN`."""

    def register(cls: E_) -> E_:
        full = f"{name}.v{version}"
        if full in _topics:
            raise ValueError(f"topic {full} is taken by {_topics[full].__qualname__}")
        _topics[full] = cls
        _topic_of[cls] = full
        return cls

    return register


def upcast(name: str, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Registers how a stored `name.vN` becomes `name.v(N+1)`; the function takes and returns the decoded fields."""

    def register(function: Upcaster) -> Upcaster:
        _upcasters[f"{name}.v{from_version}"] = (f"{name}.v{from_version + 1}", function)
        return function

    return register


def topic_of(cls: type[Event]) -> str:
    return _topic_of[cls]


def class_of(name: str) -> type[Event] | None:
    """The class that a topic stands for now, or None where only an older version is stored under it."""
    return _topics.get(name)


def is_known(name: str) -> bool:
    """Whether a stored topic can be read: as it is, or brought up to a newer version."""
    return name in _topics or name in _upcasters


def raised(name: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A stored topic and its fields, brought up to the newest version.

    Raises KeyError where the topic is unknown: a log written by a newer program.
    """
    while name not in _topics:
        name, function = _upcasters[name]
        fields = function(fields)
    return name, fields


def known_topics() -> dict[str, type[Event]]:
    return dict(_topics)


State = TypeVar("State")


def fold(evolve: Callable[[State | None, Event], State | None], events: Iterable[Event]) -> State | None:
    """The state after `events`, in order; None while nothing has happened."""
    state: State | None = None
    for event in events:
        state = evolve(state, event)
    return state
