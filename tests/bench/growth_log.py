"""A log of any length that is like a real one: one warning is lived through, and its events are copied under new ids.

The warning goes to ten stations and forty people over a channel that takes everything: released, planned, sent,
receipted, acknowledged, assessed, answered, with cases that are opened and closed, and cancelled at the end. What the
copies' sealed fields hold can be opened by nobody; nobody asks for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from eventsourcing.persistence import StoredEvent

from api.commands import Actor
from domain.answers import Answer
from domain.cases import ActionKind, Place
from domain.grants import GrantRole
from domain.outcomes import Outcome, Row
from domain.people import Channel, Person, Role
from infra.runtime import Runtime
from infra.stores import Stores
from tests.bench.memory import Null
from tests.bench.rig import FIRST, SECOND, SETUP, drafted, folder, person, populate

STATIONS, PEOPLE = 10, 50  # every fifth of the people is the head of a station
GENERATION = 8  # warnings that the same people live through, before there are others
COPIED = ("warning-", "plan-", "shard-", "receipts-", "relay-", "answer-", "case-")
_ID = re.compile(rb"[0-9a-f]{32}|citizen-[0-9]{5}")
SETTLE_S = 120.0


class Copied(msgspec.Struct):
    """An event in pieces: what stays as it is, and between each two of them an id that is to be another."""

    stream: tuple[bytes, ...]
    version: int
    topic: str
    state: tuple[bytes, ...]


class Template:
    def __init__(self, registered: Sequence[StoredEvent], lived: Sequence[StoredEvent]) -> None:
        self._registered = [_in_pieces(event) for event in registered]
        self._lived = [_in_pieces(event) for event in lived]
        self.events = len(lived)

    def copies(self, first: int) -> Iterator[tuple[int, list[StoredEvent]]]:
        """(its number, its events) of one warning after the other, from number `first` on."""
        number = first
        while True:
            number += 1
            copied = self._lived if number % GENERATION else [*self._registered, *self._lived]
            yield number, [_whole(event, number) for event in copied]


def _in_pieces(event: StoredEvent) -> Copied:
    return Copied(_cut(event.originator_id.encode()), event.originator_version, event.topic, _cut(event.state))  # type: ignore[union-attr]


def _cut(data: bytes) -> tuple[bytes, ...]:
    """Text, id, text, id, …, text."""
    found, at = [], 0
    for match in _ID.finditer(data):
        found += [data[at : match.start()], match[0]]
        at = match.end()
    return (*found, data[at:])


def _whole(event: Copied, number: int) -> StoredEvent:
    ids, people = b"%08x" % number, b"citizen-%07d" % (number // GENERATION)

    def joined(pieces: tuple[bytes, ...]) -> bytes:
        made = list(pieces)
        for n in range(1, len(made), 2):
            one = made[n]
            made[n] = people + one[8:] if one.startswith(b"citizen") else ids + one[8:]
        return b"".join(made)

    return StoredEvent(joined(event.stream).decode(), event.version, event.topic, joined(event.state))  # type: ignore[arg-type]


def person_of(n: int) -> tuple[Person, dict[str, Any]]:
    role = Role.HEAD if n % 5 == 0 else Role.CITIZEN
    return person(f"citizen-{n:05d}", f"station{n // 5}", role, (Channel.SMS,)), {"phone": f"+39348{n:07d}"}


async def lived() -> Template:
    """Has a warning lived through on files of its own."""
    with folder() as path:
        async with Stores(path) as stores:
            await populate(stores, Channel.SMS, 0, lambda _: {}, STATIONS)
            await stores.catch_up()
            await stores.registry.register_people([person_of(n) for n in range(PEOPLE)], SETUP)
            for n in range(0, PEOPLE, 5):
                await stores.registry.give_grant(
                    SETUP,
                    person_id=f"citizen-{n:05d}",
                    role=GrantRole.STATION_HEAD,
                    node_id=f"station{n // 5}",
                    bootstrap=True,
                )
            await stores.catch_up()
            begin = await stores.log.last_position()
            registered = [e for e in _events(stores, 0, begin) if str(e.originator_id).startswith("person-citizen")]
            runtime = Runtime(stores, {Channel.SMS: Null()}, "http://127.0.0.1:1")
            await runtime.start()
            try:
                await _life(runtime)
            finally:
                await runtime.stop(drain_s=5)
            end = await stores.log.last_position()
            life = [e for e in _events(stores, begin, end) if str(e.originator_id).startswith(COPIED)]
            return Template(registered, life)


def _events(stores: Stores, after: int, upto: int) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    while after < upto:
        batch = stores.log.recorder.select_notifications(after, 500, inclusive_of_start=False)
        after = batch[-1].id
        found += batch
    return found


async def _life(runtime: Runtime) -> None:
    stores = runtime.stores
    desk = stores.desk
    warning_id = await drafted(stores)
    await desk.release(SECOND, warning_id)
    await quiet(runtime, warning_id)
    with stores.views.reading() as db:
        sent = stores.views.deliveries.page(db, warning_id, after=("", -1), limit=1000)
    for row in sent:
        await runtime.receipts.record(row["shard_id"], Row(row["idx"], Outcome.DELIVERED, 1))
    for n in range(PEOPLE):
        answer = Answer.HELP if n % 25 == 7 else Answer.SAFE
        await desk.answer(
            warning_id=warning_id, person_id=f"citizen-{n:05d}", answer=answer, channel="sms", words="平安" * 5
        )
    for s in range(STATIONS):
        head = Actor(person_id=f"citizen-{s * 5:05d}", correlation_id="growth")
        await desk.relay_on(head, warning_id, f"station{s}")
        await desk.assess(head, warning_id, f"station{s}", harm="low", text="无人受伤。")
    await quiet(runtime, warning_id)
    with stores.views.reading() as db:
        opened = [row["case_id"] for row in stores.views.cases.page(db, before=None, limit=100)]
    for case_id in opened:
        await desk.task(FIRST, case_id, node_id="county", instruction="联系当事人。")
        await desk.record_action(
            FIRST, case_id, node_id="county", kind=ActionKind.VERIFIED, place=Place(country="IT"), text="已联系。"
        )
        await desk.close_case(FIRST, case_id, result="平安。")
    await desk.cancel(FIRST, warning_id, reason="警报解除。")
    await quiet(runtime, warning_id)


async def quiet(runtime: Runtime, warning_id: str) -> None:
    """Returns once everything is planned, sent and in the views."""
    stores = runtime.stores
    async with asyncio.timeout(SETTLE_S):
        while True:
            last = await stores.log.last_position()
            await stores.follower.reached(last)
            with stores.views.reading() as db:
                left = stores.views.plans.pending(db) or stores.views.deliveries.unfinished(db, warning_id)
            if not left and await stores.log.last_position() == last:
                return
            await asyncio.sleep(0.05)
