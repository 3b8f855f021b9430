"""An upgrade that rolls: processes of two versions on one installation, the newer of which knows two events more.

The newer program is the same one, started by `tests/ops/newer.py`. What it would write is written here by the log's own
recorder, so that the moment is known.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import structlog
from eventsourcing.persistence import StoredEvent
from prometheus_client.parser import text_string_to_metric_families

from domain.events import Event, Metadata, Recorded
from domain.ids import shard_stream, warning_stream
from domain.outcomes import Outcome
from domain.people import Channel
from domain.rulepacks import Lane
from domain.shards import Circle, Purpose, ShardLeased, ShardPlanned
from infra.config import DatabaseConfig
from infra.stores import Stores
from tests.flow.terminal import Ran, fenghuo, refused
from tests.ports import free_port
from tests.postgres_part import environment as settings_of
from tests.postgres_part import schema_of

from .installation import Installation, draft, install
from .process import FENGHUO, Serve, sandbox

pytestmark = pytest.mark.timeout(300)

OLD = (FENGHUO,)
NEW = (sys.executable, "-m", "tests.ops.newer")


class Rolling:
    """An installation on PostgreSQL and its processes of either version."""

    def __init__(self, installed: Installation, database: DatabaseConfig, settings: dict[str, str]) -> None:
        self.installed, self.database, self.settings = installed, database, settings
        self.running: list[Serve] = []
        self.http = aiohttp.ClientSession(headers={"Authorization": f"Bearer {installed.tokens[0]}"})

    async def start(self, program: tuple[str, ...], role: str, *options: str) -> tuple[Serve, str]:
        """A process that is up, and where it answers."""
        port = free_port()
        settings = {
            **self.settings,
            **settings_of(self.database),
            "FENGHUO_DATA_DIR": str(self.installed.folder),
            "FENGHUO_PORT": str(port),
            "FENGHUO_METRICS_PORT": str(port),
            "FENGHUO_PUBLIC_URL": "http://127.0.0.1:1",
        }
        process = await Serve.start(settings, *options, role=role, program=program)
        self.running.append(process)
        await process.up()
        return process, f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        await self.http.close()
        for process in self.running:
            await process.kill()

    async def get(self, url: str) -> tuple[int, Any]:
        async with self.http.get(url) as answer:
            return answer.status, await answer.json()

    async def post(self, url: str, body: object, officer: int = 0) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.installed.tokens[officer]}"}
        async with self.http.post(url, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def metrics(self, url: str) -> dict[str, float]:
        async with self.http.get(f"{url}/metrics") as answer:
            families = text_string_to_metric_families(await answer.text())
            return {sample.name: sample.value for family in families for sample in family.samples}

    async def cli(self, *words: str) -> Ran:
        """A command of the old version."""
        with structlog.testing.capture_logs():
            settings = settings_of(self.database)
            return await asyncio.to_thread(fenghuo, *words, folder=self.installed.folder, env=settings)


def stored(stores: Stores, stream: str, version: int, event: Event) -> StoredEvent:
    meta = Metadata(event_id=f"{stream}-{version}", recorded_at=datetime.now(UTC), actor="ann", correlation_id="c1")
    return stores.log.mapper.to_stored_event(Recorded(stream, version, meta, event))


def newer(stream: str, version: int, topic: str, **data: object) -> StoredEvent:
    """An event as the newer program stores it."""
    meta = {"event_id": f"new-{stream}", "recorded_at": datetime.now(UTC), "actor": "ann", "correlation_id": "c1"}
    return StoredEvent(stream, version, topic, msgspec.json.encode({"meta": meta, "data": data}))


def shard(shard_id: str, warning_id: str, person_id: str) -> ShardPlanned:
    return ShardPlanned(
        shard_id=shard_id,
        warning_id=warning_id,
        node_id="milan",
        channel=Channel.SMS,
        language="zh",
        circle=Circle.PEOPLE,
        purpose=Purpose.NOTICE,
        lane=Lane.EXTREME,
        valid_until=datetime.now(UTC) + timedelta(hours=1),
        recipients=(person_id,),
    )


@pytest.fixture
async def rolling(tmp_path: Path, postgres: object) -> AsyncIterator[Rolling]:
    database = schema_of(tmp_path)
    installed = await install(tmp_path / "data", 4, channels=(Channel.SMS,), database=database)
    async with sandbox("--count", "--no-callbacks") as providers:
        made = Rolling(installed, database, providers.settings())
        try:
            yield made
        finally:
            await made.stop()
    assert not [line for process in made.running for line in process.said if "Traceback" in line]


async def until(condition: Any, within_s: float = 40) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110  the programs are other processes
            await asyncio.sleep(0.1)


def count(process: Serve, word: str) -> int:
    return sum(word in line for line in process.said)


async def test_an_event_that_the_old_version_does_not_know_is_parked_until_the_new_one_takes_over(
    rolling: Rolling,
) -> None:
    _, serve = await rolling.start(OLD, "serve")  # the first one alone: it compiles for all others
    (project, project_at), (worker, _) = await asyncio.gather(
        rolling.start(OLD, "project"), rolling.start(OLD, "work", "--name", "old")
    )
    _, known = await rolling.post(f"{serve}/v1/warnings", draft())
    warning_id, known_at = known["id"], f"/v1/warnings/{known['id']}"
    stream, remark, first, second = warning_stream(warning_id), {"remark": "!"}, "a" * 32, "b" * 32
    async with Stores(rolling.installed.folder, database=rolling.database) as stores:
        last_known = await stores.log.last_position() + 2
        written = [
            stored(stores, shard_stream(first), 1, shard(first, warning_id, "person-00000")),
            stored(stores, shard_stream(second), 1, shard(second, warning_id, "person-00001")),
            newer(shard_stream(second), 2, "shard.annotated.v1", shard_id=second, **remark),
            newer(stream, 2, "warning.annotated.v1", warning_id=warning_id, **remark),
        ]
        stores.log.recorder.insert_events(written)

        async def sent() -> set[str]:
            with stores.views.reading() as db:
                rows = stores.views.deliveries.page(db, warning_id, after=("", -1), limit=9)
            return {row["person_id"] for row in rows if row["outcome"] == Outcome.ACCEPTED}

        # The views stop there and say so; what was before is read, and what is about it refused.
        await project.says("views_parked")
        said = {"position": last_known + 1, "topic": "shard.annotated.v1", "code": "log.unknown_event"}

        async def parked() -> bool:
            status, ready = await rolling.get(f"{serve}/readyz")
            return (status, ready["ready"], ready.get("parked")) == (200, True, said)

        await until(parked)
        assert (await rolling.metrics(project_at))["fenghuo_views_parked"] == 1
        status, page = await rolling.get(f"{serve}{known_at}")
        assert (status, page["status"]) == (200, "draft")
        status, problem = await rolling.post(f"{serve}{known_at}/release", {}, officer=1)
        assert (status, problem["code"]) == (503, "log.unknown_event")
        told = (await rolling.cli("status", "--json")).json
        assert (told["views_position"], told["parked"]["position"]) == (last_known, last_known + 1)
        assert told["parked"]["topic"] == said["topic"]
        refused(await rolling.cli("log", "verify"), 1, "log.unknown_event")
        refused(await rolling.cli("replay", "--at", str(last_known + 1)), 1, "log.unknown_event")
        assert (await rolling.cli("replay", "--at", str(last_known), "--json")).json["position"] == last_known

        # The new version is started, is left the lock, and goes on from there; the old processes see it.
        _, new = await rolling.start(NEW, "all")

        async def caught_up() -> bool:
            return (await rolling.get(f"{serve}/readyz"))[1] == {"ready": True, "lag": 0}

        await until(caught_up)
        assert (await rolling.metrics(new))["fenghuo_views_parked"] == 0
        status, problem = await rolling.post(f"{serve}{known_at}/release", {}, officer=1)
        assert (status, problem["code"]) == (503, "log.unknown_event"), "it still cannot know what that means"
        status, _ = await rolling.post(f"{new}{known_at}/release", {}, officer=1)
        assert status == 200

        # The old worker sent what it knows and left the rest to the new one.
        async def both() -> bool:
            return await sent() >= {"person-00000", "person-00001"}

        await until(both)
        rows = [r.event for r in stores.log.stream(shard_stream(first))]
        assert [event.worker for event in rows if isinstance(event, ShardLeased)] == ["old"]
    assert (count(worker, "event_unknown"), count(worker, "shard_failed")) == (1, 0), worker.said
    assert (count(project, "event_unknown"), count(project, "views_parked")) == (1, 1), project.said
    assert await asyncio.gather(*[process.stop(30) for process in rolling.running]) == [0] * len(rolling.running)
