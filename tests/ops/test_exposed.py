"""The small server of processes that serve no API: alive or not, and what they count."""

from __future__ import annotations

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from domain.errors import Unreachable
from infra.config import Settings
from infra.exposed import exposed


async def test_a_process_says_how_it_is_and_what_it_counts() -> None:
    registry = CollectorRegistry()
    Counter("things_total", "Things", registry=registry).inc(3)
    well = True
    async with (
        exposed(Settings(metrics_port=0), registry, lambda: well) as url,
        aiohttp.ClientSession(url) as http,
    ):
        async with http.get("/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            assert "things_total 3.0" in await answer.text()
        async with http.get("/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"alive": True})
        well = False
        async with http.get("/healthz") as answer:
            assert (answer.status, await answer.json()) == (503, {"alive": False})
        taken = int(url.rpartition(":")[2])
        with pytest.raises(Unreachable) as said:
            async with exposed(Settings(metrics_port=taken), registry, lambda: True):
                raise AssertionError("not reached")
        assert said.value.code == "metrics.port"


async def test_without_a_port_there_is_none() -> None:
    async with exposed(Settings(), CollectorRegistry(), lambda: True) as url:
        assert url == ""
