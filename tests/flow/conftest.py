"""Fixtures of the flow tests: a running town, and the rule that an error which nobody announced fails the test."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from setting import Errors, History
from town import Town, town


@pytest.fixture(autouse=True)
def errors(caplog: pytest.LogCaptureFixture) -> Iterator[Errors]:
    found = Errors()
    with structlog.testing.capture_logs() as lines:
        yield found
    ours = [line for line in lines if line["log_level"] in ("error", "critical") and line["event"] not in found.meant]
    others = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert ours == []
    assert [said for said in others if not any(word in said for word in found.meant)] == []


@pytest.fixture
async def the_town(tmp_path: Path) -> AsyncIterator[Town]:
    """A town of the test's own."""
    async with town(tmp_path / "data") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _one_town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with town(tmp_path_factory.mktemp("town") / "data") as made:
        yield made


@pytest_asyncio.fixture(name="town", loop_scope="module")
async def shared_town(_one_town: Town) -> AsyncIterator[Town]:
    """The town that the tests of a module share; they do not move its clock. They need `SHARED` as their mark."""
    yield _one_town
    await _one_town.quiet()
    assert _one_town.unread() == []


@pytest.fixture(scope="session")
def _history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return History(tmp_path_factory.mktemp("history") / "data")


@pytest.fixture
def history(_history: History, tmp_path: Path) -> History:
    """A copy of it for the test alone."""
    copy = object.__new__(History)
    copy.folder, copy.warnings = tmp_path / "data", _history.warnings
    shutil.copytree(_history.folder, copy.folder)
    return copy
