"""The live stream of stations: every warning that concerns the caller's nodes, over SSE, as it is decided.

Behind it stand a hub that follows the log (`api/live_hub.py`) and a queue for each reader (`api/live_reader.py`).
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.auth import S
from api.live_hub import Hub
from api.live_reader import Reader, body
from api.paging import LARGEST
from domain.errors import InvalidInput

END_S = 5.0  # how long a reader that does not read is given to take the end
RETRY_MS = 2000
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
            # With an id at the end: who is cut off before any warning came, knows where to go on.
            begun = b"retry: %d\n: from %d\n\n%bid: %d\n\n" % (RETRY_MS, reader.after, missed, reader.after)
            await raw(body(begun))
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


async def _gone(receive: Receive, reader: Reader) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.end()
