"""How many segments a text message takes: GSM 03.38 where every character is in its tables, else UCS-2.

Source: 3GPP TS 23.038. A message of one segment holds 160 septets or 70 UTF-16 units; in a longer one each segment
gives some to the header that joins them and holds 153 or 67. Neither an escaped character nor a surrogate pair is split
between two segments.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The default alphabet: one septet each."""
EXTENDED = frozenset("\f^{}\\[~]|€")
"""The extension table: an escape and a septet."""
GSM7_ALONE, GSM7_JOINED = 160, 153
UCS2_ALONE, UCS2_JOINED = 70, 67


def encoding(text: str) -> Literal["gsm7", "ucs2"]:
    """By which alphabet a text is sent: one character outside GSM 03.38 makes all of it UCS-2."""
    return "gsm7" if BASIC.issuperset(text) or (BASIC | EXTENDED).issuperset(text) else "ucs2"


def segments(text: str) -> int:
    """How many segments a text takes, which is what providers pace and charge by; 0 for an empty one."""
    if encoding(text) == "gsm7":
        return _filled([2 if c in EXTENDED else 1 for c in text], GSM7_ALONE, GSM7_JOINED)
    return _filled([2 if ord(c) > 0xFFFF else 1 for c in text], UCS2_ALONE, UCS2_JOINED)


def _filled(widths: Iterable[int], alone: int, joined: int) -> int:
    widths = list(widths)
    if sum(widths) <= alone:
        return 1 if widths else 0
    count, used = 1, 0
    for width in widths:
        if used + width > joined:
            count, used = count + 1, 0
        used += width
    return count
