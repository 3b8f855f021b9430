"""Countries: the codes that there are (ISO 3166 alpha-2), and the names by which people write them down."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Final

from domain.errors import InvalidInput
from domain.stations import Hierarchy

LANGUAGES: Final = ("en", "zh_Hans", "zh_Hant", "es", "fr", "it")  # in which names are known
NO_COUNTRIES: Final = frozenset({"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"})  # groups of countries, and codes for tests
_BETWEEN: Final = re.compile("[,;、\r\n]")
_CODE: Final = re.compile("[A-Za-z]{2}")
_SHOWN: Final = 40  # characters of what is no country


def check(countries: Sequence[str], hierarchy: Hierarchy) -> None:
    """Raises InvalidInput for a code that is neither a country's nor a station's: nobody would be told by it."""
    for code in countries:
        if not _known(code, hierarchy):
            raise InvalidInput(
                "warning.countries",
                "%(code)s is the code of no country.",
                "Correct the draft.",
                names={"code": code[:_SHOWN]},
            )


def written(said: str, hierarchy: Hierarchy) -> tuple[str, ...]:
    """The codes of the countries that somebody wrote down by code or by name; none where nothing was written.

    Raises InvalidInput for whatever is no country: left out it would widen whom the warning is for, and guessed at it
    would be for others.
    """
    plain = unicodedata.normalize("NFKC", said)  # no full-width commas and letters from here on
    parts = _BETWEEN.split(plain)
    return tuple(dict.fromkeys(code for part in parts for code in _codes(part.split(), hierarchy)))


def _codes(words: Sequence[str], hierarchy: Hierarchy) -> Iterator[str]:
    """What stands between two commas: codes, or names. Not both, or else the "in" of "in Japan" would be India."""
    if all(map(_CODE.fullmatch, words)):
        for word in words:
            if not _known(word.upper(), hierarchy):
                raise _no_country(word)
            yield word.upper()
        return
    at = 0
    while at < len(words):
        longest_first = range(min(len(words), at + _longest()), at, -1)
        end = next((end for end in longest_first if _plain(words[at:end]) in named()), None)
        if end is None:
            raise _no_country(" ".join(words) if _known(words[at].upper(), hierarchy) else words[at])
        yield named()[_plain(words[at:end])]
        at = end


def _no_country(word: str) -> InvalidInput:
    return InvalidInput(
        "warning.countries",
        "“%(word)s” is not a country.",
        "Write names or codes of two letters, with a comma between; for all countries, nothing.",
        names={"word": word[:_SHOWN]},
    )


def _known(code: str, hierarchy: Hierarchy) -> bool:
    return code in codes() or any(node.country == code for node in hierarchy.nodes.values())


@cache
def codes() -> frozenset[str]:
    return frozenset(named().values())


@cache
def named() -> Mapping[str, str]:
    """Codes by the names of their countries."""
    from babel import Locale  # noqa: PLC0415  a command loads no more than it needs

    return {
        _plain(name.split()): code
        for language in LANGUAGES
        for code, name in Locale.parse(language).territories.items()
        if _CODE.fullmatch(code) and code not in NO_COUNTRIES
    }


@cache
def _longest() -> int:
    """Words of the longest name."""
    return max(len(name.split()) for name in named())


def _plain(words: Sequence[str]) -> str:
    """A name as it is compared, however it is written."""
    return unicodedata.normalize("NFKC", " ".join(words)).casefold().replace("’", "'")
