"""One connection to a mail server: bytes come in, each reply is matched with what it answers, the next bytes go out.

Where the server offers PIPELINING, MAIL, RCPT and DATA of one mail are written together, and those of the next right
behind the end of a content: a mail costs one round trip. Never a content before its DATA was answered with 354, since
a server that refused the recipient would read it as commands. So a connection holds two mails at the most: one whose
content was handed over and one of which only the envelope is known. Without PIPELINING each command waits for a reply.

Sources: RFC 5321, RFC 2920 (3.1: what may be written together), RFC 3207, RFC 4954.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from enum import Enum, IntEnum
from typing import Protocol, cast

import aiosmtplib

LONGEST_REPLY = 32 * 1024  # octets, all lines of it; an answer to EHLO has one or two thousand
QUIT_S = 1.0  # for a goodbye
log = logging.getLogger("fenghuo.notifiers")


class Phase(IntEnum):
    """What a reply answers."""

    MAIL = 1
    RCPT = 2
    DATA = 3  # the command, or the content
    END = 4  # the content; told as DATA
    OTHER = 5  # RSET, QUIT, or the empty content of a mail that was refused: the reply decides nothing


class Loss(Enum):
    """Why there will be no reply."""

    CLOSED = "the connection is gone"
    LATE = "no answer in time"
    GOODBYE = "the server said that it closes, to MAIL: it said nothing of this mail"
    NONSENSE = "an answer that SMTP does not have"


class Mail:
    """One transaction. `envelope`: MAIL and RCPT as lines of bytes; `content`: dots doubled, up to CRLF.CRLF."""

    __slots__ = ("content", "envelope", "handed", "settled", "unwanted")

    def __init__(self, envelope: tuple[bytes, bytes], content: bytes) -> None:
        self.envelope = envelope
        self.content = content
        self.handed = False  # its content was begun
        self.settled = False  # it was answered for
        self.unwanted = False  # nobody waits for it any more


class Feed(Protocol):
    """Where a line's mails come from. Nothing here may raise."""

    def next(self, line: Line) -> Mail | None: ...
    def accepted(self, mail: Mail, text: str) -> None: ...
    def refused(self, mail: Mail, phase: Phase, code: int, text: str) -> None: ...

    def lost(self, mail: Mail, loss: Loss, *, first: bool) -> None:
        """No reply for it. Whether anything was taken, `mail.handed` says; `first`: it was the line's first mail."""


class Keeper(Protocol):
    """Who keeps lines. Nothing here may raise."""

    def free(self, line: Line) -> None:
        """It has nothing to do."""

    def gone(self, line: Line) -> None:
        """It is closed; told after all that it had was reported."""


