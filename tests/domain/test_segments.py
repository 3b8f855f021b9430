"""Parts of text messages, at their limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifiers.segments import encoding, segments


@pytest.mark.parametrize(
    ("text", "code", "parts"),
    [
        ("", "GSM-7", 1),
        ("a" * 160, "GSM-7", 1),
        ("a" * 161, "GSM-7", 2),
        ("a" * 306, "GSM-7", 2),
        ("a" * 307, "GSM-7", 3),
        ("€" * 80, "GSM-7", 1),
        ("€" * 81, "GSM-7", 2),
        ("a" * 152 + "€" * 5, "GSM-7", 2),
        ("€" * 153, "GSM-7", 3),  # 76 in each of two parts: the escape is not cut from what it escapes
        ("水" * 70, "UCS-2", 1),
        ("水" * 71, "UCS-2", 2),
        ("水" * 134, "UCS-2", 2),
        ("水" * 135, "UCS-2", 3),
        ("😀" * 35, "UCS-2", 1),
        ("😀" * 67, "UCS-2", 3),  # 33 in each of two parts: no surrogate pair is cut
        ("ç", "UCS-2", 1),
        ("Ç", "GSM-7", 1),
    ],
)
def test_a_message_has_as_many_parts_as_the_standard_says(text, code, parts):
    assert (encoding(text), segments(text)) == (code, parts)


@given(st.text(max_size=400), st.text(max_size=50))
def test_more_text_is_never_fewer_parts(text, more):
    assert segments(text + more) >= segments(text) >= 1
