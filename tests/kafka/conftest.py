"""Kafka for the tests: one broker, or three, for all tests of this process; each test has topics of its own.

`KAFKA_BOOTSTRAP` in the environment names a cluster to use instead of the one broker.
"""

from __future__ import annotations

import gc
import logging
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
import structlog

from infra.kafka.settings import KafkaConfig
from tests.kafka.brokers import Cluster, Missing
from tests.kafka.meant import Meant
from tests.kafka.secured import Secured

T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What `_left_open` is about may be noticed within a test as well."""
    for item in items:
        if item.path.parent.name == "kafka":
            for what in ("unclosed <socket", "unclosed transport"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{what}:ResourceWarning"))


@pytest.fixture(autouse=True)
def _left_open() -> Iterator[None]:
    """aiokafka 0.14 leaves a socket open where it is cancelled while it connects; no other test is to hear of it."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def _one(request: pytest.FixtureRequest) -> str:
    named = os.environ.get("KAFKA_BOOTSTRAP")
    found: str = named or request.getfixturevalue("secured").cluster.bootstrap
    return found


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The one broker, with what is needed to reach it by TLS and a password."""
    there = had(lambda: Secured(tmp_path_factory.mktemp("secured")))
    try:
        there.cluster.start()
        yield there
    finally:
        there.cluster.stop()


def had(make: Callable[[], T]) -> T:
    """What a test needs of Kafka; where it cannot be had, the test fails under CI and is skipped elsewhere."""
    try:
        return make()
    except Missing as missing:
        if os.environ.get("CI"):
            pytest.fail(f"Kafka is missing, and in CI nothing is skipped: {missing}")
        pytest.skip(f"Kafka is missing: {missing}")


@pytest.fixture
def kafka(_one: str) -> KafkaConfig:
    """Settings with topics that no other test has."""
    return config(_one)


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """One broker that a module may kill; it leaves it running."""
    yield from _running(1)


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    """Three brokers of which a module may kill some; it leaves them running."""
    yield from _running(3)


def _running(size: int) -> Iterator[Cluster]:
    cluster = had(lambda: Cluster(size))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def config(bootstrap: str, **more: object) -> KafkaConfig:
    fields: dict[str, object] = {
        "bootstrap": bootstrap,
        "topic_prefix": f"t{uuid.uuid4().hex[:10]}",
        "partitions": 3,
        "session_timeout_s": 2,
        "request_timeout_s": 5,
    }
    return KafkaConfig.model_validate({**fields, **more})


@pytest.fixture(autouse=True)
def meant(caplog: pytest.LogCaptureFixture) -> Iterator[Meant]:
    """An error that is logged and that the test did not announce fails it."""
    found = Meant()
    with structlog.testing.capture_logs() as lines:
        yield found
    ours = [line for line in lines if line["log_level"] in ("error", "critical") and line["event"] not in found.events]
    # The client library calls an error whatever makes it ask again; what comes of it for us, our own lines say.
    others = [r for r in caplog.get_records("call") if r.levelno >= logging.ERROR and not r.name.startswith("aiokafka")]
    said = [r.getMessage() for r in others]
    assert ours == [], ours
    assert [line for line in said if not line.startswith("Unclosed AIOKafka")] == []  # see `_left_open`
