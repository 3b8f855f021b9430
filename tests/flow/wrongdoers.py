"""What the tests of faults share: people with odd addresses, what the ledgers say of them, and listeners that count."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import pytest
from town import Town
from townsfolk import SETUP

from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel, Person, Role
from domain.shards import ChunkRecorded, ShardPlanned

Meaning = tuple[Outcome, Reason]
TAKEN: Meaning = (Outcome.ACCEPTED, Reason.NONE)
RECEIVED: Meaning = (Outcome.DELIVERED, Reason.NONE)


async def settle(town: Town, channel: Channel, people: dict[str, dict[str, Any]], node: str = "milan") -> None:
    """People of one channel at a node, each with these personal fields."""
    persons = [
        (
            Person(person_id=who, node_id=node, role=Role.CITIZEN, language="zh", channels=(channel,)),
            {"name": who, **fields},
        )
        for who, fields in people.items()
    ]
    await town.stores.registry.register_people(persons, SETUP)
    await town.stores.follower.reached(await town.stores.log.last_position())


def ledger(town: Town, channel: Channel, warning_id: str = "") -> dict[str, list[Row]]:
    """What the log says of everybody on one channel, attempt by attempt; of one warning where it is named."""
    plans: dict[str, ShardPlanned] = {}
    found: dict[str, list[Row]] = {}
    for r in town.recorded():
        if isinstance(r.event, ShardPlanned) and r.event.channel is channel:
            if warning_id in ("", r.event.warning_id):
                plans[r.event.shard_id] = r.event
        elif isinstance(r.event, ChunkRecorded) and r.event.shard_id in plans:
            for row in r.event.rows:
                found.setdefault(plans[r.event.shard_id].recipients[row.index], []).append(row)
    return found


def kinds(rows: Iterable[Row]) -> list[Meaning]:
    return [(row.outcome, row.reason) for row in rows]


def explained(rows: list[Row], arrived: int) -> None:
    """Attempts are numbered without a gap, and what came more than once has as many doubtful rows before it."""
    assert [row.attempt for row in rows] == list(range(1, len(rows) + 1))
    doubts = sum(row.outcome is Outcome.UNKNOWN for row in rows)
    assert 1 <= arrived <= 1 + doubts, (arrived, kinds(rows))


class Listener:
    """A server on loopback that counts who comes, and says `answer` to each."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.came = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Listener:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        if self.answer:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
        writer.close()


def names(monkeypatch: pytest.MonkeyPatch, known: dict[str, tuple[str, int | None] | None]) -> None:
    """Makes names lead to (address, port), the port asked for where None; to nothing at all where there is None."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any = None, *more: Any, **named: Any) -> Any:
        if host in known:
            place = known[host]
            if place is None:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host, port = place[0], place[1] or port
        return real(host, port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
