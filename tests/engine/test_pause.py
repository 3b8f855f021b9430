"""Tasks that are ended have ended, also where one kept its cancellation to itself."""

from __future__ import annotations

import asyncio

from notifiers.pause import ended


async def test_a_cancellation_that_was_kept_is_told_again() -> None:
    told = 0

    async def keeps_the_first() -> None:
        nonlocal told
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told += 1
                if told > 1:
                    raise

    task = asyncio.create_task(keeps_the_first())
    await asyncio.sleep(0)
    await ended([task], again_s=0.01)
    assert task.cancelled()
    assert told == 2


async def test_what_a_task_raises_as_it_ends_is_not_raised() -> None:
    async def fails() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("as it ended")

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await ended([task])
    assert isinstance(task.exception(), ValueError)
