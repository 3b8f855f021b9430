"""The hub of the live stream of stations: follows the log, and hands each change to all readers whom it concerns.

A change is encoded once and handed as the same bytes to all; ids are log positions. A reader that does not keep up is
told so and ended, and comes back with its Last-Event-ID, as does one whose rights changed. What was missed is given
as it stands, not step by step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime

import msgspec
from fastapi import Request
from sqlalchemy import select

from api.auth import token
from api.commands import Actor
from api.live_reader import Reader
from api.services import Services
from domain import warnings
from domain.content import Content
from domain.errors import NotPermitted, UnknownEvent, Unreachable
from domain.events import Recorded
from domain.grants import Action, Grant, GrantGiven, GrantRevoked, Token, TokenEnded
from domain.ids import warning_stream
from domain.planning import concerned
from domain.stations import Hierarchy, NodeRegistered
from domain.warnings import (
    Status,
    WarningCancelled,
    WarningDrafted,
    WarningExpired,
    WarningReleased,
    WarningRevised,
    WarningState,
    WarningUpdated,
)
from notifiers.pause import ended
from notifiers.render import number_of

_log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0  # below the idle limit of every usual proxy
BACKLOG = 32  # frames a reader may be behind before it is ended
MOST_MISSED = 1000  # warnings that a reader who comes back is given, the latest
DRAFTS = 100  # drafts that are remembered until they are released
BACKOFF_S = 0.1  # before the log is read again after a fault, each time twice as long
LONGEST_BACKOFF_S = 5.0  # beyond it the readers are ended: another process may do better
SHOWN_S = 10.0  # how long somebody who enters waits for views that are behind
NEEDED = frozenset({Action.RELAY_READ, Action.WARNING_READ})
ALIVE = b": alive\n\n"


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

    @property
    def open(self) -> int:
        """How many streams are open."""
        return sum(len(group) for group in list(self.readers.values()))

    # Readers ---------------------------------------------------------------------------------------------------------

    async def enter(self, request: Request, since: int | None) -> tuple[Reader, bytes]:
        """A reader from here on, and what it missed. Raises NotSignedIn, NotPermitted, Unreachable. To be followed by
        `leave`."""
        self._users += 1
        if not self._closed and not self._running:
            await self._start()
        while True:
            position = self.position
            await self._shown(position)
            reader = await asyncio.to_thread(self._admitted, request)
            if self._rights_at <= position:  # or else a right was withdrawn that the views did not know of
                break
        self.readers.setdefault(reader.tops, set()).add(reader)  # before any await: no step falls in between
        reader.after = self.position
        if not self._running:  # closed, or failed meanwhile: it comes back
            reader.end()
        try:
            return reader, await self._before(reader, since)
        except BaseException:  # nobody will say `leave` of a reader that was not handed out
            self._drop([reader])
            raise

    async def _before(self, reader: Reader, since: int | None) -> bytes:
        """What a reader that comes back from `since` missed. Raises Unreachable."""
        here = reader.after
        if since is not None and since > here and since > await self._s.log.last_position():
            since = 0  # a position that the log never had: another log, or one restored
        if since is None or since >= self._changed_at:
            return b""
        await self._shown(here)
        return await asyncio.to_thread(self._missed, self._sees(reader.tops), since, here)

    async def _shown(self, position: int) -> None:
        """Returns once the views stand there. Raises Unreachable where they do not in time: they would admit somebody
        whose right was withdrawn, and leave out warnings that are never given again."""
        if not await self._s.progress.reached(position, SHOWN_S):
            raise Unreachable("stream.behind", "The views are behind the log.", "Come back in a moment.")

    def leave(self, reader: Reader | None) -> None:
        if reader is not None:
            self._drop([reader])
        self._users -= 1
        if self._users == 0:
            for task in self._tasks:
                task.cancel()
            self._tasks = []

    @property
    def _everybody(self) -> list[Reader]:
        return [reader for group in self.readers.values() for reader in group]

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
        await ended(self._tasks)
        self._drop(self._everybody)

    # Following the log -----------------------------------------------------------------------------------------------

    @property
    def _running(self) -> bool:
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def _start(self) -> None:
        """From the log's end on. Who is there still has not been told all before it, and comes back for that."""
        end = await self._s.log.last_position()
        await self._shown(end)  # not one after the other: all who come wait at the same time
        async with self._starting:
            if self._closed or self._running or end < self.position:  # others began meanwhile
                return
            await ended(self._tasks)
            self._drop(self._everybody)
            self.position = end
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
        """A log that cannot be read is waited for, and followed on from where this stood. Any other fault ends it."""
        backoff = BACKOFF_S
        while backoff <= LONGEST_BACKOFF_S:
            try:
                async for batch in self._s.log.follow(self.position):
                    for recorded in batch:
                        await self._take(recorded)
                        self.position = recorded.position  # with each: who enters in between misses nothing
                    backoff = BACKOFF_S
            except UnknownEvent:  # logged when it was met; it may be about rights, so everybody is admitted anew
                break
            except Unreachable as error:
                if backoff == BACKOFF_S:
                    _log.error("the live stream waits for the log: %s", error.code)
                await asyncio.sleep(backoff)
                backoff *= 2
            except Exception:  # whatever else it may be: the readers come back, and with them the task
                _log.exception("the live stream ended; its readers reconnect")
                break
        self._drop(self._everybody)

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
            case NodeRegistered(node=node):  # not as the views have it: who listens does not wait for them
                self._hierarchy = Hierarchy([*self._hierarchy.nodes.values(), node])
                self._seen = {}

    def _rights(self, position: int, what: str) -> None:
        """Ends the streams that rest on this; who still may comes back."""
        self._rights_at = position
        self._drop([reader for reader in self._everybody if what in reader.by])

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

    def _missed(self, sees: frozenset[str], since: int, until: int) -> bytes:
        """Every warning that changed last between two positions, as it stands; from position 0 all that are in force.

        What changed again after `until` comes by itself.
        """
        hierarchy = self._hierarchy
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
            everybody = self._everybody
            self._drop([reader for reader in everybody if now >= reader.until])
            for n, reader in enumerate(everybody):
                if reader.idle:
                    reader.offer(ALIVE)
                if n % 500 == 499:
                    await asyncio.sleep(0)


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
