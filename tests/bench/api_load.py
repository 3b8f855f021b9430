"""Makes load over HTTP from a process of its own: `python -m tests.bench.api_load PORT CLIENTS`.

Each line of standard input is a round: the path of a file of requests, whole ones, each ended by END. So many clients,
each on a connection that it keeps, take them in turn and wait for each answer. Prints a line for each round:
`{"seconds": …, "statuses": {"201": n}, "p50_ms": …, "p99_ms": …}`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import uvloop

END = b"\n\x00\n"


class Client(asyncio.Protocol):
    """One connection. `over` is called once there is nothing left to ask."""

    def __init__(self, round_: Round) -> None:
        self._round = round_
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        request = next(self._round.left, None)
        if request is None:
            self._round.over()
            return
        self._since = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, ended, body = self._got.partition(b"\r\n\r\n")
        if not ended:
            return
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:")
        if len(body) < length:
            return
        self._got = b""
        self._round.answered(head[9:12].decode(), time.perf_counter() - self._since, body)
        self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._round.over(f"a connection ended: {error}")

    def close(self) -> None:
        self._round = Round([])
        self._transport.close()


class Round:
    def __init__(self, requests: list[bytes]) -> None:
        self.left: Iterator[bytes] = iter(requests)
        self.statuses: Counter[str] = Counter()
        self.took: list[float] = []
        self.ended = asyncio.Event()
        self.fault = ""
        self._expected = len(requests)

    def answered(self, status: str, seconds: float, body: bytes) -> None:
        self.statuses[status] += 1
        self.took.append(seconds)
        if status[0] != "2" and not self.fault:
            self.fault = body[:300].decode(errors="replace")
        if len(self.took) == self._expected:
            self.ended.set()

    def over(self, fault: str = "") -> None:
        if fault:
            self.fault = fault
            self.ended.set()


def _read(path: str) -> list[bytes]:
    return Path(path).read_bytes().split(END)[:-1]


async def run(port: int, clients: int) -> None:
    loop = asyncio.get_running_loop()
    gc.freeze()
    while line := await asyncio.to_thread(sys.stdin.readline):
        round_ = Round(_read(line.strip()))
        made = [
            (await loop.create_connection(lambda r=round_: Client(r), "127.0.0.1", port))[1] for _ in range(clients)
        ]  # type: ignore[misc]
        began = time.perf_counter()
        for client in made:
            client.ask()
        await round_.ended.wait()
        said: dict[str, Any] = {"seconds": time.perf_counter() - began, "statuses": round_.statuses}
        said["fault"] = round_.fault
        if len(round_.took) > 1:
            said["p50_ms"] = statistics.median(round_.took) * 1000
            said["p99_ms"] = statistics.quantiles(round_.took, n=100, method="inclusive")[98] * 1000
        for client in made:
            client.close()
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2])))
