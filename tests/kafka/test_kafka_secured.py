"""TLS and SASL to the brokers: what the settings of docs/feed.md give, and what is said where they are wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from infra.kafka.clients import ensured, producer, whole
from infra.kafka.feed import FeedRelay
from infra.kafka.settings import KafkaConfig
from tests.contracts.authority import Authority
from tests.engine.house import stores
from tests.flow.terminal import fenghuo, refused
from tests.kafka.brokers import Cluster, Guard
from tests.kafka.conftest import config, made
from tests.kafka.meant import Meant

USER, PASSWORD = "fenghuo", "whisper-9f3a"
SENT = [f"message {n}".encode() for n in range(3)]


class Secured:
    """A broker that is reached by TLS and a password alone, and whom to trust."""

    def __init__(self, folder: Path) -> None:
        self.trusted, self.stranger = Authority(folder, "ours"), Authority(folder, "stranger")
        certificate, key = self.trusted.signed()
        pem = folder / "broker.pem"
        pem.write_bytes(key.read_bytes() + certificate.read_bytes())
        self.cluster: Cluster = made(1, guarded=Guard(pem, USER, PASSWORD))
        self.prefix = config("none:1").topic_prefix

    def settings(self, **more: str) -> dict[str, str]:
        """As an operator writes them, in the environment."""
        said = {
            "bootstrap": self.cluster.secured,
            "security": "SASL_SSL",
            "username": USER,
            "password": PASSWORD,
            "ca_file": str(self.trusted.file),
            "topic_prefix": self.prefix,
            "request_timeout_s": "5",
            **more,
        }
        return {f"FENGHUO_KAFKA__{name.upper()}": value for name, value in said.items()}

    def config(self, **more: str) -> KafkaConfig:
        return KafkaConfig.model_validate(
            {name.removeprefix("FENGHUO_KAFKA__").lower(): value for name, value in self.settings(**more).items()}
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    there = Secured(tmp_path_factory.mktemp("secured"))
    try:
        there.cluster.start()
        yield there
    finally:
        there.cluster.stop()


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
