"""PostgreSQL is killed and started again in the middle of a fan-out; nobody is left out, and nothing accepted is lost.

`fenghuo serve` runs on it as a process of its own and keeps running; the providers are a process of their own.
`FENGHUO_TEST_SEED` repeats a run's moments.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path
from random import Random

import aiohttp
import pytest
from pydantic import SecretStr

from domain.people import Channel
from infra.config import DatabaseConfig
from infra.migrate import migrate
from tests.ports import free_port
from tests.postgres_part import Server
from tests.postgres_part import environment as settings_of

from .fan_out import held, released, settled, until_taken
from .installation import install
from .process import Serve, sandbox

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
            warning_id = await released(http, url, installed.tokens)
            for taken in moments:
                await until_taken(http, providers, taken)
                await asyncio.to_thread(own_server.kill)
                await asyncio.sleep(dice.uniform(0, 1.5))
                await asyncio.to_thread(own_server.start)
            await settled(http, url, installed.tokens[0], warning_id, PEOPLE)
            assert await program.stop() == 0, "\n".join(program.said[-20:])
        finally:
            await program.kill()
        arrived = await providers.stats(http)
    await held(installed, [warning_id], arrived, config)
