"""A mail server on loopback that keeps what it takes and can be told to misbehave, on aiosmtpd."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as modern
from typing import Any

import msgspec
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from infra.sandbox.behaviour import Behaviour, Kind, Script
from infra.sandbox.tally import Tally

FOREVER_S = 3600.0  # a hanging command; the connection's end cancels it sooner
REPLIES = {
    421: "421 4.3.2 Service shutting down",
    450: "450 4.2.1 Mailbox busy",
    451: "451 4.3.0 Try again later",
    452: "452 4.3.1 No room now",
    550: "550 5.1.1 No such mailbox",
    552: "552 5.3.4 Too large",
    553: "553 5.1.3 Not a mailbox name",
    554: "554 5.6.0 Content not accepted",
    571: "550 5.7.1 Not allowed by policy",  # 571 stands for it, for 550 is taken
}
_AFTER_DATA = frozenset({552, 554})


class Mail(msgspec.Struct, frozen=True):
    """A mail that the server took: the envelope, and the bytes as they came."""

    sender: str
    to: str
    content: bytes
    at: datetime

    def parsed(self) -> EmailMessage:
        message = message_from_bytes(self.content, policy=modern)
        if not isinstance(message, EmailMessage):
            raise TypeError("the modern policy makes an EmailMessage")
        return message


class SandboxSmtp:
    """The server. `eight_bit=False` hides 8BITMIME, `pipelining=False` PIPELINING; `dsn` offers DSN, and then keeps
    what was asked for in `asked`; `login` asks for that user and password, `greeting_tls` speaks TLS from the first
    byte."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        discard: bool = False,
        count: bool = False,
        eight_bit: bool = True,
        utf8: bool = True,
        pipelining: bool = True,
        dsn: bool = False,
        greeting_tls: ssl.SSLContext | None = None,
        tls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.tally: Tally[Mail] = Tally(discard=discard, count=count)
        self.script = Script()
        self.connections = 0  # made so far
        self.dsn = dsn
        self.asked: list[str] = []  # what was asked for of DSN
        self._eight_bit = eight_bit
        self._offers = [*(["PIPELINING"] if pipelining else []), *(["DSN"] if dsn else [])]
        self._greeting_tls = greeting_tls
        self._utf8 = utf8
        self._tls = tls
        self._login = login
        self._sessions: set[_Dialogue] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        # aiosmtpd logs every command with its addresses, and each failure of ours that was asked for.
        logging.getLogger("mail.log").setLevel(logging.CRITICAL + 1)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._dialogue, self.host, self.port, backlog=1024, ssl=self._greeting_tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop_connections()
        await self._empty.wait()

    def drop_connections(self) -> None:
        """Closes every open connection without a word, as servers do with idle ones."""
        for session in self._sessions:
            if session.transport is not None:
                session.transport.close()

    @property
    def messages(self) -> list[Mail]:
        return self.tally.messages

    def sent_to(self, address: str) -> list[Mail]:
        return [mail for mail in self.tally.messages if mail.to == address]

    def behave(self, address: str, behaviour: Behaviour) -> None:
        self.script.behave(address, behaviour)

    def opened(self, session: _Dialogue) -> None:
        self.connections += 1
        self._sessions.add(session)
        self._empty.clear()

    def closed(self, session: _Dialogue) -> None:
        self._sessions.discard(session)
        if not self._sessions:
            self._empty.set()

    def _dialogue(self) -> SMTP:
        return _Dialogue(
            self,
            loop=asyncio.get_running_loop(),
            hostname="sandbox.invalid",
            ident="Fenghuo sandbox",
            enable_SMTPUTF8=self._utf8,
            data_size_limit=4 * 1024 * 1024,
            tls_context=self._tls,
            require_starttls=self._tls is not None,
            auth_required=self._login is not None,
            authenticator=self._authenticate if self._login else None,
        )

    def _authenticate(self, server: SMTP, session: Session, envelope: Envelope, how: str, data: Any) -> AuthResult:
        name, password = self._login or ("", "")
        good = isinstance(data, LoginPassword) and data == LoginPassword(name.encode(), password.encode())
        return AuthResult(success=good, handled=False)

    # The hooks below are named by aiosmtpd.

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        offered = [line for line in responses if self._eight_bit or not line.endswith("8BITMIME")]
        return [*offered[:1], *(f"250-{name}" for name in self._offers), *offered[1:]]

    async def handle_RCPT(  # noqa: N802
        self, server: _Dialogue, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        behaviour = self.script.next(address)
        match behaviour.kind:
            case Kind.REFUSE if behaviour.code not in _AFTER_DATA:
                return REPLIES[behaviour.code or 550]
            case Kind.DEFER if behaviour.code == 421:
                server.close_soon()
                return REPLIES[421]
            case Kind.DEFER | Kind.ERROR:
                return REPLIES[behaviour.code or 451]
        if not envelope.rcpt_tos or server.behaviour.kind is Kind.OK:  # of several recipients the first odd one counts
            server.behaviour = behaviour
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: _Dialogue, session: Session, envelope: Envelope) -> str:  # noqa: N802
        behaviour = server.behaviour
        if behaviour.kind is Kind.REFUSE:
            return REPLIES[behaviour.code]
        content, at = bytes(envelope.original_content or b""), datetime.now(UTC)
        for to in envelope.rcpt_tos:
            self.tally.add(to, Mail(envelope.mail_from or "", to, content, at))
        match behaviour.kind:
            case Kind.HANG:
                await asyncio.sleep(FOREVER_S)
            case Kind.RESET:
                if server.transport is not None:
                    server.transport.close()
                await asyncio.sleep(FOREVER_S)  # until the loss of the connection cancels it: no reply gets out
            case Kind.SLOW:
                await asyncio.sleep(behaviour.delay_s)
        return f"250 2.0.0 OK queued as {self.tally.total:X}"


class _Dialogue(SMTP):
    """One connection, known to its server from its beginning to its end."""

    def __init__(self, sandbox: SandboxSmtp, **options: Any) -> None:
        super().__init__(sandbox, **options)
        self.behaviour = Behaviour()
        self._sandbox = sandbox

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.transport is None:  # and not once more when STARTTLS is done
            self._sandbox.opened(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._sandbox.closed(self)
        super().connection_lost(error)

    def _getparams(self, params: Sequence[str]) -> dict[str, str | bool] | None:
        """What aiosmtpd takes for parameters of MAIL and RCPT; those of DSN, which it does not know, are kept."""
        found: dict[str, str | bool] | None = super()._getparams(params)
        if found is not None and self._sandbox.dsn:
            for name in ("RET", "ENVID", "NOTIFY", "ORCPT"):
                value = found.pop(name, None)
                if value is not None:
                    self._sandbox.asked.append(f"{name}={value}")
        return found

    def close_soon(self) -> None:
        """Closes once the reply that is about to be written is out."""
        if self.transport is not None:
            asyncio.get_running_loop().call_later(0.01, self.transport.close)
