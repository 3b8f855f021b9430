"""Text messages through Twilio: sending, checking the signature of its callbacks, and reading them.

Sources: the provider's Messages resource, its list of error codes, and its rule for signing callbacks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus, urlencode

from twilio.request_validator import RequestValidator

from domain.outcomes import Outcome, Reason
from domain.people import Channel
from notifiers.account import Account, AccountSettings, code_of
from notifiers.batch import refused, sendable, spread
from notifiers.channel import LINK, Delivery, Rendered, Result

E164 = re.compile(r"\+[1-9][0-9]{5,14}")
_LINK = quote_plus(LINK)
LONGEST_BODY = 1600  # characters, the provider's limit
LONGEST_VALIDITY_S = 36_000  # the provider's limit for how long it keeps trying

REFUSALS: dict[int, tuple[Outcome, Reason]] = {
    **dict.fromkeys((21211, 21214, 21217, 21265, 21266, 21401, 21421, 21614), (Outcome.REFUSED, Reason.BAD_ADDRESS)),
    **dict.fromkeys((21219, 21408, 21608, 21610, 21612, 21613), (Outcome.REFUSED, Reason.BLOCKED)),
    **dict.fromkeys((21602, 21605, 21617, 21619, 21620, 21623), (Outcome.REFUSED, Reason.CONTENT_REFUSED)),
    **dict.fromkeys((14107, 20429, 21611, 63038), (Outcome.DEFERRED, Reason.RATE_LIMITED)),
    # Our account, our sender or our callback address is at fault. An operator can mend that while the warning is
    # still valid, so these wait instead of settling the recipient.
    **dict.fromkeys(
        (20003, 20005, 20404, 21212, 21213, 21603, 21606, 21609, 21659, 21660, 21661, 21703, 30002),
        (Outcome.DEFERRED, Reason.CREDENTIALS),
    ),
}
"""What the provider's error codes mean for one recipient, where it refused at once."""

FAILURES: dict[int, Reason] = {
    **dict.fromkeys((21211, 21614, 30005, 30006, 30009), Reason.BAD_ADDRESS),
    **dict.fromkeys((21408, 21610, 21612, 30004, 30007, 30024, 30032, 30034), Reason.BLOCKED),
    **dict.fromkeys((21617, 30019, 30011), Reason.CONTENT_REFUSED),
    **dict.fromkeys((30002,), Reason.CREDENTIALS),
    **dict.fromkeys((30001, 30022, 30027), Reason.RATE_LIMITED),
    30036: Reason.VALIDITY_OVER,
}
"""What the error codes in callbacks mean; those not listed (30003, 30008 and the like) are plainly UNDELIVERED."""


class SmsSettings(AccountSettings, frozen=True, kw_only=True):
    """The account to send with. `sender` is a number, an alphanumeric id or a messaging service (`MG…`)."""

    sender: str


class SmsNotifier:
    """Sends `Rendered.short`, LINK replaced by the recipient's link, by the provider's Messages resource."""

    channel = Channel.SMS

    def __init__(self, settings: SmsSettings, chunk: int = 100) -> None:
        self.chunk = chunk
        self._settings = settings
        self._gate = asyncio.Semaphore(settings.concurrency)
        self._account = Account(settings)

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send. A body of more than LONGEST_BODY characters is refused here: cut short, it would lose
        its link, which stands at the end."""
        short = sendable(rendered.short)
        validity_s = min(max(rendered.ttl_s, 1), LONGEST_VALIDITY_S)
        service = self._settings.sender.startswith("MG")
        # The same for all but for the link: encoded once, since that takes longer than all else that is done here.
        common = urlencode(
            {
                "MessagingServiceSid" if service else "From": self._settings.sender,
                "ValidityPeriod": str(validity_s),
                "Body": short,
            }
        )

        async def one(delivery: Delivery) -> Result:
            if not isinstance(delivery.address, str) or not E164.fullmatch(delivery.address):
                return refused(delivery, Reason.BAD_ADDRESS)
            length = len(short) + short.count(LINK) * (len(delivery.link) - len(LINK))
            if not length or length > LONGEST_BODY:
                return refused(delivery, Reason.CONTENT_REFUSED)
            form = f"{common.replace(_LINK, quote_plus(delivery.link))}&To=%2B{delivery.address[1:]}"
            if delivery.callback:
                form += f"&StatusCallback={quote_plus(delivery.callback)}"
            return await self._account.ask(delivery, "Messages", form.encode(), REFUSALS)

        return await spread(deliveries, self._gate, self._settings.concurrency, one)

    async def close(self) -> None:
        """As Notifier.close."""
        await self._account.close()


def verify_signature(auth_token: str, url: str, params: Mapping[str, Any], signature: str) -> bool:
    """Whether a callback was signed with our token: HMAC-SHA1 over the URL as the provider sees it and the form.

    `url` is the public address with its query, not what a proxy made of it. Never raises: what cannot be read is
    not genuine.
    """
    try:
        validator = RequestValidator(auth_token)  # type: ignore[no-untyped-call]
        return bool(validator.validate(url, params, signature))  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, LookupError):
        return False


def status_to_row(params: Mapping[str, str]) -> tuple[Outcome, Reason, str] | None:
    """What a status callback says of a message: outcome, reason and the provider's id; None while it is under way."""
    reference = params.get("MessageSid", "")[:64]
    code = params.get("ErrorCode", "")
    match params.get("MessageStatus"):
        case "delivered" | "read":
            return Outcome.DELIVERED, Reason.NONE, reference
        case "undelivered" | "failed":
            return Outcome.REFUSED, FAILURES.get(code_of(code), Reason.UNDELIVERED), reference
        case "canceled":
            return Outcome.REFUSED, Reason.STOPPED, reference
    return None
