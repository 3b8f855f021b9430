"""An event of the log as others may read it: CloudEvents 1.0 in JSON, without what is personal. See docs/feed.md.

What is left out follows from the events' own types: every field that can hold a `Sealed` box. `WITHHELD` names what
else does not leave the house: words about one person's case, references of providers, credentials.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, get_args, get_type_hints

import msgspec

import infra.log.mapper  # noqa: F401  registers the topics of all events
from domain.events import Event, Recorded, known_topics, topic_of
from domain.outcomes import Row
from domain.private import Private, Sealed
from domain.shards import Spent

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
HEADERS = [("content-type", CONTENT_TYPE.encode())]
DIGITS = 20  # of a sequence: as text they sort as the numbers do

WITHHELD: dict[str, tuple[str, ...]] = {
    "answer.received.v1": ("provider_ref",),
    "case.closed.v1": ("result",),
    "case.tasked.v1": ("instruction",),
    "command.accepted.v1": ("accepted",),  # what a client was answered is between the two
    "feed.added.v1": ("feed.url", "feed.mapping"),  # a subscription's address can hold its key
    "token.ended.v1": ("digest",),
    "token.issued.v1": ("token.digest",),
}


class CloudEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The attributes by their names on the wire; `data` is the event's own."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: str = ""
    sequence: str
    streamversion: int
    actor: str
    correlationid: str
    causationid: str | None = None
    effectivetime: datetime | None = None
    grantid: str | None = None
    rulepackid: str | None = None
    data: dict[str, Any]


_encoder = msgspec.json.Encoder()


def encoded(recorded: Recorded, source: str) -> tuple[bytes, bytes]:
    """(key, value) of the message that stands for an event of the log."""
    meta, event = recorded.metadata, recorded.event
    subject = public_stream(recorded)
    cloud_event = CloudEvent(
        specversion="1.0",
        id=meta.event_id,
        source=source,
        type=topic_of(type(event)),
        subject=subject,
        time=meta.recorded_at,
        datacontenttype="application/json",
        sequence=f"{recorded.position:0{DIGITS}}",
        streamversion=recorded.version,
        actor=meta.actor,
        correlationid=meta.correlation_id,
        causationid=meta.causation_id,
        effectivetime=meta.effective_at,
        grantid=meta.grant_id,
        rulepackid=meta.rule_pack_id,
        data=public(event),
    )
    return subject.encode(), _encoder.encode(cloud_event)


def public_stream(recorded: Recorded) -> str:
    """The stream's name; those that are named by a secret's digest or a client's key go by their kind alone."""
    kind, _, _ = recorded.stream.partition("-")
    return kind if kind in ("command", "token") else recorded.stream


def public(event: Event) -> dict[str, Any]:
    """The fields of an event that others may read."""
    data = {name: convert(getattr(event, name)) for name, convert in _fields[type(event)]}
    for path in _withheld.get(type(event), ()):
        name, _, inner = path.partition(".")
        if inner:
            data[name] = {k: v for k, v in msgspec.to_builtins(data[name]).items() if k != inner}
        else:
            del data[name]
    return data


def _same(value: Any) -> Any:
    return value


def _rows(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    return [
        {
            "index": row.index,
            "outcome": row.outcome,
            "attempt": row.attempt,
            "reason": row.reason,
            "retry_at": row.retry_at,
            "provider": row.provider,
        }
        for row in rows
    ]


def _spent(spent: tuple[Spent, ...]) -> list[dict[str, Any]]:
    return [{"provider": s.provider, "segments": s.segments, "cost": s.cost} for s in spent]


def _whole(value: Any) -> Any:
    """With every field of every struct in it, the usual values, too: a reader knows no defaults."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        tag = {} if config.tag is None or config.tag_field is None else {config.tag_field: config.tag}
        names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        return tag | {written: _whole(getattr(value, name)) for written, name in names}
    if isinstance(value, tuple | list | frozenset | set):
        return [_whole(one) for one in value]
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    return value


# Those of the log's structs that are stored as arrays have names here: a reader should not count places.
_named: dict[type, Callable[[Any], Any]] = {Row: _rows, Spent: _spent}


def inner_types(hint: Any) -> set[Any]:
    """Every type that a type is made of, itself included; structs are looked into."""
    found: set[Any] = set()
    left = [hint]
    while left:
        one = left.pop()
        if one in found:
            continue
        found.add(one)
        left += get_args(one)
        if isinstance(one, type) and issubclass(one, msgspec.Struct) and one not in (Private, Sealed):
            left += get_type_hints(one).values()
    return found


def _shortened(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, msgspec.Struct) and one.__struct_config__.omit_defaults


def _public_fields(cls: type[Event]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    hints = get_type_hints(cls)
    found: list[tuple[str, Callable[[Any], Any]]] = []
    for name in cls.__struct_fields__:
        types = inner_types(hints[name])
        if not types & {Private, Sealed}:
            plain = _whole if any(_shortened(one) for one in types) else _same
            found.append((name, next((convert for cls, convert in _named.items() if cls in types), plain)))
    return tuple(found)


_fields = {cls: _public_fields(cls) for cls in known_topics().values()}
_withheld = {known_topics()[topic]: paths for topic, paths in WITHHELD.items()}
