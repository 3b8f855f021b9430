"""What the channels over HTTP share: a session, failures told apart, Retry-After, names looked up with care."""

from __future__ import annotations

import math
import socket
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from domain.outcomes import Outcome, Reason
from notifiers.targets import ForbiddenAddress, is_public

LONGEST_ASKED_S = 86_400.0  # seconds; a provider that asks for more is taken to mean a day
LARGEST_ANSWER = 64 * 1024  # bytes of an answer that are read; none of ours needs more than one or two thousand


def http_session(
    *, connections: int, connect_timeout_s: float, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """A session with `connections` at the most, without cookies and proxies from the environment.

    It has no total timeout: aiohttp's raises the same exception whether or not anything was sent, so the channels
    set their own, and this one covers looking up the name and connecting alone.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, resolver=resolver, ttl_dns_cache=300),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


def failure(error: Exception) -> tuple[Outcome, Reason]:
    """What a failed exchange means: nothing was sent (deferred), or nobody knows (unknown)."""
    match error:
        # A certificate's error is a connector's error without `os_error`.
        case aiohttp.ClientConnectorError() if isinstance(getattr(error, "os_error", None), ForbiddenAddress):
            return Outcome.REFUSED, Reason.BAD_ADDRESS
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return Outcome.DEFERRED, Reason.UNREACHABLE
        case aiohttp.InvalidURL() | UnicodeError():  # a host name that no resolver takes
            return Outcome.REFUSED, Reason.BAD_ADDRESS
        case TimeoutError():
            return Outcome.UNKNOWN, Reason.TIMEOUT
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | ConnectionError():
            return Outcome.UNKNOWN, Reason.CONNECTION_LOST
    return Outcome.UNKNOWN, Reason.PROVIDER_ERROR


async def read_answer(response: aiohttp.ClientResponse) -> bytes:
    """The body, read to LARGEST_ANSWER bytes; the connection of a longer one is given up."""
    if response.content_length is not None and response.content_length <= LARGEST_ANSWER:
        return await response.read()
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > LARGEST_ANSWER:
            response.close()
            break
    return bytes(body[:LARGEST_ANSWER])


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds, from 0 to LONGEST_ASKED_S (RFC 9110 section 10.2.3); None where absent or unreadable.

    A date is measured against the answer's own Date, so that our clock and theirs need not agree.
    """
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = headers.get("Date")
            now = parsedate_to_datetime(date) if date else datetime.now(UTC)
            seconds = (parsedate_to_datetime(value) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_ASKED_S)


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only, but for the (host, port) pairs in `allowed`.

    The connection is made to exactly what this returns, so a name that answers differently the next time (DNS
    rebinding) gains nothing. aiohttp does not ask for literal addresses: those are checked with `is_public` before.
    """

    def __init__(self, allowed: Collection[tuple[str, int]] = (), resolver: AbstractResolver | None = None) -> None:
        self._allowed = frozenset(allowed)
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As AbstractResolver; raises ForbiddenAddress where no public address is left."""
        if self._resolver is None:
            self._resolver = ThreadedResolver()
        found = await self._resolver.resolve(host, port, family)
        if (host, port) in self._allowed:
            return found
        public = [result for result in found if is_public(result["host"])]
        if not public:
            raise ForbiddenAddress(None, "no public address")
        return public

    async def close(self) -> None:
        if self._resolver is not None:
            await self._resolver.close()
