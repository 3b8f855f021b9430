"""Fixtures of the flow tests: a running town, and the rule that an error which nobody announced fails the test."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from town import Town, town

SHARED = pytest.mark.asyncio(loop_scope="module")


class Errors:
    """Errors that were logged. A test that means to cause one says so."""

    def __init__(self) -> None:
        self.meant: set[str] = set()

    def expect(self, event: str) -> None:
        self.meant.add(event)


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


class History:
    """A data folder in which a few warnings went their way, at rest; `warnings` are their ids by status."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: dict[str, str] = {}
        thread = threading.Thread(target=lambda: asyncio.run(self._make()))
        thread.start()
        thread.join()
        assert len(self.warnings) == 4

    async def _make(self) -> None:
        async with town(self.folder) as made:
            cancelled = await made.release()
            await made.quiet()
            await made.device("milan-head").reply("收到")
            await made.quiet()
            await made.device("milan-zh").reply("2 救命")
            await made.post("officer1", f"/v1/warnings/{cancelled}/cancel", {"reason": "解除"})
            await made.quiet()
            first = await made.release(event="Fire")
            await made.quiet()
            released = await made.release(event="Fire, spreading", updates=first)
            await made.quiet()
            draft = await made.draft()
            made.read_all()
            self.warnings = {"cancelled": cancelled, "updated": first, "released": released, "draft": draft}


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
