"""What the HTTP face needs from the program around it; wired by infra, by hand in tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry

from api.desk import Desk
from api.duty import Duty
from api.feeds.desk import FeedDesk
from api.reachability import Reachability
from api.receipts import Receipts
from api.registry import Registry
from domain.ports import Clock, Log
from notifiers.failover import Providers
from notifiers.links import Links
from notifiers.prices import Prices
from notifiers.sending import Texts
from projections.follower import Views


class Reading(Protocol):
    """How the last reading of a feed went."""

    next_at: datetime
    read_at: datetime | None
    changed_at: datetime | None
    code: str
    message: str
    failures: int


class Progress(Protocol):
    """How far the views are."""

    async def reached(self, position: int, timeout_s: float = 10.0) -> bool:
        """True once the views stand at a position, False when that took too long."""

    async def moved(self, after: int) -> int:
        """The views' position once it is above `after`."""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the routes work with. `sms_tokens` are the secrets that the SMS providers sign callbacks with, by the
    provider's name, the preferred one first; `voice_token` is that for calls, `aliyun_secret` the one that stands in
    the path of Aliyun's reports.
    """

    log: Log
    views: Views
    progress: Progress
    desk: Desk
    registry: Registry
    feeds: FeedDesk
    readings: Callable[[str], Reading | None]
    duty: Duty
    reachability: Reachability
    receipts: Receipts
    texts: Texts
    links: Links
    clock: Clock
    new_id: Callable[[], str]
    new_secret: Callable[[], str]
    public_url: str
    alive: Callable[[], bool]
    checkpoint: Callable[[], str | None]
    metrics: CollectorRegistry
    prices: Prices = Prices()
    voice_token: str | None = None
    aliyun_secret: str | None = None
    sms_tokens: dict[str, str] = {}
    providers: Providers = Providers()

    def __repr__(self) -> str:
        return f"Services({self.public_url})"
