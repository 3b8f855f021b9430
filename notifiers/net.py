"""What the channels over HTTP share: a session, failures told apart, Retry-After, and where a request may not go."""

from __future__ import annotations

import ipaddress
import math
import re
import socket
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from domain.outcomes import Outcome, Reason

LONGEST_ASKED_S = 86_400.0  # seconds; a provider that asks for more is taken to mean a day
LARGEST_ANSWER = 64 * 1024  # bytes of an answer that are read; none of ours needs more than one or two thousand
LONGEST_URL = 2048  # characters
PORTS = frozenset({80, 443, 8080, 8443})  # where a stranger's URL may lead: web servers, not mail or databases
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")  # what no top-level domain looks like (WHATWG, "ends in a number")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ForbiddenAddress(OSError):
    """The name leads only to addresses that this program must not talk to on somebody else's word."""


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


def is_public(address: str) -> bool:
    """Whether an IP address lies on the open internet (IANA special-purpose registries, RFC 6890).

    Addresses of version 6 that carry one of version 4 are judged by what they carry.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        carried = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if carried is None and ip in _NAT64:
            carried = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if carried is not None:
            return is_public(str(carried))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def may_be_public(host: str) -> bool:
    """Whether a URL's host is a public address, or a name: what that leads to is for PublicResolver to judge."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # Some resolvers take `2130706433` and `0x7f.1` for addresses.
        return not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2])
    return is_public(host)


def public_target(address: object, allowed: Collection[str] = ()) -> URL:
    """A URL that somebody gave us, where this program may post to it: https, a public host, a web server's port.

    Origins in `allowed` (`http://127.0.0.1:8099`) are taken as they are, but for a user name in them. What a name
    leads to is for PublicResolver to judge, at the moment of connecting. Raises ValueError for every other URL.
    """
    if not isinstance(address, str) or len(address) > LONGEST_URL or not _PRINTABLE.fullmatch(address):
        raise ValueError("not a URL")
    url = URL(address)
    origin = str(url.origin())  # raises for a URL without a host
    if url.user is not None or url.password is not None:
        raise ValueError("a user name in it")
    if origin in allowed:
        return url
    host = url.host or ""
    if url.scheme != "https" or url.port not in PORTS or not may_be_public(host):
        raise ValueError("not public")
    host.rstrip(".").encode("idna")  # raises UnicodeError, a ValueError, for what no name server takes
    return url


def ports_of(allowed: Collection[str]) -> list[tuple[str, int]]:
    """The (host, port) pairs of origins, as PublicResolver wants them. Raises ValueError for what is none."""
    urls = [URL(origin) for origin in allowed]
    return [(str(url.origin().host), url.port or 0) for url in urls]


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
