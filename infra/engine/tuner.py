"""Keeps providers at the rates that the log says, also where another process wrote them; restores what was spent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog

from domain.rates import Rate
from infra.engine.follower import Follower
from notifiers.failover import Providers
from notifiers.limits import day_of
from projections.follower import Views

_log = structlog.get_logger("fenghuo.tuner")


class Tuner:
    def __init__(self, views: Views, follower: Follower, providers: Providers) -> None:
        self._views = views
        self._follower = follower
        self._providers = providers

    def restore(self, now: datetime) -> None:
        """What was spent today goes on counting after a restart; rates hold from the first message on."""
        with self._views.reading() as db:
            for provider in self._providers.all:
                if provider.budget is not None:
                    day = day_of(now)
                    provider.budget.restore(day, self._views.rates.spent(db, provider.name, day))
        self._apply(self._rows())

    async def run(self) -> None:
        while True:
            position = self._views.position
            self._apply(await asyncio.to_thread(self._rows))  # here, where messages wait for their turn
            await self._follower.moved(position)

    def _rows(self) -> list[dict[str, Any]]:
        with self._views.reading() as db:
            return self._views.rates.all(db)

    def _apply(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            provider = self._providers.named(row["provider"])
            if provider is not None and provider.pace.change(row["sender"], Rate(row["per_s"], row["burst"])):
                _log.info(
                    "rate_changed",
                    provider=row["provider"],
                    of_sender=bool(row["sender"]),
                    per_s=row["per_s"],
                    burst=row["burst"],
                )
