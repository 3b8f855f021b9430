"""What commands and views cost as the log grows, to ten million events: flat, logarithmic, or with the log.

The log is made of copies of one warning's life (growth_log.py), folded into the views as they come. At each length the
program is started on it and each command and view is timed (growth_costs.py). A figure's ceiling is the cost at the
shortest log, its ratio how much that grew beyond what the machine slowed down: a piece of bare work is timed at each
length among the rest. What grows less than the logarithm of the length is called flat or logarithmic. Lengths are each
a bit more than three times the one before.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from eventsourcing.persistence import StoredEvent

from domain.people import Channel
from infra.runtime import Runtime
from infra.stores import Stores
from tests.bench import growth_costs, growth_log, growth_plot, loads
from tests.bench.figures import Figure
from tests.bench.growth_plot import Length
from tests.bench.memory import Null
from tests.bench.postgres import server
from tests.bench.rig import folder, populate

svg: str | None = None
on = "postgres"
FIRST_LENGTH = 10_000
LEAST = 1_000  # there are a hundred before the first warning
INSERTED = 5_000  # events in one append of the recorder
FOLDED = 50_000  # events between two times at which the views are brought to the end
STEP = math.sqrt(10)
FLAT = 1.5  # times the cost at the shortest log: measured again at the same length, they differ by as much


async def measured() -> list[Figure]:
    template = await growth_log.lived()
    lengths = lengths_to(loads.now.events)
    found: list[Length] = []
    async with _stores() as stores:
        await populate(stores, Channel.SMS, 0, lambda _: {}, growth_log.STATIONS)
        await stores.catch_up()
        copies = (events for _, events in template.copies(0))
        for turn, length in enumerate(lengths):
            folded_us = await asyncio.to_thread(_grown, stores, copies, length)
            found.append(await _costs(stores, turn, folded_us))
            sys.stderr.write(
                f"growth: {found[-1].events:,} events; folding {folded_us:.0f} us an event;"
                f" the bare work takes {found[-1].bare_ms:.2f} ms\n"
            )
            if svg is not None and turn:  # a run that is cut off leaves what it has
                where = "PostgreSQL" if on == "postgres" else "SQLite"
                await asyncio.to_thread(growth_plot.write, Path(svg), found, f"{found[-1].events:,} events on {where}")
    return [_figure(name, found[0], found[-1]) for name in found[0].costs]


def lengths_to(events: int) -> list[int]:
    """The lengths at which is measured: from 10,000, or a thirtieth of the longest, up to that; from 1,000 at least."""
    first = min(FIRST_LENGTH, max(LEAST, events // 30))
    events = max(events, 3 * first)
    steps = max(1, round(math.log(events / first, STEP)))
    return [round(first * (events / first) ** (n / steps)) for n in range(steps + 1)]


@asynccontextmanager
async def _stores() -> AsyncIterator[Stores]:
    with folder() as path:
        if on == "files":
            async with Stores(path) as stores:
                yield stores
            return
        with server() as (_, config):
            async with Stores(path, database=config) as stores:
                yield stores


def _grown(stores: Stores, copies: Iterator[list[StoredEvent]], length: int) -> float:
    """Grows the log to a length and folds it; microseconds an event that folding the last of it took."""
    recorder, folded_us = stores.log.recorder, 0.0
    while True:
        left = length - stores.log.last_position_now()
        added = 0
        while added < min(left, FOLDED):
            batch: list[StoredEvent] = []
            while len(batch) < INSERTED and added + len(batch) < left:
                batch += next(copies)
            recorder.insert_events(batch)
            added += len(batch)
        if added:
            began = time.perf_counter()
            stores.views.catch_up(stores.log.read_now)
            folded_us = (time.perf_counter() - began) / added * 1e6
        if left <= FOLDED:
            return folded_us


async def _costs(stores: Stores, turn: int, folded_us: float) -> Length:
    began = time.perf_counter()
    await stores.sign()
    signed = time.perf_counter() - began
    runtime = Runtime(stores, {Channel.SMS: Null()}, "http://127.0.0.1:1")
    began = time.perf_counter()
    await runtime.start()
    started = time.perf_counter() - began
    try:
        if not turn:
            await growth_costs.settle(runtime)
        found = (await growth_costs.commands(runtime, turn)).medians
        read = (await growth_costs.views(runtime)).medians
    finally:
        await runtime.stop(drain_s=5)
    sys.stderr.write(f"growth: signed in {signed:.1f} s, started in {started:.2f} s\n")
    slow = (found.pop(growth_costs.BARE) + read.pop(growth_costs.BARE)) / 2
    costs = {**found, **read, "fold_an_event": folded_us / 1000, "start": started * 1000}
    return Length(await stores.log.last_position(), slow, costs)


def _figure(name: str, first: Length, last: Length) -> Figure:
    value, before, grew = last.costs[name], first.costs[name], last.beside(first, name)
    return Figure(
        name=f"growth.{name}",
        value=round(value, 3),
        unit="ms",
        ceiling=round(before, 3),
        ratio=round(grew, 2),
        load=f"{verdict(first.events, last.events, grew)}: {first.events:,} to {last.events:,} events, on {on}",
        goal="flat or logarithmic",
    )


def verdict(first: int, last: int, grew: float) -> str:
    """How the cost grew between two lengths."""
    if grew <= FLAT:
        return "flat"
    return "logarithmic" if grew <= FLAT * math.log(last) / math.log(first) else "grows with the log"
