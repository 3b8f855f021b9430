"""What waits in Kafka, as `fenghuo status` and the metrics say it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from prometheus_client.core import Metric

from domain.rulepacks import LANES, Lane
from infra.gauges import StateCollector
from infra.kafka.clients import ensured, producer
from infra.kafka.dead import COMPACT
from infra.kafka.messages import Letter, encode
from infra.kafka.settings import KafkaConfig
from infra.kafka.state import KafkaState, KafkaWatch, measure
from infra.roles import Role
from infra.runtime import Runtime
from infra.stores import Stores
from tests.engine.house import NOW
from tests.flow.terminal import Ran, fenghuo
from tests.kafka.fleet import fleet
from tests.kafka.meant import Meant


def of(state: KafkaState, lane: Lane = Lane.NORMAL) -> tuple[int, int]:
    (found,) = [one for one in state.lanes if one.lane is lane]
    return found.lag, found.workers


async def becomes(kafka: KafkaConfig, lag: int, workers: int) -> KafkaState:
    async with asyncio.timeout(30):
        while of(state := await measure(kafka)) != (lag, workers):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return state


async def test_what_was_announced_waits_until_a_worker_is_done_with_it(tmp_path: Path, kafka: KafkaConfig) -> None:
    # Given shards that are announced, and nobody who takes them
    async with fleet(tmp_path, kafka) as f:
        f.relay()
        shards = await f.plan(4)
        state = await becomes(kafka, lag=4, workers=0)
        assert of(state, Lane.EXTREME) == (0, 0)
        assert (state.feed_position, state.dead_letters) == (0, 0)
        # When a worker joins
        f.join("one")
        await f.all_done(shards)
        # Then nothing waits, and it is counted
        state = await becomes(kafka, lag=0, workers=1)
        assert of(state, Lane.DRILL) == (0, 0)


async def test_letters_that_were_laid_aside_are_counted_until_they_are_taken_back(kafka: KafkaConfig) -> None:
    await ensured(kafka, {kafka.dead: COMPACT}, 1)
    async with producer(kafka) as sending:
        for name in (b"one", b"two"):
            letter = Letter(letter_id=name.decode(), lane=Lane.HIGH, reason="odd", at=NOW, body=b"")
            await sending.send_and_wait(kafka.dead, encode(letter), key=name)
        assert (await measure(kafka)).dead_letters == 2
        await sending.send_and_wait(kafka.dead, None, key=b"two")
    assert (await measure(kafka)).dead_letters == 1


def samples(metrics: list[Metric]) -> dict[str, float]:
    return {
        "/".join([sample.name, *sample.labels.values()]): sample.value
        for metric in metrics
        for sample in metric.samples
        if sample.name.startswith("fenghuo_kafka")
    }


async def test_the_process_that_announces_shows_it_to_prometheus_and_no_other(
    tmp_path: Path, kafka: KafkaConfig, meant: Meant
) -> None:
    async with Stores(tmp_path) as stores:
        runtime = Runtime(stores, {}, "https://warn.example", kafka=kafka, role=Role.RELAY)
        collector = StateCollector(stores, runtime)
        assert samples(list(collector.collect())) == {}, "who is not active says nothing of Kafka"
        assert runtime.kafka_watch is not None
        watching = asyncio.create_task(runtime.kafka_watch.run())
        try:
            async with asyncio.timeout(30):
                while runtime.kafka_watch.latest is None:  # noqa: ASYNC110  brokers answer when they do
                    await asyncio.sleep(0.05)
            found = samples(list(collector.collect()))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        assert found == {
            "fenghuo_kafka_readable": 1,
            **{f"fenghuo_kafka_lane_lag/{lane.value}": 0 for lane in LANES},
            **{f"fenghuo_kafka_lane_workers/{lane.value}": 0 for lane in LANES},
            "fenghuo_kafka_feed_position": 0,
            "fenghuo_kafka_feed_lag_events": 0,
            "fenghuo_kafka_dead_letters": 0,
        }
        assert samples(list(collector.collect())) == {}

        runtime.kafka_watch = KafkaWatch(kafka)
        runtime.kafka_watch.running = True  # it has asked, and nobody answered
        assert samples(list(collector.collect())) == {"fenghuo_kafka_readable": 0}


def ran(folder: Path, kafka: KafkaConfig, *arguments: str) -> Ran:
    env = {
        "FENGHUO_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "FENGHUO_KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
        "FENGHUO_KAFKA__REQUEST_TIMEOUT_S": "3",
    }
    return fenghuo("status", *arguments, folder=folder, env=env)


def test_status_shows_the_lanes_and_says_where_the_brokers_do_not_answer(tmp_path: Path, kafka: KafkaConfig) -> None:
    async def made() -> None:
        async with Stores(tmp_path):
            pass

    asyncio.run(made())
    said = ran(tmp_path, kafka, "--json").json["kafka"]
    lanes = [{"lane": lane.value, "lag": 0, "workers": 0} for lane in LANES]
    assert said["dead_letters"] == said["feed_position"] == 0
    assert sorted(said["lanes"], key=lambda row: row["lane"]) == sorted(lanes, key=lambda row: row["lane"])
    assert "Kafka 通道 lane extreme: 未确认 lag 0, 工作进程 workers 0" in ran(tmp_path, kafka).out

    nowhere = KafkaConfig(bootstrap="127.0.0.1:1")
    lost = ran(tmp_path, nowhere, "--json")
    assert (lost.status, lost.json["position"]) == (0, 0), "the rest is shown all the same"
    assert lost.json["kafka"] == {"error": "kafka.unreachable"}
    assert "no answer (kafka.unreachable)" in ran(tmp_path, nowhere).out
    assert "kafka" not in fenghuo("status", "--json", folder=tmp_path).json
