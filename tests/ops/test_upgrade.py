"""An upgrade that rolls: processes of two versions on one installation, the newer of which knows two events more.

The newer program is the same one, started by `tests/ops/newer.py`. What it would write is written here by the log's own
recorder, so that the moment is known.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from eventsourcing.persistence import StoredEvent
from prometheus_client.parser import text_string_to_metric_families

from domain.ids import shard_stream, warning_stream
from domain.outcomes import Outcome
from domain.people import Channel
from domain.ports import Append, Origin
from domain.rulepacks import Lane
from domain.shards import Circle, Purpose, ShardPlanned
from infra.config import DatabaseConfig
from infra.runtime import Stores
from tests.postgres_part import environment as settings_of
from tests.postgres_part import schema_of

from .installation import Installation, draft, install
from .process import FENGHUO, Serve, fenghuo, free_port, sandbox

pytestmark = pytest.mark.timeout(300)

OLD = (FENGHUO,)
NEW = (sys.executable, "-m", "tests.ops.newer")
ORIGIN = Origin(actor="system:test", correlation_id="test")


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

    async def cli(self, *words: str) -> tuple[int, str, str]:
        return await fenghuo(*words, folder=self.installed.folder, **settings_of(self.database))


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
    (project, project_at), (_, serve), (worker, _) = await asyncio.gather(
        rolling.start(OLD, "project"), rolling.start(OLD, "serve"), rolling.start(OLD, "work", "--name", "old")
    )
    _, known = await rolling.post(f"{serve}/v1/warnings", draft())
    _, other = await rolling.post(f"{serve}/v1/warnings", draft("台风"))
    known_at = f"{serve}/v1/warnings/{known['id']}"
    async with Stores(rolling.installed.folder, database=rolling.database) as stores:
        before = await stores.log.last_position()
        remark = newer(warning_stream(known["id"]), 2, "warning.annotated.v1", warning_id=known["id"], remark="!")
        stores.log.recorder.insert_events([remark])
        later = [shard("a" * 32, other["id"], "person-00000"), shard("b" * 32, other["id"], "person-00001")]
        await stores.log.append([Append(shard_stream(s.shard_id), 0, [s]) for s in later], ORIGIN)
        more = newer(shard_stream("b" * 32), 2, "shard.annotated.v1", shard_id="b" * 32, remark="!")
        stores.log.recorder.insert_events([more])
        end = await stores.log.last_position()

    # It stops there, says so, and goes on answering as of that position.
    await project.says("views_parked")
    said = {"position": before + 1, "topic": "warning.annotated.v1", "code": "log.unknown_event"}
    assert await rolling.get(f"{serve}/readyz") == (200, {"ready": True, "lag": end - before, "parked": said})
    assert (await rolling.metrics(project_at))["fenghuo_views_parked"] == 1
    status, out, _ = await rolling.cli("status", "--json")
    state = json.loads(out)
    assert (status, state["views_position"], state["parked"]["position"]) == (0, before, before + 1)
    assert state["parked"]["topic"] == said["topic"]
    code, page = await rolling.get(known_at)
    assert (code, page["status"]) == (200, "draft")
    code, problem = await rolling.post(f"{known_at}/release", {}, officer=1)
    assert (code, problem["code"]) == (503, "log.unknown_event")
    status, _, err = await rolling.cli("log", "verify")
    assert (status, err.strip().splitlines()[-1].endswith("[log.unknown_event]")) == (1, True), err
    status, _, err = await rolling.cli("replay", "--at", str(before), "--json")
    assert status == 0, err

    # The new version starts, is offered the lock, and goes on from there.
    (_, new_at), (_, new_serve) = await asyncio.gather(rolling.start(NEW, "project"), rolling.start(NEW, "serve"))
    await rolling.running[-2].says("taken_over") if count(rolling.running[-2], "standing_by") else None

    async def caught_up() -> bool:
        return (await rolling.get(f"{serve}/readyz"))[1] == {"ready": True, "lag": 0}

    await until(caught_up)
    assert (await rolling.metrics(new_at))["fenghuo_views_parked"] == 0
    code, problem = await rolling.post(f"{known_at}/release", {}, officer=1)
    assert (code, problem["code"]) == (503, "log.unknown_event"), "the old one still cannot know what it means"
    code, _ = await rolling.post(f"{new_serve}/v1/warnings/{known['id']}/release", {}, officer=1)
    assert code == 200

    # The old worker sends what it knows and leaves the rest to a new one.
    async def sent() -> set[str]:
        async with Stores(rolling.installed.folder, database=rolling.database) as stores:
            found: set[str] = set()
            with stores.views.reading() as db:
                for row in stores.views.deliveries.page(db, other["id"], after=("", -1), limit=9):
                    if row["outcome"] == Outcome.ACCEPTED:
                        found.add(row["person_id"])
            return found

    async def first() -> bool:
        return await sent() == {"person-00000"}

    async def both() -> bool:
        return await sent() == {"person-00000", "person-00001"}

    await until(first)
    await worker.says("shard.annotated.v1")
    await rolling.start(NEW, "work", "--name", "new")
    await until(both)
    assert (count(worker, "event_unknown"), count(worker, "shard_failed")) == (1, 0), worker.said
    assert (count(project, "event_unknown"), count(project, "views_parked")) == (1, 1), project.said
    assert await asyncio.gather(*[process.stop(30) for process in rolling.running]) == [0] * len(rolling.running)
