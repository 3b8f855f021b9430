"""Whom of a shard a chunk is for: those who are due, less those whom their night lets sleep, with their addresses.

Contacts are opened once a chunk, for the address and for the time zone beside it; nothing of them is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.people import ADDRESS
from domain.ports import Contacts, Vault
from domain.private import Sealed
from domain.shards import ShardPlanned
from notifiers.opened import UNREADABLE, opened
from notifiers.quiet import Nights


class Chosen(msgspec.Struct, frozen=True):
    """`ready` are to be sent to, `at_night` of them in their night; `held` sleep until a moment. `addresses` by index,
    UNREADABLE for one that was altered; who has none is absent."""

    ready: tuple[int, ...] = ()
    held: dict[int, datetime] = {}
    at_night: frozenset[int] = frozenset()
    addresses: dict[int, Any] = {}

    def __repr__(self) -> str:  # no address in a log
        return f"Chosen({len(self.ready)} ready, {len(self.held)} held)"


class Chooser:
    def __init__(self, contacts: Contacts, vault: Vault) -> None:
        self._contacts = contacts
        self._vault = vault
        self._nights = Nights(vault)

    def choose(self, plan: ShardPlanned, due: Sequence[int], width: int, now: datetime) -> Chosen:
        """The next `width` of those due, or fewer where nobody is left; looks no further than it must."""
        ready: list[int] = []
        held: dict[int, datetime] = {}
        at_night: set[int] = set()
        contacts: dict[int, dict[str, Any]] = {}
        for start in range(0, len(due), width):
            some = due[start : start + width]
            known = self._contacts.of([plan.recipients[i] for i in some], None if plan.quiet is None else plan.node_id)
            found = self._opened(plan, some, known.sealed)
            asleep, told = self._nights.of(plan, some, found, known, now)
            contacts |= found
            held |= asleep
            at_night |= told
            ready += [i for i in some if i not in asleep]
            if len(ready) >= width:
                break
        ready = ready[:width]
        field = ADDRESS[plan.channel]
        addresses = {
            i: address
            for i in ready
            if (fields := contacts.get(i)) and (address := UNREADABLE if fields is UNREADABLE else fields.get(field))
        }
        return Chosen(tuple(ready), held, frozenset(at_night), addresses)

    def _opened(
        self, plan: ShardPlanned, indices: Sequence[int], sealed: dict[str, Sealed]
    ) -> dict[int, dict[str, Any]]:
        """What these people said of themselves; those unknown or forgotten are absent."""
        known = [i for i in indices if plan.recipients[i] in sealed]
        fields = opened(self._vault, [sealed[plan.recipients[i]] for i in known])
        return {i: found for i, found in zip(known, fields, strict=True) if found is not None}
