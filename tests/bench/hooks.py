"""A receiver of webhooks for load, in a process of its own: `python -m tests.bench.hooks`. Reads bodies, keeps nothing.

Prints `{"port": n}`, and `{"last": t, "total": n}` whenever nothing more came for a moment, t being the machine's
monotonic clock at the last request, in nanoseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import httptools
import uvloop

QUIET_S = 0.25
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Tally:
    total = 0
    last = 0


class Receiver(asyncio.Protocol):
    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.tally.total += 1
        self.tally.last = time.monotonic_ns()
        self.transport.write(ANSWER)  # type: ignore[attr-defined]


def say(what: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main() -> None:
    tally, told = Tally(), 0
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(tally), "127.0.0.1", 0, backlog=2048)
    say({"port": server.sockets[0].getsockname()[1]})
    while True:
        before = tally.total
        await asyncio.sleep(QUIET_S)
        if tally.total == before and before != told:
            told = before
            say({"last": tally.last, "total": told})


if __name__ == "__main__":
    uvloop.run(main())
