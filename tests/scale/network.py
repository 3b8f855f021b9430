"""Network namespaces for processes that are to be cut off: each reaches each service over a link of its own.

A service (the database, the brokers, the providers) has an address of its own on this machine. Every namespace has a
veth pair to each of them, so that one way can be cut while the others stand: by taking the link down, or by nftables
rules that swallow every packet and answer nothing. Needs root, iproute2 and nftables.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

MARK = "fhn"  # what the names of our namespaces and links begin with; the process's id follows


class Cut(StrEnum):
    """How a way is cut."""

    LINK_DOWN = "link down"
    DROP = "packets swallowed"


class Absent(Exception):
    """Namespaces cannot be had here, and why."""


class Network:
    """Namespaces of one test process, each with ways to the same services. `remove` takes all of it away."""

    def __init__(self, namespaces: Sequence[str], services: Sequence[str]) -> None:
        """Raises Absent."""
        if os.geteuid() != 0:
            raise Absent("network namespaces need root")
        for program in ("ip", "nft"):
            if shutil.which(program) is None:
                raise Absent(f"{program} is not here; on Debian: apt-get install iproute2 nftables")
        _sweep()
        self._mark = f"{MARK}{os.getpid():x}"
        net = os.getpid() % 512  # of 198.18.0.0/15, which is set aside for tests of networks
        self._net = f"198.{18 + net // 256}.{net % 256}"
        self.addresses = {service: f"{self._net}.{n}" for n, service in enumerate(services, 1)}
        self._namespaces = list(namespaces)
        self._services = list(services)
        try:
            self._make()
        except subprocess.CalledProcessError as error:
            self.remove()
            raise Absent(f"the network cannot be made: {error.stderr.strip()}") from error
        except BaseException:
            self.remove()
            raise

    def _make(self) -> None:
        own = f"{self._mark}o"
        _ip("link", "add", own, "type", "veth", "peer", "name", f"{own}p")
        for address in self.addresses.values():
            _ip("address", "add", f"{address}/32", "dev", own)
        for end in (own, f"{own}p"):
            _ip("link", "set", end, "up")
        for namespace in self._namespaces:
            inside = self._name(namespace)
            _ip("netns", "add", inside)
            _ip("-n", inside, "link", "set", "lo", "up")
            for service, address in self.addresses.items():
                here, there = self._link(namespace, service), f"{self._link(namespace, service)}p"
                base = 16 + 4 * self._number(namespace, service)
                _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", inside)
                _ip("address", "add", f"{self._net}.{base + 1}/30", "dev", here)
                _ip("link", "set", here, "up")
                _ip("-n", inside, "address", "add", f"{self._net}.{base + 2}/30", "dev", there)
                _ip("-n", inside, "link", "set", there, "up")
                _ip("-n", inside, "route", "add", address, "via", f"{self._net}.{base + 1}", "dev", there)

    def within(self, namespace: str) -> list[str]:
        """The words before a command that is to run in there."""
        return ["ip", "netns", "exec", self._name(namespace)]

    @contextlib.contextmanager
    def cut(self, namespace: str, service: str, how: Cut) -> Iterator[None]:
        """Cuts the way from a namespace to a service for the time of a block."""
        inside, link = self._name(namespace), self._link(namespace, service)
        if how is Cut.LINK_DOWN:
            _ip("link", "set", link, "down")  # this end: the routes of the other one stay
        else:
            rules = "\n".join(
                f"chain {hook} {{ type filter hook {hook} priority 0; ip {end} {self.addresses[service]} drop; }}"
                for hook, end in (("input", "saddr"), ("output", "daddr"))
            )
            _run("ip", "netns", "exec", inside, "nft", "-f", "-", words=f"table inet cut {{\n{rules}\n}}\n")
        try:
            yield
        finally:
            if how is Cut.LINK_DOWN:
                _ip("link", "set", link, "up")
            else:
                _run("ip", "netns", "exec", inside, "nft", "delete", "table", "inet", "cut")

    def remove(self) -> None:
        """Takes everything away; what runs in a namespace must have ended."""
        _remove(self._mark)

    def _name(self, namespace: str) -> str:
        return f"{self._mark}-{self._namespaces.index(namespace)}"

    def _number(self, namespace: str, service: str) -> int:
        return self._namespaces.index(namespace) * len(self._services) + self._services.index(service)

    def _link(self, namespace: str, service: str) -> str:
        return f"{self._mark}v{self._number(namespace, service)}"


def _sweep() -> None:
    """Takes away what processes left that were killed."""
    found = {name.split("-")[0] for name in _namespaces() if name.startswith(MARK)}
    found |= {name[:-1] for name in _links() if name.startswith(MARK) and name.endswith("o")}
    for mark in found:
        with contextlib.suppress(ValueError):
            if not Path(f"/proc/{int(mark.removeprefix(MARK), 16)}").exists():
                _remove(mark)


def _remove(mark: str) -> None:
    for name in _namespaces():
        if name.startswith(f"{mark}-"):
            _run("ip", "netns", "delete", name)
    for name in (f"{mark}o", *(name for name in _links() if name.startswith(f"{mark}v"))):
        try:
            _run("ip", "link", "delete", name)
        except subprocess.CalledProcessError:
            if name in _links():  # one end takes the other with it, at a moment of its own
                raise


def _namespaces() -> list[str]:
    return [line.split()[0] for line in _run("ip", "netns", "list").splitlines() if line]


def _links() -> list[str]:
    return [path.name for path in Path("/sys/class/net").iterdir()]


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*command: str, words: str = "") -> str:
    return subprocess.run(command, input=words, capture_output=True, text=True, timeout=20, check=True).stdout
