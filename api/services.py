"""What the HTTP face needs from the program around it; wired by infra, by hand in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry

from api.desk import Desk
from api.receipts import Receipts
from api.registry import Registry
from domain.ports import Clock, Log
from notifiers.failover import Providers
from notifiers.links import Links
from projections.follower import Views


class Progress(Protocol):
    """How far the views are."""

    async def reached(self, position: int, timeout_s: float = 10.0) -> bool:
        """True once the views stand at a position, False when that took too long."""

    async def moved(self, after: int) -> int:
        """The views' position once it is above `after`."""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the routes work with. `sms_tokens` are the secrets that the SMS providers sign callbacks with, by the
    provider's name, the preferred one first."""

    log: Log
    views: Views
    progress: Progress
    desk: Desk
    registry: Registry
    receipts: Receipts
    links: Links
    clock: Clock
    new_id: Callable[[], str]
    new_secret: Callable[[], str]
    public_url: str
    alive: Callable[[], bool]
    checkpoint: Callable[[], str | None]
    metrics: CollectorRegistry
    sms_tokens: dict[str, str] = {}
    providers: Providers = Providers()

    def __repr__(self) -> str:
        return f"Services({self.public_url})"
