"""The pause of a part that has nothing to do, until the first of several things calls it; and the end of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog

_log = structlog.get_logger("fenghuo.tasks")

AGAIN_S = 12.0  # longer than any part takes to put its things away


async def first_of(*waits: Coroutine[Any, Any, Any], timeout_s: float | None = None) -> None:
    """Returns once one of these has ended, or after `timeout_s`; the others are cancelled, and have ended, too.

    What a wait raises is not raised here: it says that there is something to look at, like any other end.
    """
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(tasks)


async def ended(tasks: Iterable[asyncio.Task[Any]], again_s: float = AGAIN_S) -> None:
    """Cancels these tasks, and returns once each has ended; what they raise is not raised here.

    A library can keep a cancellation to itself, and its caller then goes on for ever: it is told again.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=again_s)
        await asyncio.gather(*done, return_exceptions=True)
        if left:
            _log.info("cancelled_again", tasks=sorted(task.get_name() for task in left))
