"""A whole installation for the tests of the engine: a small tree of people, scripted channels, a clock moved by hand.

The folder is made once and copied for each test. Nothing is waited for by the clock on the wall: `quiet` and `until`
return when a condition holds, and fail when that takes too long.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from eventsourcing.persistence import StoredEvent

from api.commands import Actor
from domain.content import Area, ContactCard, Content, Target, Text
from domain.events import Event, Recorded
from domain.grants import GrantRole
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel, Person, Role
from domain.rulepacks import Level, standard
from domain.shards import ChunkRecorded, Purpose, ShardPlanned
from domain.stations import SUFFIX, Kind, Node, Scope
from infra.clock import ManualClock
from infra.config import DatabaseConfig
from infra.copying import copy, copy_master_key
from infra.kafka.settings import KafkaConfig
from infra.log.store import EventLog
from infra.runtime import Runtime
from infra.storage import in_database, in_files
from infra.stores import Stores
from notifiers.channel import Delivery, Notifier, Rendered, Result
from projections.follower import wipe
from tests.postgres_part import schema_of

NOW = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
SMS, EMAIL, WEBPUSH = Channel.SMS, Channel.EMAIL, Channel.WEBPUSH
ANNOTATED = "warning.annotated.v1"  # of no event that this program knows
E = TypeVar("E", bound=Event)

PEOPLE: dict[str, tuple[str, Role, str, tuple[Channel, ...]]] = {  # node, role, language, channels
    "officer1": ("office", Role.DUTY_OFFICER, "zh", (SMS,)),
    "officer2": ("office", Role.DUTY_OFFICER, "zh", (EMAIL,)),
    "county1": ("north", Role.COUNTY_OFFICER, "zh", (SMS, EMAIL)),
    "milan-head": ("milan", Role.HEAD, "zh", (SMS,)),
    "milan-deputy": ("milan", Role.DEPUTY, "zh", (EMAIL,)),
    "milan-zh": ("milan", Role.CITIZEN, "zh", (SMS,)),
    "milan-it": ("milan", Role.CITIZEN, "it", (EMAIL,)),
    "milan-both": ("milan", Role.CITIZEN, "zh", (SMS, EMAIL)),
    "milan-push": ("milan", Role.ENTERPRISE, "en", (WEBPUSH,)),
    "milan-none": ("milan", Role.CITIZEN, "zh", ()),
    "madrid-head": ("madrid", Role.HEAD, "zh", (EMAIL,)),
    "madrid-es": ("madrid", Role.CITIZEN, "es", (SMS,)),
    "village-liaison": ("village", Role.LIAISON, "zh", (SMS,)),
    "village-zh": ("village", Role.CITIZEN, "zh", (SMS,)),
    "auditor1": ("office", Role.AUDITOR, "zh", (EMAIL,)),
}
GRANTS = [
    ("admin", GrantRole.ADMINISTRATOR, "office"),
    ("officer1", GrantRole.DUTY_OFFICER, "office"),
    ("officer2", GrantRole.DUTY_OFFICER, "office"),
    ("county1", GrantRole.COUNTY_OFFICER, "north"),
    ("milan-head", GrantRole.STATION_HEAD, "milan"),
    ("village-liaison", GrantRole.LIAISON, "village"),
    ("auditor1", GrantRole.AUDITOR, "office"),
]
STAFF = {
    ("officer1", SMS),
    ("officer2", EMAIL),
    ("county1", SMS),
    ("county1", EMAIL),
    ("milan-head", SMS),
    ("madrid-head", EMAIL),
    ("village-liaison", SMS),
}
MILAN = {("milan-zh", SMS), ("milan-it", EMAIL), ("milan-both", SMS), ("milan-both", EMAIL), ("milan-push", WEBPUSH)}
OTHERS = {("madrid-es", SMS), ("village-zh", SMS)}


def actor(person_id: str) -> Actor:
    return Actor(person_id=person_id, correlation_id=f"request-of-{person_id}")


def content(
    level: Level = Level.RED, *, target: str | Target = "office", lasts: timedelta = timedelta(hours=6), **more: Any
) -> Content:
    fields: dict[str, Any] = {
        "event": "Flood",
        "level": level,
        "texts": (
            Text(language="zh", headline="洪水", instruction="请撤到高处。"),
            Text(language="it", headline="Alluvione"),
            Text(language="es", headline="Inundación"),
        ),
        "area": Area(description="Po"),
        "target": Target(nodes=(target,)) if isinstance(target, str) else target,
        "contact": ContactCard(hotline="12308", mission="1", police="112", valid_from=NOW),
        "effective_at": NOW,
        "expires_at": NOW + lasts,
    }
    return Content(**{**fields, **more})


def phone_of(person_id: str) -> str:
    return f"+86138{list(PEOPLE).index(person_id):08d}"


def personal(person_id: str) -> dict[str, Any]:
    """Addresses that say whose they are; a number says it by its place in PEOPLE."""
    return {
        "name": f"Name of {person_id}",
        "phone": phone_of(person_id),
        "email": f"{person_id}@people.example",
        "push": {"endpoint": f"https://push.example/{person_id}", "keys": {}},
    }


def whose(address: Any) -> str:
    if isinstance(address, dict):
        return str(address["endpoint"].rpartition("/")[2])
    return address.partition("@")[0] if "@" in address else list(PEOPLE)[int(address[-8:])]


class Scripted:
    """A channel that answers as told: by person a list of results, one for each attempt, then always accepted.

    While `hanging` names somebody, a batch with them gets no answer until `release`.
    """

    def __init__(self, channel: Channel, chunk: int = 100) -> None:
        self.channel = channel
        self.chunk = chunk
        self.answers: dict[str, list[dict[str, Any] | Outcome]] = {}
        self.sent: list[tuple[str, Delivery, Rendered]] = []
        self.hanging: set[str] = set()
        self._go = asyncio.Event()

    def release(self) -> None:
        self.hanging.clear()
        self._go.set()
        self._go = asyncio.Event()

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        for delivery in deliveries:
            self.sent.append((whose(delivery.address), delivery, rendered))
        while self.hanging & {whose(delivery.address) for delivery in deliveries}:
            await self._go.wait()
        return [self._result(delivery) for delivery in deliveries]

    def _result(self, delivery: Delivery) -> Result:
        script = self.answers.get(whose(delivery.address), [])
        answer = script.pop(0) if script else Outcome.ACCEPTED
        fields = {"outcome": answer} if isinstance(answer, Outcome) else answer
        return Result(index=delivery.index, **{"provider_ref": f"ref-{delivery.message_id}", **fields})

    async def close(self) -> None:
        pass


Channels = dict[Channel, Scripted]


class House:
    """A running installation and questions to it. The log is asked, not the views, wherever it can answer."""

    def __init__(
        self, stores: Stores, runtime: Runtime, clock: ManualClock, notifiers: dict[Channel, Scripted]
    ) -> None:
        self.stores, self.runtime, self.clock, self.notifiers = stores, runtime, clock, notifiers
        self.desk, self.registry, self.duty = stores.desk, stores.registry, stores.duty

    # Acting ----------------------------------------------------------------------------------------------------------

    async def draft(self, level: Level = Level.RED, **more: Any) -> str:
        done = await self.desk.draft(actor("officer1"), content(level, **more))
        await self.stores.follower.reached(done.position)
        return done.id

    async def release(self, level: Level = Level.RED, **more: Any) -> str:
        """A warning by officer1, released by officer2; the id."""
        warning_id = await self.draft(level, **more)
        await self.desk.release(actor("officer2"), warning_id)
        return warning_id

    async def told(self, level: Level = Level.RED, **more: Any) -> str:
        """A warning that has been sent out as far as that goes by itself."""
        warning_id = await self.release(level, **more)
        await self.quiet()
        return warning_id

    async def pass_time(self, **by: float) -> None:
        self.clock.move(timedelta(**by))
        await self.quiet()

    async def quiet(self) -> None:
        """Returns once nothing is left to do at this moment of the clock."""
        await self.until(self._idle)

    async def until(self, condition: Callable[[], Any], seconds: float = 30) -> None:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110  the engine works in tasks and threads
                await asyncio.sleep(0.01)

    def _idle(self) -> bool:
        stores, now = self.stores, self.clock.now()
        end = stores.log.last_position_now()
        if stores.views.position != end:
            return False
        with stores.views.reading() as db:
            busy = (
                stores.views.plans.pending(db)
                or stores.views.deliveries.queue(db, now, "embedded", 1)
                or stores.views.timers.due(db, now)
                or stores.views.ladder.due(db, now)
            )
        return not busy and stores.log.last_position_now() == end

    # Asking ----------------------------------------------------------------------------------------------------------

    def recorded(self, kind: type[Event] = Event) -> list[Recorded]:
        everything: list[Recorded] = []
        while batch := self.stores.log.read_now(everything[-1].position if everything else 0, 1000):
            everything += batch
        return [r for r in everything if isinstance(r.event, kind)]

    def events(self, kind: type[E]) -> list[E]:
        return [r.event for r in self.recorded(kind)]  # type: ignore[misc]

    def shards(
        self, warning_id: str, purpose: Purpose | None = None, channel: Channel | None = None
    ) -> dict[str, ShardPlanned]:
        return {
            plan.shard_id: plan
            for plan in self.events(ShardPlanned)
            if plan.warning_id == warning_id and purpose in (None, plan.purpose) and channel in (None, plan.channel)
        }

    def planned(self, warning_id: str, purpose: Purpose = Purpose.NOTICE) -> list[tuple[str, Channel]]:
        return sorted((who, s.channel) for s in self.shards(warning_id, purpose).values() for who in s.recipients)

    def rows(
        self, warning_id: str, who: str, purpose: Purpose = Purpose.NOTICE, channel: Channel | None = None
    ) -> list[tuple[Outcome, Reason, int]]:
        """What the ledgers say of one person's messages, in order: outcome, reason, attempt."""
        return [(row.outcome, row.reason, row.attempt) for row in self._ledger(warning_id, who, purpose, channel)]

    def retry_at(self, warning_id: str, who: str) -> datetime | None:
        return self._ledger(warning_id, who, Purpose.NOTICE, None)[-1].retry_at

    def _ledger(self, warning_id: str, who: str, purpose: Purpose, channel: Channel | None) -> list[Row]:
        plans = self.shards(warning_id, purpose, channel)
        return [
            row
            for event in self.events(ChunkRecorded)
            if event.shard_id in plans
            for row in event.rows
            if plans[event.shard_id].recipients[row.index] == who
        ]

    def place(self, warning_id: str, who: str, channel: Channel | None = None) -> tuple[str, int]:
        """(shard id, index) of a person's first notice."""
        for shard in self.shards(warning_id, Purpose.NOTICE, channel).values():
            if who in shard.recipients:
                return shard.shard_id, shard.recipients.index(who)
        raise AssertionError(f"{who} is not in the plan")

    def sent(self, since: int = 0) -> list[tuple[str, Channel]]:
        """Who was sent to, over which channel, as the providers saw it."""
        return sorted((who, n.channel) for n in self.notifiers.values() for who, *_ in n.sent[since:])

    def forget_sent(self) -> None:
        for notifier in self.notifiers.values():
            notifier.sent.clear()

    def view(self, ask: Callable[[Any, Any], Any]) -> Any:
        """`ask(views, db)` on one snapshot."""
        with self.stores.views.reading() as db:
            return ask(self.stores.views, db)

    def delivery(self, warning_id: str, who: str) -> dict[str, Any]:
        shard_id, index = self.place(warning_id, who)
        (row,) = [
            row
            for row in self.view(lambda v, db: v.deliveries.page(db, warning_id, after=("", -1), limit=1000))
            if (row["shard_id"], row["idx"]) == (shard_id, index)
        ]
        return row


