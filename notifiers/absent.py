"""What stands in for a channel that this installation has no provider for: nothing is sent, and the log says why."""

from __future__ import annotations

from collections.abc import Sequence

from domain.outcomes import Outcome, Reason
from domain.people import Channel
from notifiers.channel import Delivery, Rendered, Result


class AbsentNotifier:
    """Defers everything: an operator can configure the provider while the warning is still valid."""

    chunk = 500

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        return [
            Result(index=delivery.index, outcome=Outcome.DEFERRED, reason=Reason.CREDENTIALS) for delivery in deliveries
        ]

    async def close(self) -> None:
        return
