"""Cursors of pages: opaque to callers, a log position inside, so a page never shifts while the log grows."""

from __future__ import annotations

import base64
import binascii

from domain.errors import InvalidInput

LARGEST = 2**63 - 1  # a position that a database can be asked for


def cursor(position: int) -> str:
    return base64.urlsafe_b64encode(f"p{position}".encode()).decode().rstrip("=")


def uncursor(text: str | None) -> int | None:
    """The position in a cursor, None for none. Raises InvalidInput for what is not one of ours."""
    if text is None:
        return None
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
        if plain[0] == "p" and plain[1:].isdecimal() and int(plain[1:]) <= LARGEST:
            return int(plain[1:])
    except (binascii.Error, UnicodeDecodeError, IndexError, ValueError):
        pass
    raise InvalidInput("page.cursor", "This cursor is not one of ours.", "Start without one.")
