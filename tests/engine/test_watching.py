"""A process whose views another one keeps in step: it looks at once for what follows a quiet time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from infra.engine import follower
from infra.engine.follower import Follower
from infra.log.store import Growth


class Log:
    """Grows when it is told to."""

    def __init__(self) -> None:
        self._grown = asyncio.Event()

    def growth(self) -> Growth:
        return Growth(self._grown, 60.0)

    def grow(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()


@pytest.fixture
def rarely(monkeypatch):
    monkeypatch.setattr(follower, "LOOK_S", 60.0)
    monkeypatch.setattr(follower, "FOLDING_S", 60.0)


async def _settled(looks: list[int]) -> None:
    """Returns once nobody looks any more."""
    before = -1
    while before != len(looks):
        before = len(looks)
        await asyncio.sleep(3 * follower.SOON_S)


@pytest.mark.usefixtures("rarely")
async def test_what_follows_a_quiet_time_is_looked_for_until_it_is_there():
    log, looks = Log(), []
    views: Any = SimpleNamespace(position=0)

    def look() -> None:
        looks.append(len(looks))
        if log_grew and len(looks) > first + 3:  # the other process takes a moment
            views.position = 1

    log_grew, first = False, 0
    views.look = look
    watching = Follower(log, views)  # type: ignore[arg-type]
    task = asyncio.create_task(watching.watch())
    await _settled(looks)

    log_grew, first = True, len(looks)
    log.grow()
    async with asyncio.timeout(30):
        assert await watching.moved(0) == 1
    task.cancel()


@pytest.mark.usefixtures("rarely")
async def test_while_the_log_grows_all_the_time_nobody_looks_at_each_event(monkeypatch):
    monkeypatch.setattr(follower, "QUIET_S", 1e9)
    monkeypatch.setattr(follower, "FOLDING_S", 0.0)
    log, looks = Log(), []
    views: Any = SimpleNamespace(position=0, look=lambda: looks.append(0))
    task = asyncio.create_task(Follower(log, views).watch())  # type: ignore[arg-type]
    await _settled(looks)
    before = len(looks)
    for _ in range(20):
        log.grow()
        await asyncio.sleep(follower.SOON_S)
    assert len(looks) <= before + 2
    task.cancel()
