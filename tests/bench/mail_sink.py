"""`python -m tests.bench.mail_sink`: a mail server that takes everything, keeps nothing and costs next to nothing.

Prints its port as one line. `--no-pipelining` hides PIPELINING; with `--delay-ms` it answers that much later, as over
a network with that round trip. It is here so that what is measured is the sender and not the far side.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import uvloop

END = b"\r\n.\r\n"


class Dialogue(asyncio.Protocol):
    """One connection: replies to what came in together go out together."""

    def __init__(self, offers: bytes, delay_s: float) -> None:
        self.hello = b"250-sink.invalid\r\n" + offers + b"250-8BITMIME\r\n250 SIZE\r\n"
        self.delay_s = delay_s
        self.buffer = b""
        self.content = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.loop = asyncio.get_running_loop()
        self.say(b"220 sink.invalid ESMTP\r\n")

    def say(self, replies: bytes) -> None:
        if self.delay_s:
            # The loop's timers of one delay fire in the order they were set: its clock does not stand still.
            self.loop.call_later(self.delay_s, self.transport.write, replies)
        else:
            self.transport.write(replies)

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data
        at, replies = 0, []
        while True:
            if self.content:
                end = buffer.find(END, at)
                if end < 0:
                    break
                at = end + len(END)
                self.content = False
                replies.append(b"250 2.0.0 OK queued as 1A\r\n")
                continue
            end = buffer.find(b"\r\n", at)
            if end < 0:
                break
            word = buffer[at : at + 4].upper()
            at = end + 2
            match word:
                case b"MAIL" | b"RCPT" | b"RSET" | b"NOOP":
                    replies.append(b"250 2.0.0 OK\r\n")
                case b"DATA":
                    self.content = True
                    at = end  # an empty content ends with the line break of DATA
                    replies.append(b"354 go on\r\n")
                case b"EHLO" | b"HELO":
                    replies.append(self.hello)
                case b"QUIT":
                    replies.append(b"221 bye\r\n")
                case _:
                    replies.append(b"500 what\r\n")
        self.buffer = buffer[at:]
        if replies:
            self.say(b"".join(replies))


async def serve(options: argparse.Namespace) -> None:
    offers = b"" if options.no_pipelining else b"250-PIPELINING\r\n"
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Dialogue(offers, options.delay_ms / 1000), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.mail_sink", description=__doc__)
    parser.add_argument("--no-pipelining", action="store_true")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    uvloop.run(serve(parser.parse_args()))
