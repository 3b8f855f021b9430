"""An installation to measure: people with one channel each, in counties of their own, and the providers beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from api.commands import Actor
from domain.content import Area, ContactCard, Content, Target, Text
from domain.grants import GrantRole
from domain.people import Channel, Person, Role
from domain.rulepacks import Level, standard
from domain.stations import SUFFIX, Kind, Node, Scope
from infra.runtime import Runtime
from infra.stores import Stores
from notifiers.channel import Notifier
from tests.bench.figures import ROOT

ACCOUNT, TOKEN = "AC" + "0" * 32, "sandbox"
SETUP = Actor(person_id="system:setup", correlation_id="setup")
FIRST = Actor(person_id="officer1", correlation_id="bench")
SECOND = Actor(person_id="officer2", correlation_id="bench")
STATIONS = 2  # in each county; the people are spread over them
SETTLE_S = 120.0


class Sink(msgspec.Struct):
    """Where the providers listen."""

    sms: str
    smtp: tuple[str, int]
    push: str


@contextmanager
def sink() -> Iterator[Sink]:
    """The sandbox in a process of its own: it counts what it gets, keeps nothing and calls nobody back."""
    command = [sys.executable, "-m", "infra.sandbox", "--discard", "--no-callbacks"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            yield Sink(sms=said["sms"], smtp=tuple(said["smtp"]), push=said["push"])
        finally:
            process.terminate()


@contextmanager
def folder() -> Iterator[Path]:
    """A folder on the disk that the working tree's temporary files go to."""
    made = Path(tempfile.mkdtemp(prefix="fenghuo-bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@asynccontextmanager
async def installation(
    channel: Channel,
    people: int,
    notifiers: dict[Channel, Notifier],
    address: Callable[[int], dict[str, Any]],
    allowed_origins: frozenset[str] = frozenset(),
) -> AsyncIterator[Runtime]:
    """A running installation with `people` who have this channel alone; `address(n)` is where number n is reached."""

    with folder() as path:
        async with Stores(path) as stores:
            stores.registry.allowed_origins = allowed_origins
            await populate(stores, channel, people, address)
            runtime = Runtime(stores, notifiers, "http://127.0.0.1:1")
            await runtime.start()
            try:
                yield runtime
            finally:
                await runtime.stop(drain_s=5)


def _noon() -> str:
    """A zone in which it is about noon now: at night, warnings that wake nobody would wait for the morning."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


NOON = _noon()


async def populate(
    stores: Stores,
    channels: Channel | tuple[Channel, ...],
    people: int,
    address: Callable[[int], dict[str, Any]],
    stations: int = STATIONS,
) -> None:
    """Puts two officers and `people` into the stores, spread over the stations."""
    all_channels = (channels,) if isinstance(channels, Channel) else channels

    def citizens() -> Iterator[tuple[Person, dict[str, Any]]]:
        size = -(-people // stations)
        for n in range(people):
            where = n % stations if stations == STATIONS else n // size
            yield person(f"person-{n:05d}", f"station{where}", Role.CITIZEN, all_channels), address(n)

    registry = stores.registry
    await registry.register_nodes(_tree(stations), SETUP)
    await registry.adopt_rules(standard(), SETUP)
    await registry.give_grant(
        SETUP, person_id=SETUP.person_id, role=GrantRole.ADMINISTRATOR, node_id="office", bootstrap=True
    )
    await stores.catch_up()
    officers = (FIRST.person_id, SECOND.person_id)
    staff = [person(officer, "office", Role.DUTY_OFFICER, ()) for officer in officers]
    await registry.register_people([(one, {"name": "x"}) for one in staff], SETUP)
    await registry.register_people(citizens(), SETUP)
    for officer in officers:
        await registry.give_grant(
            SETUP, person_id=officer, role=GrantRole.DUTY_OFFICER, node_id="office", bootstrap=True
        )


def content(level: Level = Level.RED, target: str = "office") -> Content:
    """A warning to everybody, at the level at which the people are told at once."""
    now = datetime.now(UTC)
    text = Text(language="zh-CN", headline="洪水红色预警", description="河水上涨。" * 20, instruction="请撤到高处。")
    return Content(
        event="Flood",
        level=level,
        texts=(text,),
        area=Area(description="Po"),
        target=Target(nodes=(target,)),
        contact=ContactCard(hotline="12308", mission="+39 06 1", police="112", valid_from=now),
        effective_at=now,
        expires_at=now + timedelta(hours=6),
    )


async def drafted(stores: Stores, wanted: Content | None = None) -> str:
    """A warning, ready to be released."""
    done = await stores.desk.draft(FIRST, wanted or content())
    await stores.follower.reached(done.position)
    return done.id


async def fan_out(runtime: Runtime, messages: int, most_s: float = SETTLE_S) -> float:
    """Messages a second, from the release to the last outcome durable in the log and in the views."""
    stores = runtime.stores
    warning_id = await drafted(stores)
    began = time.perf_counter()
    await stores.desk.release(SECOND, warning_id)
    while True:
        position, last = stores.views.position, stores.log.last_position_now()
        if position >= last:
            with stores.views.reading() as db:
                left = stores.views.plans.pending(db) or stores.views.deliveries.unfinished(db, warning_id)
            if not left and stores.log.last_position_now() == last:
                break
        if time.perf_counter() - began > most_s:
            raise TimeoutError("the fan-out does not come to its end")
        await stores.follower.moved(position)
    took = time.perf_counter() - began
    with stores.views.reading() as db:
        counts: Counter[str] = Counter()
        for _, _, outcome, n in stores.views.deliveries.counts(db, warning_id):
            counts[outcome] += n
    if counts not in ({"accepted": messages}, {"delivered": messages}):
        raise AssertionError(f"not everybody was reached: {counts}")
    return messages / took


def person(person_id: str, node_id: str, role: Role, channels: tuple[Channel, ...]) -> Person:
    return Person(person_id=person_id, node_id=node_id, role=role, language="zh-CN", channels=channels)


def _tree(stations: int) -> list[Node]:
    return [
        node("office", Kind.DUTY_OFFICE, None),
        node("county", Kind.COUNTY, "office"),
        *(node(f"station{n}", Kind.STATION, "county") for n in range(stations)),
    ]


def node(node_id: str, kind: Kind, parent: str | None) -> Node:
    return Node(
        node_id=node_id,
        kind=kind,
        parent=parent,
        name_zh=f"{node_id}{SUFFIX}",
        name_en=node_id,
        country="IT" if kind is Kind.STATION else "CN",
        lat=45.0,
        lon=9.0,
        zone=NOON,
        scope=Scope.OVERSEAS if kind is Kind.STATION else None,
    )
