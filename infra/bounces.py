"""The intake for bounces: an SMTP server that takes mail to our own bounce addresses and to no other.

An address names the message that it is about and proves that we made it (notifiers/verp.py); any other is refused at
RCPT, before a byte of a mail is read. 250 goes out once what was learned is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from api.receipts import Receipts
from domain.errors import FenghuoError, NotFound
from domain.outcomes import Row
from notifiers.bounces import LARGEST, read_bounce
from notifiers.verp import Verp

MOST_CONNECTIONS = 50
IDLE_S = 60.0  # seconds after which a client that says nothing is dropped
LONGEST_S = 600.0  # seconds after which any client is: nobody may hold the few connections for ever
NULL_SENDERS = frozenset({"", "<>"})  # as aiosmtpd hands over `MAIL FROM:<>`

_log = structlog.get_logger("fenghuo.bounces")


class Intake:
    """Takes bounces from whoever hands them in, and records what they say."""

    def __init__(self, verp: Verp, receipts: Receipts) -> None:
        self._verp = verp
        self._receipts = receipts
        self._open: set[_Dialogue] = set()

    def dialogue(self) -> SMTP:
        """A protocol for one connection."""
        return _Dialogue(
            self,
            loop=asyncio.get_running_loop(),
            hostname=self._verp.domain,
            ident="Fenghuo",
            enable_SMTPUTF8=True,
            data_size_limit=LARGEST,
            timeout=IDLE_S,
        )

    def opened(self, dialogue: _Dialogue) -> bool:
        """False where there are too many."""
        self._open.add(dialogue)
        return len(self._open) <= MOST_CONNECTIONS

    def closed(self, dialogue: _Dialogue) -> None:
        self._open.discard(dialogue)

    async def drain(self) -> None:
        """Closes every connection: who was not answered hands its bounce in again."""
        tasks = [dialogue.task for dialogue in self._open if dialogue.task is not None]
        for dialogue in list(self._open):
            dialogue.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    # The hooks below are named by aiosmtpd.

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._verp.read(address) is None:
            return "550 5.1.1 No such mailbox"
        if envelope.rcpt_tos:
            return "452 4.5.3 One recipient at a time"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        place = self._verp.read(envelope.rcpt_tos[0])
        assert place is not None
        content = bytes(envelope.original_content or b"")
        null_sender = (envelope.mail_from or "") in NULL_SENDERS
        try:
            said = await asyncio.to_thread(read_bounce, content, null_sender=null_sender)
        except (
            Exception
        ) as error:  # a mail that the parser breaks on says nothing; the type alone, it may quote the mail
            _log.warning("bounce_unreadable", kind=type(error).__name__)
            said = None
        if said is None:
            return "250 2.0.0 Nothing to record"
        shard_id, index = place
        try:
            await self._receipts.record(shard_id, Row(index, said[0], 0, said[1]))
        except NotFound:
            return "550 5.1.1 No such message"
        except FenghuoError as error:
            _log.error("bounce_waits", code=error.code)
            return "451 4.3.0 Try again later"
        return "250 2.0.0 Recorded"

    async def handle_exception(self, error: Exception) -> str:
        _log.error("bounce_failed", kind=type(error).__name__)
        return "451 4.3.0 Try again later"


class _Dialogue(SMTP):
    """One connection, known to the intake from its beginning to its end."""

    def __init__(self, intake: Intake, **options: Any) -> None:
        super().__init__(intake, **options)
        self._intake = intake
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._intake.opened(self):
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"421 4.3.2 Too many connections\r\n")
            transport.close()
            self._intake.closed(self)
            return
        super().connection_made(transport)
        self.task = self._handler_coroutine
        self._end = asyncio.get_running_loop().call_later(LONGEST_S, self.abort)

    def eof_received(self) -> bool | None:
        return super().eof_received() if self.task is not None else False

    def connection_lost(self, error: Exception | None) -> None:
        if self.task is None:
            return
        self._end.cancel()
        self._intake.closed(self)
        super().connection_lost(error)

    def abort(self) -> None:
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()


@contextlib.asynccontextmanager
async def listening(listener: socket.socket, verp: Verp, receipts: Receipts) -> AsyncIterator[Intake]:
    """Takes bounces on `listener` for the time of a block."""
    logging.getLogger("mail.log").setLevel(logging.CRITICAL + 1)  # aiosmtpd logs every command with its addresses
    intake = Intake(verp, receipts)
    server = await asyncio.get_running_loop().create_server(intake.dialogue, sock=listener)
    try:
        yield intake
    finally:
        server.close()
        await intake.drain()
