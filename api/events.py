"""An event as a reader of the log may see it, over HTTP and on the command line."""

from __future__ import annotations

from typing import Any

import msgspec

from domain.events import Recorded, topic_of
from domain.private import Sealed


def public(r: Recorded) -> dict[str, Any]:
    """Its place, topic, metadata and fields as plain values. Sealed boxes are named, not given."""
    fields = {
        name: {"sealed": value.key_id} if isinstance(value, Sealed) else value
        for name in r.event.__struct_fields__
        if (value := getattr(r.event, name)) is not None
    }
    plain: dict[str, Any] = msgspec.to_builtins(
        {
            "position": r.position,
            "stream": r.stream,
            "version": r.version,
            "topic": topic_of(type(r.event)),
            "metadata": r.metadata,
            "data": fields,
        }
    )
    return plain
