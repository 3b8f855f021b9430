"""Turns events into stored bytes and back: explicit topics, versions, metadata, personal fields sealed.

The stored state is JSON, `{"meta": {…}, "data": {…}}`, so that an auditor can read it with any tool.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, get_args, get_type_hints

import msgspec
import structlog
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
from domain.errors import InvalidInput, UnknownEvent, VerificationFailed
from domain.events import Event, Metadata, Recorded, class_of, is_known, known_topics, raised, topic_of
from domain.ports import Vault
from domain.private import Private, Sealed

_log = structlog.get_logger("fenghuo.log")

TOPIC = re.compile(r"[a-z_]+(\.[a-z_]+)+\.v[0-9]+")


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
        self.unknown: dict[str, int] = {}  # topics that were met and are not known here, and where first (0: a stream)

    def to_stored_event(self, domain_event: Recorded) -> StoredEvent:
        event = domain_event.event
        bound_to = f"{domain_event.originator_id}/{domain_event.originator_version}"
        data = msgspec.Raw(_encoder.encode(self._sealed(event, bound_to)))
        try:
            _decoders[type(event)].decode(data)
        except msgspec.MsgspecError as error:  # once it is in the log, nobody could ever go past it
            raise InvalidInput("log.unreadable", f"This could not be read again: {error}.", "Correct it.") from error
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=topic_of(type(event)),
            state=_encoder.encode(_Stored(domain_event.metadata, data)),
        )

    def to_domain_event(self, stored_event: StoredEvent, position: int = 0) -> Recorded:
        """Raises UnknownEvent where the topic is one of a newer program, and VerificationFailed where the bytes do not
        fit it. Both name the event."""
        try:
            stored = _stored_decoder.decode(stored_event.state)
            cls = class_of(stored_event.topic)
            if cls is None:
                self._expect(stored_event, stored.meta.recorded_at, position)
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

    def recorded_at(self, stored_event: StoredEvent) -> datetime:
        """When an event was recorded, also one that is not known here. Raises VerificationFailed."""
        try:
            return _stored_decoder.decode(stored_event.state).meta.recorded_at
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return self.to_domain_event(stored_event).metadata.recorded_at  # which says what is wrong with it

    def _expect(self, event: StoredEvent, recorded_at: datetime, position: int) -> None:
        """Raises UnknownEvent for a topic that is neither known nor an older form of one that is."""
        topic, stream, version = event.topic, str(event.originator_id), event.originator_version
        if is_known(topic) or not TOPIC.fullmatch(topic):
            return
        if topic not in self.unknown:
            self.unknown[topic] = position
            _log.warning("event_unknown", topic=topic, stream=stream, version=version, position=position)
        raise UnknownEvent(topic=topic, stream=stream, version=version, recorded_at=recorded_at, position=position)

    def _sealed(self, event: Event, bound_to: str) -> Event:
        changes = {
            name: self._vault.seal(value.key_id, bound_to, value.fields)
            for name in event.__struct_fields__
            if isinstance(value := getattr(event, name), Private)
        }
        return msgspec.structs.replace(event, **changes) if changes else event
