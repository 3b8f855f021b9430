"""Voice calls through Twilio: placing one call each, and what its ending means.

What is said, and what a key does, our own callback answers while the call goes on (api/calls.py, twiml.py). Sources:
the provider's Calls resource, its error codes, its machine detection, and the SIP response codes (RFC 3261).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from domain.outcomes import Outcome, Reason
from domain.people import Channel
from notifiers.account import Account, AccountSettings, code_of
from notifiers.batch import refused, spread
from notifiers.channel import Delivery, Rendered, Result
from notifiers.sms import E164

RING_S = 40  # longer than most mailboxes wait before they pick up, and shorter than people are patient
LONGEST_CALL_S = 240

REFUSALS: dict[int, tuple[Outcome, Reason]] = {
    **dict.fromkeys((13224, 21201, 21211, 21214, 21217, 21401, 21421), (Outcome.REFUSED, Reason.BAD_ADDRESS)),
    **dict.fromkeys((13227, 21202, 21203, 21215, 21216, 21219), (Outcome.REFUSED, Reason.BLOCKED)),
    **dict.fromkeys((10004, 14107, 20429), (Outcome.DEFERRED, Reason.RATE_LIMITED)),
    # Our account, our number or our callback address is at fault: an operator can mend that.
    **dict.fromkeys(
        (10001, 20003, 20005, 20404, 21205, 21210, 21212, 21213, 21609), (Outcome.DEFERRED, Reason.CREDENTIALS)
    ),
}
"""What the provider's error codes mean for one call, where it was refused at once."""

ENDINGS: dict[str, Reason] = {
    "busy": Reason.BUSY,
    "no-answer": Reason.NO_ANSWER,
    "failed": Reason.UNDELIVERED,
    "canceled": Reason.STOPPED,
}
"""Why a call that ended like this did not reach anybody."""

SIP: dict[int, Reason] = {
    **dict.fromkeys((404, 410, 484, 604), Reason.BAD_ADDRESS),
    **dict.fromkeys((403, 603, 607, 608), Reason.BLOCKED),
    **dict.fromkeys((408, 480), Reason.NO_ANSWER),
    **dict.fromkeys((486, 600), Reason.BUSY),
}
"""Why a call failed, by the SIP code of the far side; those not listed are plainly UNDELIVERED."""


class VoiceSettings(AccountSettings, frozen=True, kw_only=True):
    """The account to call with. `caller` is the number that people see."""

    caller: str
    concurrency: int = 16


class VoiceNotifier:
    """Places a call for each delivery; the provider then asks `Delivery.callback` what to say."""

    channel = Channel.VOICE

    def __init__(self, settings: VoiceSettings, chunk: int = 50) -> None:
        self.chunk = chunk
        self._settings = settings
        self._gate = asyncio.Semaphore(settings.concurrency)
        self._account = Account(settings)

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send. A warning without words for a call is refused: a silent call would only frighten."""

        async def one(delivery: Delivery) -> Result:
            if not isinstance(delivery.address, str) or not E164.fullmatch(delivery.address):
                return refused(delivery, Reason.BAD_ADDRESS)
            if not rendered.voice.strip() or not delivery.callback:
                return refused(delivery, Reason.CONTENT_REFUSED)
            form = {
                "To": delivery.address,
                "From": self._settings.caller,
                "Url": delivery.callback,
                "StatusCallback": f"{delivery.callback}/status",
                "MachineDetection": "Enable",
                "Timeout": str(RING_S),
                "TimeLimit": str(LONGEST_CALL_S),
            }
            return await self._account.ask(delivery, "Calls", urlencode(form).encode(), REFUSALS)

        return await spread(deliveries, self._gate, self._settings.concurrency, one)

    async def close(self) -> None:
        """As Notifier.close."""
        await self._account.close()


def by_machine(params: Mapping[str, str]) -> bool:
    """Whether a callback says that a mailbox or a fax picked up."""
    return params.get("AnsweredBy", "").startswith(("machine", "fax"))


def call_to_row(params: Mapping[str, str]) -> tuple[Outcome, Reason, str] | None:
    """What a status callback says of a call: outcome, reason and the provider's id; None while it is under way."""
    reference = params.get("CallSid", "")[:64]
    status = params.get("CallStatus", "")
    if status == "completed":
        if by_machine(params):
            return Outcome.REFUSED, Reason.MACHINE, reference
        return Outcome.DELIVERED, Reason.NONE, reference
    if status not in ENDINGS:
        return None
    reason = ENDINGS[status]
    if status == "failed":
        code = params.get("SipResponseCode", "")
        reason = SIP.get(code_of(code), reason)
    return Outcome.REFUSED, reason, reference
