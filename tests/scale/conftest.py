"""One crew for the tests of a module, with what it runs on; `FENGHUO_SOAK` makes that three brokers instead of one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests import postgres_part
from tests.kafka.brokers import Cluster
from tests.kafka.conftest import had
from tests.ports import free_port
from tests.postgres_part import Server
from tests.scale.crew import SERVICES, Crew
from tests.scale.crew import crew as running
from tests.scale.network import Absent, Network

SOAK = bool(os.environ.get("FENGHUO_SOAK"))


@pytest.fixture(scope="module")
def network() -> Iterator[Network | None]:
    """None where there can be none: the tests that cut something off say so."""
    try:
        found = Network(("relay", "worker"), SERVICES)
    except Absent as absent:
        print(absent)
        yield None
        return
    try:
        yield found
    finally:
        found.remove()


@pytest.fixture(scope="module")
def database(network: Network | None) -> Iterator[Server]:
    host = "127.0.0.1" if network is None else network.addresses["database"]
    try:
        server = Server(address=(host, free_port(host)))
    except (postgres_part.Absent, OSError, AssertionError) as error:
        postgres_part.absent(error)
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def brokers(network: Network | None) -> Iterator[Cluster]:
    host = "127.0.0.1" if network is None else network.addresses["brokers"]
    cluster = had(lambda: Cluster(3 if SOAK else 1, host))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crew(
    tmp_path_factory: pytest.TempPathFactory, database: Server, brokers: Cluster, network: Network | None
) -> AsyncIterator[Crew]:
    async with running(tmp_path_factory.mktemp("crew") / "data", database, brokers, network) as found:
        yield found
    said = [line for process in found.ended for line in process.said]
    assert not [line for line in said if "Traceback" in line], said[-50:]


@pytest.fixture
def cuttable(network: Network | None) -> None:
    """For tests that cut a process off: fails under CI where that cannot be, and skips elsewhere."""
    if network is None:
        postgres_part.absent(Absent("no network namespaces can be made"))
