"""Voice calls through Twilio: placing one call each, and what its ending means.

What is said, and what a key does, our own callback answers while the call goes on (api/calls.py, twiml.py). Sources:
the provider's Calls resource, its error codes, its machine detection, and the SIP response codes (RFC 3261).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import aiohttp
import msgspec
from twilio.rest import Client

from domain.outcomes import Outcome, Reason
from domain.people import Channel
from notifiers.account import Answered, connected, meaning
from notifiers.batch import accepted, in_doubt, refused, spread
from notifiers.channel import Delivery, Rendered, Result
from notifiers.net import failure
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


class VoiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The account to call with. `caller` is the number that people see."""

    account_sid: str
    auth_token: str
    caller: str
    base_url: str = "https://api.twilio.com"
    concurrency: int = 16  # requests in flight
    timeout_s: float = 15.0  # for one request, all told
    connect_timeout_s: float = 5.0

    def __repr__(self) -> str:
        return f"VoiceSettings(base_url={self.base_url!r}, concurrency={self.concurrency})"


class VoiceNotifier:
    """Places a call for each delivery; the provider then asks `Delivery.callback` what to say."""

    channel = Channel.VOICE

    def __init__(self, settings: VoiceSettings, chunk: int = 50) -> None:
        self.chunk = chunk
        self._settings = settings
        self._gate = asyncio.Semaphore(settings.concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._client: Client | None = None

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send. A warning without words for a call is refused: a silent call would only frighten."""
        client = self._connected()

        async def one(delivery: Delivery) -> Result:
            if not isinstance(delivery.address, str) or not E164.fullmatch(delivery.address):
                return refused(delivery, Reason.BAD_ADDRESS)
            if not rendered.voice.strip() or not delivery.callback:
                return refused(delivery, Reason.CONTENT_REFUSED)
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    call = await client.calls.create_async(
                        to=delivery.address,
                        from_=self._settings.caller,
                        url=delivery.callback,
                        status_callback=f"{delivery.callback}/status",
                        machine_detection="Enable",
                        timeout=RING_S,
                        time_limit=LONGEST_CALL_S,
                    )
            except Answered as answer:
                outcome, reason = meaning(answer, REFUSALS)
                return Result(index=delivery.index, outcome=outcome, reason=reason, retry_after_s=answer.retry_after_s)
            except (aiohttp.ClientError, OSError) as error:
                outcome, reason = failure(error)
                return Result(index=delivery.index, outcome=outcome, reason=reason)
            except ValueError:  # 2xx, but no JSON: somebody answered, perhaps not the provider
                return in_doubt(delivery, Reason.PROVIDER_ERROR)
            if not isinstance(call.sid, str) or not call.sid:
                return in_doubt(delivery, Reason.PROVIDER_ERROR)
            return accepted(delivery, call.sid[:64])

        return await spread(deliveries, self._gate, self._settings.concurrency, one)

    def _connected(self) -> Client:
        if self._client is None or self._session is None or self._session.closed:
            settings = self._settings
            self._session, self._client = connected(
                settings.account_sid,
                settings.auth_token,
                settings.base_url,
                connections=settings.concurrency,
                connect_timeout_s=settings.connect_timeout_s,
            )
        return self._client

    async def close(self) -> None:
        """As Notifier.close."""
        session, self._session, self._client = self._session, None, None
        if session is not None:
            await session.close()


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
        reason = SIP.get(int(code) if code.isascii() and code.isdigit() else 0, reason)
    return Outcome.REFUSED, reason, reference
