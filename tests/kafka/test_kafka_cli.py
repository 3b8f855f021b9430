"""`fenghuo dead`, and the settings of Kafka."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError

from domain.errors import InvalidInput
from domain.rulepacks import Lane
from infra.config import load
from infra.kafka import dead
from infra.kafka.clients import ensured, producer, whole
from infra.kafka.messages import Due, Letter, encode, read_due
from infra.kafka.settings import KafkaConfig
from tests.engine.house import NOW, SMS
from tests.flow.terminal import Ran, fenghuo, refused

SHARD = "5" * 32


def ran(kafka: KafkaConfig, *arguments: str) -> Ran:
    env = {
        "FENGHUO_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "FENGHUO_KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
        "FENGHUO_KAFKA__REQUEST_TIMEOUT_S": "3",
    }
    return fenghuo("dead", *arguments, env=env)


async def laid_aside(config: KafkaConfig) -> None:
    await ensured(config, {config.lane(lane): {} for lane in (Lane.HIGH, Lane.DRILL)}, 1)
    await ensured(config, {config.dead: dead.COMPACT}, 1)
    due = Due(SHARD, Lane.HIGH, SMS, 12, failures=5)
    failed = Letter(
        letter_id=SHARD,
        lane=Lane.HIGH,
        reason="RuntimeError after 5 tries",
        at=NOW,
        body=encode(due),
        shard_id=SHARD,
        position=12,
        failures=5,
    )
    odd = Letter(letter_id="drill-0-7", lane=Lane.DRILL, reason="It cannot be read", at=NOW, body=b"\xff?")
    async with producer(config) as sending:
        for letter in (failed, odd):
            await sending.send_and_wait(config.dead, encode(letter), key=letter.letter_id.encode())


def test_dead_letters_are_listed_and_re_driven(kafka):
    asyncio.run(laid_aside(kafka))
    listed = ran(kafka, "list", "--json")
    assert (listed.status, {row["id"] for row in listed.json}) == (0, {SHARD, "drill-0-7"})
    (row,) = [row for row in listed.json if row["id"] == SHARD]
    assert row == {
        "id": SHARD,
        "lane": "high",
        "reason": "RuntimeError after 5 tries",
        "at": "2026-07-01T08:00:00Z",
        "shard_id": SHARD,
        "position": 12,
        "failures": 5,
    }
    assert "RuntimeError after 5 tries" in ran(kafka, "list").out

    done = ran(kafka, "redrive", SHARD, "--json")
    assert [letter["id"] for letter in done.json["redriven"]] == [SHARD]
    (record,) = asyncio.run(whole(kafka, kafka.lane(Lane.HIGH)))
    assert (record.key, read_due(record.value)) == (SHARD.encode(), Due(SHARD, Lane.HIGH, SMS, 12))
    assert [row["id"] for row in ran(kafka, "list", "--json").json] == ["drill-0-7"]

    assert ran(kafka, "redrive", "--all").status == 0
    (record,) = asyncio.run(whole(kafka, kafka.lane(Lane.DRILL)))
    assert record.value == b"\xff?"
    assert ran(kafka, "list").out == "Nothing was laid aside.\n"


async def put(config: KafkaConfig, *messages: tuple[bytes, bytes]) -> None:
    async with producer(config) as sending:
        for key, value in messages:
            await sending.send_and_wait(config.dead, value, key=key)


def test_a_letter_that_cannot_be_read_is_listed_and_stays_and_hides_no_other(kafka):
    asyncio.run(laid_aside(kafka))
    asyncio.run(put(kafka, (b"of-a-newer", b'{"lane":"lunar"}'), (b"\xff", b"\xff")))
    listed = ran(kafka, "list", "--json")
    assert listed.status == 0
    odd = {row["id"] for row in listed.json if row["lane"] is None}
    assert odd == {"of-a-newer", "\ufffd"}
    assert {row["id"] for row in listed.json} - odd == {SHARD, "drill-0-7"}
    assert ran(kafka, "list").out.count("This letter itself cannot be read.") == 2
    refused(ran(kafka, "redrive", "of-a-newer"), 1, "dead.unreadable")
    assert len(ran(kafka, "redrive", "--all", "--json").json["redriven"]) == 2
    assert {row["id"] for row in ran(kafka, "list", "--json").json} == odd


async def test_who_watches_the_letters_goes_on_after_one_that_cannot_be_read(kafka):
    await laid_aside(kafka)
    await put(kafka, (b"of-a-newer", b'{"lane":"lunar"}'))
    watch = dead.DeadWatch(kafka)
    task = asyncio.create_task(watch.run())
    async with asyncio.timeout(30):
        await watch.loaded.wait()
    assert watch.holds(Due(SHARD, Lane.HIGH, SMS, 12))
    assert not watch.holds(Due("of-a-newer", Lane.HIGH, SMS, 12))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_what_is_not_there_is_said_in_one_line(kafka):
    assert ran(kafka, "list").out == "Nothing was laid aside.\n"
    refused(ran(kafka, "redrive", "nothing"), 1, "dead.unknown")
    refused(ran(kafka, "redrive"), 2, "dead.which")
    refused(ran(kafka, "redrive", "one", "--all"), 2, "dead.which")
    refused(fenghuo("dead", "list"), 2, "kafka.none")


def test_brokers_that_cannot_be_reached_are_status_4():
    nowhere = KafkaConfig(bootstrap="127.0.0.1:1", request_timeout_s=1)
    refused(ran(nowhere, "list"), 4, "kafka.unreachable")


def test_the_settings_name_topics_and_groups(monkeypatch):
    monkeypatch.setenv("FENGHUO_KAFKA__BOOTSTRAP", "a.example:9092,b.example:9092")
    monkeypatch.setenv("FENGHUO_KAFKA__TOPIC_PREFIX", "wenzhou")
    monkeypatch.setenv("FENGHUO_KAFKA__MEMBER", "worker-3")
    config = load().kafka
    assert config is not None
    assert (config.feed, config.lane(Lane.EXTREME), config.dead) == (
        "wenzhou.feed",
        "wenzhou.dispatch.extreme",
        "wenzhou.dispatch.dead",
    )
    assert (config.group(Lane.EXTREME), config.named) == ("wenzhou-work-extreme", "worker-3")


def test_a_password_comes_from_a_file_and_is_in_no_repr(monkeypatch, tmp_path):
    (tmp_path / "password").write_text("whisper\n")
    monkeypatch.setenv("FENGHUO_KAFKA__BOOTSTRAP", "a.example:9093")
    monkeypatch.setenv("FENGHUO_KAFKA__SECURITY", "SASL_SSL")
    monkeypatch.setenv("FENGHUO_KAFKA__USERNAME", "fenghuo")
    monkeypatch.setenv("FENGHUO_KAFKA__PASSWORD_FILE", str(tmp_path / "password"))
    config = load().kafka
    assert config is not None
    assert config.password.get_secret_value() == "whisper"
    assert "whisper" not in repr(config)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bootstrap": "no port"},
        {"bootstrap": "a.example:9092,"},
        {"bootstrap": "a.example:9092", "topic_prefix": "a/b"},
        {"bootstrap": "a.example:9092", "security": "SASL_SSL"},
        {"bootstrap": "a.example:9092", "held": 0},
    ],
)
def test_settings_that_cannot_hold_are_refused(wrong):
    with pytest.raises(ValidationError):
        KafkaConfig.model_validate(wrong)


async def test_a_file_of_certificates_that_is_not_there_is_said_so():
    config = KafkaConfig(bootstrap="a.example:9093", security="SSL", ca_file="/nowhere/ca.pem")
    with pytest.raises(InvalidInput) as refusal:
        await whole(config, config.dead)
    assert refusal.value.code == "kafka.ca_file"
