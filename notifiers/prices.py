"""What messages cost by the operator's contract, by the calling prefix of the number; what is not said is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from domain.people import Channel


class Prices(msgspec.Struct, frozen=True):
    """Prices by calling prefix (`+86`, or longer, `+8610`): of one part of a text message, of one call."""

    currency: str = "CNY"
    sms: Mapping[str, Decimal] = msgspec.field(default_factory=dict)
    voice: Mapping[str, Decimal] = msgspec.field(default_factory=dict)

    def of(self, channel: Channel, phone: str) -> tuple[str, Decimal | None]:
        """(prefix, price) by the longest prefix that the number begins with; `("", None)` where none is known."""
        table = {Channel.SMS: self.sms, Channel.VOICE: self.voice}.get(channel, {})
        for length in range(min(len(phone), 8), 1, -1):
            price = table.get(phone[:length])
            if price is not None:
                return phone[:length], price
        return "", None
