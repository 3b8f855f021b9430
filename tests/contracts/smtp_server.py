"""A mail server that does exactly what a test tells it, on a real socket: one coroutine speaks each connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from notifiers.email import EmailNotifier, EmailSettings

Talk = Callable[["Wire"], Awaitable[None]]


class Wire:
    """The server's end of one connection. `number` counts the connections from 0."""

    def __init__(self, server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.number = server, number
        self.reader, self.writer = reader, writer
        self.heard: list[str] = []

    async def say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def hear(self) -> str:
        """The next line, without its end. Raises ConnectionError where the client has gone or says goodbye."""
        line = await self.reader.readline()
        if not line:
            raise ConnectionResetError
        self.heard.append(line.decode().rstrip("\r\n"))
        if self.heard[-1] == "QUIT":
            await self.say("221 bye")
            raise ConnectionResetError
        return self.heard[-1]

    async def expect(self, word: str) -> str:
        """The next line, which begins with this word. A test that is told otherwise finds it in `server.surprises`."""
        line = await self.hear()
        if not line.startswith(word):
            self.server.surprises.append(f"{line!r}, not {word}")
        return line

    async def greet(self, *offers: str) -> None:
        await self.say("220 scripted.example")
        await self.expect("EHLO")
        await self.say(
            *(f"250-{line}" for line in ("scripted.example", *offers[:-1])), f"250 {(offers or ('HELP',))[-1]}"
        )

    async def content(self) -> str:
        """A content up to its end; it is kept as taken."""
        lines = []
        while (line := await self.hear()) != ".":
            lines.append(line)
        return "\n".join(lines)

    async def silent(self, seconds: float = 0.02) -> bool:
        """Whether nothing more comes for a while."""
        try:
            async with asyncio.timeout(seconds):
                self.heard.append((await self.reader.readline()).decode().rstrip("\r\n"))
        except TimeoutError:
            return True
        return False

    async def mail(self, *, end: str = "250 2.0.0 OK queued as 1A") -> str:
        """Takes one mail, its envelope in one piece; returns the recipient."""
        await self.expect("MAIL FROM:<")
        to = (await self.expect("RCPT TO:<")).removeprefix("RCPT TO:<").partition(">")[0]
        await self.expect("DATA")
        await self.say("250 2.1.0 OK", "250 2.1.5 OK", "354 go on")
        await self.content()
        self.server.taken.append(to)
        if end:
            await self.say(end)
        return to

    async def mails(self) -> None:
        """Takes mails until the client goes."""
        while True:
            await self.mail()

    def reset(self) -> None:
        """Breaks the connection: the client gets RST."""
        self.writer.transport.abort()


class Server:
    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.connections = 0
        self.taken: list[str] = []  # recipients whose content came whole
        self.surprises: list[str] = []
        self.port = 0

    def notifier(self, **changes: object) -> EmailNotifier:
        fields: dict[str, object] = {
            "host": "127.0.0.1", "port": self.port, "sender": "duty@fao.example", "tls": "none", "connections": 1,
            "timeout_s": 5.0, "connect_timeout_s": 5.0,
        }  # fmt: skip
        return EmailNotifier(EmailSettings(**{**fields, **changes}))  # type: ignore[arg-type]


@asynccontextmanager
async def scripted(talk: Talk) -> AsyncIterator[Server]:
    """Runs the server for the time of a block. What the client did against the script fails the test."""
    server = Server(talk)
    tasks: set[asyncio.Task[None]] = set()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(server, server.connections, reader, writer)
        server.connections += 1
        try:
            await server.talk(wire)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(speak(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [error for error in ended if isinstance(error, Exception)] == []
    assert server.surprises == []
