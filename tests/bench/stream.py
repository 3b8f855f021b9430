"""One warning to thousands of stations that listen, in another process: last receipt, against a bare ASGI endpoint.

Both are served by uvicorn in this process, as the program serves them, and send the same bytes to the same readers;
the bare one has no log, no rights and no planner behind it. Ours is measured from the moment at which the release is
durable in the log; whatever it sets off (views, plan, a relay for each station) goes on beside the stream.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from eventsourcing.persistence import StoredEvent

from api.live_hub import frame
from api.registry import digest_of
from domain import grants
from domain.grants import Grant, GrantRole, Token, TokenKind
from domain.ids import grant_stream, token_stream
from domain.people import Role
from domain.ports import Append, Origin
from domain.rulepacks import standard
from domain.stations import Kind
from domain.warnings import Status
from infra.config import Settings
from infra.serve import GRACE_S, Serving, serving
from infra.stores import Stores
from tests.bench.figures import ROOT, Figure, raise_file_limit
from tests.bench.rig import FIRST, SECOND, SETUP, content, drafted, folder, node, person

ROUNDS = 7
PORTION = 500
REST_S = 1.0  # between rounds: what a release sets off comes to its end


async def stream_1000() -> Figure:
    return await _compared("stream.1000", 1000)


async def stream_5000() -> Figure:
    return await _compared("stream.5000", 5000)


async def _compared(name: str, readers: int) -> Figure:
    raise_file_limit(2 * readers + 500)
    tokens = [f"token-{n:05d}" for n in range(readers)]
    endpoint = Bare()
    with folder() as path:
        settings = Settings(data_dir=path, port=0)
        async with Stores(path) as stores:
            await stations_with_heads(stores, tokens)
            async with (
                serving(settings, stores) as live,
                served(endpoint) as bare_url,
                listeners(bare_url, readers, []) as of_bare,
                listeners(f"{live.url}/v1/live", readers, tokens) as of_ours,
            ):
                said = frame(1, "0" * 32, Status.RELEASED, content(), None, None, "")
                pairs = []
                for n in range(ROUNDS + 1):
                    bare_ms = await _bare_round(of_bare, endpoint, said)
                    ours_ms = await _our_round(of_ours, live)
                    if n:  # the first warms up
                        pairs.append((ours_ms, bare_ms))
                    await _settled(live)
    value = statistics.median(ours for ours, _ in pairs)
    ceiling = statistics.median(bare for _, bare in pairs)
    return Figure(
        name=name, value=round(value, 1), unit="ms", ceiling=round(ceiling, 1), ratio=round(value / ceiling, 2)
    )


async def _bare_round(readers: asyncio.StreamReader, bare: Bare, body: bytes) -> float:
    began = time.monotonic_ns()
    bare.say(body)
    return _since(began, await readers.readline())


async def _our_round(readers: asyncio.StreamReader, live: Serving) -> float:
    stores = live.stores
    warning_id = await drafted(stores)
    with _durable(stores) as at:
        await stores.desk.release(SECOND, warning_id)
        return _since(at[0], await readers.readline())


@contextmanager
def _durable(stores: Stores) -> Iterator[list[int]]:
    """The moments at which the recorder has committed something, as the thread that writes sees them."""
    at: list[int] = []
    insert = stores.log.recorder.insert_events

    def timed(events: Sequence[StoredEvent]) -> Any:
        positions = insert(events)
        at.append(time.monotonic_ns())
        return positions

    stores.log.recorder.insert_events = timed  # type: ignore[method-assign]
    try:
        yield at
    finally:
        stores.log.recorder.insert_events = insert  # type: ignore[method-assign]


def _since(began: int, line: bytes) -> float:
    """Milliseconds."""
    return float((json.loads(line)["last"] - began) / 1e6)


async def _settled(live: Serving) -> None:
    await asyncio.sleep(REST_S)
    while live.runtime.timekeeper.looked < live.stores.log.last_position_now():  # noqa: ASYNC110  it follows the views
        await asyncio.sleep(0.05)


class Bare:
    """The least that serves an event stream: one event for all, prebuilt bytes, and an eye on who hangs up."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.body = b""

    def say(self, body: bytes) -> None:
        changed, self.changed, self.body = self.changed, asyncio.Event(), body
        changed.set()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"retry: 2000\n\n", "more_body": True})
        writing = asyncio.create_task(self._write(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        writing.cancel()
        await asyncio.wait([writing])

    async def _write(self, send: Any) -> None:
        while True:
            await self.changed.wait()
            await send({"type": "http.response.body", "body": self.body, "more_body": True})


@asynccontextmanager
async def served(app: Bare) -> AsyncIterator[str]:
    """The bare endpoint behind a server set up like the program's."""
    config = uvicorn.Config(
        app, port=0, log_level="critical", access_log=False, lifespan="off", ws="none", server_header=False,
        timeout_graceful_shutdown=GRACE_S, backlog=4096,
    )  # fmt: skip
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    ticking = asyncio.create_task(server.main_loop())
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        await ticking
        await server.shutdown()


@asynccontextmanager
async def listeners(url: str, number: int, tokens: list[str]) -> AsyncIterator[asyncio.StreamReader]:
    """The readers in a process of their own, all connected; what they print."""
    command = (sys.executable, "-m", "tests.bench.listeners", url, str(number))
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("\n".join(tokens).encode())
        process.stdin.close()
        assert "ready" in json.loads(await process.stdout.readline())
        yield process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def stations_with_heads(stores: Stores, tokens: list[str]) -> None:
    """An office over as many stations as there are tokens, each with a head who listens."""
    await stores.registry.register_nodes(
        [node("office", Kind.DUTY_OFFICE, None), node("county", Kind.COUNTY, "office")], SETUP
    )
    await stores.registry.adopt_rules(standard(), SETUP)
    await stores.registry.give_grant(
        SETUP, person_id=SETUP.person_id, role=GrantRole.ADMINISTRATOR, node_id="office", bootstrap=True
    )
    for officer in (FIRST, SECOND):
        await stores.registry.give_grant(
            SETUP, person_id=officer.person_id, role=GrantRole.DUTY_OFFICER, node_id="office", bootstrap=True
        )
    await stores.catch_up()
    officers = [person(actor.person_id, "office", Role.DUTY_OFFICER, ()) for actor in (FIRST, SECOND)]
    await stores.registry.register_people([(officer, {"name": "x"}) for officer in officers], SETUP)
    now, origin = datetime.now(UTC), Origin(actor=SETUP.person_id, correlation_id="bench")
    for start in range(0, len(tokens), PORTION):
        numbers = range(start, min(start + PORTION, len(tokens)))
        await stores.catch_up()
        await stores.registry.register_nodes([node(f"station{n}", Kind.STATION, "county") for n in numbers], SETUP)
        given = [grant_of(n, now) for n in numbers]
        issued = [token_of(tokens[n], f"head{n}", now) for n in numbers]
        await stores.log.append([Append(grant_stream(g.grant_id), 0, grants.give(None, g)) for g in given], origin)
        await stores.log.append(
            [Append(token_stream(t.digest), 0, grants.issue_token(None, t)) for t in issued], origin
        )
    await stores.catch_up()


def grant_of(n: int, now: datetime) -> Grant:
    return Grant(
        grant_id=f"{n:032x}",
        person_id=f"head{n}",
        role=GrantRole.STATION_HEAD,
        node_id=f"station{n}",
        valid_from=now,
    )


def token_of(secret: str, person_id: str, now: datetime) -> Token:
    until = now + timedelta(days=1)
    return Token(digest=digest_of(secret), kind=TokenKind.BEARER, person_id=person_id, valid_until=until)
