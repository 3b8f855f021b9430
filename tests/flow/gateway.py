"""A relay in front of a provider that breaks connections in the ways networks do, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from enum import StrEnum


class Fault(StrEnum):
    DRIP = "drip"  # the request goes through, and the answer comes back a byte at a time
    SILENT = "silent"  # the connection stands, and nothing that is said on it arrives anywhere
    RESET = "reset"  # broken in the middle of the request
    DROP = "drop"  # the provider has it, and the connection ends before its answer


BROKEN = (OSError, ssl.SSLError, asyncio.IncompleteReadError, ConnectionError)


class Gateway:
    """Relays to a port on loopback; while `fault` is set, every new connection suffers it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.fault: Fault | None = None
        self.suffered = 0
        self._port, self._tls = port, tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Gateway:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.fault
        self.suffered += fault is not None
        try:
            match fault:
                case None:
                    await self._through(reader, writer)
                case Fault.SILENT:
                    while await reader.read(65536):
                        pass
                case Fault.RESET:
                    await reader.read(20)
                    raw: socket.socket = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                case _:
                    answer = await self._asked(await _request(reader))
                    if fault is Fault.DRIP:
                        for n in range(len(answer)):
                            writer.write(answer[n : n + 1])
                            await writer.drain()
                            await asyncio.sleep(0.3)  # slower than the whole may take
        except BROKEN:
            return
        finally:
            writer.close()

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            ways = [asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            back.close()

    async def _asked(self, request: bytes) -> bytes:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        back.write(request)
        try:
            head = await there.readuntil(b"\r\n\r\n")
            return head + await there.readexactly(_length(head))
        finally:
            back.close()


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(_length(head))


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
