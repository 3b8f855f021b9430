"""Whose night it is, and what a message says that goes out in it all the same.

A person's clock is that of the place where they are: the zone of their current stay, else the one they gave for
themself, else that of their node, else that of the office above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from domain import whereabouts
from domain.ports import Known, Vault
from domain.private import Sealed
from domain.quiet import quiet_until
from domain.shards import Purpose, ShardPlanned
from domain.whereabouts import zone_of
from notifiers.channel import Rendered
from notifiers.opened import UNREADABLE, opened

WORDS: dict[str, tuple[str, str]] = {  # because of its level; because it would end unheard
    "zh": ("因预警级别，夜间发送。", "因预警在清晨前失效，夜间发送。"),
    "en": ("Sent at night because of its level.", "Sent at night because it ends before the morning."),
    "es": ("Enviado de noche por su nivel.", "Enviado de noche porque termina antes de la mañana."),
    "it": ("Inviato di notte per il suo livello.", "Inviato di notte perché termina prima del mattino."),
    "fr": ("Envoyé de nuit en raison de son niveau.", "Envoyé de nuit, car il prend fin avant le matin."),
}


def woken(rendered: Rendered, *, by_level: bool) -> Rendered:
    """The same message with a sentence more: why it comes at night. For channels that make a noise."""
    words = WORDS.get(rendered.language.partition("-")[0].lower(), WORDS["en"])[0 if by_level else 1]
    return msgspec.structs.replace(
        rendered,
        text=f"{rendered.text}\n\n{words}",
        short=f"{rendered.short} {words}",
        push=f"{rendered.push} {words}" if rendered.push else "",
        voice=f"{rendered.voice} {words}" if rendered.voice else "",
    )


class Nights:
    """Opens where people are only to know what time it is there; nothing of it is kept."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def of(
        self, plan: ShardPlanned, indices: Sequence[int], own: dict[int, dict[str, Any]], known: Known, now: datetime
    ) -> tuple[dict[int, datetime], set[int]]:
        """(who is let sleep, and until when; who is told though it is their night). `own`: what each said of themself,
        `known`: where they and their node are.

        Told are those whom the level wakes, and those whose night ends after the warning does: it would never be heard.
        A withdrawal has no end, so it waits.
        """
        held: dict[int, datetime] = {}
        told: set[int] = set()
        if plan.quiet is None:
            return held, told
        ends: dict[str, datetime | None] = {}
        for index, zone in self._zones(plan, indices, own, known, now):
            if zone.key not in ends:
                ends[zone.key] = quiet_until(now, zone, plan.quiet)
            until = ends[zone.key]
            if until is None:
                continue
            if plan.wakes or (until >= plan.valid_until and plan.purpose is not Purpose.CANCEL):
                told.add(index)
            else:
                held[index] = until
        return held, told

    def _zones(
        self, plan: ShardPlanned, indices: Sequence[int], own: dict[int, dict[str, Any]], known: Known, now: datetime
    ) -> Iterator[tuple[int, ZoneInfo]]:
        """The zone of each; those of whom none is known are left out."""
        stays = self._opened(known.stays)
        node = next((there for name in known.zones if (there := zone_of(name))), None)
        for i in indices:
            who, zone = plan.recipients[i], None
            if who in stays:
                stay = whereabouts.current([whereabouts.opened(one) for one in stays[who]], now)
                zone = None if stay is None else zone_of(stay.zone)
            if zone is None and i in own and own[i].get("zone"):
                zone = zone_of(str(own[i]["zone"]))
            if (zone := zone or node) is not None:
                yield i, zone

    def _opened(self, sealed: dict[str, list[Sealed]]) -> dict[str, list[dict[str, Any]]]:
        boxes = [(who, box) for who, some in sealed.items() for box in some]
        if not boxes:  # nearly always: to ask the vault costs as much as to open some
            return {}
        found: dict[str, list[dict[str, Any]]] = {}
        for (who, _), fields in zip(boxes, opened(self._vault, [box for _, box in boxes]), strict=True):
            if fields is not None and fields is not UNREADABLE:  # None: they asked to be forgotten
                found.setdefault(who, []).append(fields)
        return found