class Line(asyncio.Protocol):
    """A connection after its login. `offers`: the extensions of EHLO, in lower case."""

    def __init__(self, feed: Feed, keeper: Keeper, offers: frozenset[str], timeout_s: float) -> None:
        self.offers = offers
        self.retiring = False  # takes no further mail, and closes when it has none
        self.closed = asyncio.get_running_loop().create_future()
        self._feed = feed
        self._keeper = keeper
        self._pipelining = "pipelining" in offers
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._said: list[bytes] = []  # the lines of a reply that goes on
        self._asked: deque[tuple[Phase, Mail | None]] = deque()  # what replies are due to, in order
        self._mails: deque[Mail] = deque()  # two at the most
        self._begun = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def take_over(self, transport: asyncio.Transport) -> None:
        """Speaks on a connection that was made and logged in by somebody else."""
        self._transport = transport
        transport.set_protocol(self)

    def begin(self) -> None:
        """Goes to work after a rest."""
        self._go_on()

    def forsake(self, mail: Mail) -> None:
        """Nobody waits for this mail any more. Its dialogue cannot be taken back, so the connection is given up: at
        once, or where another mail's answer is still due, after that."""
        if mail not in self._mails:
            return
        if self._mails[0] is mail:
            self._break(Loss.CLOSED)
        else:
            mail.unwanted = True

    def drop(self) -> None:
        """Closes without a word."""
        self._break(Loss.CLOSED)

    async def quit(self) -> None:
        """Says goodbye, and closes whatever is answered."""
        if self._transport is not None and self.open and not self._asked:
            self._asked.append((Phase.OTHER, None))
            self.retiring = True
            self._transport.write(b"QUIT\r\n")
            await asyncio.wait([self.closed], timeout=QUIT_S)
        self._break(Loss.CLOSED)

    # What asyncio calls ----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        try:
            self._read(data)
        except Exception as error:  # a fault of ours must not leave mails waiting for ever
            log.error("a dialogue with the mail server failed: %s", type(error).__name__)
            self._break(Loss.NONSENSE)

    def connection_lost(self, error: Exception | None) -> None:
        self._break(Loss.CLOSED)

    # The dialogue ----------------------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        lines = (self._buffer + data).split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            if self._transport is None:
                return  # what comes after the end means nothing
            if self._pipelining and line[:4] == b"250 " and self._asked and self._asked[0][0] <= Phase.RCPT:
                self._said.clear()
                self._asked.popleft()  # most replies: nothing follows from a yes to an envelope
                continue
            if not line[:3].isdigit() or line[3:4] not in b" -\r":
                self._break(Loss.NONSENSE)
                return
            self._said.append(line[4:].strip())
            if line[3:4] != b"-":
                said, self._said = self._said, []
                self._answered(int(line[:3]), said)
        if len(self._buffer) + sum(map(len, self._said)) > LONGEST_REPLY:
            self._break(Loss.NONSENSE)

    def _answered(self, code: int, said: list[bytes]) -> None:
        if not self._asked:
            self._break(Loss.CLOSED)  # a goodbye to an idle line, or something that was never asked for
            return
        phase, mail = self._asked.popleft()
        if mail is None or phase is Phase.OTHER:
            if self._asked:
                return
            if code < 400 or (mail is not None and code != 421):
                self._go_on()
            else:
                self._break(Loss.CLOSED)  # not even RSET: nobody knows what it would do next
        elif code == 421:
            self._goodbye(phase, mail, said)
        elif phase is Phase.END:
            self._ended(mail, code, said)
        elif code == 354 and phase is Phase.DATA:
            self._hand_over(mail)
        elif code in {250, 251, 252} and phase is not Phase.DATA:
            if not self._pipelining:
                self._ask(Phase(phase + 1), mail)
        elif 400 <= code < 600:
            self._refused(mail, phase, code, said)
            if phase is Phase.DATA or not self._pipelining:
                self._mails.remove(mail)
                self._asked.append((Phase.OTHER, None))
                self._go_on(b"RSET\r\n")
        else:
            self._break(Loss.NONSENSE)

    def _ask(self, phase: Phase, mail: Mail) -> None:
        self._asked.append((phase, mail))
        self._write(b"DATA\r\n" if phase is Phase.DATA else mail.envelope[phase - 1])

    def _hand_over(self, mail: Mail) -> None:
        if mail.settled:
            # Refused, and yet asked for its content: nothing, to nobody, is what ends this transaction.
            self._mails.remove(mail)
            self._asked.append((Phase.OTHER, mail))
            self._go_on(b".\r\n")
        elif mail.unwanted:
            self._break(Loss.CLOSED)
        else:
            mail.handed = True
            self._asked.append((Phase.END, mail))
            self._go_on(mail.content)

    def _ended(self, mail: Mail, code: int, said: list[bytes]) -> None:
        if not 200 <= code < 300 and not 400 <= code < 600:
            self._break(Loss.NONSENSE)
            return
        self._mails.remove(mail)
        if code < 300:
            mail.settled = True
            self._feed.accepted(mail, _text(said))
        else:
            self._refused(mail, Phase.DATA, code, said)
        self._due = self._loop.time() + self._timeout_s  # each mail has its time from when it is first in line
        if not self._asked:
            self._go_on()

    def _refused(self, mail: Mail, phase: Phase, code: int, said: list[bytes]) -> None:
        if not mail.settled:  # the first refusal counts; a refused RCPT makes DATA be refused too
            mail.settled = True
            self._feed.refused(mail, phase, code, _text(said))

    def _goodbye(self, phase: Phase, mail: Mail, said: list[bytes]) -> None:
        if phase is Phase.MAIL:
            self._break(Loss.GOODBYE)
        else:
            self._refused(mail, Phase.DATA if phase is Phase.END else phase, 421, said)
            self._break(Loss.CLOSED)

    def _go_on(self, before: bytes = b"") -> None:
        """Writes `before` and, where that may be, right behind it the envelope of the next mail."""
        together = self._pipelining or not before
        mail = self._feed.next(self) if together and not self.retiring and self.open else None
        if mail is None:
            self._write(before)
            if not self._asked:
                self._rest()
            return
        self._mails.append(mail)
        self._begun += 1
        if len(self._mails) == 1:
            self._due = self._loop.time() + self._timeout_s
        if self._pipelining:
            self._asked.extend(((Phase.MAIL, mail), (Phase.RCPT, mail), (Phase.DATA, mail)))
            self._write(b"%b%b%bDATA\r\n" % (before, *mail.envelope))
        else:
            self._ask(Phase.MAIL, mail)
        if self._timer is None:
            self._timer = self._loop.call_at(self._due, self._tick)

    def _rest(self) -> None:
        if self.retiring:
            self._break(Loss.CLOSED)
        elif self._transport is not None:
            self._keeper.free(self)

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def _tick(self) -> None:
        self._timer = None
        if not self._asked:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._tick)
        else:
            self._break(Loss.LATE)

    def _break(self, loss: Loss) -> None:
        """Gives the connection up, and says of every mail that was on it what is known."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        mails, first = list(self._mails), self._begun == len(self._mails)
        self._mails.clear()
        self._asked.clear()
        for place, mail in enumerate(mails):
            if not mail.settled:
                mail.settled = True
                self._feed.lost(mail, loss if place == 0 else Loss.CLOSED, first=first and place == 0)
        self._keeper.gone(self)
        if not self.closed.done():
            self.closed.set_result(None)


def _text(said: list[bytes]) -> str:
    return b"\n".join(said).decode("utf-8", "replace")


async def connect(feed: Feed, keeper: Keeper, client: aiosmtplib.SMTP, timeout_s: float) -> Line:
    """A line on a new connection, which `client` makes, encrypts and logs in. Raises what connecting raises."""
    try:
        await client.connect()
        if client.is_ehlo_or_helo_needed:
            await client.ehlo()
        transport = client.transport
        if transport is None or transport.is_closing():
            raise aiosmtplib.SMTPServerDisconnected("closed after the greeting")
    except BaseException:
        client.close()
        raise
    line = Line(feed, keeper, frozenset(name.lower() for name in client.esmtp_extensions), timeout_s)
    line.take_over(cast(asyncio.Transport, transport))
    return line


def tls_context(ca_file: str) -> ssl.SSLContext:
    """One for all connections: making one takes 28 ms. At least TLS 1.2."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context
