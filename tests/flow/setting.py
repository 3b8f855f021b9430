"""What the fixtures of conftest.py give to tests: errors that were announced, and a data folder with a past."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from town import town

SHARED = pytest.mark.asyncio(loop_scope="module")


class Errors:
    """Errors that were logged. A test that means to cause one says so."""

    def __init__(self) -> None:
        self.meant: set[str] = set()

    def expect(self, event: str) -> None:
        self.meant.add(event)


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
