"""Chat: WeCom, DingTalk, Feishu, Lark, ntfy and Matrix through `apprise`, the extra `chat`.

An address is an apprise URL, held to an allow-list of services. apprise blocks and connects where it likes, so each
message goes from a thread of ours, in which an audit hook refuses every connection into a private network at the
moment it is made: a name that answers differently by then (DNS rebinding) or a redirect gains nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
from yarl import URL

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from domain.people import Channel
from notifiers.batch import accepted, deferred, in_doubt, refused, sendable, spread
from notifiers.channel import LINK, Delivery, Rendered, Result
from notifiers.targets import LONGEST_URL, PORTS, ForbiddenAddress, is_public, may_be_public, ports_of

FIXED = frozenset({"wecombot", "dingtalk", "feishu", "lark"})
"""Services at a host of their own; the URL holds a token and no host."""
HOSTED = {"ntfys": 443, "matrixs": 443}
"""Services that anybody can run, over TLS, and their usual ports."""
PLAIN = {"ntfy": 80, "matrix": 80}
"""The same without TLS: for allowed origins alone."""
QUIET = ("apprise", "urllib3.connectionpool", "requests")  # loggers that write addresses and texts


class ChatSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`allowed_origins` (`http://127.0.0.1:8099`) may be plain http and in a private network."""

    allowed_origins: frozenset[str] = frozenset()
    threads: int = 16  # messages in flight
    timeout_s: float = 20.0  # for one message, all told
    connect_timeout_s: float = 5.0


class ChatNotifier:
    """Sends `Rendered.text`, or `short` where the service has no room for it. There are no receipts."""

    channel = Channel.CHAT

    def __init__(self, settings: ChatSettings, chunk: int = 50) -> None:
        """Raises InvalidInput where the extra is not installed."""
        self.chunk = chunk
        self._settings = settings
        self._apprise = _apprise()
        self._ports = ports_of(settings.allowed_origins)
        self._gate = asyncio.Semaphore(settings.threads)
        self._threads: ThreadPoolExecutor | None = None
        _watch()

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="chat")
        threads, loop = self._threads, asyncio.get_running_loop()
        subject, text, short = (sendable(words) for words in (rendered.subject, rendered.text, rendered.short))

        async def one(delivery: Delivery) -> Result:
            try:
                inside = chat_target(delivery.address, self._ports)
            except ValueError:
                return refused(delivery, Reason.BAD_ADDRESS)
            call = _Call(inside)
            words = (subject, text.replace(LINK, delivery.link), short.replace(LINK, delivery.link))
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    said = await loop.run_in_executor(threads, partial(self._post, call, delivery.address, words))
            except TimeoutError:
                return in_doubt(delivery, Reason.TIMEOUT) if call.sent else deferred(delivery, Reason.UNREACHABLE)
            finally:
                call.end()  # a service that dribbles its answer must not keep the thread
            if said is None:
                return accepted(delivery)
            return Result(index=delivery.index, outcome=said[0], reason=said[1])

        return await spread(deliveries, self._gate, self._settings.threads, one)

    def _post(self, call: _Call, url: str, words: tuple[str, str, str]) -> tuple[Outcome, Reason] | None:
        """In a thread of ours. None where the service took it."""
        _here.call = call
        try:
            # Everything of apprise is made in here: some services look things up as soon as they exist.
            service = self._apprise.Apprise.instantiate(url, asset=_asset(self._apprise), suppress_exceptions=True)
            if service is None:
                return Outcome.REFUSED, Reason.BAD_ADDRESS
            service.verify_certificate = True  # a URL may ask for less, for longer waits and for redirects
            service.redirects = False
            service.socket_connect_timeout = self._settings.connect_timeout_s
            service.socket_read_timeout = self._settings.timeout_s
            service.request_rate_per_sec = 0  # waiting between messages is the worker's
            subject, text, short = words
            body = text if len(text) + len(subject) < service.body_maxlen else short
            if not body or len(body) + len(subject) >= service.body_maxlen:
                return Outcome.REFUSED, Reason.CONTENT_REFUSED
            if service.notify(body=body, title=subject[:200]):
                return None
        finally:
            _here.call = None
        if call.forbidden:
            return Outcome.REFUSED, Reason.BAD_ADDRESS
        if not call.sent:
            return Outcome.DEFERRED, Reason.UNREACHABLE
        return Outcome.UNKNOWN, Reason.PROVIDER_ERROR  # apprise says that it failed, and not how

    async def close(self) -> None:
        """As Notifier.close."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)


def chat_target(address: object, ports: Sequence[tuple[str, int]] = ()) -> bool:
    """Whether a chat URL leads to one of the allowed (host, port) pairs, which may lie inside.

    Raises ValueError for a service that is not on the list and for a host that is not public.
    """
    if not isinstance(address, str) or len(address) > LONGEST_URL or not address.isprintable():
        raise ValueError("not a chat URL")
    url = URL(address)
    if url.scheme in FIXED:
        return False
    usual = {**HOSTED, **PLAIN}.get(url.scheme)
    if usual is None or not url.host:
        raise ValueError("not a service that is allowed")
    port = url.explicit_port or usual
    if (url.host, port) in ports:
        return True
    if url.scheme in PLAIN or port not in PORTS or not may_be_public(url.host):
        raise ValueError("not public")
    return False


class _Call:
    """One message under way in a thread: whether it may go inside, and what became of its connections."""

    def __init__(self, inside: bool) -> None:
        self.inside = inside
        self.forbidden = False
        self.sent = False
        self._lock = threading.Lock()
        self._lines: list[socket.socket] = []
        self._over = False

    def connecting(self, line: socket.socket, address: Any) -> None:
        """Raises ForbiddenAddress where this message must not connect to `address`."""
        host = address[0] if isinstance(address, tuple) else ""
        with self._lock:
            if self._over or not (self.inside or is_public(str(host))):
                self.forbidden = self.forbidden or not self._over
                raise ForbiddenAddress(None, "no public address")
            # A copy: the library wraps its own for TLS, and the wrapped one is another object.
            self._lines.append(line.dup())

    def end(self) -> None:
        """Breaks whatever is still open."""
        with self._lock:
            self._over = True
            for line in self._lines:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
                line.close()
            self._lines = []


class _Here(threading.local):
    call: _Call | None = None


_here = _Here()
_watching = threading.Lock()


def _watch() -> None:
    """Installs the hook and the filters, once in the life of the program; they look at threads of ours alone."""
    if not _watching.acquire(blocking=False):
        return
    sys.addaudithook(_audit)
    for name in QUIET:
        logging.getLogger(name).addFilter(lambda _: _here.call is None)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        if _here.call is not None:
            _here.call.connecting(args[0], args[1])
    elif event == "http.client.send" and _here.call is not None:
        _here.call.sent = True


def _apprise() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its services bring modules that are about to leave Python
            import apprise  # noqa: PLC0415  an extra

            apprise.Apprise.instantiate("ntfys://start", asset=_asset(apprise))  # loads all services, half a second
    except ImportError:
        raise InvalidInput(
            "chat.extra", "The library for chat is not installed.", "Install the extra: pip install 'fenghuo[chat]'."
        ) from None
    return apprise


def _asset(apprise: Any) -> Any:
    """Settings of the library: nothing kept on disk, no plugins of the machine, texts taken as they are."""
    return apprise.AppriseAsset(
        app_id="Fenghuo",
        app_desc="Fenghuo",
        app_url="",
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        plugin_paths=[],
    )
