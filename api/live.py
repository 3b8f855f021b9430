"""The live stream of stations: every warning that concerns the caller's nodes, over SSE, as it is decided.

One hub follows the log. A change is encoded once and handed as the same bytes to all whom it concerns; ids are log
positions. A reader has a bounded queue; one that does not keep up is told so and ended, and comes back with its
Last-Event-ID, as does one whose rights changed. What was missed is given as it stands, not step by step.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Generator, Iterable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Request
from sqlalchemy import select
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.auth import S, token
from api.commands import Actor
from api.paging import LARGEST
from api.services import Services
from domain import warnings
from domain.errors import InvalidInput, NotPermitted
from domain.events import Recorded
from domain.grants import Action, Grant, GrantGiven, GrantRevoked, Token, TokenEnded
from domain.ids import warning_stream
from domain.planning import concerned
from domain.stations import Hierarchy, NodeRegistered
from domain.warnings import (
    Content,
    Status,
    WarningCancelled,
    WarningDrafted,
    WarningExpired,
    WarningReleased,
    WarningRevised,
    WarningState,
    WarningUpdated,
)
from notifiers.render import number_of

_log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0  # below the idle limit of every usual proxy
BACKLOG = 32  # frames a reader may be behind before it is ended
MOST_MISSED = 1000  # warnings that a reader who comes back is given, the latest
DRAFTS = 100  # drafts that are remembered until they are released
END_S = 5.0  # how long a reader that does not read is given to take the end
RETRY_MS = 2000
NEEDED = frozenset({Action.RELAY_READ, Action.WARNING_READ})
ALIVE = b": alive\n\n"
BEHIND = b": you do not keep up; come back with Last-Event-ID\n\n"
RAW_SEND = "fenghuo.send"
"""Where the scope holds the server's own `send`: nothing around the application has to see each event."""

router = APIRouter(prefix="/v1/live", tags=["live"])


@router.get("", response_class=Response, responses={200: {"content": {"text/event-stream": {}}}})
async def live(
    request: Request,
    s: S,
    since: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=30)] = None,
) -> Response:
    """Warnings about the caller's nodes as they are released, updated, cancelled or expire (SSE).

    `Last-Event-ID` wins over `since`; without both it starts now. `since=0` begins with all that are in force.
    """
    if last is not None and not (last.isdecimal() and int(last) <= LARGEST):
        raise InvalidInput("stream.last_event_id", "Last-Event-ID is a log position.")
    start = int(last) if last is not None else since
    return Stream(request.app.state.live, request, start)


class Reader:
    """One open stream: what waits to be written to it, and what it may see until when.

    `tops` are the nodes whose subtrees it sees; `by` the credential, the grants and the person that this rests on.
    While nothing waits, a frame is handed to the server at once, without waking the stream's own task: that task takes
    over where the connection's buffer is full.
    """

    __slots__ = ("_backlog", "_frames", "_over", "_rest", "_send", "_waiter", "after", "by", "tops", "until")

    def __init__(self, tops: frozenset[str], by: frozenset[str], until: datetime, backlog: int) -> None:
        self.tops, self.by, self.until = tops, by, until
        self.after = 0  # the position up to which it has everything
        self._frames: deque[bytes] = deque()
        self._send: Send | None = None  # the server's, while all that was given before is written
        self._rest: Rest | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self._backlog = backlog

    def offer(self, frame: bytes) -> bool:
        """False when it does not keep up; it is then told so, ended, and gets nothing more."""
        if self._over:
            return False
        if self._send is not None:
            self._rest = Rest.of(self._send(_body(frame)))
            if self._rest is not None:  # it does not read as fast as we write: from here on it has a queue
                self._send = None
                self._wake()
            return True
        if len(self._frames) >= self._backlog:
            self._frames.clear()
            self._frames.append(BEHIND)
            self.end()
            return False
        self._frames.append(frame)
        self._wake()
        return True

    def end(self) -> None:
        self._over = True
        self._wake()

    @property
    def idle(self) -> bool:
        return not self._frames and self._rest is None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def write(self, send: Send) -> bytes:
        """Writes what is offered until the end; returns what is left to be said then."""
        while True:
            if self._rest is not None:
                rest, self._rest = self._rest, None
                await rest
            elif self._over:
                return b"".join(self._frames)
            elif self._frames:
                body = b"".join(self._frames)
                self._frames.clear()
                await send(_body(body))
            else:
                self._send, self._waiter = send, asyncio.get_running_loop().create_future()
                try:
                    await self._waiter
                finally:
                    self._send = None


