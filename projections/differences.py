"""What changed between two texts, piece by piece, for somebody who has to see it before it goes out."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from domain.content import Text

MOST_PIECES = 3_000  # above this whole sentences are compared: comparing takes the product of the two lengths
_WORDS = re.compile(r"[\u2e80-\u9fff\uf900-\uffef]|\w+|\s+|[^\w\s]")
_SENTENCES = re.compile(r"[^。！？.!?\n]*[。！？.!?\n]*")
FIELDS = ("headline", "description", "instruction")

Piece = tuple[str, str]
"""(`=` kept, `-` gone, `+` new; the words)."""


def pieces(before: str, after: str) -> list[Piece]:
    """The way from one text to the other; joined without what is new it is the first, without what is gone the second.

    Compared by words, Chinese by characters.
    """
    a, b = _split(before, _WORDS), _split(after, _WORDS)
    if max(len(a), len(b)) > MOST_PIECES:
        a, b = _split(before, _SENTENCES), _split(after, _SENTENCES)
    found: list[Piece] = []
    for what, a0, a1, b0, b1 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if what == "equal":
            found.append(("=", "".join(a[a0:a1])))
            continue
        if a1 > a0:
            found.append(("-", "".join(a[a0:a1])))
        if b1 > b0:
            found.append(("+", "".join(b[b0:b1])))
    return found


def texts(before: tuple[Text, ...], after: tuple[Text, ...]) -> dict[str, dict[str, list[Piece]]]:
    """By language and field, for every language in either; a field that stayed as it was is left out."""
    old = {text.language.lower(): text for text in before}
    new = {text.language.lower(): text for text in after}
    found: dict[str, dict[str, list[Piece]]] = {}
    for key in dict.fromkeys([*old, *new]):
        one, other = old.get(key), new.get(key)
        tag = (other or one).language  # type: ignore[union-attr]
        found[tag] = {
            field: pieces(getattr(one, field, ""), getattr(other, field, ""))
            for field in FIELDS
            if getattr(one, field, "") != getattr(other, field, "")
        }
    return found


def _split(text: str, by: re.Pattern[str]) -> list[str]:
    return [part for part in by.findall(text) if part]
