"""What a part of the relay leaves to another program: work on streams that hold an event it does not know.

A program never learns an event while it runs, so what it once had to leave it does not try again: that would only fail
again, and keep others from their turn. A process of the newer program that takes over does it.
"""

from __future__ import annotations

from collections import OrderedDict

MOST = 100_000


class Left:
    """Keys of what was left, by the part that left them; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def add(self, *key: str) -> None:
        self._keys[key] = None
        while len(self._keys) > MOST:
            self._keys.popitem(last=False)

    def __contains__(self, key: tuple[str, ...]) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)
