"""Web Push: a notification to a browser, by way of the push service that its maker runs.

Sources: RFC 8030 (delivery), RFC 8291 (encryption for the browser), RFC 8292 (VAPID, who is sending).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import http_ece
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02, VapidException
from yarl import URL

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from domain.people import Channel
from notifiers.batch import accepted, refused, sendable, spread
from notifiers.channel import LINK, Delivery, Rendered, Result
from notifiers.net import PublicResolver, failure, http_session, read_answer, retry_after_s
from notifiers.targets import public_target

LARGEST_PAYLOAD = 3993  # bytes: 4096 less header, padding delimiter and tag (RFC 8291 section 4)
LONGEST_TITLE = 200  # characters
LONGEST_LINK = 1024  # characters; leaves room for the text
TOKEN_S = 12 * 3600  # seconds for which a token is made out; RFC 8292 section 2 allows 24 hours
TOKEN_SPARE_S = 3600  # seconds before its end at which a token is replaced
MOST_ORIGINS = 1000  # tokens kept; there are a handful of push services, but an endpoint is a stranger's word
URGENCIES = frozenset({"very-low", "low", "normal", "high"})
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+=*")


class WebPushSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`vapid_key` is the private key (base64url, raw or DER), `contact` a `mailto:` or `https:` address for the push
    service's operators. `allowed_origins` may be plain http and in a private network: for tests and sandboxes.
    """

    vapid_key: str
    contact: str
    allowed_origins: frozenset[str] = frozenset()
    concurrency: int = 64  # requests in flight
    timeout_s: float = 15.0  # for one request, all told
    connect_timeout_s: float = 5.0

    def __repr__(self) -> str:
        return f"WebPushSettings(contact={self.contact!r}, concurrency={self.concurrency})"


