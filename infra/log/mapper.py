"""Turns events into stored bytes and back: explicit topics, versions, metadata, personal fields sealed.

The stored state is JSON, `{"meta": {…}, "data": {…}}`, so that an auditor can read it with any tool.
"""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import msgspec
from eventsourcing.persistence import StoredEvent

import domain.answers
import domain.cases
import domain.commands
import domain.feeds
import domain.grants
import domain.ladder
import domain.people
import domain.planning
import domain.rates
import domain.reach
import domain.relays
import domain.roster
import domain.rulepacks
import domain.shards
import domain.stations
import domain.warnings
import domain.whereabouts  # noqa: F401  each of these registers the topics of its events
from domain.errors import VerificationFailed
from domain.events import Event, Metadata, Recorded, class_of, known_topics, raised, topic_of
from domain.ports import Vault
from domain.private import Private, Sealed


class _Stored(msgspec.Struct, frozen=True):
    meta: Metadata
    data: msgspec.Raw


_encoder = msgspec.json.Encoder()
_stored_decoder = msgspec.json.Decoder(_Stored)

# All of them now, in the one thread that imports: msgspec 0.22 works out how a type is read when it is first read, and
# two threads that are first together crash the program (a null pointer in its `convert`).
_decoders: dict[type[Event], msgspec.json.Decoder[Any]] = {
    cls: msgspec.json.Decoder(cls) for cls in known_topics().values()
}


def _personal_fields(cls: type[Event]) -> tuple[str, ...]:
    """The fields of an event that hold personal data."""
    hints = get_type_hints(cls)
    return tuple(name for name in cls.__struct_fields__ if Sealed in (hints[name], *get_args(hints[name])))


_personal = {cls: _personal_fields(cls) for cls in known_topics().values()}


class EventMapper:
    """The mapper of the event store. Seals through the vault on the way in; never opens on the way out."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def to_stored_event(self, domain_event: Recorded) -> StoredEvent:
        event = domain_event.event
        bound_to = f"{domain_event.originator_id}/{domain_event.originator_version}"
        data = msgspec.Raw(_encoder.encode(self._sealed(event, bound_to)))
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=topic_of(type(event)),
            state=_encoder.encode(_Stored(domain_event.metadata, data)),
        )

    def to_domain_event(self, stored_event: StoredEvent, position: int = 0) -> Recorded:
        """Raises VerificationFailed, naming the event, where the topic is unknown or the bytes do not fit it."""
        try:
            stored = _stored_decoder.decode(stored_event.state)
            cls = class_of(stored_event.topic)
            if cls is None:
                name, fields = raised(stored_event.topic, msgspec.json.decode(stored.data))
                event = msgspec.convert(fields, class_of(name))
            else:
                event = _decoders[cls].decode(stored.data)
        except (KeyError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise VerificationFailed(
                "log.unreadable_event",
                f"Event {stored_event.originator_version} of {stored_event.originator_id} ({stored_event.topic})"
                f" cannot be read: {error}.",
                "The log was altered, or written by a newer program.",
            ) from error
        stream, version = str(stored_event.originator_id), stored_event.originator_version
        for name in _personal[type(event)]:
            value = getattr(event, name)
            # A box names its place and is sealed to it; here it is held to where it was found, so that one copied
            # whole from another event is noticed without opening it.
            if value is not None and not (isinstance(value, Sealed) and value.bound_to == f"{stream}/{version}"):
                raise VerificationFailed(
                    "log.misplaced_box",
                    f"The sealed data in event {version} of {stream} belongs elsewhere.",
                    "The log was altered.",
                )
        return Recorded(stream, version, stored.meta, event, position)

    def _sealed(self, event: Event, bound_to: str) -> Event:
        changes = {
            name: self._vault.seal(value.key_id, bound_to, value.fields)
            for name in event.__struct_fields__
            if isinstance(value := getattr(event, name), Private)
        }
        return msgspec.structs.replace(event, **changes) if changes else event
