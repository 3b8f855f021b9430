"""Ports for programs that are told theirs beforehand. They lie below those that Linux itself hands out: whatever else
binds port 0 or connects, in this run or beside it, cannot take one in the seconds until its program listens.
"""

from __future__ import annotations

import errno
import os
import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

LOWEST = 16_384
HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
WORKERS = 16  # test processes that take from shares of their own

_choice = random.SystemRandom()


def free_port(host: str = "127.0.0.1") -> int:
    return free_ports(1, host)[0]


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different ones that nothing listens on at `host`. Raises OSError where those that are tried are taken."""
    with ExitStack() as held:
        return [_held(host, held) for _ in range(count)]


def _held(host: str, until: ExitStack) -> int:
    """One that is kept `until` the end of the choice."""
    tries = _choice.sample(_share(), 100)
    for port in tries:
        with suppress(OSError):
            until.enter_context(socket.create_server((host, port)))
            return port
    raise OSError(errno.EADDRINUSE, f"of 100 ports at {host}, {tries[0]} and others, none is free")


def _share() -> range:
    """Of this test process: two that run at the same time do not choose the same port."""
    first = int(HANDED_OUT.read_text(encoding="ascii").split()[0]) if HANDED_OUT.exists() else 32_768
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    return range(LOWEST + number, first, WORKERS)
