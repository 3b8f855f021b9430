"""Requests a second that the API answers, against empty handlers of the same FastAPI application.

The whole program (`all`, on files) serves on loopback from a process of its own, the load comes from another, on
connections that are kept. An answer of ours is durable, and the views show what it says. Two handlers stand first in
the same application, behind the same middleware, do nothing and get the same bytes: one declares what ours declares,
so that FastAPI does for it what it does for ours (who asks, the key, the body's model, the answer's), and the other
declares nothing and reads nothing (`….bare`).
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop
from fastapi import Response

from api.auth import O_, A, S
from api.schemas import Command, WarningIn
from domain import grants
from domain.ids import token_stream
from domain.ports import Append, Origin
from domain.rulepacks import Level
from infra import interpreter, logs
from infra.config import Settings
from infra.serve import serving
from infra.stores import Stores
from tests.bench import loads
from tests.bench.api_load import END
from tests.bench.figures import ROOT, Figure, figure
from tests.bench.rig import FIRST, SECOND, content, folder
from tests.bench.stream import stations_with_heads, token_of

BARE, DRAFTED, ACKNOWLEDGED = "/bench/bare", "/bench/drafted", "/bench/{warning_id}/nodes/{node_id}/acknowledged"
DONE = Command(id="0" * 32, position=1)
GOAL = "0.7 of the ceiling"
OPENED_S = 120.0
Requests = Callable[[int], list[bytes]]


async def bare() -> dict[str, str]:
    return {"id": "0" * 32}


async def drafted(body: WarningIn, actor: A, once: O_, s: S, response: Response) -> Command:
    """Declares what `api.warnings.draft` does."""
    return DONE


async def acknowledged(warning_id: str, node_id: str, actor: A, once: O_, s: S) -> Command:
    """Declares what `api.relays.acknowledge` does."""
    return DONE


async def _serve(path: Path, stations: int) -> None:
    """What the process that serves does: an office over so many stations, whose heads have tokens."""
    settings = Settings(data_dir=path, port=0)
    async with Stores(path) as stores:
        await stations_with_heads(stores, [f"token-{n:05d}" for n in range(stations)])
        now, origin = datetime.now(UTC), Origin(actor="system:setup", correlation_id="bench")
        for officer in (FIRST, SECOND):
            token = token_of(officer.person_id, officer.person_id, now)
            await stores.log.append([Append(token_stream(token.digest), 0, grants.issue_token(None, token))], origin)
        await stores.catch_up()
        async with serving(settings, stores) as on:
            app = on.server._app
            for at, handler in ((BARE, bare), (DRAFTED, drafted), (ACKNOWLEDGED, acknowledged)):
                app.add_api_route(at, handler, methods=["POST"], status_code=201)
                app.router.routes.insert(0, app.router.routes.pop())
            interpreter.settled()
            sys.stdout.write(f"{on.own_url.rpartition(':')[2]}\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.read)  # until whoever started it closes it


class Scene(msgspec.Struct):
    """The API at a port, and the process that makes the load on it."""

    port: int
    path: Path
    load: asyncio.subprocess.Process
    serving: int
    """The process that serves, by its id."""

    async def asked(self, requests: list[bytes], status: str) -> tuple[float, float, float]:
        """(requests a second, milliseconds at the 99th percentile, microseconds of the server's processor a request).

        Fails where one was answered otherwise.
        """
        assert self.load.stdin is not None
        assert self.load.stdout is not None
        file = self.path / "requests"
        file.write_bytes(b"".join(request + END for request in requests))
        used = cpu_s(self.serving)
        self.load.stdin.write(f"{file}\n".encode())
        async with asyncio.timeout(600):
            said = json.loads(await self.load.stdout.readline())
        if said["statuses"] != {status: len(requests)}:
            raise AssertionError(f"answers: {said['statuses']}, the first fault: {said['fault']}")
        used = cpu_s(self.serving) - used
        return len(requests) / said["seconds"], said["p99_ms"], used / len(requests) * 1e6


def cpu_s(pid: int) -> float:
    """Seconds of processor that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def _scene() -> AsyncIterator[Scene]:
    with folder() as path:
        serve = (sys.executable, "-m", "tests.bench.api", str(path / "data"), str(loads.now.stations))
        async with _process(*serve) as serving_:
            assert serving_.stdout is not None
            async with asyncio.timeout(300):
                port = int(await serving_.stdout.readline())
            async with _process(
                sys.executable, "-m", "tests.bench.api_load", str(port), str(loads.now.clients)
            ) as load:
                yield Scene(port, path, load, serving_.pid)


@asynccontextmanager
async def _process(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Ends it by closing its standard input, and the hard way where it does not end by that."""
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=-1, stdout=-1)
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(40):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _request(path: str, token: str, key: str, body: bytes = b"") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def issue() -> list[Figure]:
    """Drafts of a warning in one language, each with a key of its own."""
    body = _draft(Level.YELLOW)

    def requests(path: str, round_: int) -> list[bytes]:
        count = loads.now.requests
        return [_request(path, FIRST.person_id, f"{round_}.{n}", body) for n in range(count)]

    async with _scene() as scene:
        rounds = [
            await _round(scene, requests("/v1/warnings", n), "201", requests(DRAFTED, n), requests(BARE, n))
            for n in range(loads.now.rounds + 1)
        ]
    return _figures("api.issue", rounds)


async def ack() -> list[Figure]:
    """Acknowledgements by the heads of stations, of warnings that were released before each round."""
    load = loads.now
    async with _scene() as scene:
        rounds = []
        for n in range(load.rounds + 1):
            warnings = [await _released(scene, f"{n}.{m}") for m in range(-(-load.requests // load.stations))]
            await _opened(scene, warnings)
            named = [(warning, s) for warning in warnings for s in range(load.stations)][: load.requests]
            ours, same, nothing = (
                [
                    _request(path.format(warning_id=warning, node_id=f"station{s}"), f"token-{s:05d}", f"{warning}.{s}")
                    for warning, s in named
                ]
                for path in ("/v1/warnings/{warning_id}/nodes/{node_id}/acknowledge", ACKNOWLEDGED, BARE)
            )
            rounds.append(await _round(scene, ours, "200", same, nothing))
    return _figures("api.ack", rounds)


Round = tuple[tuple[float, float, float], ...]
"""What `asked` gives for ours, for the handler that declares the same, and for the one that declares nothing."""


async def _round(scene: Scene, ours: list[bytes], status: str, *empty: list[bytes]) -> Round:
    ceilings = [await scene.asked(requests, "201") for requests in empty]
    return (await scene.asked(ours, status), *ceilings)


def _figures(name: str, rounds: list[Round]) -> list[Figure]:
    load, measured = loads.now, rounds[1:]  # the first warms up
    for n, what in enumerate(("ours", "an empty handler that declares the same", "one that declares nothing")):
        late, used = (statistics.median(round_[n][at] for round_ in measured) for at in (1, 2))
        sys.stderr.write(f"{name}: {what}: p99 of an answer {late:.0f} ms, {used:.0f} us of processor\n")
    said = f"{load.clients} clients, {load.requests:,} requests a round, {load.rounds} rounds, {load.stations} stations"
    used_us = [ours[2] for ours, *_ in measured]
    return [
        figure(full, "requests/s", [(r[0][0], r[n][0]) for r in measured], used_us, load=f"{said}; {beside}", goal=goal)
        for n, full, beside, goal in (
            (1, name, "beside an empty handler that declares the same", GOAL),
            (2, f"{name}.bare", "beside a handler that declares nothing", ""),
        )
    ]


def _draft(level: Level) -> bytes:
    body: dict[str, Any] = msgspec.to_builtins(content(level))
    for field in set(body) - {"event", "level", "texts", "area", "target", "contact", "effective_at", "expires_at"}:
        del body[field]
    body["target"].pop("audience", None)
    return msgspec.json.encode(body)


async def _released(scene: Scene, key: str) -> str:
    base = f"http://127.0.0.1:{scene.port}/v1/warnings"
    async with aiohttp.ClientSession() as http:
        headers = {"Authorization": f"Bearer {FIRST.person_id}", "Content-Type": "application/json"}
        async with http.post(base, data=_draft(Level.YELLOW), headers=headers) as answer:
            assert answer.status == 201, await answer.text()
            warning_id = str((await answer.json())["id"])
        headers = {"Authorization": f"Bearer {SECOND.person_id}", "Idempotency-Key": key}
        async with http.post(f"{base}/{warning_id}/release", json={}, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
    return warning_id


async def _opened(scene: Scene, warnings: list[str]) -> None:
    """Returns once every station has what it is to acknowledge."""
    headers = {"Authorization": f"Bearer {FIRST.person_id}"}
    async with aiohttp.ClientSession(headers=headers) as http, asyncio.timeout(OPENED_S):
        for warning_id in warnings:
            while True:
                async with http.get(f"http://127.0.0.1:{scene.port}/v1/warnings/{warning_id}/tree") as answer:
                    nodes = (await answer.json())["nodes"]
                if sum(n["node_id"].startswith("station") for n in nodes) >= loads.now.stations:
                    break
                await asyncio.sleep(0.1)


if __name__ == "__main__":
    logs.configure(level="WARNING", as_json=False)  # what is printed here is read
    uvloop.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
