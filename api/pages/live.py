"""The live console: each change of a warning is rendered once and handed as the same bytes to everyone who watches.

A Channel per (warning, language, permission scope) waits for the views to move on, takes one View, renders the step
from the last and offers it to its watchers. Whose scope is another by then gets nothing more, and comes back under
their own. A watcher has a bounded queue; one that does not read is cut off and comes back with its Last-Event-ID. A
server that stops calls `Hub.close()` first: open streams would keep it from exiting.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.pages import fragments
from api.pages.fragments import View
from api.pages.model import ConsoleSource, Who

_log = logging.getLogger(__name__)
_LINE_END = re.compile("\r\n|\r|\n")  # exactly what ends a line of an event stream, and no more (str.splitlines does)

PACE_S = 0.1  # at most ten renders a second: people do not read faster, and what happens together is shown together
HEARTBEAT_S = 15.0  # below the idle limit of every usual proxy
BACKLOG = 32  # frames a watcher may be behind before it is cut off
RETRY_MS = 2000
ANEW = b"id: 0\n\n"  # without data it shows nothing, but a browser comes back with this id and is given everything

Key = tuple[str, str, str]
Frame = tuple[int, bytes]


def event(position: int, markup: str) -> bytes:
    """One server-sent event named `state`, whose id is the log position it shows."""
    data = "".join(f"data: {line}\n" for line in _LINE_END.split(markup))
    return f"id: {position}\nevent: state\n{data}\n".encode()


def own_scope(who: Who) -> str:
    """The narrowest permission scope: a person and what they may do. Right whatever the source shows to whom."""
    return "\n".join([who.person_id, *sorted(who.may)])


class Watcher:
    """One open stream and its reader: what waits to be written to it. `cut` is called when it fell too far behind.

    `outdated`: its reader's rights are others by now, and so what their page shows.
    """

    def __init__(self, who: Who, backlog: int) -> None:
        self.who = who
        self.outdated = False
        self.frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self.cut: Callable[[], object] = lambda: None
        self._backlog = backlog

    def offer(self, frame: Frame) -> bool:
        """False when it does not keep up; it is then cut off and gets nothing more."""
        if self.frames.qsize() >= self._backlog:
            self.cut()
            return False
        self.frames.put_nowait(frame)
        return True

    def end(self) -> None:
        self.frames.put_nowait(None)


class Channel:
    """One warning in one language for one permission scope, and everyone who watches it.

    It reads as any of its watchers, and asks each time who of them still has the scope that it is for.
    """

    def __init__(self, source: ConsoleSource, scope: Callable[[Who], str], key: Key, pace_s: float) -> None:
        self.watchers: set[Watcher] = set()
        self.renders = 0
        self._source, self._scope, self._pace_s = source, scope, pace_s
        self._warning_id, self._language, self._key_scope = key
        self._view: asyncio.Future[View | None] = asyncio.get_running_loop().create_future()
        self._caught_up: dict[int, asyncio.Task[bytes]] = {}
        self._task = asyncio.create_task(self._run(), name=f"console {key[0]} {key[1]}")

    async def join(self, watcher: Watcher, since: int) -> tuple[int, bytes]:
        """From here on the watcher gets each step. Returns the position it starts at and what it missed before that."""
        self.watchers.add(watcher)  # before any await: the channel stays, and no step falls in between
        view = await asyncio.shield(self._view)
        if view is None:
            watcher.end()
            return since, b""
        if since == view.position:
            return since, b""
        if since > view.position:
            if since <= await asyncio.to_thread(self._source.position):
                return since, b""  # its page is fresher than this view; steps up to `since` are nothing new to it
            since = 0  # a position that the log never had: another log, or one restored; show everything
        if since not in self._caught_up:
            self._caught_up[since] = asyncio.create_task(asyncio.to_thread(self._catch_up, view, since))
        return view.position, await asyncio.shield(self._caught_up[since])

    def _catch_up(self, view: View, since: int) -> bytes:
        self.renders += 1
        return event(view.position, fragments.catch_up(view, since))

    async def _run(self) -> None:
        try:
            view, _ = await self._advance(None)
            self._view.set_result(view)
            clock = asyncio.get_running_loop().time
            rendered_at = clock() - self._pace_s
            while view is not None:
                await self._source.changed(view.position)
                await asyncio.sleep(max(0.0, rendered_at + self._pace_s - clock()))
                rendered_at = clock()
                view, frame = await self._advance(view)
                if view is None:
                    return
                self._view = asyncio.get_running_loop().create_future()
                self._view.set_result(view)
                self._caught_up = {}
                if frame is not None:
                    self.watchers = {watcher for watcher in self.watchers if watcher.offer(frame)}
        except Exception:  # whatever the views raise: the watchers come back, and with them the channel
            _log.exception("console channel of warning %s ended; its watchers reconnect", self._warning_id)
        finally:
            self._finish()

    async def _advance(self, before: View | None) -> tuple[View | None, Frame | None]:
        """The view now and what leads to it, for the watchers that are left: those who may not see it are ended."""
        watching = {watcher.who for watcher in self.watchers}
        view, frame, outdated = await asyncio.to_thread(self._read, before, watching)
        for watcher in [one for one in self.watchers if one.who in outdated]:
            self.watchers.discard(watcher)
            watcher.outdated = True
            watcher.end()
        return view, frame

    def _read(self, before: View | None, watching: set[Who]) -> tuple[View | None, Frame | None, set[Who]]:
        """In a thread. The view, the step to it, and who of these has another scope by now."""
        after, frame = self._view_of_any(before, watching), None
        if before is not None and after is not None and (markup := fragments.step(before, after)) is not None:
            self.renders += 1
            frame = (after.position, event(after.position, markup))
        return after, frame, {who for who in watching if not self._covers(who)}

    def _view_of_any(self, before: View | None, watching: set[Who]) -> View | None:
        """As one who has the scope before and after it is read: in between, rights may be given and withdrawn."""
        for who in watching:
            if self._covers(who):
                view = fragments.read(self._source, who, self._warning_id, self._language, before)
                if self._covers(who):
                    return view
        return None

    def _covers(self, who: Who) -> bool:
        return self._scope(who) == self._key_scope

    def _finish(self) -> None:
        if not self._view.done():
            self._view.set_result(None)
        for watcher in self.watchers:
            watcher.end()
        self.watchers = set()

    @property
    def ended(self) -> bool:
        return self._task.done()

    async def close(self) -> None:
        self._task.cancel()
        self._finish()  # a task that never began does not run its own `finally`
        await asyncio.wait([self._task])


class Hub:
    """All channels. `source` is asked by one task a channel, however many watch.

    Readers of equal `scope` share what is rendered: give one only where the source shows all of them exactly the same.
    It is asked in threads, and again for each frame.
    """

    def __init__(
        self,
        source: ConsoleSource,
        *,
        scope: Callable[[Who], str] = own_scope,
        pace_s: float = PACE_S,
        heartbeat_s: float = HEARTBEAT_S,
        backlog: int = BACKLOG,
    ) -> None:
        self.heartbeat_s = heartbeat_s
        self.scope = scope
        self.channels: dict[Key, Channel] = {}
        self._source, self._pace_s, self._backlog = source, pace_s, backlog
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def open(self) -> int:
        """How many streams are open."""
        return sum(len(channel.watchers) for channel in list(self.channels.values()))

    def stream(
        self, who: Who, warning_id: str, language: str, scope: str, since: int, still: Callable[[], Awaitable[bool]]
    ) -> EventStream:
        """The response that watches a warning from log position `since` on, by somebody of this `scope`. `still` is
        asked at every heartbeat whether its reader may go on."""
        return EventStream(self, who, (warning_id, language, scope), since, still)

    async def watch(self, key: Key, since: int, watcher: Watcher) -> tuple[int, bytes]:
        if self._closed:
            watcher.end()
            return since, b""
        channel = self.channels.get(key)
        if channel is None or channel.ended:
            channel = self.channels[key] = Channel(self._source, self.scope, key, self._pace_s)
        return await channel.join(watcher, since)

    def leave(self, key: Key, watcher: Watcher) -> None:
        channel = self.channels.get(key)
        if channel is None:
            return
        channel.watchers.discard(watcher)
        if not channel.watchers:
            del self.channels[key]
            task = asyncio.create_task(channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Ends every stream properly, so that browsers reconnect at once; nothing can be watched after that."""
        self._closed = True
        channels, self.channels = list(self.channels.values()), {}
        await asyncio.gather(*(channel.close() for channel in channels), *self._closing)


