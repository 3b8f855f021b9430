"""One installation, put together: the stores of a data folder, and the parts that act on them while it runs.

`Stores` is what every command opens; `Runtime` is what `fenghuo serve` runs. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog

from api.desk import Desk
from api.duty import Duty
from api.feeds.desk import FeedDesk
from api.reachability import Reachability
from api.receipts import Receipts
from api.registry import Registry
from domain.errors import FenghuoError, Unreachable
from domain.people import Channel
from domain.ports import Clock
from infra.clock import SystemClock
from infra.engine.feeds import Poller
from infra.engine.follower import Follower
from infra.engine.ladder import Ladder
from infra.engine.planner import Planner
from infra.engine.queue import ViewContacts, ViewQueue, ViewTexts
from infra.engine.timekeeper import Timekeeper
from infra.engine.trials import ReachTests
from infra.engine.tuner import Tuner
from infra.kafka.dispatch import Dispatcher
from infra.kafka.feed import FeedRelay
from infra.kafka.queue import KafkaQueue
from infra.kafka.settings import KafkaConfig
from infra.log.mapper import EventMapper
from infra.log.proof import Prover
from infra.log.recorders import sqlite_log
from infra.log.store import EventLog
from infra.vault import FileVault
from notifiers.channel import Notifier
from notifiers.drill import Count, DrillNotifier
from notifiers.failover import Providers, providers_of
from notifiers.links import Links
from notifiers.worker import Queue, Worker
from projections.follower import Views
from projections.sqlite import sqlite_views

_log = structlog.get_logger("fenghuo.runtime")

DRAIN_S = 30.0
FIRST_WAIT_S = 0.2  # before a part that failed begins again; doubles
LONGEST_WAIT_S = 15.0


_ids = random.Random(os.urandom(32))  # noqa: S311  ids must be unique, not secret


def new_id() -> str:
    """A random UUID. Drawn without a system call: each of those would give the interpreter's lock away."""
    return uuid.UUID(int=_ids.getrandbits(128), version=4).hex


class Stores:
    """The log, the vault and the views of one data folder, with the commands on them. Use as an async context.

    With `follow` the views are kept in step in the background; without, call `catch_up` before reading.
    """

    def __init__(self, folder: Path, clock: Clock | None = None, new_id: Callable[[], str] = new_id) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unreachable("data.folder", f"The data folder cannot be made: {error.strerror}.") from error
        if not os.access(folder, os.W_OK):
            raise Unreachable("data.folder", "The data folder cannot be written to.", "Check its rights.")
        self.folder = folder
        self.clock = clock or SystemClock()
        self.new_id = new_id
        self.vault = FileVault(folder)
        self.log = EventLog(sqlite_log(folder / "log.sqlite"), EventMapper(self.vault), self.clock, new_id)
        self.views = Views(sqlite_views(folder / "views.sqlite"))
        self.follower = Follower(self.log, self.views)
        self.prover = Prover(folder, self.log, self.vault)
        self.desk = Desk(self.log, self.views, self.vault, self.clock, new_id)
        self.feeds = FeedDesk(self.log, self.views, self.vault, self.clock, new_id)
        self.registry = Registry(self.log, self.views, self.vault, self.clock, new_id)
        self.duty = Duty(self.log, self.views, self.vault, self.clock, new_id)
        self.reachability = Reachability(self.log, self.views, self.vault, self.clock, new_id)

    async def __aenter__(self) -> Stores:
        await self.log.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.log.close()
        self.views.close()
        self.prover.close()
        self.vault.close()
        self.log.recorder.datastore.close()  # type: ignore[attr-defined]

    async def catch_up(self) -> int:
        """Brings the views to the end of the log."""
        return await asyncio.to_thread(self.views.catch_up, self.log.read_now)

    async def sign(self) -> None:
        """Signs the log as it is; where that fails, it is logged, and the next to run signs instead."""
        try:
            await asyncio.to_thread(self.prover.extend)
        except FenghuoError as error:
            _log.error("unsigned", code=error.code)


