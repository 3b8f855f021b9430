"""Personal data inside events: written as `Private`, stored and read back as `Sealed`.

The log never holds a name, an address or whereabouts in clear. The mapper seals each `Private` with the key of the
person it names before it becomes bytes; opening is a separate act of the vault. Forgetting a
person destroys the key, and every `Sealed` of theirs stays in the log as noise.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Private(msgspec.Struct, frozen=True, tag="private"):
    """Personal fields in clear, on their way into the log. Its repr shows no value.

    `key_id` is the person (or the case) whose key seals them, and whose forgetting makes them unreadable.
    """

    key_id: str
    fields: dict[str, Any]

    def __repr__(self) -> str:
        return f"Private({', '.join(sorted(self.fields))})"


class Sealed(msgspec.Struct, frozen=True, tag="sealed"):
    """Personal fields as the log keeps them.

    `box` is AES-GCM (12 bytes nonce, ciphertext, tag) in base64, `bound_to` the stream and version that it belongs to:
    a box moved to another event does not open.
    """

    key_id: str
    bound_to: str
    box: str


Personal = Private | Sealed
"""The type of an event's field with personal data: `Private` going in, `Sealed` coming out."""
