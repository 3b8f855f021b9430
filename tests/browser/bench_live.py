"""How long 45 changes take to reach 200 readers: rendered once for all, and rendered for each. Prints two lines.

Run it with `python -m tests.browser.bench_live`. No sockets: what is measured is reading, rendering and handing on.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import MutableMapping
from typing import Any

import msgspec

from api.pages.live import Hub
from tests.browser.fakes import DUTY, Memory

READERS, CHANGES = 200, 45


async def measure(shared: bool) -> str:
    memory = Memory()
    memory.fill()
    memory.add_warning()
    hub = Hub(memory, pace_s=0.0, backlog=1000)
    start, last = memory.at, memory.at + CHANGES
    done = [asyncio.Event() for _ in range(READERS)]
    sent = [0] * READERS

    async def still() -> bool:
        return True

    async def reader(number: int) -> None:
        async def send(message: MutableMapping[str, Any]) -> None:
            body = message.get("body", b"")
            sent[number] += len(body)
            if body.startswith(b"id: %d\n" % last):
                done[number].set()

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        who = DUTY if shared else msgspec.structs.replace(DUTY, person_id=str(number))
        await hub.stream(who, "w-1", "zh", hub.scope(who), start, still)({"type": "http"}, receive, send)

    tasks = [asyncio.create_task(reader(number)) for number in range(READERS)]
    while sum(len(channel.watchers) for channel in hub.channels.values()) < READERS:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)  # every channel has its first view
    stations = [node.node_id for node in memory.nodes.values() if node.kind == "station"]
    cpu, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for number in range(CHANGES):
        memory.set(stations[number % len(stations)], told=number + 1, state="told")
        await memory.moved()
        await asyncio.sleep(0.002)
    await asyncio.gather(*(event.wait() for event in done))
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    renders = sum(channel.renders for channel in hub.channels.values())
    await hub.close()
    await asyncio.gather(*tasks)
    used = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
    return (
        f"{took * 1000:7.0f} ms to the last receipt, {used * 1000:7.0f} ms CPU, {renders} renders, {sent[0]} bytes each"
    )


if __name__ == "__main__":
    for shared in (True, False):
        print("once for all  " if shared else "for each      ", asyncio.run(measure(shared)))
