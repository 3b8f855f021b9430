"""How much memory a fan-out takes, by the number of recipients: over a channel that takes everything and keeps nothing.

The people are registered by a process of its own, so that what is measured is the sending alone. The figure is the
peak of the resident set with many recipients, its ceiling that with 10,000: flat is a ratio near 1. `--people` says how
many (`python -m tests.bench --people 1000000 memory`); a million takes a quarter of an hour, most of it registering.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from domain.outcomes import Outcome
from domain.people import Channel
from infra import interpreter, logs
from infra.runtime import Runtime
from infra.stores import Stores
from notifiers.channel import Delivery, Rendered, Result
from tests.bench.figures import ROOT, Figure
from tests.bench.rig import fan_out, folder, populate

FEW, MANY = 10_000, 100_000
PER_STATION = 2_000
people = MANY


class Null:
    """A channel that takes everything at once."""

    chunk = 100

    def __init__(self, channel: Channel = Channel.SMS) -> None:
        self.channel = channel

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        return [Result(index=d.index, outcome=Outcome.ACCEPTED, provider_ref="SM") for d in deliveries]

    async def close(self) -> None:
        pass


async def million() -> Figure:
    few, _ = await asyncio.to_thread(measured, FEW)
    many, rate = await asyncio.to_thread(measured, people)
    sys.stderr.write(f"memory: {people:,} recipients at {rate:,.0f}/s\n")
    return Figure(
        name="memory.million" if people >= 1_000_000 else f"memory.{people}",
        value=round(many, 1),
        unit="MiB peak",
        ceiling=round(few, 1),
        ratio=round(many / few, 2),
    )


def measured(count: int) -> tuple[float, float]:
    """(peak resident set in MiB, recipients a second) of a fan-out to so many."""
    with folder() as path:
        _stage("prepare", path, count)
        said = json.loads(_stage("send", path, count))
    return said["peak_mib"], said["rate"]


def _stage(stage: str, path: Path, count: int) -> str:
    command = [sys.executable, "-m", "tests.bench.memory", stage, str(path), str(count)]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


async def _prepare(path: Path, count: int) -> None:
    async with Stores(path) as stores:
        stations = max(1, count // PER_STATION)
        await populate(stores, Channel.SMS, count, lambda n: {"phone": f"+39347{n:07d}"}, stations)
        await stores.catch_up()


async def _send(path: Path, count: int) -> None:
    interpreter.tune()
    interpreter.settled()
    async with Stores(path) as stores:
        runtime = Runtime(stores, {Channel.SMS: Null()}, "http://127.0.0.1:1")
        began = time.perf_counter()
        await runtime.start()
        sys.stderr.write(f"started in {time.perf_counter() - began:.1f} s, {_peak_mib():.0f} MiB\n")
        rate = await fan_out(runtime, count, most_s=3600)
        await runtime.stop(drain_s=5)
    print(json.dumps({"peak_mib": _peak_mib(), "rate": rate}))


def _peak_mib() -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    logs.configure(level="WARNING", as_json=False)  # what is printed here is read
    run = {"prepare": _prepare, "send": _send}[sys.argv[1]]
    uvloop.run(run(Path(sys.argv[2]), int(sys.argv[3])))