@asynccontextmanager
async def house(
    folder: Path,
    clock: ManualClock | None = None,
    chunk: int = 100,
    real: dict[Channel, Notifier] | None = None,
    kafka: KafkaConfig | None = None,
) -> AsyncIterator[House]:
    """Opens and runs the installation in `folder`, which is made where it is empty. `real` channels are no script."""
    clock = clock or ManualClock(NOW)
    database = _furnished(folder)
    notifiers = {channel: Scripted(channel, chunk) for channel in Channel}
    async with Stores(folder, clock, database=database) as stores:
        runtime = Runtime(stores, {**notifiers, **(real or {})}, "https://warn.example", kafka=kafka)
        await runtime.start()
        try:
            yield House(stores, runtime, clock, notifiers)
        finally:
            await runtime.stop(drain_s=0)


@asynccontextmanager
async def stores(folder: Path, clock: ManualClock | None = None) -> AsyncIterator[Stores]:
    """The same installation with nothing running: views are as of the last `catch_up`."""
    database = _furnished(folder)
    async with Stores(folder, clock or ManualClock(NOW), database=database) as opened:
        await opened.catch_up()
        yield opened


def annotate(log: EventLog, stream: str, topic: str = ANNOTATED) -> int:
    """Writes what a newer program could, as the next event of a stream; its position."""
    version = len(log.recorder.select_events(stream)) + 1
    meta = {"event_id": f"new-{stream}", "recorded_at": NOW, "actor": "ann", "correlation_id": "c1"}
    state = msgspec.json.encode({"meta": meta, "data": {"remark": "!"}})
    (position,) = log.recorder.insert_events([StoredEvent(stream, version, topic, state)]) or ()
    return int(position)


