"""Opens sealed contacts, many at a time: one that was altered is said to be so, and holds up none of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from domain.errors import VerificationFailed
from domain.ports import Vault
from domain.private import Sealed

_log = structlog.get_logger("fenghuo.contacts")

UNREADABLE: dict[str, Any] = {"unreadable": True}
"""Stands for what was in a box that was altered; it has none of the personal fields."""


def opened(vault: Vault, boxes: Sequence[Sealed]) -> list[dict[str, Any] | None]:
    """What is in the boxes; None where the key was destroyed, UNREADABLE where the box was altered.

    Raises VerificationFailed where the vault itself is not the one that sealed them.
    """
    try:
        return vault.open_all(boxes)
    except VerificationFailed as error:
        if error.code != "vault.altered":
            raise
    found: list[dict[str, Any] | None] = []
    for box in boxes:
        try:
            found.append(vault.open(box))
        except VerificationFailed as error:
            _log.error("contact_unreadable", person_id=box.key_id, code=error.code)
            found.append(UNREADABLE)
    return found
