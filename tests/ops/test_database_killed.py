"""PostgreSQL is killed and started again in the middle of a fan-out; nobody is left out, and nothing accepted is lost.

`fenghuo serve` runs on it as a process of its own and keeps running; the providers are a process of their own.
`FENGHUO_TEST_SEED` repeats a run's moments.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from pathlib import Path
from random import Random

import aiohttp
import pytest
from pydantic import SecretStr

from domain.events import Recorded
from domain.outcomes import Outcome
from domain.people import Channel
from domain.shards import ChunkRecorded, ShardPlanned
from infra.config import DatabaseConfig
from infra.migrate import migrate
from infra.stores import Stores
from tests.postgres_part import Server
from tests.postgres_part import environment as settings_of

from .installation import OFFICERS, draft, install
from .process import FENGHUO, ROOT, Serve, environment, free_port, sandbox

PEOPLE = 1500
KILLS = 4
SETTLED_S = 150.0
PROVIDER = {Channel.SMS: "sms", Channel.EMAIL: "smtp"}


@pytest.mark.timeout(360)
async def test_the_database_is_killed_in_a_fan_out(own_server: Server, tmp_path: Path) -> None:
    seed = int(os.environ.get("FENGHUO_TEST_SEED") or secrets.randbelow(2**32))
    print(f"FENGHUO_TEST_SEED={seed}")
    dice = Random(seed)
    moments = sorted(dice.uniform(1, PEOPLE * 0.9) for _ in range(KILLS))
    migrate(own_server.url(), "city")
    config = DatabaseConfig(url=SecretStr(own_server.url()), db_schema="city")
    installed = await install(tmp_path / "data", PEOPLE, channels=(Channel.SMS, Channel.EMAIL), database=config)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with sandbox("--count") as providers, aiohttp.ClientSession() as http:
        settings = {
            **providers.settings(),
            **settings_of(config),
            "FENGHUO_DATA_DIR": str(installed.folder),
            "FENGHUO_PORT": str(port),
            "FENGHUO_PUBLIC_URL": url,
        }
        program = await Serve.start(settings)
        try:
            await program.up()
            warning_id = await _released(http, url, installed.tokens)
            for taken in moments:
                async with asyncio.timeout(SETTLED_S):
                    while sum(p["total"] for p in (await providers.stats(http)).values()) < taken:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                await asyncio.to_thread(own_server.kill)
                await asyncio.sleep(dice.uniform(0, 1.5))
                await asyncio.to_thread(own_server.start)
            await _settled(http, url, installed.tokens[0], warning_id)
            assert await program.stop() == 0, "\n".join(program.said[-20:])
        finally:
            await program.kill()
        arrived = await providers.stats(http)
    events: list[Recorded] = []
    async with Stores(installed.folder, database=config) as stores:
        while batch := await stores.log.read(events[-1].position if events else 0, 500):
            events += batch
    _nobody_is_left_out(events, warning_id, installed.addresses, arrived)
    done = await asyncio.create_subprocess_exec(
        FENGHUO,
        "log",
        "verify",
        cwd=ROOT,
        env=environment(FENGHUO_DATA_DIR=str(installed.folder), **settings_of(config)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await done.communicate()
    assert done.returncode == 0, said.decode()


async def _released(http: aiohttp.ClientSession, url: str, tokens: tuple[str, ...]) -> str:
    first, second = ({"Authorization": f"Bearer {token}"} for token in tokens)
    async with http.post(f"{url}/v1/warnings", json=draft(), headers=first) as answer:
        assert answer.status == 201, await answer.text()
        warning_id = str((await answer.json())["id"])
    async with http.post(f"{url}/v1/warnings/{warning_id}/release", json={}, headers=second) as answer:
        assert answer.status == 200, await answer.text()
    return warning_id


async def _settled(http: aiohttp.ClientSession, url: str, token: str, warning_id: str) -> None:
    """Returns once every delivery has an outcome that stands. While the database is away the answer is 503."""
    headers = {"Authorization": f"Bearer {token}"}
    async with asyncio.timeout(SETTLED_S):
        while True:
            outcomes: Counter[str] = Counter()
            after: str | None = ""
            while after is not None:
                query = {"limit": "1000", **({"after": after} if after else {})}
                path = f"{url}/v1/warnings/{warning_id}/deliveries"
                async with http.get(path, params=query, headers=headers) as answer:
                    assert answer.status in (200, 503), await answer.text()
                    if answer.status == 503:
                        break
                    page = await answer.json()
                outcomes.update(item["outcome"] for item in page["items"])
                after = page["next"]
            if outcomes["accepted"] + outcomes["delivered"] == PEOPLE:
                return
            await asyncio.sleep(0.5)


def _nobody_is_left_out(
    events: list[Recorded], warning_id: str, addresses: dict[str, tuple[Channel, str]], arrived: dict[str, dict]
) -> None:
    """Everybody got it, and whoever got it twice has a row that says that it was not known whether they had."""
    plans = {e.shard_id: e for r in events if isinstance(e := r.event, ShardPlanned) and e.warning_id == warning_id}
    assert sorted(person for plan in plans.values() for person in plan.recipients) == sorted(addresses)
    rows: dict[str, Counter[Outcome]] = {person_id: Counter() for person_id in addresses}
    for r in events:
        if isinstance(event := r.event, ChunkRecorded) and event.shard_id in plans:
            for row in event.rows:
                rows[plans[event.shard_id].recipients[row.index]][row.outcome] += 1
    repeats = 0
    for person_id, (channel, address) in addresses.items():
        came = arrived[PROVIDER[channel]]["recipients"].get(address, 0)
        kinds = rows[person_id]
        assert kinds[Outcome.ACCEPTED] == 1, (person_id, kinds)
        assert 1 <= came <= 1 + kinds[Outcome.UNKNOWN], (person_id, came, kinds)
        repeats += came - 1
    assert OFFICERS[0] not in rows
    print(f"{len(addresses)} people, {repeats} repeats")
