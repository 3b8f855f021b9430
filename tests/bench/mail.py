"""Mail, durable, against three ceilings: a pool of aiosmtplib, a bare socket that pipelines, and apprise.

Each bare side sends mails that were made before the clock started, and forgets what it is told. All speak to the same
sink (mail_sink.py), in a process of its own.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

import aiosmtplib

from domain.outcomes import Outcome
from domain.people import Channel
from notifiers.channel import Delivery
from notifiers.email import EmailNotifier, EmailSettings
from notifiers.mime import Letter, sender_address
from notifiers.worker import FLIGHT
from tests.bench.durable import LINK, Bare, compared, rendered, spread
from tests.bench.figures import ROOT, Figure, figure

PEOPLE = 3000
FAR_PEOPLE = 600  # with 20 ms to the server and back, so that a round ends
CONNECTIONS = 8  # to the mail server, on both sides
SENDER = "duty@fao.example"


def address(n: int) -> str:
    return f"person-{n:05d}@people.example"


@contextmanager
def sink(*options: str) -> Iterator[int]:
    """The port of a mail server that takes everything."""
    command = [sys.executable, "-m", "tests.bench.mail_sink", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def notifier(port: int) -> EmailNotifier:
    settings = EmailSettings(host="127.0.0.1", port=port, sender=SENDER, tls="none", connections=CONNECTIONS)
    return EmailNotifier(settings)


async def measured(name: str, port: int, bare: Bare, people: int = PEOPLE, rounds: int = 5) -> Figure:
    return await compared(
        name, Channel.EMAIL, notifier(port), bare, lambda n: {"email": address(n)}, people=people, rounds=rounds
    )


async def durable() -> Figure:
    """Against aiosmtplib: a pool of as many connections, and bytes that are ready."""
    with sink() as port:
        return await _against_aiosmtplib("email.durable", port, PEOPLE)


async def rtt20() -> Figure:
    """The same with a server that is 20 ms away."""
    with sink("--delay-ms", "20") as port:
        return await _against_aiosmtplib("email.rtt20", port, FAR_PEOPLE, rounds=3)


async def _against_aiosmtplib(name: str, port: int, people: int, rounds: int = 5) -> Figure:
    mails = made(people)
    lines = [aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) for _ in range(CONNECTIONS)]
    for line in lines:
        await line.connect()

    async def bare() -> None:
        idle = list(lines)

        async def one(n: int) -> None:
            line = idle.pop()
            await line.sendmail(SENDER, [address(n)], mails[n])
            idle.append(line)

        await spread(CONNECTIONS, one, people)

    try:
        return await measured(name, port, bare, people, rounds)
    finally:
        for line in lines:
            line.close()


async def pipelined() -> Figure:
    """Against sockets that do no more than RFC 2920 asks: replies are counted, not read."""
    with sink() as port:
        async with _bare(port) as bare:
            return await measured("email.pipelined", port, bare)


async def channel() -> Figure:
    """The channel alone, without the log around it, against the same sockets: what of the distance is the mail's."""
    words, batch = rendered(), 100
    batches = [
        [
            Delivery(index=n, attempt=1, message_id=f"{'0' * 32}.{n}", address=address(n), link=LINK)
            for n in range(first, first + batch)
        ]
        for first in range(0, PEOPLE, batch)
    ]
    with sink() as port:
        mails = notifier(port)

        async def ours() -> None:
            left = iter(batches)

            async def worker() -> None:
                for one in left:
                    results = await mails.send(words, one)
                    assert all(result.outcome is Outcome.ACCEPTED for result in results)

            await asyncio.gather(*(worker() for _ in range(FLIGHT)))

        async with _bare(port) as bare:
            pairs = []
            for n in range(6):
                took = []
                for side in (ours, bare):
                    began = time.perf_counter()
                    await side()
                    took.append(PEOPLE / (time.perf_counter() - began))
                if n:  # the first round opens connections
                    pairs.append((took[0], took[1]))
        await mails.close()
    return figure("email.channel", "recipients/s", pairs)


@asynccontextmanager
async def _bare(port: int) -> AsyncIterator[Bare]:
    """Sends every mail over CONNECTIONS sockets that do no more than RFC 2920 asks."""
    contents = made(PEOPLE)
    ready = [
        (
            b"MAIL FROM:<%b> BODY=8BITMIME\r\nRCPT TO:<%b>\r\nDATA\r\n" % (SENDER.encode(), address(n).encode()),
            contents[n].replace(b"\r\n.", b"\r\n..") + b".\r\n",
        )
        for n in range(PEOPLE)
    ]
    loop = asyncio.get_running_loop()
    sockets = [(await loop.create_connection(_Bare, "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]
    for socket in sockets:
        await socket.hello()

    async def bare() -> None:
        mails = iter(ready)
        await asyncio.gather(*(socket.run(mails) for socket in sockets))

    try:
        yield bare
    finally:
        for socket in sockets:
            socket.transport.close()


class _Bare(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.mails: Iterator[tuple[bytes, bytes]] = iter(())
        self.content = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.tail = b""

    async def hello(self) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(b"EHLO bench\r\n")
        await self.done

    def run(self, mails: Iterator[tuple[bytes, bytes]]) -> asyncio.Future[None]:
        self.mails = mails
        self.done = asyncio.get_running_loop().create_future()
        envelope, self.content = next(mails)
        self.transport.write(envelope)
        return self.done

    def data_received(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-16:]
        if self.tail.endswith(b"354 go on\r\n"):
            envelope, content = next(self.mails, (b"", b""))
            self.transport.write(self.content + envelope)
            self.content = content
        elif self.tail.endswith((b"as 1A\r\n", b"SIZE\r\n")) and not self.content and not self.done.done():
            self.done.set_result(None)


async def vs_apprise() -> Figure:
    """Against one object of apprise that is used again and again: one connection for all that it is told to reach."""
    from apprise import Apprise, NotifyFormat

    text = rendered().text.replace("{{link}}", LINK)
    with sink() as port:
        peer = Apprise()
        to = ",".join(map(address, range(PEOPLE)))
        if not peer.add(f"mailto://127.0.0.1:{port}/?from={SENDER}&to={to}&mode=insecure"):
            raise ValueError("apprise does not take the address")

        def notify() -> None:
            if not peer.notify(title=rendered().subject, body=text, body_format=NotifyFormat.TEXT):
                raise RuntimeError("apprise did not send")

        async def bare() -> None:
            await asyncio.to_thread(notify)

        return await measured("email.vs_apprise", port, bare, rounds=3)


def made(people: int) -> list[bytes]:
    """Mails as the durable run sends them, ready to go."""
    letter = Letter(
        rendered(),
        sender=sender_address(SENDER, "烽火 Fenghuo"),
        message_domain="fao.example",
        date=datetime.now(UTC),
        unsubscribe="",
        longest_link=len(LINK),
    )
    mails = [letter.for_recipient(address(n), f"{'0' * 32}.{n}", LINK, eight_bit=True) for n in range(people)]
    return [mail for mail in mails if mail is not None]
