"""How far a group may say it has come: in each partition up to the first message that is not finished."""

from __future__ import annotations

from collections.abc import Iterable

from infra.kafka.clients import Part


class _Read:
    __slots__ = ("following", "open", "told")

    def __init__(self, first: int) -> None:
        self.open: dict[int, None] = {}  # in the order of the partition
        self.following = first
        self.told = first

    @property
    def safe(self) -> int:
        return next(iter(self.open), self.following)


class Offsets:
    """What was read of each partition. Messages end in any order; what may be committed moves with the oldest alone."""

    def __init__(self) -> None:
        self._parts: dict[Part, _Read] = {}

    def read(self, part: Part, offset: int) -> None:
        known = self._parts.setdefault(part, _Read(offset))
        known.open[offset] = None
        known.following = offset + 1

    def finished(self, part: Part, offset: int) -> None:
        if part in self._parts:  # else it was given to somebody else meanwhile, who reads it again
            self._parts[part].open.pop(offset, None)

    def to_commit(self) -> dict[Part, int]:
        """From where each partition is to be read next, of those where that has changed."""
        return {part: known.safe for part, known in self._parts.items() if known.safe > known.told}

    def committed(self, offsets: dict[Part, int]) -> None:
        for part, offset in offsets.items():
            if part in self._parts:
                self._parts[part].told = offset

    def forget(self, parts: Iterable[Part]) -> None:
        for part in parts:
            self._parts.pop(part, None)
