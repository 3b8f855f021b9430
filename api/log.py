"""The log over HTTP: pages of events, and the same live by SSE. Ids are log positions: nothing is lost or repeated.

Reading the log is a right of its own (`log.read`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import PlainTextResponse, StreamingResponse

from api.auth import A, S
from api.events import public
from api.paging import LARGEST
from api.services import Services
from api.warnings import top_node
from domain.errors import InvalidInput, NotFound, UnknownEvent
from domain.events import Recorded, topic_of
from domain.grants import Action

HEARTBEAT_S = 15.0
BATCH = 200

router = APIRouter(prefix="/v1/log", tags=["log"])


@router.get("")
async def page(
    actor: A,
    s: S,
    after: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """Events after a position, in order. 503 where the first of them is one of a newer program."""
    _allow(s, actor)
    last = await s.log.last_position()
    events = await s.log.read(after, limit)
    more = bool(events) and (len(events) == limit or events[-1].position < last)
    return {"items": [public(r) for r in events], "next": events[-1].position if more else None, "last": last}


@router.get("/stream", response_class=StreamingResponse)
async def stream(
    request: Request,
    actor: A,
    s: S,
    since: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=30)] = None,
) -> StreamingResponse:
    """Events as they are recorded (SSE). `Last-Event-ID` wins over `since`; without both it starts now."""
    _allow(s, actor)
    if last is not None and not (last.isdecimal() and int(last) <= LARGEST):
        raise InvalidInput("stream.last_event_id", "Last-Event-ID is a log position.")
    start = int(last) if last is not None else since if since is not None else await s.log.last_position()

    closing = asyncio.ensure_future(request.app.state.closing.wait())

    async def lines() -> AsyncIterator[bytes]:
        yield f"retry: 1000\n: from {start}\n\n".encode()
        following = s.log.follow(start).__aiter__()
        waiting: asyncio.Future[list[Recorded]] | None = None
        try:
            while not closing.done():
                if waiting is None:
                    waiting = asyncio.ensure_future(following.__anext__())
                await asyncio.wait({waiting, closing}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    yield b": alive\n\n"
                    continue
                try:
                    batch, waiting = waiting.result(), None
                except UnknownEvent:
                    yield b": the next event is of a newer program; come back\n\n"
                    return
                yield b"".join(
                    b"id: %d\nevent: %s\ndata: %s\n\n"
                    % (r.position, topic_of(type(r.event)).encode(), msgspec.json.encode(public(r)))
                    for r in batch
                )
        finally:
            closing.cancel()
            if waiting is not None:
                waiting.cancel()

    return StreamingResponse(
        lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


@router.get("/checkpoint", response_class=PlainTextResponse)
def checkpoint(s: S) -> PlainTextResponse:
    """The latest signed head of the log (C2SP tlog-checkpoint). Public: it says nothing but how long the log is."""
    note = s.checkpoint()
    if note is None:
        raise NotFound("log.no_checkpoint", "Nothing is signed yet.")
    return PlainTextResponse(note)


def _allow(s: Services, actor: A) -> None:
    s.desk.allow(actor, Action.LOG_READ, [top_node(s)])
