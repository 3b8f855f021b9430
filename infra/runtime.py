"""One installation, put together: the stores of a data folder, and the parts that act on them while it runs.

`Stores` is what every command opens, `Runtime` what a process of the installation runs. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import uuid
from collections.abc import Callable, Collection, Sequence
from functools import partial
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
from domain.rulepacks import LANES, Lane
from infra.clock import SystemClock
from infra.config import DatabaseConfig
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
from infra.kafka.state import KafkaWatch
from infra.locks import Lock, Part, alone, supervised
from infra.log.mapper import EventMapper
from infra.log.proof import Prover
from infra.log.store import EventLog
from infra.roles import Role
from infra.storage import in_database, in_files
from infra.vault import FileVault
from notifiers.channel import Notifier
from notifiers.drill import Count, DrillNotifier
from notifiers.failover import Providers, providers_of
from notifiers.links import Links
from notifiers.worker import Worker
from projections.follower import Views

_log = structlog.get_logger("fenghuo.runtime")

DRAIN_S = 30.0
SHARED_POLL_S = 0.05  # how often a process looks at a log that others write to


_ids = random.Random(os.urandom(32))  # noqa: S311  ids must be unique, not secret


def new_id() -> str:
    """A random UUID. Drawn without a system call: each of those would give the interpreter's lock away."""
    return uuid.UUID(int=_ids.getrandbits(128), version=4).hex