class Rest:
    """What is left of a coroutine that was begun elsewhere and came upon something to wait for."""

    def __init__(self, begun: Any, first: Any) -> None:
        self._begun, self._first = begun, first

    @classmethod
    def of(cls, awaitable: Any) -> Rest | None:
        """Runs a coroutine as far as it goes without waiting; None where that is its end. Raises what it raises."""
        begun = awaitable.__await__()
        try:
            return cls(begun, next(begun))
        except StopIteration:
            return None

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            yield self._first
        except BaseException as error:
            try:
                waits = self._begun.throw(error)
            except StopIteration:
                return
            yield waits
        yield from self._begun


class Hub:
    """All readers, and the one task that follows the log for them while there are any."""

    def __init__(self, services: Services, *, heartbeat_s: float = HEARTBEAT_S, backlog: int = BACKLOG) -> None:
        self.readers: dict[frozenset[str], set[Reader]] = {}  # by what they see
        self.position = 0
        self._s, self._heartbeat_s, self._backlog = services, heartbeat_s, backlog
        self._users = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._starting = asyncio.Lock()
        self._closed = False
        self._rights_at = 0  # the last position at which somebody's rights changed
        self._changed_at = 0  # the last position at which a warning changed
        self._hierarchy = Hierarchy(())
        self._drafts: dict[str, WarningState | None] = {}  # lately written: a release is sent without reading the log
        self._seen: dict[frozenset[str], frozenset[str]] = {}

    # Readers ---------------------------------------------------------------------------------------------------------

    async def enter(self, request: Request, since: int | None) -> tuple[Reader, bytes]:
        """A reader from here on, and what it missed. Raises NotSignedIn, NotPermitted. To be followed by `leave`."""
        self._users += 1
        async with self._starting:
            if not self._closed and not any(not task.done() for task in self._tasks):
                await self._start()
        while True:
            position = self.position
            await self._s.progress.reached(position)
            reader = await asyncio.to_thread(self._admitted, request)
            if self._rights_at <= position:  # or else a right was withdrawn that the views did not know of
                break
        self.readers.setdefault(reader.tops, set()).add(reader)  # before any await: no step falls in between
        here = reader.after = self.position
        if self._closed:
            reader.end()
        if since is not None and since > here and since > await self._s.log.last_position():
            since = 0  # a position that the log never had: another log, or one restored
        if since is None or since >= self._changed_at:
            return reader, b""
        await self._s.progress.reached(here)
        return reader, await asyncio.to_thread(self._missed, reader.tops, since, here)

    def leave(self, reader: Reader | None) -> None:
        if reader is not None:
            self._drop([reader])
        self._users -= 1
        if self._users == 0:
            for task in self._tasks:
                task.cancel()
            self._tasks = []

    def _drop(self, readers: Iterable[Reader]) -> None:
        for reader in readers:
            reader.end()
            group = self.readers.get(reader.tops, set())
            group.discard(reader)
            if not group:
                self.readers.pop(reader.tops, None)
                self._seen.pop(reader.tops, None)

    def _admitted(self, request: Request) -> Reader:
        """In a thread. Deny by default: at least one grant in force has to allow both rights that are needed."""
        credential = token(request, self._s)
        actor = Actor(person_id=credential.person_id, correlation_id="live", grant_id=credential.grant_id)
        grants = self._s.desk.grants_allowing(actor, NEEDED)
        if not grants:
            raise NotPermitted(
                "permission.denied",
                f"No grant allows {Action.RELAY_READ.value} anywhere.",
                "Ask the duty office for a grant, or somebody who has one.",
            )
        return Reader(
            frozenset(grant.node_id for grant in grants), _rests_on(credential, grants), _until(credential, grants),
            self._backlog,
        )  # fmt: skip

    async def close(self) -> None:
        """Ends every stream properly, so that readers come back at once; nobody can enter after that."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._drop([reader for group in self.readers.values() for reader in group])

    # Following the log -----------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        s = self._s
        self.position = await s.log.last_position()
        await s.progress.reached(self.position)
        await asyncio.to_thread(self._read_views)
        self._drafts = {}
        self._tasks = [
            asyncio.create_task(self._run(), name="live stream"),
            asyncio.create_task(self._beat(), name="live heartbeat"),
        ]

    def _read_views(self) -> None:
        with self._s.views.reading() as db:
            self._hierarchy = self._s.views.directory.hierarchy(db)
            w = self._s.views.warnings.warnings.c
            latest = db.execute(select(w.position).order_by(w.position.desc()).limit(1)).scalar() or 0
        self._seen = {}
        self._changed_at = max(self._changed_at, latest)

    async def _run(self) -> None:
        try:
            async for batch in self._s.log.follow(self.position):
                for recorded in batch:
                    await self._take(recorded)
                    self.position = recorded.position  # with each: who enters in between misses nothing
        except Exception:  # whatever the log raises: the readers come back, and with them the task
            _log.exception("the live stream ended; its readers reconnect")
            self._drop([reader for group in self.readers.values() for reader in group])

    async def _take(self, recorded: Recorded) -> None:
        match recorded.event:
            case WarningDrafted() | WarningRevised():
                self._drafts[recorded.stream] = warnings.evolve(self._drafts.get(recorded.stream), recorded.event)
                if len(self._drafts) > DRAFTS:
                    self._drafts.pop(next(iter(self._drafts)))
            case WarningReleased() | WarningUpdated() | WarningCancelled() | WarningExpired():
                await self._changed(recorded)
            case GrantGiven(grant=grant):
                self._rights(recorded.position, grant.person_id)
            case GrantRevoked(grant_id=grant_id):
                self._rights(recorded.position, grant_id)
            case TokenEnded(digest=digest):
                self._rights(recorded.position, digest)
            case NodeRegistered():
                await self._s.progress.reached(recorded.position)
                await asyncio.to_thread(self._read_views)

    def _rights(self, position: int, what: str) -> None:
        """Ends the streams that rest on this; who still may comes back."""
        self._rights_at = position
        self._drop([r for group in self.readers.values() for r in group if what in r.by])

    async def _changed(self, recorded: Recorded) -> None:
        warning_id = recorded.stream.partition("-")[2]
        state = warnings.evolve(self._drafts.pop(recorded.stream, None), recorded.event)
        if state is None:  # drafted before anybody listened, or released before
            state, _ = await self._s.log.load(warning_stream(warning_id), warnings.evolve)
        if state is None or state.released_by is None:  # a draft that was withdrawn concerns nobody
            return
        status, reason = Status.RELEASED, ""
        match recorded.event:
            case WarningUpdated():
                status = Status.UPDATED
            case WarningCancelled(reason=reason):
                status = Status.CANCELLED
            case WarningExpired():
                status = Status.EXPIRED
        framed = frame(
            recorded.position, warning_id, status, state.content, state.updates,
            state.updated_by if status is Status.UPDATED else None, reason,
        )  # fmt: skip
        nodes = frozenset(concerned(state.content.target, self._hierarchy))
        now = self._s.clock.now()
        concerns = [group for tops, group in self.readers.items() if not nodes.isdisjoint(self._sees(tops))]
        done = [
            reader
            for group in concerns
            for reader in group
            if reader.after < recorded.position and (now >= reader.until or not reader.offer(framed))
        ]
        self._changed_at = recorded.position
        self._drop(done)

    def _sees(self, tops: frozenset[str]) -> frozenset[str]:
        seen = self._seen.get(tops)
        if seen is None:
            seen = frozenset(node_id for top in tops for node_id in self._hierarchy.subtree(top))
            self._seen[tops] = seen
        return seen

    def _missed(self, tops: frozenset[str], since: int, until: int) -> bytes:
        """Every warning that changed last between two positions, as it stands; from position 0 all that are in force.

        What changed again after `until` comes by itself.
        """
        hierarchy, sees = self._hierarchy, self._sees(tops)
        table = self._s.views.warnings.warnings
        query = select(table).where(
            table.c.position > since, table.c.position <= until, table.c.released_at.is_not(None)
        )
        if since == 0:
            query = query.where(table.c.status == Status.RELEASED.value)
        with self._s.views.reading() as db:
            rows = list(db.execute(query.order_by(table.c.position.desc()).limit(MOST_MISSED)).mappings())
        found: list[bytes] = []
        for row in reversed(rows):
            content = msgspec.convert(row["content"], Content)
            if not sees.isdisjoint(concerned(content.target, hierarchy)):
                status = Status(row["status"])
                found.append(
                    frame(
                        row["position"], row["warning_id"], status, content, row["updates"],
                        row["updated_by"], row["cancel_reason"] or "",
                    )
                )  # fmt: skip
        return b"".join(found)

    async def _beat(self) -> None:
        """A comment to each idle reader, so that proxies keep the line and dead ones are found out."""
        while True:
            await asyncio.sleep(self._heartbeat_s)
            now = self._s.clock.now()
            everybody = [reader for group in self.readers.values() for reader in group]
            self._drop([reader for reader in everybody if now >= reader.until])
            for n, reader in enumerate(everybody):
                if reader.idle:
                    reader.offer(ALIVE)
                if n % 500 == 499:
                    await asyncio.sleep(0)


class Stream(Response):
    """One reader's stream, as a bare ASGI response: prebuilt bytes go straight to the server."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, request: Request, since: int | None) -> None:
        super().__init__(headers={"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub, self._request, self._since = hub, request, since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reader: Reader | None = None
        gone: asyncio.Task[None] | None = None
        try:
            reader, missed = await self._hub.enter(self._request, self._since)
            gone = asyncio.create_task(_gone(receive, reader))
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            raw: Send = scope.get(RAW_SEND, send)
            await raw(_body(b"retry: %d\n: from %d\n\n%b" % (RETRY_MS, reader.after, missed)))
            last = await reader.write(raw)
            try:
                async with asyncio.timeout(END_S):
                    await raw({"type": "http.response.body", "body": last})
            except TimeoutError:
                return  # it does not read at all; the server hangs up
        finally:
            if gone is not None:
                gone.cancel()
            self._hub.leave(reader)


def frame(
    position: int, warning_id: str, status: Status, content: Content, updates: str | None, updated_by: str | None,
    reason: str,
) -> bytes:  # fmt: skip
    """One server-sent event: a warning as it stands from this log position on."""
    data = {
        "warning_id": warning_id,
        "number": number_of(warning_id),
        "status": status.value,
        "drill": content.drill,
        "level": content.level.value,
        "updates": updates,
        "updated_by": updated_by,
        "reason": reason,
        "content": content,
    }
    return b"id: %d\nevent: warning.%s\ndata: %b\n\n" % (position, status.value.encode(), msgspec.json.encode(data))


def _rests_on(credential: Token, grants: list[Grant]) -> frozenset[str]:
    return frozenset({credential.digest, credential.person_id, *(grant.grant_id for grant in grants)})


def _until(credential: Token, grants: list[Grant]) -> datetime:
    return min([credential.valid_until, *(grant.valid_to for grant in grants if grant.valid_to is not None)])


def _body(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _gone(receive: Receive, reader: Reader) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.end()
