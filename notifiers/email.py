"""Mail through an SMTP server: kept connections, one transaction for each recipient, replies read with care.

What a failure means hangs on when it came. Before DATA nothing was handed over (deferred); once DATA was begun, a
lost connection or a missing answer leaves it open (unknown), and the stable Message-ID lets a mail program drop the
repeat. Sources: RFC 5321 (4.2.1, 4.5.3.2), RFC 3463 (enhanced codes), RFC 6152, RFC 6531.
"""

from __future__ import annotations

import asyncio
import html
import re
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Literal

import aiosmtplib
import msgspec

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from domain.people import Channel
from notifiers.batch import accepted, in_doubt, refused, spread
from notifiers.channel import Delivery, Rendered, Result
from notifiers.mime import Letter, mail_address, sender_address

DOWN_S = 1.0  # seconds for which a server that could not be reached is not tried again
IDLE_S = 60.0  # seconds after which a kept connection is not trusted any more; servers drop them after 30 to 300
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_UNSUBSCRIBE = re.compile(r"<[\x21-\x3b\x3d\x3f-\x7e]{1,200}>(, <[\x21-\x3b\x3d\x3f-\x7e]{1,200}>){0,3}")
_QUEUED = re.compile(r"queued as ([A-Za-z0-9]{1,64})")


class EmailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The server and the sender. `unsubscribe` is a whole List-Unsubscribe value (RFC 2369), such as
    `<mailto:stop@example.org>, <https://example.org/stop>`, for mail to citizens; empty for the duty mail of staff.
    """

    host: str
    sender: str
    port: int = 25
    sender_name: str = ""
    bounces_to: str = ""  # the envelope's sender; empty: `sender`
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    ca_file: str = ""  # certificates to trust beside the system's
    username: str = ""
    password: str = ""
    unsubscribe: str = ""
    message_domain: str = ""  # the right side of Message-ID and the name in EHLO; empty: the sender's domain
    connections: int = 8
    timeout_s: float = 30.0  # for one mail, all told
    connect_timeout_s: float = 10.0  # for connecting, TLS and login together

    def __repr__(self) -> str:
        return f"EmailSettings(host={self.host!r}, port={self.port}, tls={self.tls!r}, connections={self.connections})"


class _Phase(IntEnum):
    """How far a transaction came."""

    CONNECT = 0
    MAIL = 1
    RCPT = 2
    DATA = 3


class _Gone(Exception):
    """The transaction ended before DATA because the connection did."""


LETTERS_KEPT = 64


class EmailNotifier:
    """Sends `Rendered.text` and `Rendered.html` as multipart/alternative, each recipient a mail of their own."""

    channel = Channel.EMAIL

    def __init__(self, settings: EmailSettings, chunk: int = 100, now: Callable[[], datetime] | None = None) -> None:
        """Raises InvalidInput where the settings hold no proper addresses or headers."""
        self.chunk = chunk
        self._settings = settings
        self._now = now or (lambda: datetime.now(UTC))
        self._sender = sender_address(settings.sender, settings.sender_name)
        envelope = mail_address(settings.bounces_to or settings.sender)
        domain = settings.message_domain or self._sender.domain
        if envelope is None or not envelope.isascii() or mail_address(f"x@{domain}") != f"x@{domain}":
            raise InvalidInput("email.sender", "A sender of mail is not a mail address.", "Check the setting.")
        if settings.unsubscribe and not _UNSUBSCRIBE.fullmatch(settings.unsubscribe):
            raise InvalidInput("email.unsubscribe", "List-Unsubscribe is a list of URLs in angle brackets.")
        self._envelope = envelope
        self._domain = domain
        self._pool = _Pool(settings, domain)
        self._gate = asyncio.Semaphore(settings.connections)
        self._letters: dict[tuple[Rendered, int, int], Letter] = {}

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send."""
        letter = self._letter(rendered, max((len(html.escape(delivery.link)) for delivery in deliveries), default=0))

        async def one(delivery: Delivery) -> Result:
            address = mail_address(delivery.address)
            if address is None:
                return refused(delivery, Reason.BAD_ADDRESS)
            try:
                return await self._deliver(letter, delivery, address, fresh=False)
            except _Gone:
                # A kept connection that the server had given up meanwhile: nothing was handed over, so once more.
                return await self._deliver(letter, delivery, address, fresh=True)

        return await spread(deliveries, self._gate, self._settings.connections, one)

    def _letter(self, rendered: Rendered, longest_link: int) -> Letter:
        """The letter of a batch. Building one costs as much as sending three mails and a station's batch is small, so
        batches of the same minute with the same words share it."""
        date = self._now()
        key = (rendered, longest_link, int(date.timestamp() // 60))
        letter = self._letters.get(key)
        if letter is None:
            if len(self._letters) >= LETTERS_KEPT:
                self._letters.clear()
            letter = self._letters[key] = Letter(
                rendered,
                sender=self._sender,
                message_domain=self._domain,
                date=date,
                unsubscribe=self._settings.unsubscribe,
                longest_link=longest_link,
            )
        return letter

    async def _deliver(self, letter: Letter, delivery: Delivery, address: str, *, fresh: bool) -> Result:
        """One transaction. Raises _Gone where a kept connection broke before DATA."""
        try:
            line, kept = await self._pool.take(fresh=fresh)
        except (aiosmtplib.SMTPException, OSError, ssl.SSLError) as error:
            return _judged(delivery, *_connect_failure(error))
        phase = _Phase.MAIL
        try:
            ascii_only = address.isascii()
            if not ascii_only and not line.supports_extension("smtputf8"):
                return refused(delivery, Reason.BAD_ADDRESS)
            eight_bit = line.supports_extension("8bitmime")
            mail = letter.for_recipient(address, delivery.message_id, delivery.link, eight_bit=eight_bit)
            if mail is None:
                return refused(delivery, Reason.CONTENT_REFUSED)
            options = [b"BODY=8BITMIME"] if eight_bit else []
            if not ascii_only:
                options.append(b"SMTPUTF8")
            async with asyncio.timeout(self._settings.timeout_s):
                await _command(line, b"MAIL", b"FROM:<%b>" % self._envelope.encode("ascii"), *options)
                phase = _Phase.RCPT
                await _command(line, b"RCPT", b"TO:<%b>" % address.encode())
                if not line.is_connected:
                    raise aiosmtplib.SMTPServerDisconnected("closed after RCPT")
                phase = _Phase.DATA
                reply = await line.data(mail)
            queued = _QUEUED.search(reply.message)
            return accepted(delivery, queued.group(1) if queued else "")
        except aiosmtplib.SMTPResponseException as error:
            if error.code == 421 and phase is _Phase.MAIL and kept and not fresh:
                line.close()
                raise _Gone from None
            await self._pool.reset(line, error.code)
            return _judged(delivery, *reply_meaning(error.code, error.message, phase))
        except (aiosmtplib.SMTPException, OSError) as error:
            line.close()
            if phase is _Phase.DATA:
                late = isinstance(error, TimeoutError)
                return in_doubt(delivery, Reason.TIMEOUT if late else Reason.CONNECTION_LOST)
            if kept and not fresh:
                raise _Gone from None
            return _judged(delivery, Outcome.DEFERRED, Reason.UNREACHABLE)
        except BaseException:  # cancelled in the middle of a dialogue: what comes next on this line means nothing
            line.close()
            raise
        finally:
            self._pool.give_back(line)

    async def close(self) -> None:
        """As Notifier.close."""
        await self._pool.close()


class _Pool:
    """Connections that are kept open between mails. Who takes one gives it back, whatever became of it."""

    def __init__(self, settings: EmailSettings, hello: str) -> None:
        self._settings = settings
        self._hello = hello
        self._idle: list[tuple[float, aiosmtplib.SMTP]] = []  # with the time when it was given back
        self._lent: set[aiosmtplib.SMTP] = set()  # since the last close()
        self._tls: ssl.SSLContext | None = None
        self._down: tuple[float, BaseException] | None = None

    async def take(self, *, fresh: bool) -> tuple[aiosmtplib.SMTP, bool]:
        """A connection, and whether it was used before. Raises what connecting raises, for DOWN_S without trying."""
        now = time.monotonic()
        while self._idle and not fresh:
            since, line = self._idle.pop()
            if line.is_connected and now - since < IDLE_S:
                self._lent.add(line)
                return line, True
            line.close()
        if self._down is not None and now < self._down[0]:
            raise self._down[1].with_traceback(None)
        try:
            line = await self._connect()
        except (aiosmtplib.SMTPException, OSError) as error:
            # With no connection left, the rest of a batch need not wait for one timeout after the other.
            if not self._lent:
                self._down = (time.monotonic() + DOWN_S, error)
            raise
        self._down = None
        self._lent.add(line)
        return line, False

    async def _connect(self) -> aiosmtplib.SMTP:
        settings = self._settings
        if settings.tls != "none" and self._tls is None:
            self._tls = await asyncio.to_thread(_tls_context, settings.ca_file)
        line = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            use_tls=settings.tls == "implicit",
            start_tls=settings.tls == "starttls",
            tls_context=self._tls,
            username=settings.username or None,
            password=settings.password or None,
            local_hostname=self._hello,
            timeout=None,  # ours is around the whole; the library's would cost a timer for each command
        )
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await line.connect()
                if line.is_ehlo_or_helo_needed:
                    await line.ehlo()
        except BaseException:
            line.close()
            raise
        return line

    async def reset(self, line: aiosmtplib.SMTP, code: int) -> None:
        """Makes a connection ready for the next mail after a refusal, or closes it."""
        if code == 421 or code < 400 or not line.is_connected:  # going away, or talking something that is not SMTP
            line.close()
            return
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await line.rset()
        except (aiosmtplib.SMTPException, OSError):
            line.close()
        except BaseException:  # cancelled: the reply to RSET would be taken for that to the next command
            line.close()
            raise

    def give_back(self, line: aiosmtplib.SMTP) -> None:
        current = line in self._lent
        self._lent.discard(line)
        if current and line.is_connected:
            self._idle.append((time.monotonic(), line))
        else:
            line.close()

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        self._lent.clear()
        self._down = None
        await asyncio.gather(*(self._quit(line) for _, line in idle))

    async def _quit(self, line: aiosmtplib.SMTP) -> None:
        try:
            async with asyncio.timeout(1.0):
                await line.quit()
        except (aiosmtplib.SMTPException, OSError):
            pass
        finally:
            line.close()


async def _command(line: aiosmtplib.SMTP, *words: bytes) -> None:
    """MAIL or RCPT. Not the library's own methods: these take addresses apart once more, which was held to a strict
    grammar before and costs more than all the rest of the command."""
    reply = await line.execute_command(*words)
    if reply.code not in {250, 251}:
        raise aiosmtplib.SMTPResponseException(reply.code, reply.message)


def _tls_context(ca_file: str) -> ssl.SSLContext:
    """One for all connections: making one takes 28 ms."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def _connect_failure(error: BaseException) -> tuple[Outcome, Reason]:
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            busy = error.code < 500
            return Outcome.DEFERRED, Reason.PROVIDER_BUSY if busy else Reason.CREDENTIALS
        case aiosmtplib.SMTPResponseException():
            # A greeting of 5xx: this server does not want to talk to us at all, which an operator has to mend.
            return Outcome.DEFERRED, Reason.PROVIDER_BUSY if error.code < 500 else Reason.CREDENTIALS
        case OSError():  # refused, timed out, name unknown, certificate not trusted
            return Outcome.DEFERRED, Reason.UNREACHABLE
    return Outcome.DEFERRED, Reason.CREDENTIALS  # no STARTTLS or no AUTH where the settings ask for it


def reply_meaning(code: int, message: str, phase: int) -> tuple[Outcome, Reason]:
    """What a negative reply says of this mail. `phase`: 1 to MAIL, 2 to RCPT, 3 to DATA."""
    if code in {530, 534, 535, 538}:
        return Outcome.DEFERRED, Reason.CREDENTIALS
    if 400 <= code < 500:
        return Outcome.DEFERRED, Reason.PROVIDER_BUSY
    if not 500 <= code < 600:  # not a reply that SMTP has; whatever it was, after DATA it may have taken the mail
        return (Outcome.UNKNOWN if phase == _Phase.DATA else Outcome.DEFERRED), Reason.PROVIDER_ERROR
    if phase == _Phase.MAIL:  # nothing to do with the recipient: the server does not accept our sender
        return Outcome.DEFERRED, Reason.CREDENTIALS
    enhanced = _ENHANCED.match(message.strip())
    subject = enhanced.group(2) if enhanced else ""
    if subject in {"2", "7"}:  # the mailbox (full, disabled) or a policy
        bad = enhanced is not None and enhanced.group(0) in {"5.2.0", "5.2.1"} and phase == _Phase.RCPT
        return Outcome.REFUSED, Reason.BAD_ADDRESS if bad else Reason.BLOCKED
    if phase == _Phase.RCPT:
        return Outcome.REFUSED, Reason.BLOCKED if code in {552, 554} and subject != "1" else Reason.BAD_ADDRESS
    return Outcome.REFUSED, Reason.BAD_ADDRESS if subject == "1" else Reason.CONTENT_REFUSED


def _judged(delivery: Delivery, outcome: Outcome, reason: Reason) -> Result:
    return Result(index=delivery.index, outcome=outcome, reason=reason)
