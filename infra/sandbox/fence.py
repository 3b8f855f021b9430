"""Where people themselves gave an address on the internet (a browser's push service, a webhook, a chat), it is a real
one also in the sandbox. What is addressed to them is taken here, and leaves by no socket.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from domain.outcomes import Outcome
from domain.people import Channel
from notifiers.channel import Delivery, Notifier, Rendered, Result
from notifiers.targets import public_target

PROVIDER = "sandbox"
RECEIPTED = frozenset({Channel.WEBHOOK})  # channels whose receiver's own answer is the receipt


class Taker:
    """Stands in for a channel: takes every message as its receivers would, and sends nothing."""

    def __init__(self, channel: Channel, chunk: int = 100) -> None:
        self.channel = channel
        self.chunk = chunk
        self._outcome = Outcome.DELIVERED if channel in RECEIPTED else Outcome.ACCEPTED

    async def send(self, _: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send."""
        return [
            Result(index=d.index, outcome=self._outcome, provider_ref=f"{PROVIDER}-{d.message_id}", provider=PROVIDER)
            for d in deliveries
        ]

    async def close(self) -> None:
        """As Notifier.close."""


class PushFence:
    """Web push to the browsers of the sandbox alone: to those whose push service is at one of `origins`."""

    channel = Channel.WEBPUSH

    def __init__(self, real: Notifier, origins: Collection[str]) -> None:
        self._real, self._taker = real, Taker(Channel.WEBPUSH)
        self._origins = frozenset(origins)

    @property
    def chunk(self) -> int:
        return self._real.chunk

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send."""
        outside = {delivery.index for delivery in deliveries if self._outside(delivery)}
        taken = await self._taker.send(rendered, [d for d in deliveries if d.index in outside])
        inside = [d for d in deliveries if d.index not in outside]
        return taken + (await self._real.send(rendered, inside) if inside else [])

    def _outside(self, delivery: Delivery) -> bool:
        """Judged as the channel does, which posts nowhere where this raises."""
        try:
            return str(public_target(delivery.address["endpoint"], self._origins).origin()) not in self._origins
        except (LookupError, TypeError, ValueError):
            return False

    async def close(self) -> None:
        """As Notifier.close."""
        await self._real.close()
