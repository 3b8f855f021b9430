"""From the answer to a release to the first byte of its first message at the provider's socket."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import aiohttp
import uvloop

from domain.people import Channel
from notifiers.sms import SmsNotifier, SmsSettings
from tests.bench.figures import ROOT, Figure, figure
from tests.bench.rig import ACCOUNT, SECOND, TOKEN, drafted, folder, installation

RELEASES = 60
PEOPLE = 8
ROUNDS = 3
ANSWER = b'{"sid": "SM00000000000000000000000000000000", "status": "queued"}'


class _Watch(asyncio.Protocol):
    """Notes when the first byte of a POST came (the clock is the machine's, so both processes read the same).

    Answers each after `delay_s`.
    """

    first: float | None = None
    delay_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of this class
        self._got = b""

    def data_received(self, data: bytes) -> None:
        if not self._got and not data.startswith(b"GET") and _Watch.first is None:
            _Watch.first = time.monotonic()
        self._got += data
        head, ended, body = self._got.partition(b"\r\n\r\n")
        if not ended:
            return
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        if len(body) < length:
            return
        self._got = b""
        if head.startswith(b"GET"):
            told, _Watch.first = json.dumps(_Watch.first).encode(), None
            self._say(told)
            return
        if _Watch.delay_s:
            asyncio.get_running_loop().call_later(_Watch.delay_s, self._say, ANSWER)
        else:
            self._say(ANSWER)

    def _say(self, answer: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
            + answer
        )


async def _serve(delay_s: float) -> None:
    _Watch.delay_s = delay_s
    server = await asyncio.get_running_loop().create_server(_Watch, "127.0.0.1", 0, backlog=256)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)  # until whoever started it closes it


@asynccontextmanager
async def watched(delay_s: float = 0.0) -> AsyncIterator[str]:
    """The address of a provider in a process of its own, which answers after so long."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.first_byte", str(delay_s), cwd=ROOT, stdin=-1, stdout=-1
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await process.wait()


async def p99() -> Figure:
    """The ceiling is one flushed commit of sqlite3 and one POST to the same socket."""
    async with watched() as url, aiohttp.ClientSession(url) as http:
        notifier = SmsNotifier(SmsSettings(account_sid=ACCOUNT, auth_token=TOKEN, sender="+15005550006", base_url=url))
        async with installation(
            Channel.SMS, PEOPLE, {Channel.SMS: notifier}, lambda n: {"phone": f"+39347{n:07d}"}
        ) as runtime:
            stores = runtime.stores

            async def released() -> float:
                warning_id = await drafted(stores)
                await stores.desk.release(SECOND, warning_id)
                began = time.monotonic()
                first = await when_first(http, began)
                while True:
                    position = stores.views.position
                    with stores.views.reading() as db:
                        if not stores.views.deliveries.unfinished(db, warning_id):
                            break
                    await stores.follower.moved(position)
                await when_first(http, None)
                return (first - began) * 1000

            with folder() as path:
                bare = _bare(path, http)
                await released()
                await anext(bare)
                pairs = []
                for _ in range(ROUNDS):
                    values = [await released() for _ in range(RELEASES)]
                    ceilings = [await anext(bare) for _ in range(RELEASES)]
                    pairs.append((p99_of(values), p99_of(ceilings)))
                await bare.aclose()
    return figure("accepted_to_first_byte.p99", "ms", pairs)


async def when_first(http: aiohttp.ClientSession, began: float | None) -> float:
    """When the first byte came since this was last asked; with `began` it is waited for."""
    while True:
        async with http.get("/first") as answer:
            first = await answer.json()
        if first is not None or began is None:
            return float(first or 0)
        if time.monotonic() - began > 10:
            raise TimeoutError("nothing was sent")
        await asyncio.sleep(0.02)  # seldom enough not to be in the way of what is measured


async def _bare(path: Path, http: aiohttp.ClientSession) -> AsyncIterator[float]:
    db = sqlite3.connect(path / "bare.sqlite", isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE accepted (state BLOB)")
    try:
        while True:
            began = time.monotonic()
            db.execute("INSERT INTO accepted VALUES (?)", (b"x" * 300,))
            async with http.post("/2010-04-01/Accounts/x/Messages.json", data={"To": "x", "Body": "x" * 200}) as answer:
                await answer.read()
            yield (await when_first(http, began) - began) * 1000
    finally:
        db.close()


def p99_of(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


if __name__ == "__main__":
    uvloop.run(_serve(float(sys.argv[1])))
