"""Many readers of an event stream in a process of their own: `python -m tests.bench.listeners URL N`, tokens on stdin.

Prints `{"ready": seconds}` once all have their headers and first bytes, then for each event that all have got
`{"last": t}`, t being the machine's monotonic clock at the last receipt, in nanoseconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from urllib.parse import urlsplit

import uvloop

from tests.bench.figures import raise_file_limit

AT_ONCE = 200  # connections being opened at the same moment


class Listener(asyncio.Protocol):
    def __init__(self, crowd: Crowd, request: bytes) -> None:
        self.crowd, self.request = crowd, request
        self.opened = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self.opened:
            if not data.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"refused: {data[:300]!r}")
            self.opened = True
            self.crowd.open()
        self.crowd.got(data.count(b"event: "))

    def connection_lost(self, error: Exception | None) -> None:
        raise SystemExit(f"a stream ended: {error}")


class Crowd:
    """Counts over all: with N readers, event number k is with everybody once k * N were received."""

    def __init__(self, number: int) -> None:
        self.number, self.events, self.opened = number, 0, 0
        self.ready = asyncio.Event()
        self.gate = asyncio.Semaphore(AT_ONCE)

    def open(self) -> None:
        self.opened += 1
        self.gate.release()
        if self.opened == self.number:
            self.ready.set()

    def got(self, events: int) -> None:
        if not events:
            return
        before, self.events = self.events, self.events + events
        if before // self.number != self.events // self.number:
            say({"last": time.monotonic_ns()})


def say(what: dict[str, float]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main(url: str, number: int) -> None:
    raise_file_limit(number + 100)
    at = urlsplit(url)
    tokens = sys.stdin.read().split()
    crowd, began = Crowd(number), time.perf_counter()
    loop = asyncio.get_running_loop()
    for n in range(number):
        await crowd.gate.acquire()
        request = (
            f"GET {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {tokens[n % len(tokens)] if tokens else 'x'}\r\n\r\n"
        ).encode()
        await loop.create_connection(lambda request=request: Listener(crowd, request), at.hostname, at.port)  # type: ignore[misc]
    await crowd.ready.wait()
    gc.freeze()
    gc.disable()
    say({"ready": time.perf_counter() - began})
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