class EventStream(Response):
    """One reader's stream, as a bare ASGI response: prebuilt bytes go straight to the server."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, who: Who, key: Key, since: int, still: Callable[[], Awaitable[bool]]) -> None:
        # `no-transform` and X-Accel-Buffering: a proxy that compresses or buffers would hold events back.
        super().__init__(headers={"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub, self._who, self._key, self._since, self._still = hub, who, key, since, still

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watcher = Watcher(self._who, self._hub._backlog)
        writing = asyncio.create_task(self._write(watcher, send))
        watcher.cut = writing.cancel
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait([writing, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            writing.cancel()
            gone.cancel()
            await asyncio.wait([writing, gone])
            self._hub.leave(self._key, watcher)
        if not writing.cancelled() and (error := writing.exception()) is not None and not isinstance(error, OSError):
            raise error

    async def _write(self, watcher: Watcher, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send(_body(f"retry: {RETRY_MS}\n\n".encode()))
        position, missed = await self._hub.watch(self._key, self._since, watcher)
        if missed and not watcher.outdated:
            await send(_body(missed))
        clock = asyncio.get_running_loop().time
        beats_at = clock() + self._hub.heartbeat_s
        while True:
            try:
                async with asyncio.timeout_at(beats_at):  # however much there is to be written meanwhile
                    frame = await watcher.frames.get()
            except TimeoutError:
                if not await self._still():
                    watcher.outdated = True
                    break
                await send(_body(b": still here\n\n"))
                beats_at = clock() + self._hub.heartbeat_s
                continue
            if frame is None:
                break
            if frame[0] > position:
                position = frame[0]
                await send(_body(frame[1]))
        await send({"type": "http.response.body", "body": ANEW if watcher.outdated else b""})


def _body(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