class Runtime:
    """A running installation: follower, planner, timekeeper, worker and prover beside the stores.

    Only one may run on a data folder at a time: a lock on a file says so. Raises Unreachable where another runs.
    `drilled` hears of every message of a drill.
    """

    def __init__(
        self,
        stores: Stores,
        notifiers: dict[Channel, Notifier],
        public_url: str,
        feed_origins: Sequence[str] = (),
        reach_test_days: int = 0,
        drilled: Count = lambda *_: None,
        providers: Providers | None = None,
        kafka: KafkaConfig | None = None,
    ) -> None:
        """`reach_test_days`: how often contact points that were not heard of are tested; 0: never by itself.

        With `kafka` the worker takes its shards from there, and they are announced there; and the log is published.
        """
        self.stores = stores
        self.providers = providers or providers_of(notifiers.values())
        self._reach_test_days = reach_test_days
        self.links = Links(public_url, stores.vault.secret("links"))
        self.receipts = Receipts(stores.log)
        self.notifiers: dict[Channel, Notifier] = {
            channel: DrillNotifier(notifier, self.receipts.record, stores.clock, drilled)
            for channel, notifier in notifiers.items()
        }
        self.queue = ViewQueue(stores.views, stores.follower, stores.clock, stores.log.last_recorded_now)
        self.texts = ViewTexts(stores.views, stores.clock)
        self._kafka_parts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        taken_from: Queue = self.queue
        if kafka is not None:
            lanes = taken_from = KafkaQueue(kafka, stores.clock)
            self._kafka_parts = {
                "lanes": lanes.run,
                "dispatch": Dispatcher(self.queue, stores.clock, kafka).run,
                "feed": FeedRelay(stores.log, kafka).run,
            }
        self.worker = Worker(
            log=stores.log,
            queue=taken_from,
            texts=self.texts,
            contacts=ViewContacts(stores.views),
            vault=stores.vault,
            links=self.links,
            notifiers=self.notifiers,
            clock=stores.clock,
            jitter=random.random,
            worker_id="embedded" if kafka is None else kafka.named,
        )
        self.poller = Poller(
            stores.feeds, stores.views, stores.follower, stores.clock, random.random, allowed_origins=feed_origins
        )
        self.timekeeper = Timekeeper(stores.log, stores.views, stores.follower, stores.clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._lock: int | None = None

    async def start(self) -> None:
        self._lock = _hold(self.stores.folder / "running.lock")
        stores = self.stores
        await stores.catch_up()
        tuner = Tuner(stores.views, stores.follower, self.providers)
        tuner.restore(stores.clock.now())
        parts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "follower": stores.follower.run,
            "timekeeper": self.timekeeper.run,
            "planner": Planner(
                stores.log, stores.views, stores.follower, stores.clock, stores.vault, self.queue.offer
            ).run,
            "ladder": Ladder(stores.log, stores.views, stores.follower, stores.clock).run,
            "worker": self.worker.run,
            "prover": stores.prover.run,
            "feeds": self.poller.run,
            "tuner": tuner.run,
            **self._kafka_parts,
        }
        if self._reach_test_days:
            days, reachability = self._reach_test_days, stores.reachability
            parts["trials"] = ReachTests(reachability, stores.views, stores.follower, stores.clock, days).run
        self._tasks = [asyncio.create_task(_supervised(name, part), name=name) for name, part in parts.items()]

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Takes in nothing more, lets what is under way be recorded, then ends."""
        await self.worker.drain(drain_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.stores.sign()
        for notifier in self.notifiers.values():
            await notifier.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def alive(self) -> bool:
        """Whether every part still runs."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)


async def _supervised(name: str, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a part to its end. A fault (a full disk, say) is logged, and the part begins again, ever more slowly."""
    wait_s = FIRST_WAIT_S
    while True:
        began = time.monotonic()
        try:
            await part()
            return
        except Exception:
            if time.monotonic() - began > LONGEST_WAIT_S:
                wait_s = FIRST_WAIT_S
            _log.exception("part_failed", part=name, again_in_s=wait_s)
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


def _hold(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise Unreachable(
            "runtime.running", "Another Fenghuo runs on this data folder.", "Stop it, or name another folder."
        ) from error
    return handle


@contextlib.asynccontextmanager
async def running(stores: Stores, notifiers: dict[Channel, Notifier], public_url: str) -> Any:
    """A runtime for the time of a block."""
    runtime = Runtime(stores, notifiers, public_url)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()
