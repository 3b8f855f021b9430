"""Telephone numbers for people who do not exist: well formed, and nobody's.

Where a regulator sets numbers aside for drama and fiction, those are used: NANPA's 555-0100 to 0199, Ofcom's
07700 900xxx, Arcep's 06 39 98 xx xx, the Bundesnetzagentur's 0171 39200xx and 0176 040690xx. Elsewhere the number has
a length that the country uses and begins with digits that its plan assigns to nobody: `phonenumbers` calls it possible
and not valid, and a test holds that.
"""

from collections.abc import Iterator
from itertools import chain

import msgspec


class Block(msgspec.Struct, frozen=True):
    """Consecutive numbers: `prefix` in E.164, then `digits` digits counting from `first` to `last`."""

    prefix: str
    digits: int
    first: int = 0
    last: int | None = None

    def __iter__(self) -> Iterator[str]:
        end = 10**self.digits if self.last is None else self.last + 1
        return (f"{self.prefix}{n:0{self.digits}}" for n in range(self.first, end))


RESERVED: dict[str, tuple[Block, ...]] = {
    "US": tuple(Block(f"+1{area}555", 4, 100, 199) for area in (212, 646, 718, 213, 310, 626)),
    "GB": (Block("+447700900", 3),),
    "FR": (Block("+3363998", 4),),
    "DE": (Block("+4917139200", 2), Block("+49176040690", 2)),
}
"""Numbers that a regulator keeps free for fiction."""

UNASSIGNED: dict[str, Block] = {
    "AE": Block("+97159", 7),
    "AO": Block("+24459", 7),
    "AR": Block("+5459", 8),
    "AT": Block("+43110", 7),
    "AU": Block("+6159", 7),
    "BE": Block("+32590", 6),
    "BR": Block("+55115", 8),
    "CN": Block("+861000", 7),
    "EC": Block("+59310", 7),
    "ES": Block("+34590", 6),
    "GA": Block("+24159", 6),
    "GR": Block("+3059", 8),
    "HU": Block("+3639", 7),
    "IT": Block("+39590", 7),
    "JP": Block("+8110", 8),
    "KH": Block("+85559", 6),
    "NL": Block("+3169", 7),
    "PE": Block("+5110", 7),
    "PT": Block("+35159", 7),
    "RS": Block("+381590", 6),
    "RU": Block("+71", 9),
    "ZA": Block("+2759", 7),
}
"""Numbers of a possible length that begin as none in that country does."""


class Directory:
    """Hands out each number once."""

    def __init__(self) -> None:
        self._left: dict[str, Iterator[str]] = {}

    def take(self, country: str) -> str:
        """The next free number of a country, in E.164; where there is none left, one with China's code."""
        if country not in self._left:
            blocks = RESERVED.get(country) or ((UNASSIGNED[country],) if country in UNASSIGNED else ())
            self._left[country] = chain.from_iterable(blocks)
        number = next(self._left[country], None)
        if number is not None:
            return number
        if country == "CN":
            raise ValueError("ten million people have a demo number already")
        return self.take("CN")
