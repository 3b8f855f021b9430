"""Starts the real programs as processes of their own: `fenghuo all`, other `fenghuo` commands, the sandbox.

Byte code goes to a folder of the test's own: a program that is started twenty times should not compile itself each
time, and the checkout should stay clean.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[2]
FENGHUO = str(Path(sys.executable).parent / "fenghuo")
TOKEN = "sandbox"
ACCOUNT = "AC" + "0" * 32
START_S = 120.0  # the most that a start may take before the test fails


@cache
def _byte_code() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fenghuo-pyc-")


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of Fenghuo's but those given."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FENGHUO_") and k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": _byte_code().name, **more}


class Sandbox:
    """The providers. `ready` is what they said when they came up."""

    def __init__(self, process: asyncio.subprocess.Process, ready: dict[str, Any]) -> None:
        self.process, self.ready = process, ready

    def settings(self) -> dict[str, str]:
        """The environment that points `fenghuo all` at these providers."""
        host, port = self.ready["smtp"]
        return {
            "FENGHUO_SMS__ACCOUNT_SID": ACCOUNT,
            "FENGHUO_SMS__AUTH_TOKEN": TOKEN,
            "FENGHUO_SMS__SENDER": "+15005550006",
            "FENGHUO_SMS__BASE_URL": self.ready["sms"],
            "FENGHUO_EMAIL__HOST": host,
            "FENGHUO_EMAIL__PORT": str(port),
            "FENGHUO_EMAIL__SENDER": "duty@fao.example",
            "FENGHUO_EMAIL__TLS": "none",
            "FENGHUO_WEBPUSH__CONTACT": "mailto:duty@fao.example",
            "FENGHUO_WEBPUSH__ALLOWED_ORIGINS": json.dumps([self.ready["push"]]),
        }

    async def stats(self, http: aiohttp.ClientSession) -> dict[str, Any]:
        async with http.get(f"{self.ready['sms']}/stats") as answer:
            found: dict[str, Any] = await answer.json()
            return found


@asynccontextmanager
async def sandbox(*options: str) -> AsyncIterator[Sandbox]:
    """`python -m infra.sandbox` with these options, for the time of a block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.sandbox", *options, cwd=ROOT, env=environment(), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        ready = await asyncio.wait_for(process.stdout.readline(), START_S)
        yield Sandbox(process, json.loads(ready))
    finally:
        await ended(process)


async def ended(process: asyncio.subprocess.Process, within_s: float = 20.0) -> int:
    """Stops a process that we started, by its id, the hard way where the soft one takes too long."""
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), within_s)
        except TimeoutError:
            process.kill()
    return await process.wait()


class Serve:
    """One run of `fenghuo all`, or of another role. `said` is what it wrote to standard error, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []
        self._up = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls,
        settings: Mapping[str, str],
        *options: str,
        role: str = "all",
        program: Sequence[str] = (FENGHUO,),
        within: Sequence[str] = (),
    ) -> Serve:
        """`within`: words before the command, of a program that becomes it (`ip netns exec NAME`)."""
        return cls(
            await asyncio.create_subprocess_exec(
                *within,
                *program,
                role,
                *options,
                cwd=ROOT,
                env=environment(**settings),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.said.append(line.decode(errors="replace").rstrip())
            if " at http" in self.said[-1]:
                self._up.set()
        self._up.set()

    async def up(self) -> None:
        """Returns once it serves; fails with what it said where it ended instead."""
        try:
            await asyncio.wait_for(self._up.wait(), START_S)
        except TimeoutError:
            raise AssertionError("it did not come up:\n" + "\n".join(self.said[-20:])) from None
        assert any(" at http" in line for line in self.said), "\n".join(self.said)

    async def says(self, what: str, within_s: float = START_S) -> None:
        """Returns once it said this."""
        async with asyncio.timeout(within_s):
            while not any(what in line for line in self.said):  # noqa: ASYNC110  lines come as the program writes them
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """SIGKILL: nothing of it gets to say goodbye."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self._reader

    async def stop(self, within_s: float = 60.0) -> int:
        """SIGTERM, and the exit status; fails where it takes longer than it may."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.wait(within_s)

    async def wait(self, within_s: float = START_S) -> int:
        """The exit status, once it ended by itself."""
        try:
            status = await asyncio.wait_for(self.process.wait(), within_s)
        except TimeoutError:
            await self.kill()
            raise AssertionError("it did not end:\n" + "\n".join(self.said[-20:])) from None
        await self._reader
        return status


async def fenghuo(*arguments: str, folder: Path, within_s: float = 90.0, **more: str) -> tuple[int, str, str]:
    """Runs one command to its end, with `more` settings: exit status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        FENGHUO,
        *arguments,
        cwd=ROOT,
        env=environment(FENGHUO_DATA_DIR=str(folder), **more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), within_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(), err.decode()
