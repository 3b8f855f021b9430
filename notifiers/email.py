"""Mail through an SMTP server: kept connections, one transaction for each recipient, higher lanes first.

What a failure means hangs on when it came. Before its content was begun nothing was handed over (deferred, or asked
again on another connection); from then on a lost connection or a missing answer leaves it open (unknown), and the
stable Message-ID lets a mail program drop the repeat. The dialogue is that of smtp.py, the words are those of
replies.py, the connections are kept by lines.py. Sources: RFC 5321 (4.2.1, 4.5.3.2), RFC 6152, RFC 6531, RFC 3461.
"""

from __future__ import annotations

import asyncio
import html
import logging
import re
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

import aiosmtplib
import msgspec

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from domain.people import Channel
from domain.rulepacks import LANES
from notifiers.batch import accepted, refused
from notifiers.channel import Delivery, Rendered, Result
from notifiers.lines import Lines
from notifiers.mime import Letter, mail_address, sender_address
from notifiers.replies import Meaning, reply_meaning
from notifiers.smtp import Line, Loss, Mail, Phase, connect, tls_context

TRIES = 3  # connections on which one mail may be begun before it is deferred
LETTERS_KEPT = 64
_UNSUBSCRIBE = re.compile(r"<[\x21-\x3b\x3d\x3f-\x7e]{1,200}>(, <[\x21-\x3b\x3d\x3f-\x7e]{1,200}>){0,3}")
_QUEUED = re.compile(r"queued as ([A-Za-z0-9]{1,64})")
_IN_DOUBT = {Loss.LATE: Reason.TIMEOUT, Loss.NONSENSE: Reason.PROVIDER_ERROR}
_NOT_TAKEN = {Loss.GOODBYE: Reason.PROVIDER_BUSY, Loss.NONSENSE: Reason.PROVIDER_ERROR}
log = logging.getLogger("fenghuo.notifiers")


class EmailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The server and the sender. `unsubscribe` is a whole List-Unsubscribe value (RFC 2369), such as
    `<mailto:stop@example.org>, <https://example.org/stop>`, for mail to citizens; empty for the duty mail of staff.

    `bounces_to` and `notify` are about bounces: with `envelope_of` given to the notifier, each mail has an envelope
    sender of its own, and where the server offers DSN (RFC 3461) it is asked to report on `notify`.
    """

    host: str
    sender: str
    port: int = 25
    sender_name: str = ""
    bounces_to: str = ""  # the envelope's sender; empty: `sender`
    notify: Literal["", "FAILURE", "SUCCESS,FAILURE"] = ""
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    ca_file: str = ""  # certificates to trust beside the system's
    username: str = ""
    password: str = ""
    unsubscribe: str = ""
    message_domain: str = ""  # the right side of Message-ID and the name in EHLO; empty: the sender's domain
    connections: int = 8
    timeout_s: float = 30.0  # for one mail, from when it is first in line on its connection
    connect_timeout_s: float = 10.0  # for connecting, TLS and login together

    def __repr__(self) -> str:
        return f"EmailSettings(host={self.host!r}, port={self.port}, tls={self.tls!r}, connections={self.connections})"


class _Batch:
    """One call of `send`: what of it waits for a connection, and what became of the rest."""

    __slots__ = ("done", "lane", "left", "letter", "results", "under_way", "waiting")

    def __init__(self, letter: Letter, lane: int) -> None:
        self.letter = letter
        self.lane = lane
        self.waiting: deque[_Job] = deque()
        self.under_way: dict[Mail, Line] = {}
        self.results: list[Result] = []
        self.left = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Job:
    __slots__ = ("address", "batch", "delivery", "tries")

    def __init__(self, batch: _Batch, delivery: Delivery, address: str) -> None:
        self.batch = batch
        self.delivery = delivery
        self.address = address
        self.tries = 0


class _Ours(Mail):
    __slots__ = ("job",)

    def __init__(self, job: _Job, envelope: tuple[bytes, bytes], content: bytes) -> None:
        super().__init__(envelope, content)
        self.job = job


class EmailNotifier:
    """Sends `Rendered.text` and `Rendered.html` as multipart/alternative, each recipient a mail of their own."""

    channel = Channel.EMAIL

    def __init__(
        self,
        settings: EmailSettings,
        chunk: int = 100,
        now: Callable[[], datetime] | None = None,
        envelope_of: Callable[[str], str | None] | None = None,
    ) -> None:
        """`envelope_of` gives the envelope's sender for a message id; None: the usual one.

        Raises InvalidInput where the settings hold no proper addresses or headers.
        """
        self.chunk = chunk
        self._settings = settings
        self._now = now or (lambda: datetime.now(UTC))
        self._envelope_of = envelope_of
        self._sender = sender_address(settings.sender, settings.sender_name)
        envelope = mail_address(settings.bounces_to or settings.sender)
        domain = settings.message_domain or self._sender.domain
        if envelope is None or not envelope.isascii() or mail_address(f"x@{domain}") != f"x@{domain}":
            raise InvalidInput("email.sender", "A sender of mail is not a mail address.", "Check the setting.")
        if settings.unsubscribe and not _UNSUBSCRIBE.fullmatch(settings.unsubscribe):
            raise InvalidInput("email.unsubscribe", "List-Unsubscribe is a list of URLs in angle brackets.")
        self._envelope = envelope
        self._domain = domain
        self._letters: dict[tuple[Rendered, int, int], Letter] = {}
        self._lanes: tuple[deque[_Batch], ...] = tuple(deque() for _ in LANES)  # batches with something that waits
        self._queued = 0
        self._lines = Lines(settings.connections, self._connect, lambda: self._queued, self._give_up)
        self._tls: ssl.SSLContext | None = None

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send."""
        letter = self._letter(rendered, max((len(html.escape(delivery.link)) for delivery in deliveries), default=0))
        batch = _Batch(letter, LANES.index(rendered.lane))
        for delivery in deliveries:
            job = self._job(batch, delivery)
            if job is not None:
                batch.waiting.append(job)
        if not batch.waiting:
            return batch.results
        batch.left = len(batch.waiting)
        self._queued += batch.left
        self._lanes[batch.lane].append(batch)
        self._lines.staff()
        try:
            await batch.done
        except BaseException:
            self._forsake(batch)
            raise
        return batch.results

    async def close(self) -> None:
        """As Notifier.close."""
        await self._lines.close()

    # Batches ---------------------------------------------------------------------------------------------------------

    def _letter(self, rendered: Rendered, longest_link: int) -> Letter:
        """The letter of a batch. Building one costs as much as sending three mails and a station's batch is small, so
        batches of the same minute with the same words share it."""
        date = self._now()
        # Nothing in a mail says how long it is of use, and that differs with each second.
        key = (msgspec.structs.replace(rendered, ttl_s=0), longest_link, int(date.timestamp() // 60))
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

    def _job(self, batch: _Batch, delivery: Delivery) -> _Job | None:
        """What is to be sent of one delivery, or None where its result is known without asking anybody."""
        try:
            address = mail_address(delivery.address)
        except Exception as error:  # a fault of ours must not take the rest of the batch with it
            self._fault(batch, delivery, error)
            return None
        if address is None:
            batch.results.append(refused(delivery, Reason.BAD_ADDRESS))
            return None
        return _Job(batch, delivery, address)

    def _fault(self, batch: _Batch, delivery: Delivery, error: Exception) -> None:
        # The type alone: the message of an exception may well quote the address or the text.
        log.error("sending failed unexpectedly: %s", type(error).__name__)
        batch.results.append(_result(delivery, (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)))

    def _settled(self, batch: _Batch) -> None:
        batch.left -= 1
        if not batch.left and not batch.done.done():
            batch.done.set_result(None)

    def _forsake(self, batch: _Batch) -> None:
        """The batch was cancelled: what waits is not sent, and what is in a dialogue ends it."""
        self._queued -= len(batch.waiting)
        batch.waiting.clear()
        if batch in self._lanes[batch.lane]:
            self._lanes[batch.lane].remove(batch)
        batch.left = -1  # what is still reported of it is not waited for
        for mail, line in list(batch.under_way.items()):
            line.forsake(mail)
        self._lines.staff()

    # What lines ask and say (smtp.Feed) ------------------------------------------------------------------------------

    def next(self, line: Line) -> Mail | None:
        """The next mail of the highest lane that has one; batches of a lane take turns."""
        for lane in self._lanes:
            while lane:
                batch = lane.popleft()
                job = batch.waiting.popleft()
                if batch.waiting:
                    lane.append(batch)
                self._queued -= 1
                job.tries += 1
                try:
                    mail = self._mail(job, line)
                except Exception as error:
                    self._fault(batch, job.delivery, error)
                    mail = None
                if mail is not None:
                    batch.under_way[mail] = line
                    return mail
                self._settled(batch)
        return None

    def accepted(self, mail: Mail, text: str) -> None:
        queued = _QUEUED.search(text)
        self._done(mail, lambda delivery: accepted(delivery, queued.group(1) if queued else ""))

    def refused(self, mail: Mail, phase: Phase, code: int, text: str) -> None:
        self._done(mail, lambda delivery: _result(delivery, reply_meaning(code, text, phase)))

    def lost(self, mail: Mail, loss: Loss, *, first: bool) -> None:
        job = _job_of(mail)
        if mail.handed:
            meaning = (Outcome.UNKNOWN, _IN_DOUBT.get(loss, Reason.CONNECTION_LOST))
            self._done(mail, lambda delivery: _result(delivery, meaning))
        elif first or job.tries >= TRIES or loss is Loss.NONSENSE:
            reason = _NOT_TAKEN.get(loss, Reason.UNREACHABLE)
            self._done(mail, lambda delivery: _result(delivery, (Outcome.DEFERRED, reason)))
        elif job.batch.under_way.pop(mail, None) is not None and job.batch.left > 0:
            # A kept connection that the server had given up: nothing was handed over, so once more, before all others.
            if not job.batch.waiting:
                self._lanes[job.batch.lane].appendleft(job.batch)
            job.batch.waiting.appendleft(job)
            self._queued += 1
            self._lines.distrust()

    def _done(self, mail: Mail, said: Callable[[Delivery], Result]) -> None:
        job = _job_of(mail)
        job.batch.under_way.pop(mail, None)
        job.batch.results.append(said(job.delivery))
        self._settled(job.batch)

    def _mail(self, job: _Job, line: Line) -> _Ours | None:
        """The bytes for one recipient, or None where there is no such mail, which is then written down."""
        delivery, address = job.delivery, job.address
        eight_bit = "8bitmime" in line.offers
        options = b" BODY=8BITMIME" if eight_bit else b""
        if not address.isascii():
            if "smtputf8" not in line.offers:
                job.batch.results.append(refused(delivery, Reason.BAD_ADDRESS))
                return None
            options += b" SMTPUTF8"
        content = job.batch.letter.for_recipient(address, delivery.message_id, delivery.link, eight_bit=eight_bit)
        if content is None:
            job.batch.results.append(refused(delivery, Reason.CONTENT_REFUSED))
            return None
        notify = b""
        if self._settings.notify and "dsn" in line.offers:
            options += b" RET=HDRS"
            notify = b" NOTIFY=%b" % self._settings.notify.encode("ascii")
        envelope = (self._envelope_of(delivery.message_id) if self._envelope_of else None) or self._envelope
        return _Ours(
            job,
            (
                b"MAIL FROM:<%b>%b\r\n" % (envelope.encode("ascii"), options),
                b"RCPT TO:<%b>%b\r\n" % (address.encode(), notify),
            ),
            b"%b.\r\n" % content.replace(b"\r\n.", b"\r\n.."),
        )

    # Connections -----------------------------------------------------------------------------------------------------

    async def _connect(self, lines: Lines) -> Line:
        settings = self._settings
        if settings.tls != "none" and self._tls is None:
            self._tls = await asyncio.to_thread(tls_context, settings.ca_file)
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            use_tls=settings.tls == "implicit",
            start_tls=settings.tls == "starttls",
            tls_context=self._tls,
            username=settings.username or None,
            password=settings.password or None,
            local_hostname=self._domain,
            timeout=None,  # ours is around the whole
        )
        async with asyncio.timeout(settings.connect_timeout_s):
            return await connect(self, lines, client, settings.timeout_s)

    def _give_up(self, meaning: Meaning) -> None:
        for lane in self._lanes:
            while lane:
                batch = lane.popleft()
                while batch.waiting:
                    job = batch.waiting.popleft()
                    self._queued -= 1
                    batch.results.append(_result(job.delivery, meaning))
                    self._settled(batch)


def _job_of(mail: Mail) -> _Job:
    assert isinstance(mail, _Ours)
    return mail.job


def _result(delivery: Delivery, meaning: Meaning) -> Result:
    return Result(index=delivery.index, outcome=meaning[0], reason=meaning[1])