def _furnished(folder: Path) -> DatabaseConfig | None:
    """Puts the installation into an empty folder or, with FENGHUO_TEST_STORES=postgresql, into a schema of its own."""
    if os.environ.get("FENGHUO_TEST_STORES") != "postgresql":
        if not (folder / "log.sqlite").exists():
            shutil.copytree(_template(), folder, dirs_exist_ok=True)
        return None
    config = schema_of(folder)
    source, target = in_files(_template()), in_database(config)
    if not target.log.max_notification_id():
        copy(source, target)
        copy_master_key(_template(), folder)
    source.close()
    target.close()
    return config


def lose_views(folder: Path) -> None:
    """Deletes the views of an installation that rests."""
    if os.environ.get("FENGHUO_TEST_STORES") != "postgresql":
        (folder / "views.sqlite").unlink()
        return
    kept = in_database(schema_of(folder))
    wipe(kept.views)
    kept.close()


@cache
def _template() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="fenghuo-house-")
    _kept.append(folder)
    thread = threading.Thread(target=lambda: asyncio.run(_make(Path(folder.name))))
    thread.start()
    thread.join()
    return Path(folder.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []  # removed when the tests end


async def _make(folder: Path) -> None:
    async with Stores(folder, ManualClock(NOW - timedelta(days=1))) as stores:
        registry, boot = stores.registry, actor("system:setup")
        await registry.register_nodes(TREE, boot)
        await registry.adopt_rules(standard(), boot)
        for person_id, role, node_id in GRANTS:
            await registry.give_grant(boot, person_id=person_id, role=role, node_id=node_id, bootstrap=True)
        await stores.catch_up()
        await registry.register_people(
            [
                (Person(person_id=who, node_id=node, role=role, language=language, channels=channels), personal(who))
                for who, (node, role, language, channels) in PEOPLE.items()
            ],
            actor("admin"),
        )
        await stores.catch_up()


def _node(node_id: str, kind: Kind, parent: str | None, country: str = "CN") -> Node:
    return Node(
        node_id=node_id,
        kind=kind,
        parent=parent,
        name_zh=f"{node_id}{SUFFIX}",
        name_en=node_id,
        country=country,
        lat=28.0,
        lon=120.7,
        zone="Asia/Shanghai",
        scope=(Scope.DOMESTIC if country == "CN" else Scope.OVERSEAS) if kind is Kind.STATION else None,
    )


TREE = [
    _node("office", Kind.DUTY_OFFICE, None),
    _node("north", Kind.COUNTY, "office"),
    _node("south", Kind.COUNTY, "office"),
    _node("milan", Kind.STATION, "north", "IT"),
    _node("madrid", Kind.STATION, "north", "ES"),
    _node("village", Kind.STATION, "south"),
]
