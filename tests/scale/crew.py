"""An installation on PostgreSQL and Kafka in processes of its own: API, projector, relay and two workers.

The providers are one more process. Each role can be killed and started again; where there is a network for them, the
first worker and the relay are in namespaces that can be cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import psycopg
from pydantic import SecretStr

from domain.events import Recorded
from domain.people import Channel
from domain.shards import ShardLeased
from infra.config import DatabaseConfig
from infra.locks_postgres import AdvisoryLock
from infra.log.store import EventLog
from infra.migrate import migrate
from infra.stores import Stores
from tests.kafka.brokers import Cluster
from tests.ops import fan_out
from tests.ops.installation import Installation, install
from tests.ops.process import Sandbox, Serve, fenghuo, sandbox
from tests.ports import free_port
from tests.postgres_part import Server
from tests.postgres_part import environment as settings_of
from tests.scale.network import Cut, Network

PEOPLE = 120
PER_S = 30  # messages a second of each channel of each worker: a fan-out lasts for some seconds
SESSION_S = 3.0
ROLES: dict[str, tuple[str, ...]] = {
    "serve": ("serve",),
    "project": ("project",),
    "relay": ("relay",),
    "one": ("work", "--name", "one"),
    "two": ("work", "--name", "two"),
}
CUT_OFF = {"one": "worker", "relay": "relay"}  # the namespaces of those that live in one
SERVICES = ("database", "brokers", "providers")
SETTINGS = {
    "FENGHUO_KAFKA__TOPIC_PREFIX": "crew",
    "FENGHUO_KAFKA__PARTITIONS": "6",
    "FENGHUO_KAFKA__SESSION_TIMEOUT_S": str(SESSION_S),
    "FENGHUO_KAFKA__REQUEST_TIMEOUT_S": "3",
    "FENGHUO_KAFKA__RESEND_S": "1",
    "FENGHUO_KAFKA__OVERDUE_S": "6",
    "FENGHUO_SMS__PER_S": str(PER_S),
    "FENGHUO_EMAIL__PER_S": str(PER_S),
}


class Crew:
    """The processes of one installation. `warnings` are those that were released so far."""

    def __init__(
        self,
        installed: Installation,
        providers: Sandbox,
        database: Server,
        brokers: Cluster,
        network: Network | None,
        http: aiohttp.ClientSession,
        log: EventLog,
    ) -> None:
        self.installed, self.providers = installed, providers
        self.database, self.brokers, self.network = database, brokers, network
        self.warnings: list[str] = []
        self._settled = 0  # of these
        self._http, self._log = http, log
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}"
        self._running: dict[str, Serve] = {}
        self.ended: list[Serve] = []  # every process that there was
        self._schema = DatabaseConfig(url=SecretStr(database.url()), db_schema="city")

    @property
    def running(self) -> dict[str, Serve]:
        """By role. Each is as it is now: who was killed was replaced."""
        return self._running

    async def start(self, role: str) -> None:
        """Starts a role, or starts it again; does not wait for it."""
        url = self.database.url() if self.network is None else self.database.remote_url()
        settings = {
            **self.providers.settings(),
            **SETTINGS,
            "FENGHUO_DATABASE_URL": url,
            "FENGHUO_DATABASE_SCHEMA": self._schema.db_schema,
            "FENGHUO_KAFKA__BOOTSTRAP": self.brokers.bootstrap,
            "FENGHUO_DATA_DIR": str(self.installed.folder),
            "FENGHUO_PORT": str(self._port),
            "FENGHUO_PUBLIC_URL": self._url,
        }
        within = self.network.within(CUT_OFF[role]) if self.network is not None and role in CUT_OFF else []
        name, *options = ROLES[role]
        self._running[role] = await Serve.start(settings, *options, role=name, within=within)
        self.ended.append(self._running[role])

    async def up(self) -> None:
        """Returns once every role runs."""
        await asyncio.gather(*(process.up() for process in self._running.values()))

    async def kill(self, role: str) -> None:
        await self._running[role].kill()

    async def stop(self) -> dict[str, int]:
        """Ends all that run as one does; their exit statuses."""
        running = {role: one for role, one in self._running.items() if one.process.returncode is None}
        return dict(zip(running, await asyncio.gather(*(one.stop() for one in running.values())), strict=True))

    async def end(self) -> None:
        for process in self._running.values():
            await process.kill()

    def lock(self, name: str) -> AdvisoryLock:
        """A lock of the installation, as one process more sees it."""
        return AdvisoryLock(self.database.url(), f"{self._schema.db_schema}/{name}")

    async def has_again(self, name: str) -> None:
        """Returns once one of the roles has this lock."""
        lock = self.lock(name)
        async with asyncio.timeout(20):
            while lock.take():
                lock.give_back()
                await asyncio.sleep(0.3)

    def cut_session(self, name: str) -> None:
        """Ends the session that holds a lock, as a database does that fails over."""
        with psycopg.connect(self.database.url(), autocommit=True) as db:
            of = f"fenghuo {self._schema.db_schema}/{name}"
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", (of,))

    async def fenghuo(self, *words: str) -> tuple[int, str, str]:
        return await fenghuo(*words, folder=self.installed.folder, **settings_of(self._schema))

    @contextmanager
    def cut(self, role: str, service: str, how: Cut) -> Iterator[None]:
        assert self.network is not None
        with self.network.cut(CUT_OFF[role], service, how):
            yield

    async def warn(self) -> str:
        """Releases one more warning to everybody."""
        self.warnings.append(await fan_out.released(self._http, self._url, self.installed.tokens))
        return self.warnings[-1]

    async def in_fan_out(self, share: float = 0.2) -> str:
        """Releases one more, and returns when this share of it has been sent."""
        before = await fan_out.taken(self._http, self.providers)
        warning_id = await self.warn()
        await self.sent(before + PEOPLE * share)
        return warning_id

    async def sent(self, count: float) -> None:
        await fan_out.until_taken(self._http, self.providers, count)

    async def total(self) -> int:
        return await fan_out.taken(self._http, self.providers)

    async def settled(self) -> None:
        """Returns once all that was released has come to its end."""
        while self._settled < len(self.warnings):
            warning_id = self.warnings[self._settled]
            await fan_out.settled(self._http, self._url, self.installed.tokens[0], warning_id, PEOPLE)
            self._settled += 1

    async def held(self) -> list[Recorded]:
        """Waits for the end, then holds the log against what arrived. Returns the log."""
        await self.settled()
        for process in self._running.values():
            assert process.process.returncode is None, "\n".join(process.said[-20:])
        arrived = await self.providers.stats(self._http)
        return await fan_out.held(self.installed, self.warnings, arrived, self._schema)

    async def works_again(self, role: str, tries: int = 5) -> None:
        """Holds that a worker takes part: of some warnings it takes at least one shard."""
        for _ in range(tries):
            after = await self._log.last_position()
            await self.warn()
            await self.settled()
            new = await self._log.read(after, 10_000)
            if any(isinstance(r.event, ShardLeased) and r.event.worker == role for r in new):
                return
        raise AssertionError(f"{role} takes nothing any more: " + "\n".join(self._running[role].said[-20:]))


@asynccontextmanager
async def crew(folder: Path, server: Server, cluster: Cluster, network: Network | None) -> AsyncIterator[Crew]:
    """All of it for the time of a block, on a database and brokers that run."""
    migrate(server.url(), "city")
    config = DatabaseConfig(url=SecretStr(server.url()), db_schema="city")
    installed = await install(folder, PEOPLE, channels=(Channel.SMS, Channel.EMAIL), database=config)
    host = "127.0.0.1" if network is None else network.addresses["providers"]
    async with (
        sandbox("--count", "--no-callbacks", "--host", host) as providers,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http,
        Stores(folder, database=config) as stores,
    ):
        made = Crew(installed, providers, server, cluster, network, http, stores.log)
        try:
            await made.start("serve")  # whose byte code the others find
            await made.up()
            for role in ROLES:
                if role not in made.running:
                    await made.start(role)
            await made.up()
            yield made
        finally:
            await made.end()
