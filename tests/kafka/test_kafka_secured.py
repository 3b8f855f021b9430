"""TLS and SASL to the brokers: what the settings of docs/feed.md give, and what is said where they are wrong."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
import structlog

from infra.kafka.clients import ensured, producer, whole
from infra.kafka.feed import FeedRelay
from tests.engine.house import stores
from tests.flow.terminal import fenghuo, refused
from tests.kafka.meant import Meant
from tests.kafka.secured import PASSWORD, Secured

SENT = [f"message {n}".encode() for n in range(3)]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
async def test_what_is_sent_by_tls_and_a_password_arrives(secured: Secured, mechanism: str) -> None:
    kafka = secured.config(mechanism=mechanism, topic_prefix=f"sent-{mechanism}")
    await ensured(kafka, {kafka.feed: {}}, 1)
    async with producer(kafka) as sending:
        for value in SENT:
            await sending.send_and_wait(kafka.feed, value)
    assert [record.value for record in await whole(kafka, kafka.feed)] == SENT


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"password": "guessed-77aa"}, "kafka.credentials"),
        ({"password": "guessed-77aa", "mechanism": "PLAIN"}, "kafka.credentials"),
        ({"username": "nobody"}, "kafka.credentials"),
        ({"mechanism": "SCRAM-SHA-256"}, "kafka.mechanism"),
        ({"ca_file": "stranger"}, "kafka.certificate"),
        ({"ca_file": ""}, "kafka.certificate"),
        ({"security": "SASL_PLAINTEXT"}, "kafka.unreachable"),
        ({"security": "SSL"}, "kafka.unreachable"),
    ],
)
def test_what_is_wrong_is_named_in_one_line_and_no_secret_is_in_any(
    secured: Secured, wrong: dict[str, str], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    if wrong.get("ca_file"):
        wrong = {"ca_file": str(secured.stranger.file)}
    env = {name: value for name, value in secured.settings(**wrong).items() if value}
    with caplog.at_level(logging.DEBUG):
        ran = fenghuo("dead", "list", env=env)
    refused(ran, 4, code)
    for secret in (PASSWORD, "guessed-77aa"):
        assert secret not in ran.err + caplog.text
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_a_program_that_is_refused_says_so_in_its_lines_and_goes_on_trying(
    secured: Secured, meant: Meant, tmp_path: Path
) -> None:
    meant.events.add("feed_stopped")
    async with stores(tmp_path) as opened:
        relay = FeedRelay(opened.log, secured.config(password="guessed-77aa", topic_prefix="refused"))
        with structlog.testing.capture_logs() as lines:
            task = asyncio.create_task(relay.run())
            async with asyncio.timeout(20):
                while len(lines) < 2:  # noqa: ASYNC110  the broker is asked
                    await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert {(line["event"], line["code"]) for line in lines} == {("feed_stopped", "kafka.credentials")}
    assert not [line for line in lines if "guessed" in str(line)]
