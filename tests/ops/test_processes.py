"""One installation in several processes: API, projector, relay and workers, started and ended as users do it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from domain.outcomes import Outcome
from domain.people import Channel
from domain.shards import ChunkRecorded
from infra.config import DatabaseConfig
from infra.stores import Stores
from tests.ports import free_port
from tests.postgres_part import environment as settings_of
from tests.postgres_part import schema_of

from .installation import Installation, draft, install
from .process import Sandbox, Serve, fenghuo, sandbox

pytestmark = pytest.mark.timeout(480)  # each test starts four to eight programs

PEOPLE = 300
TAKE_OVER_S = 5.0
ENDED_S = 30.0


@pytest.fixture
async def providers() -> AsyncIterator[Sandbox]:
    async with sandbox("--count", "--no-callbacks") as running:
        yield running


class Fleet:
    """The processes of one installation; the API's port is known to all of them."""

    def __init__(self, installed: Installation, providers: Sandbox, database: DatabaseConfig | None) -> None:
        self.installed, self.providers = installed, providers
        self.port = free_port()
        self.running: list[Serve] = []
        self.database = database

    async def start(self, role: str, *options: str) -> Serve:
        settings = {
            **self.providers.settings(),
            **(settings_of(self.database) if self.database else {}),
            "FENGHUO_DATA_DIR": str(self.installed.folder),
            "FENGHUO_PORT": str(self.port),
            "FENGHUO_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
        }
        process = await Serve.start(settings, *options, role=role)
        self.running.append(process)
        await process.up()
        return process

    async def stop(self) -> None:
        for process in self.running:
            await process.kill()

    async def warn(self, http: aiohttp.ClientSession) -> str:
        """Drafts and releases a warning to everybody; its id."""
        drafted = await self._post(http, "/v1/warnings", 0, draft())
        await self._post(http, f"/v1/warnings/{drafted['id']}/release", 1, {})
        return str(drafted["id"])

    async def _post(self, http: aiohttp.ClientSession, path: str, which: int, body: object) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.installed.tokens[which]}"}
        async with http.post(path, json=body, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            found: dict[str, str] = await answer.json()
            return found

    def http(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(f"http://127.0.0.1:{self.port}")

    async def taken(self, http: aiohttp.ClientSession, count: int) -> None:
        """Returns once the providers took so many messages in all."""
        async with asyncio.timeout(60):
            while await self.total(http) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def total(self, http: aiohttp.ClientSession) -> int:
        return sum(provider["total"] for provider in (await self.providers.stats(http)).values())

    def stores(self) -> Stores:
        return Stores(self.installed.folder, database=self.database)

    async def sound(self) -> None:
        """The log verifies, and the views are what a replay of it gives."""
        more = settings_of(self.database) if self.database else {}
        for words in (("log", "verify"), ("views", "rebuild")):
            status, said, wrong = await fenghuo(*words, folder=self.installed.folder, **more)
            assert status == 0, (words, said, wrong)

    async def reached(self, warning_id: str) -> None:
        """Returns once everybody was sent to and all of it is on record."""
        async with self.stores() as stores, asyncio.timeout(90):
            while True:
                await stores.catch_up()
                with stores.views.reading() as db:
                    done = not stores.views.plans.pending(db) and not stores.views.deliveries.unfinished(db, warning_id)
                    counts = stores.views.deliveries.counts(db, warning_id)
                if done and sum(n for _, _, outcome, n in counts if outcome == Outcome.ACCEPTED) == PEOPLE:
                    return
                await asyncio.sleep(0.05)


@pytest.fixture(params=["files", "postgres"])
async def fleet(tmp_path: Path, providers: Sandbox, request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    database = None
    if request.param == "postgres":
        request.getfixturevalue("postgres")
        database = schema_of(tmp_path)
    installed = await install(tmp_path / "data", PEOPLE, channels=(Channel.SMS, Channel.EMAIL), database=database)
    made = Fleet(installed, providers, database)
    try:
        yield made
    finally:
        await made.stop()
    assert not [line for process in made.running for line in process.said if "Traceback" in line]


async def test_four_roles_share_an_installation_and_each_ends_well(fleet: Fleet) -> None:
    await asyncio.gather(
        fleet.start("project"),
        fleet.start("relay"),
        fleet.start("serve"),
        fleet.start("work", "--lane", "extreme", "--name", "first"),
        fleet.start("work", "--lane", "high", "--lane", "normal", "--lane", "drill", "--name", "second"),
    )
    async with fleet.http() as http:
        warning_id = await fleet.warn(http)
        await fleet.reached(warning_id)
        assert await fleet.total(http) == PEOPLE
        for process in fleet.running:
            port = next(line for line in process.said if " at http" in line).rpartition(":")[2]
            async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                assert answer.status == 200, await answer.text()
    assert await asyncio.gather(*[process.stop(ENDED_S) for process in fleet.running]) == [0] * 5
    await fleet.sound()


async def test_who_stands_by_takes_over_from_who_was_killed(fleet: Fleet) -> None:
    active = await asyncio.gather(fleet.start("project"), fleet.start("relay"))
    for process in active:
        await process.says("active")
    *waiting, _, _ = await asyncio.gather(
        fleet.start("project"), fleet.start("relay"), fleet.start("serve"), fleet.start("work", "--name", "one")
    )
    for process in waiting:
        await process.says("standing_by")
    async with fleet.http() as http:
        await fleet.reached(await fleet.warn(http))
        for process in active:
            await process.kill()
        for process in waiting:
            await process.says("taken_over", TAKE_OVER_S)
        await fleet.reached(await fleet.warn(http))
        assert await fleet.total(http) == 2 * PEOPLE
    assert await asyncio.gather(*[process.stop(ENDED_S) for process in fleet.running[2:]]) == [0] * 4
    await fleet.sound()


@pytest.mark.parametrize("fleet", ["files"], indirect=True)  # on a database: tests/scale
async def test_a_worker_that_was_killed_goes_on_where_it_was(fleet: Fleet) -> None:
    *_, worker = await asyncio.gather(
        fleet.start("project"), fleet.start("relay"), fleet.start("serve"), fleet.start("work", "--name", "one")
    )
    async with fleet.http() as http:
        warning_id = await fleet.warn(http)
        await fleet.taken(http, PEOPLE // 10)
        await worker.kill()
        await fleet.start("work", "--name", "one")
        await fleet.reached(warning_id)
        total = await fleet.total(http)
    async with fleet.stores() as stores:
        rows = [
            row for r in await stores.log.read(0, 100_000) if isinstance(r.event, ChunkRecorded) for row in r.event.rows
        ]
    outcomes = Counter(row.outcome for row in rows)
    assert total <= PEOPLE + outcomes[Outcome.UNKNOWN], "a repeat is explained in the log"
    others = [process for process in fleet.running if process is not worker]
    assert await asyncio.gather(*[process.stop(ENDED_S) for process in others]) == [0] * 4
    await fleet.sound()


async def test_two_workers_of_one_name_are_one_too_many(fleet: Fleet) -> None:
    await fleet.start("work", "--name", "one")
    settings = {
        **(settings_of(fleet.database) if fleet.database else {}),
        "FENGHUO_DATA_DIR": str(fleet.installed.folder),
        "FENGHUO_PUBLIC_URL": "http://127.0.0.1:1",
    }
    other = await Serve.start(settings, "--name", "one", role="work")
    assert await other.wait() == 4
    assert len(other.said) == 1, other.said
    assert "runtime.running" in other.said[0]


async def test_a_worker_without_the_address_of_the_api_is_told_so(tmp_path: Path) -> None:
    status, _, said = await fenghuo("work", "--name", "one", folder=tmp_path / "data")
    assert (status, said.count("\n")) == (2, 1)
    assert "config.public_url" in said
