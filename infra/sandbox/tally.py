"""What a sandbox provider remembers of the messages it took: all, or counts alone where memory must stay flat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Message = TypeVar("Message")


class Tally(Generic[Message]):
    """`discard`: messages are counted and dropped. `count`: also how many went to each recipient."""

    def __init__(self, *, discard: bool = False, count: bool = False) -> None:
        self.total = 0
        self.messages: list[Message] = []
        self.recipients: Counter[str] | None = Counter() if count else None
        self.listeners: list[Callable[[Message], None]] = []
        self._discard = discard

    def add(self, recipient: str, message: Message) -> None:
        self.total += 1
        if self.recipients is not None:
            self.recipients[recipient] += 1
        if not self._discard:
            self.messages.append(message)
        for listener in self.listeners:
            listener(message)

    def stats(self) -> dict[str, Any]:
        """`{"total": n}`, with `recipients` where they are counted."""
        if self.recipients is None:
            return {"total": self.total}
        return {"total": self.total, "recipients": dict(self.recipients)}