class Stores:
    """The log, the vault and the views of one installation, with the commands on them. Use as an async context.

    They are files of the data folder or, with `database`, lie in its schema; `master.key` is in the folder in any case.
    Call `catch_up` before reading the views, unless a follower runs.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock | None = None,
        new_id: Callable[[], str] = new_id,
        database: DatabaseConfig | None = None,
    ) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unreachable("data.folder", f"The data folder cannot be made: {error.strerror}.") from error
        if not os.access(folder, os.W_OK):
            raise Unreachable("data.folder", "The data folder cannot be written to.", "Check its rights.")
        self.folder = folder
        self.clock = clock or SystemClock()
        self.new_id = new_id
        kept = in_database(database) if database is not None else in_files(folder)
        self.shared = kept.shared
        self._lock = kept.lock
        self.vault = FileVault(folder, keys=kept.keys)
        self.log = EventLog(kept.log, EventMapper(self.vault), self.clock, new_id)
        self.views = Views(kept.views)
        self.follower = Follower(self.log, self.views)
        self.prover = Prover(kept.checkpoints, self.log, self.vault)
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

    def lock(self, name: str) -> Lock:
        """The lock of this name on the installation."""
        return self._lock(name)

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
    """One process of an installation: the parts of its role, beside the stores.

    What may run once only is held by locks: see locks.py. `drilled` hears of every message of a drill.
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
        *,
        role: Role = Role.ALL,
        lanes: Collection[Lane] = LANES,
        worker: str = "embedded",
    ) -> None:
        """`reach_test_days`: how often contact points that were not heard of are tested; 0: never by itself.
        `lanes` are those that are sent here. `worker`: its name in leases; after a restart it goes on with its own.

        With `kafka` shards are announced and taken there, and the log is published.
        """
        self.stores = stores
        self.role = role
        self.providers = providers or providers_of(notifiers.values())
        self._reach_test_days = reach_test_days
        self.links = Links(public_url, stores.vault.secret("links"))
        self.receipts = Receipts(stores.log)
        self.notifiers: dict[Channel, Notifier] = {
            channel: DrillNotifier(notifier, self.receipts.record, stores.clock, drilled)
            for channel, notifier in notifiers.items()
        }
        self.queue = ViewQueue(stores.views, stores.follower, stores.clock, stores.log.last_recorded_now, lanes)
        self.texts = ViewTexts(stores.views, stores.clock)
        self._taken_from: ViewQueue | KafkaQueue = self.queue
        self._announcing: dict[str, Part] = {}
        self.kafka_watch: KafkaWatch | None = None
        if kafka is not None:
            self.kafka_watch = KafkaWatch(kafka)
            self._taken_from = KafkaQueue(kafka.model_copy(update={"member": worker}), stores.clock, tuple(lanes))
            self._announcing = {
                "dispatch": Dispatcher(self.queue, stores.clock, kafka).run,
                "feed": FeedRelay(stores.log, kafka).run,
                "kafka-watch": self.kafka_watch.run,
            }
        self.worker = Worker(
            log=stores.log,
            queue=self._taken_from,
            texts=self.texts,
            contacts=ViewContacts(stores.views),
            vault=stores.vault,
            links=self.links,
            notifiers=self.notifiers,
            clock=stores.clock,
            jitter=random.random,
            worker_id=worker,
        )
        self.poller = Poller(
            stores.feeds, stores.views, stores.follower, stores.clock, random.random, allowed_origins=feed_origins
        )
        self.timekeeper = Timekeeper(stores.log, stores.views, stores.follower, stores.clock)
        self.ladder = Ladder(stores.log, stores.views, stores.follower, stores.clock)
        self._worker_id = worker
        self._locks: list[Lock] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Starts the parts. Raises Unreachable where another process does what only one may do, and cannot share it."""
        stores, role = self.stores, self.role
        if role is not Role.ALL:
            stores.log.poll_s = SHARED_POLL_S
        alone_here = role is Role.ALL and not stores.shared  # nobody could stand by, so nobody need wait
        if alone_here:
            self._hold(Role.PROJECT, Role.RELAY)
            await stores.catch_up()
        elif role.sends:
            self._hold(f"work-{self._worker_id}")
        parts: dict[str, Part] = {}
        if role.sends:
            tuner = Tuner(stores.views, stores.follower, self.providers)
            tuner.restore(stores.clock.now())
            parts |= {"worker": self.worker.run, "tuner": tuner.run}
            if isinstance(self._taken_from, KafkaQueue):
                parts["lanes"] = self._taken_from.run
        if alone_here:
            parts |= self._folding() | self._planning()
        else:
            parts["watcher"] = stores.follower.watch
            if role.folds:
                parts[Role.PROJECT] = partial(alone, Role.PROJECT, stores.lock(Role.PROJECT), self._folding())
            if role.plans:
                parts[Role.RELAY] = partial(alone, Role.RELAY, stores.lock(Role.RELAY), self._planning())
        self._tasks = [asyncio.create_task(supervised(name, part), name=name) for name, part in parts.items()]

    def _folding(self) -> dict[str, Part]:
        return {"follower": self.stores.follower.run, "prover": self.stores.prover.run}

    def _planning(self) -> dict[str, Part]:
        stores = self.stores
        # Whoever takes from the table here hears of shards at once: the worker, or who announces them.
        offer = self.queue.offer if self.role.sends or self._announcing else lambda _: None
        planner = Planner(stores.log, stores.views, stores.follower, stores.clock, stores.vault, offer)
        parts: dict[str, Part] = {
            "timekeeper": self.timekeeper.run,
            "planner": planner.run,
            "ladder": self.ladder.run,
            "feeds": self.poller.run,
            **self._announcing,
        }
        if self._reach_test_days:
            tests = ReachTests(stores.reachability, stores.views, stores.follower, stores.clock, self._reach_test_days)
            parts["trials"] = tests.run
        return parts

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Takes in nothing more, lets what is under way be recorded, then ends."""
        if self.role.sends:
            await self.worker.drain(drain_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.role.folds:  # whoever else signs meanwhile signs the same
            await self.stores.sign()
        for notifier in self.notifiers.values():
            await notifier.close()
        for lock in self._locks:
            lock.give_back()
        self._locks = []

    def _hold(self, *names: str) -> None:
        """Takes locks for as long as this runs."""
        for name in names:
            lock = self.stores.lock(name)
            if not lock.take():
                for taken in self._locks:
                    taken.give_back()
                self._locks = []
                raise Unreachable(
                    "runtime.running",
                    "Another Fenghuo does this work on this data folder.",
                    "Stop it, or name another folder or another worker.",
                )
            self._locks.append(lock)

    @property
    def parts(self) -> dict[str, bool]:
        """Each part by its name, and whether it runs."""
        return {task.get_name(): not task.done() for task in self._tasks}

    @property
    def alive(self) -> bool:
        """Whether every part still runs."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)


def runs(stores: Stores) -> bool:
    """Whether a process plans what is released on this installation."""
    lock = stores.lock(Role.RELAY)
    free = lock.take()
    lock.give_back()
    return not free


@contextlib.asynccontextmanager
async def running(stores: Stores, notifiers: dict[Channel, Notifier], public_url: str) -> Any:
    """A runtime for the time of a block."""
    runtime = Runtime(stores, notifiers, public_url)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()
