"""One process of an installation: the parts that act on its stores while it runs. Nothing here decides anything."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from api.receipts import Receipts
from domain.errors import Unreachable
from domain.people import Channel
from domain.rulepacks import LANES, Lane
from infra.engine.feeds import Poller
from infra.engine.ladder import Ladder
from infra.engine.left import Left
from infra.engine.planner import Planner
from infra.engine.queue import ViewContacts, ViewQueue, ViewTexts
from infra.engine.timekeeper import Timekeeper
from infra.engine.trials import ReachTests
from infra.engine.tuner import Tuner
from infra.kafka.settings import KafkaConfig
from infra.locks import Lock, Part, Relief, alone, kept, supervised
from infra.roles import Role
from infra.stores import Stores
from notifiers.channel import Notifier
from notifiers.drill import Count, DrillNotifier
from notifiers.failover import Providers, providers_of
from notifiers.head_start import HeadStart
from notifiers.links import Links
from notifiers.pause import ended
from notifiers.worker import Queue, Worker

if TYPE_CHECKING:
    from infra.kafka.state import KafkaWatch

_log = structlog.get_logger("fenghuo.runtime")

DRAIN_S = 30.0
SHARED_POLL_S = 0.05  # how often a process looks at a log that others write to
ANNOUNCED_S = 0.25  # between looks for what is to be announced: hundreds wait, and what is planned here is offered


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
        self.queue = self._table(lanes, ANNOUNCED_S if kafka is not None else 0.0)
        self.texts = ViewTexts(stores.views, stores.clock)
        self.left = Left()  # by the relay
        taken_from: Queue = self.queue
        self._taking: dict[str, Part] = {}
        self._announcing: dict[str, Part] = {}
        self.kafka_watch: KafkaWatch | None = None
        if kafka is not None:
            # aiokafka takes long to load, and who has no brokers need not wait for it.
            from infra.kafka.begun import Begun  # noqa: PLC0415
            from infra.kafka.dispatch import Dispatcher  # noqa: PLC0415
            from infra.kafka.feed import FeedRelay  # noqa: PLC0415
            from infra.kafka.overdue import Overdue  # noqa: PLC0415
            from infra.kafka.queue import KafkaQueue  # noqa: PLC0415
            from infra.kafka.state import KafkaWatch  # noqa: PLC0415

            self.kafka_watch = KafkaWatch(kafka)
            begun = Begun(stores.log, stores.views, stores.follower, stores.clock, lanes, worker)
            named = kafka.model_copy(update={"member": worker})
            overdue = Overdue(self._table(lanes), stores.clock, named)
            taken_from = lines = KafkaQueue(named, stores.clock, tuple(lanes), begun.shards, overdue)
            self._taking = {"lanes": lines.run}
            self._announcing = {
                "dispatch": Dispatcher(self.queue, stores.clock, kafka).run,
                "feed": FeedRelay(stores.log, kafka, self.left).run,
                "kafka-watch": self.kafka_watch.run,
            }
        self._head_start = HeadStart(sends=role.sends)
        stores.desk.releasing = self._head_start.expect
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
            worker_id=worker,
            head_start=self._head_start,
        )
        self.poller = Poller(
            stores.feeds, stores.views, stores.follower, stores.clock, random.random, allowed_origins=feed_origins
        )
        self.timekeeper = Timekeeper(stores.log, stores.views, stores.follower, stores.clock, self.left)
        self.ladder = Ladder(stores.log, stores.views, stores.follower, stores.clock, self.left)
        self._worker_id = worker
        self._locks: dict[str, Lock] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.ousted = asyncio.Event()  # another process does what this one was to do alone: it should end

    def _table(self, lanes: Collection[Lane], rest_s: float = 0.0) -> ViewQueue:
        stores = self.stores
        return ViewQueue(stores.views, stores.follower, stores.clock, stores.log.last_recorded_now, lanes, rest_s)

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
            parts |= {"worker": self.worker.run, "tuner": tuner.run, **self._taking}
        if alone_here:
            parts |= self._folding() | self._planning()
        else:
            parts["watcher"] = stores.follower.watch
            if role.folds:
                parts[Role.PROJECT] = self._alone(Role.PROJECT, self._folding(), self._views_parked)
            if role.plans:
                parts[Role.RELAY] = self._alone(Role.RELAY, self._planning(), self.left.__len__)
            for name, lock in self._locks.items():
                parts[f"lock-{name}"] = partial(self._keep, name, lock)
        self._tasks = [asyncio.create_task(supervised(name, part), name=name) for name, part in parts.items()]

    async def _keep(self, name: str, lock: Lock) -> None:
        await kept(name, lock)
        self.ousted.set()

    def _alone(self, role: Role, parts: dict[str, Part], stuck: Callable[[], object]) -> Part:
        relief = Relief(stuck, self.stores.lock(f"{role}-next"))
        return partial(alone, role, self.stores.lock(role), parts, relief)

    def _views_parked(self) -> bool:
        return self.stores.follower.parked is not None

    def _folding(self) -> dict[str, Part]:
        return {"follower": self.stores.follower.run, "prover": self.stores.prover.run}

    def _planning(self) -> dict[str, Part]:
        stores = self.stores
        # Whoever takes from the table here hears of shards at once: the worker, or who announces them.
        offer = self.queue.offer if self.role.sends or self._announcing else lambda _: None
        parts_of_plan = (stores.log, stores.views, stores.follower, stores.clock, stores.vault)
        planner = Planner(*parts_of_plan, offer, self.left, self._head_start)
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
        await ended(self._tasks, again_s=DRAIN_S)  # they end parts of their own, and may have to tell those again
        if self.role.folds:  # whoever else signs meanwhile signs the same
            await self.stores.sign()
        for notifier in self.notifiers.values():
            await notifier.close()
        for lock in self._locks.values():
            lock.give_back()
        self._locks = {}

    def _hold(self, *names: str) -> None:
        """Takes locks for as long as this runs."""
        for name in names:
            lock = self.stores.lock(name)
            if not lock.take():
                for taken in self._locks.values():
                    taken.give_back()
                self._locks = {}
                raise others_work()
            self._locks[name] = lock

    @property
    def parts(self) -> dict[str, bool]:
        """Each part by its name, and whether it runs."""
        return {task.get_name(): not task.done() for task in self._tasks}

    @property
    def alive(self) -> bool:
        """Whether every part still runs."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)


def others_work() -> Unreachable:
    """The error of a process that is one too many."""
    return Unreachable(
        "runtime.running",
        "Another Fenghuo does this work on this data folder.",
        "Stop it, or name another folder or another worker.",
    )


@contextlib.asynccontextmanager
async def running(stores: Stores, notifiers: dict[Channel, Notifier], public_url: str) -> Any:
    """A runtime for the time of a block."""
    runtime = Runtime(stores, notifiers, public_url)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()
