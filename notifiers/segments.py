"""How many parts a text message takes: GSM 03.38 with its extension table, or UCS-2 where one character needs it.

A part holds 160 septets (153 in a chain) or 70 UTF-16 units (67 in a chain); a character is never cut in two
(3GPP TS 23.038, 23.040).
"""

from __future__ import annotations

GSM_7 = "GSM-7"
UCS_2 = "UCS-2"

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")  # an escape and a septet each


def encoding(text: str) -> str:
    """`GSM-7` where every character is in its tables, else `UCS-2`."""
    return GSM_7 if all(c in _BASIC or c in _EXTENDED for c in text) else UCS_2


def segments(text: str) -> int:
    """The number of parts; an empty message is one."""
    if encoding(text) == GSM_7:
        return _parts([2 if c in _EXTENDED else 1 for c in text], 160, 153)
    return _parts([2 if ord(c) > 0xFFFF else 1 for c in text], 70, 67)


def _parts(widths: list[int], alone: int, chained: int) -> int:
    if sum(widths) <= alone:
        return 1
    count, used = 1, 0
    for width in widths:
        if used + width > chained:
            count, used = count + 1, 0
        used += width
    return count
