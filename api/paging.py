"""Pages of lists. Their cursors are opaque to callers, a log position inside, so a page never shifts while the log
grows."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import Query

from api.schemas import Page
from domain.errors import InvalidInput

Limit = Annotated[int, Query(ge=1, le=200)]
After = Annotated[str | None, Query(max_length=100)]
Row = dict[str, Any]
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


def page_of(rows: Sequence[Row], limit: int, by: str, shown: Callable[[Row], Row | None]) -> Page:
    """One page of rows that were read one over `limit`, so as to know whether there are more.

    `by` is the column with the position that the next page begins after; what `shown` gives None for is left out.
    """
    items = [item for row in rows[:limit] if (item := shown(row)) is not None]
    return Page(items=items, next=cursor(rows[limit - 1][by]) if len(rows) > limit else None)
