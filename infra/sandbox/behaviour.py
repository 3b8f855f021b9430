"""How a sandbox provider treats one recipient: as it should, or wrong in a way that real providers have."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    OK = "ok"
    REFUSE = "refuse"  # for good, with `code`
    DEFER = "defer"  # for now, with `code`, and `retry_after_s` where the protocol has a way to say it
    ERROR = "error"  # a failure on the provider's side, nothing taken
    HANG = "hang"  # taken, never answered
    RESET = "reset"  # taken, and the connection broken instead of an answer
    SLOW = "slow"  # taken, answered after `delay_s`, and reported on before that; with a `code`: not delivered
    NEVER_DELIVERED = "never_delivered"  # SMS: taken, and no receipt ever
    UNDELIVERED = "undelivered"  # SMS: taken, and a receipt with the error `code`
    DUPLICATE = "duplicate"  # SMS: every receipt comes twice
    LATE = "late"  # SMS: the last receipt comes after `delay_s`


class Behaviour(msgspec.Struct, frozen=True):
    """One way to behave. `code` is in the protocol's own terms, 0 for its usual one. `times` messages are treated
    like this and then none; None: all."""

    kind: Kind = Kind.OK
    code: int = 0
    retry_after_s: float | None = None
    delay_s: float = 0.0
    times: int | None = None


GOOD = Behaviour()


class Script:
    """Which recipient gets which behaviour; everybody not named is treated well."""

    def __init__(self) -> None:
        self._by_recipient: dict[str, list[Behaviour]] = {}
        self._used: dict[str, int] = {}

    def behave(self, recipient: str, behaviour: Behaviour) -> None:
        """Replaces whatever was said of this recipient before."""
        self._by_recipient[recipient] = [behaviour]
        self._used.pop(recipient, None)

    def next(self, recipient: str) -> Behaviour:
        """The behaviour for the next message to this recipient; counts it."""
        for behaviour in self._by_recipient.get(recipient, ()):
            used = self._used.get(recipient, 0)
            if behaviour.times is None or used < behaviour.times:
                self._used[recipient] = used + 1
                return behaviour
        return GOOD
