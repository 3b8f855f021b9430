"""Where this program may send to on a stranger's word: judged by the address alone, before anything is opened."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from yarl import URL

LONGEST_URL = 2048  # characters
PORTS = frozenset({80, 443, 8080, 8443})  # where a stranger's URL may lead: web servers, not mail or databases
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")  # what no top-level domain looks like (WHATWG, "ends in a number")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ForbiddenAddress(OSError):
    """The name leads only to addresses that this program must not talk to on somebody else's word."""


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
