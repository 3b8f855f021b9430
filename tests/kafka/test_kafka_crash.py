"""`fenghuo serve` with its lanes and its feed on Kafka, killed in a fan-out: nobody left out, no repeat unexplained.

`FENGHUO_TEST_SEED` repeats a run's moments.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from pathlib import Path

import aiohttp
import pytest

from infra.kafka.clients import whole
from infra.kafka.settings import KafkaConfig
from tests.ops.fan_out import crashed, held, log_of, released, settled
from tests.ops.installation import install
from tests.ops.process import Serve, sandbox
from tests.ops.test_crash import Moments, reached, subscribed
from tests.ports import free_port

KILLS = 5
PEOPLE = 600


@pytest.mark.timeout(400)
async def test_kills_in_a_fan_out_over_kafka(tmp_path: Path, kafka: KafkaConfig) -> None:
    seed = int(os.environ.get("FENGHUO_TEST_SEED") or secrets.randbelow(2**32))
    print(f"FENGHUO_TEST_SEED={seed}")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with sandbox("--count") as providers, aiohttp.ClientSession() as http:
        subscriptions = await subscribed(http, providers, PEOPLE // 5)
        installed = await install(tmp_path / "data", PEOPLE, subscribe=iter(subscriptions).__next__)
        settings = {
            **providers.settings(),
            "FENGHUO_DATA_DIR": str(installed.folder),
            "FENGHUO_PORT": str(port),
            "FENGHUO_PUBLIC_URL": url,
            "FENGHUO_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "FENGHUO_KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
            "FENGHUO_KAFKA__MEMBER": "worker-1",
            "FENGHUO_KAFKA__RESEND_S": "1",
        }
        program = await Serve.start(settings)
        try:
            await program.up()
            warning_id = await released(http, url, installed.tokens)
            for moment in Moments(seed, PEOPLE, KILLS).all:
                await reached(moment, program, http, providers)
                await program.kill()
                program = await Serve.start(settings)
            await program.up()
            await settled(http, url, installed.tokens[0], warning_id, PEOPLE)
            assert await program.stop() == 0, program.said
        finally:
            await program.kill()
        arrived = await providers.stats(http)
        program = await Serve.start(settings)  # what the last run had not published, this one does
        try:
            await program.up()
            events = await log_of(installed.folder)
            ids = {r.metadata.event_id for r in events}
            async with asyncio.timeout(60):
                while not ids <= (await _published(kafka)).keys():  # noqa: ASYNC110  the brokers are asked
                    await asyncio.sleep(0.2)
        finally:
            await program.stop()
    assert crashed(events), "no kill hit the sending: this run shows nothing"
    found = await _published(kafka)
    assert {r.metadata.event_id: r.position for r in events}.items() <= found.items()
    await held(installed, [warning_id], arrived)


async def _published(kafka: KafkaConfig) -> dict[str, int]:
    events = [json.loads(record.value) for record in await whole(kafka, kafka.feed)]
    return {event["id"]: int(event["sequence"]) for event in events}