class Tokens:
    """VAPID headers, one for each origin, signed anew only as their end comes near."""

    def __init__(self, key: Vapid02, contact: str, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._contact = contact
        self._now = now
        self._kept: dict[str, tuple[float, str]] = {}

    def authorization(self, origin: str) -> str:
        """The Authorization header for this origin, `https://host` or `https://host:port`. Raises VapidException."""
        now = self._now()
        until, header = self._kept.get(origin, (0.0, ""))
        if now < until - TOKEN_SPARE_S:
            return header
        until = now + TOKEN_S
        # A new dictionary each time: an `aud` that is left over from another origin would be a token for that one.
        claims = {"aud": origin, "sub": self._contact, "exp": int(until)}
        header = str(self._key.sign(claims)["Authorization"])  # type: ignore[no-untyped-call]
        if len(self._kept) >= MOST_ORIGINS:
            self._kept.pop(next(iter(self._kept)))
        self._kept[origin] = (until, header)
        return header


class WebPushNotifier:
    """Sends a JSON payload `{title, body, url, tag}` for the console's service worker to show.

    `tag` and the Topic header come from the message id: the browser, and the push service while it still holds the
    message, put a repeat in the place of the first.
    """

    channel = Channel.WEBPUSH

    def __init__(self, settings: WebPushSettings, chunk: int = 100, now: Callable[[], float] = time.time) -> None:
        """Raises InvalidInput where the key cannot be read or the contact is none."""
        self.chunk = chunk
        self._settings = settings
        try:
            key = Vapid02.from_string(settings.vapid_key)  # type: ignore[no-untyped-call]
            self._tokens = Tokens(key, settings.contact, now)
            self._tokens.authorization("https://push.invalid")
        except (VapidException, ValueError, TypeError):
            # `from None`: the library's message may quote the key.
            raise InvalidInput("webpush.key", "The VAPID key or contact is not usable.", "Make a new one.") from None
        self._allowed = frozenset(_origin(URL(origin)) for origin in settings.allowed_origins)
        self._gate = asyncio.Semaphore(settings.concurrency)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send. A text that is too long is cut: the link leads to the whole of it."""
        session = self._connected()
        title, body = _texts(rendered, deliveries)
        headers = {
            "TTL": str(max(rendered.ttl_s, 0)),
            "Urgency": rendered.urgency if rendered.urgency in URGENCIES else "normal",
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
        }

        async def one(delivery: Delivery) -> Result:
            target = self._target(delivery.address)
            if target is None:
                return refused(delivery, Reason.BAD_ADDRESS)
            endpoint, receiver, secret = target
            payload = _payload(title, body, delivery)
            if len(delivery.link) > LONGEST_LINK or len(payload) > LARGEST_PAYLOAD:
                return refused(delivery, Reason.CONTENT_REFUSED)
            try:
                authorization = self._tokens.authorization(_origin(endpoint))
                content = http_ece.encrypt(  # type: ignore[no-untyped-call]
                    payload,
                    private_key=ec.generate_private_key(ec.SECP256R1()),
                    dh=receiver,
                    auth_secret=secret,
                    version="aes128gcm",
                )
            except (VapidException, ValueError):  # no origin that a token can name, or not a point on the curve
                return refused(delivery, Reason.BAD_ADDRESS)
            try:
                async with (
                    asyncio.timeout(self._settings.timeout_s),
                    session.post(
                        endpoint,
                        data=content,
                        headers={**headers, "Topic": topic(delivery.message_id), "Authorization": authorization},
                        allow_redirects=False,
                    ) as response,
                ):
                    await read_answer(response)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                outcome, reason = failure(error)
                return Result(index=delivery.index, outcome=outcome, reason=reason)
            if response.status in {200, 201, 202, 204}:
                return accepted(delivery, _path(response.headers.get("Location", "")))
            outcome, reason = status_meaning(response.status, "Retry-After" in response.headers)
            wait_s = retry_after_s(response.headers)
            return Result(index=delivery.index, outcome=outcome, reason=reason, retry_after_s=wait_s)

        return await spread(deliveries, self._gate, self._settings.concurrency, one)

    def _target(self, subscription: Any) -> tuple[URL, bytes, bytes] | None:
        """Endpoint, the browser's public key and its secret, where they are what RFC 8291 asks for."""
        try:
            keys = subscription["keys"]
            receiver, secret = _decode(keys["p256dh"]), _decode(keys["auth"])
            url = public_target(subscription["endpoint"], self._allowed)
        except (LookupError, TypeError, ValueError):
            return None
        if len(receiver) != 65 or receiver[0] != 4 or len(secret) != 16:
            return None
        return url, receiver, secret

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            allowed = [(url.host or "", url.port or 0) for url in map(URL, self._allowed)]
            self._session = http_session(
                connections=self._settings.concurrency,
                connect_timeout_s=self._settings.connect_timeout_s,
                resolver=PublicResolver(allowed),
            )
        return self._session

    async def close(self) -> None:
        """As Notifier.close."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def topic(message_id: str) -> str:
    """The Topic of a message: 32 characters of base64url (RFC 8030 section 5.4), the same for every attempt."""
    return base64.urlsafe_b64encode(hashlib.sha256(message_id.encode(errors="replace")).digest()[:24]).decode("ascii")


def status_meaning(status: int, says_when: bool) -> tuple[Outcome, Reason]:
    """What a push service's refusal means. `says_when`: it came with Retry-After."""
    match status:
        case 404 | 410:
            return Outcome.REFUSED, Reason.SUBSCRIPTION_GONE
        case 401 | 403:
            return Outcome.DEFERRED, Reason.CREDENTIALS
        case 413:
            return Outcome.REFUSED, Reason.CONTENT_REFUSED
        case 429 | 406:  # 406 is how one large service says that it throttles
            return Outcome.DEFERRED, Reason.RATE_LIMITED
        case 408:
            return Outcome.DEFERRED, Reason.PROVIDER_BUSY
        case 503 if says_when:
            return Outcome.DEFERRED, Reason.PROVIDER_BUSY
    if status >= 500:
        return Outcome.UNKNOWN, Reason.PROVIDER_ERROR
    # 400 and the like: keys or endpoint that the service cannot use. A redirect is not followed, for it could lead
    # anywhere, and is as good as no address.
    return Outcome.REFUSED, Reason.BAD_ADDRESS


def _texts(rendered: Rendered, deliveries: Sequence[Delivery]) -> tuple[str, str]:
    """Title and body, cut so that the payload fits with the longest link and id among those that may be sent."""
    title = _cut(sendable(rendered.subject[: LONGEST_TITLE + 1]), LONGEST_TITLE)
    said = rendered.push or rendered.short.replace(LINK, "")
    body = sendable(said[:LARGEST_PAYLOAD]).strip()
    taken = max((len(d.link.encode(errors="replace")) for d in deliveries if len(d.link) <= LONGEST_LINK), default=0)
    tags = max((len(d.message_id.encode(errors="replace")) for d in deliveries), default=0)
    room = LARGEST_PAYLOAD - taken - tags
    fits, over = 0, len(body) + 1  # the longest body that fits, and the shortest that is known not to
    while over - fits > 1:
        middle = (fits + over) // 2
        if len(_json(title, _cut(body, middle), "", "")) <= room:
            fits = middle
        else:
            over = middle
    return title, _cut(body, fits)


def _cut(text: str, longest: int) -> str:
    """At most `longest` characters, the last of them an ellipsis where something was left out."""
    if len(text) <= longest:
        return text
    # A joiner or a combining sign at the end would join the ellipsis.
    return text[: max(longest - 1, 0)].rstrip("\u200d\ufe0f \n") + "…"


def _payload(title: str, body: str, delivery: Delivery) -> bytes:
    return _json(title, body, delivery.link, delivery.message_id)


def _json(title: str, body: str, url: str, tag: str) -> bytes:
    return msgspec.json.encode({"title": title, "body": body, "url": url, "tag": tag})


def _origin(url: URL) -> str:
    """Scheme, host and port if it is not the usual one (RFC 6454). Raises ValueError for a URL that is not absolute."""
    return str(url.origin())


def _path(location: str) -> str:
    """The path of a push message resource, which is how the service knows it; 200 characters at most."""
    try:
        return URL(location).raw_path[:200] if location else ""
    except ValueError:
        return ""


def _decode(text: str) -> bytes:
    """Base64url with or without padding. Raises ValueError."""
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text) or len(text) > 200:
        raise ValueError("not base64url")
    bare = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
