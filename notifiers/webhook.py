"""Webhooks: a signed POST to a program of an enterprise or an office, after the Standard Webhooks specification.

The receiver itself answers, and no carrier stands between: 2xx is its receipt, so it counts as delivered and not only
as accepted. docs/webhooks.md says how a receiver checks what it gets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from domain.outcomes import Outcome, Reason
from domain.people import Channel
from notifiers.batch import refused, sendable, spread
from notifiers.channel import LINK, Delivery, Rendered, Result
from notifiers.net import PublicResolver, failure, http_session, read_answer, retry_after_s
from notifiers.signing import secret_of, signature
from notifiers.targets import ports_of, public_target

LONGEST_SUBJECT = 1000  # characters
LARGEST_BODY = 512 * 1024  # bytes; a warning with all its words is a few thousand
_PLACE = LINK.encode()


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`allowed_origins` may be plain http, on any port and in a private network: for offices' own networks and tests.

    `sender` is the User-Agent under which receivers see us.
    """

    allowed_origins: frozenset[str] = frozenset()
    sender: str = "Fenghuo-Webhooks"
    concurrency: int = 64  # requests in flight
    timeout_s: float = 15.0  # for one request, all told
    connect_timeout_s: float = 5.0


class WebhookNotifier:
    """Posts JSON `{type, timestamp, data}`; the same bytes at every attempt, with the same `webhook-id`."""

    channel = Channel.WEBHOOK

    def __init__(self, settings: WebhookSettings, chunk: int = 100, now: Callable[[], float] = time.time) -> None:
        """Raises ValueError for an allowed origin that is none."""
        self.chunk = chunk
        self._settings = settings
        self._now = now
        self._ports = ports_of(settings.allowed_origins)
        self._gate = asyncio.Semaphore(settings.concurrency)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send."""
        session = self._connected()
        content = body_of(rendered)
        headers = {"Content-Type": "application/json", "User-Agent": self._settings.sender}

        async def one(delivery: Delivery) -> Result:
            target = self._target(delivery.address)
            if target is None:
                return refused(delivery, Reason.BAD_ADDRESS)
            url, secret = target
            body = content.replace(_PLACE, msgspec.json.encode(sendable(delivery.link))[1:-1])
            if len(body) > LARGEST_BODY:
                return refused(delivery, Reason.CONTENT_REFUSED)
            at = int(self._now())
            signed = {
                **headers,
                "webhook-id": delivery.message_id,
                "webhook-timestamp": str(at),
                "webhook-signature": signature(secret, delivery.message_id, at, body),
            }
            try:
                async with (
                    asyncio.timeout(self._settings.timeout_s),
                    session.post(url, data=body, headers=signed, allow_redirects=False) as response,
                ):
                    await read_answer(response)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                outcome, reason = failure(error)
                return Result(index=delivery.index, outcome=outcome, reason=reason)
            outcome, reason = status_meaning(response.status, "Retry-After" in response.headers)
            wait_s = retry_after_s(response.headers)
            return Result(index=delivery.index, outcome=outcome, reason=reason, retry_after_s=wait_s)

        return await spread(deliveries, self._gate, self._settings.concurrency, one)

    def _target(self, address: Any) -> tuple[URL, bytes] | None:
        try:
            return public_target(address["url"], self._settings.allowed_origins), secret_of(address["secret"])
        except (LookupError, TypeError, ValueError):
            return None

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = http_session(
                connections=self._settings.concurrency,
                connect_timeout_s=self._settings.connect_timeout_s,
                resolver=PublicResolver(self._ports),
            )
        return self._session

    async def close(self) -> None:
        """As Notifier.close."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def body_of(rendered: Rendered) -> bytes:
    """The body of a batch, with LINK where each recipient's own link goes. It holds nothing about the person."""
    at, until = rendered.rendered_at, rendered.expires_at
    data = {
        "warning_id": rendered.warning_id,
        "number": rendered.number,
        "level": rendered.level.value,
        "lane": rendered.lane.value,
        "drill": rendered.drill,
        "language": rendered.language,
        "subject": sendable(rendered.subject[:LONGEST_SUBJECT]),
        "text": sendable(rendered.text),
        "short": sendable(rendered.short),
        "link": LINK,
        "expires_at": None if until is None else until.isoformat(),
    }
    kind = f"warning.{rendered.purpose.value}"
    return msgspec.json.encode({"type": kind, "timestamp": None if at is None else at.isoformat(), "data": data})


def status_meaning(status: int, says_when: bool) -> tuple[Outcome, Reason]:
    """What a receiver's HTTP status means. `says_when`: it came with Retry-After."""
    match status:
        case _ if 200 <= status < 300:
            return Outcome.DELIVERED, Reason.NONE
        case 410:
            return Outcome.REFUSED, Reason.SUBSCRIPTION_GONE
        case 401 | 403:  # it does not take our signature: perhaps its secret was changed and ours not yet
            return Outcome.DEFERRED, Reason.CREDENTIALS
        case 413 | 422:
            return Outcome.REFUSED, Reason.CONTENT_REFUSED
        case 429:
            return Outcome.DEFERRED, Reason.RATE_LIMITED
        case 408 | 425:
            return Outcome.DEFERRED, Reason.PROVIDER_BUSY
        case 503 if says_when:
            return Outcome.DEFERRED, Reason.PROVIDER_BUSY
    if status >= 500:
        return Outcome.UNKNOWN, Reason.PROVIDER_ERROR
    # 404 and the like: no receiver at that address. A redirect is not followed, for it could lead anywhere.
    return Outcome.REFUSED, Reason.BAD_ADDRESS
