"""Parts that tests of several folders share, and what keeps a test process from growing from module to module."""

from __future__ import annotations

from collections.abc import Iterator

import fastapi.dependencies.models as of_fastapi
import pytest

from infra import interpreter
from tests.postgres_part import own_server, postgres

__all__ = ["own_server", "postgres"]


def pytest_collection_finish() -> None:
    """What was imported stays: the collector need not look at it again and again."""
    interpreter.tune()
    interpreter.settled()


@pytest.fixture(autouse=True, scope="module")
def _forgotten() -> Iterator[None]:
    """FastAPI keeps the functions of thousands of routes it has met, and so the application around each of ours."""
    yield
    for found in vars(of_fastapi).values():
        if hasattr(found, "cache_clear"):
            found.cache_clear()
