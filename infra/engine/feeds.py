"""Reads the feeds, each in its turn: conditional requests, bounded answers, addresses on the open internet alone.

How a reading went is kept in memory and shown; what it brought is in the log. After a restart everything is asked for
anew, and what is known already changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import msgspec
import structlog
from yarl import URL

from api.feeds import forms
from api.feeds.desk import FeedDesk
from domain.errors import FenghuoError, InvalidInput, Unreachable
from domain.feeds import Feed, Form, Taken
from domain.ports import Clock
from infra.engine.follower import Follower
from notifiers.net import PublicResolver, http_session, retry_after_s
from notifiers.targets import may_be_public
from projections.follower import Views

_log = structlog.get_logger("fenghuo.feeds")

LARGEST = 8 * 1024 * 1024  # bytes of one answer
TIMEOUT_S = 30.0  # for one request, all told
MOST_HOPS = 5  # redirects that are followed
AT_ONCE = 8  # feeds, and messages of one feed, that are fetched at the same time
LONGEST_WAIT_S = 3600.0  # between two readings of a feed that fails
LOOK_S = 30.0  # a feed that was just added is read within this time


class Reading(msgspec.Struct):
    """How the last reading of a feed went. `code` is empty where it went well."""

    next_at: datetime
    set_at: datetime
    """When that was decided."""
    read_at: datetime | None = None
    changed_at: datetime | None = None
    code: str = ""
    message: str = ""
    failures: int = 0
    etag: str = ""
    modified: str = ""


class Poller:
    """Runs until cancelled. `jitter()` gives numbers from 0 to 1. `allowed_origins` may lie in a private network."""

    def __init__(
        self,
        desk: FeedDesk,
        views: Views,
        follower: Follower,
        clock: Clock,
        jitter: Callable[[], float],
        allowed_origins: Collection[str] = (),
    ) -> None:
        self._desk = desk
        self._views = views
        self._follower = follower
        self._clock = clock
        self._jitter = jitter
        self._allowed = frozenset(URL(origin).origin() for origin in allowed_origins)
        self._readings: dict[str, Reading] = {}
        self._session: aiohttp.ClientSession | None = None

    def reading(self, feed_id: str) -> Reading | None:
        return self._readings.get(feed_id)

    @property
    def failing(self) -> int:
        """How many feeds could not be read the last time."""
        return sum(reading.failures > 0 for reading in list(self._readings.values()))

    async def run(self) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(feed: Feed) -> None:
            async with gate:
                await self._turn(feed)

        try:
            while True:
                feeds, now = await asyncio.to_thread(self._feeds), self._clock.now()
                for feed_id in self._readings.keys() - {feed.feed_id for feed in feeds}:
                    del self._readings[feed_id]
                due = [feed for feed in feeds if self._due(feed, now)]
                async with asyncio.TaskGroup() as group:
                    for feed in due:
                        group.create_task(one(feed))
                waits = [self._readings[feed.feed_id].next_at for feed in feeds]
                until = min([*waits, self._clock.now() + timedelta(seconds=LOOK_S)])
                await self._clock.sleep_until(max(until, self._clock.now() + timedelta(seconds=1)))
        finally:
            await self.close()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _feeds(self) -> list[Feed]:
        with self._views.reading() as db:
            return self._views.feeds.feeds(db)

    def _due(self, feed: Feed, now: datetime) -> bool:
        reading = self._readings.get(feed.feed_id)
        # A clock that was set back must not make a feed wait longer than its turn.
        return reading is None or now >= reading.next_at or now < reading.set_at - timedelta(seconds=1)

    async def _turn(self, feed: Feed) -> None:
        structlog.contextvars.bind_contextvars(correlation_id=f"feed-{feed.feed_id}")  # of this task alone
        reading = self._readings.setdefault(feed.feed_id, Reading(now := self._clock.now(), now))
        wait_s = float(feed.every_s)
        try:
            await self.read(feed, reading)
            reading.failures, reading.code, reading.message = 0, "", ""
        except Exception as error:
            reading.failures += 1
            reading.etag = reading.modified = ""  # what was not taken must be given again
            wait_s = min(LONGEST_WAIT_S, max(wait_s, feed.every_s * 2.0 ** min(reading.failures - 1, 10)))
            if isinstance(error, FenghuoError):
                reading.code, reading.message = error.code, str(error)[:300]
                _log.warning("feed_failed", feed_id=feed.feed_id, code=error.code, failures=reading.failures)
            else:
                reading.code, reading.message = "feed.internal", ""
                _log.exception("feed_failed", feed_id=feed.feed_id, failures=reading.failures)
        reading.set_at = now = self._clock.now()
        reading.next_at = max(
            reading.next_at if reading.code == "feed.busy" else now,
            now + timedelta(seconds=wait_s * (0.9 + 0.2 * self._jitter())),
        )

    async def read(self, feed: Feed, reading: Reading) -> list[Taken]:
        """Reads a feed once and takes what is new. Raises what went wrong, as an error with a code."""
        conditions = {"If-None-Match": reading.etag, "If-Modified-Since": reading.modified}
        status, headers, data = await self._get(feed.url, {name: v for name, v in conditions.items() if v})
        now = self._clock.now()
        reading.read_at = now
        if status == 304:
            return []
        if status in {429, 503} and (asked := retry_after_s(headers)) is not None:
            reading.next_at = now + timedelta(seconds=asked)
            raise Unreachable("feed.busy", f"The feed asks to wait {int(asked)} seconds.")
        if status != 200:
            raise Unreachable("feed.status", f"The feed answered {status}.", "Check its address.")
        links = await asyncio.to_thread(forms.links, feed, data) if feed.form is Form.CAP else []
        linked = await self._messages(links)
        found = await asyncio.to_thread(forms.entries, feed, data, linked, now)
        taken = await self._desk.take(feed.feed_id, found)
        # An index may name a message before it is there: then it is asked for again, changed or not.
        whole = len(linked) == len(set(links))
        reading.etag = headers.get("ETag", "")[:500] if whole else ""
        reading.modified = headers.get("Last-Modified", "")[:100] if whole else ""
        if taken:
            reading.changed_at = now
            _log.info("feed_read", feed_id=feed.feed_id, items=len(found), taken=len(taken))
        return taken

    async def _messages(self, urls: list[str]) -> dict[str, bytes]:
        """The messages that an index names. One that cannot be had fails the reading: it comes again in its turn."""
        gate = asyncio.Semaphore(AT_ONCE)
        found: dict[str, bytes] = {}

        async def one(url: str) -> None:
            async with gate:
                status, _, data = await self._get(url, {})
            if status == 200:
                found[url] = data
            elif status not in {404, 410}:  # gone meanwhile: its index is about to say so
                raise Unreachable("feed.status", f"A message of the feed answered {status}.")

        results = await asyncio.gather(*(one(url) for url in urls), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return {url: found[url] for url in urls if url in found}

    async def _get(self, url: str, headers: dict[str, str]) -> tuple[int, Any, bytes]:
        """Status, headers and body. Redirects are followed by hand, each to where we may go."""
        session = self._connected()
        try:
            target = self._checked(URL(url))
            for _ in range(MOST_HOPS):
                async with (
                    asyncio.timeout(TIMEOUT_S),
                    session.get(target, headers=headers, allow_redirects=False) as response,
                ):
                    if response.status in {301, 302, 303, 307, 308} and "Location" in response.headers:
                        target = self._checked(target.join(URL(response.headers["Location"])))
                        continue
                    return response.status, response.headers, await _body(response)
        except TimeoutError as error:
            raise Unreachable("feed.timeout", f"The feed gave no answer within {TIMEOUT_S:.0f} seconds.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable("feed.unreachable", f"The feed could not be had: {type(error).__name__}.") from error
        raise Unreachable("feed.redirects", "The feed leads from one address to the next without end.")

    def _checked(self, url: URL) -> URL:
        """The address, where a request may go there. Raises InvalidInput."""
        if url.absolute and url.user is None and url.host:
            if url.origin() in self._allowed:
                return url
            if url.scheme == "https" and may_be_public(url.host):
                return url
        raise InvalidInput("feed.address", "The feed's address is not one on the open internet.", "Use https.")

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = http_session(
                connections=AT_ONCE * 2,
                connect_timeout_s=10.0,
                resolver=PublicResolver([(origin.host or "", origin.port or 0) for origin in self._allowed]),
            )
        return self._session


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > LARGEST:
            raise InvalidInput("feed.too_large", f"The feed has over {LARGEST} bytes.")
    return bytes(body)
