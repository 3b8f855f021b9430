"""The program is killed twenty times in a fan-out; nobody is left out, no repeat is unexplained, nothing is lost.

`fenghuo all` runs as a process against providers in another process, and SIGKILL comes at random moments: while the
plan is made, between two messages, in the middle of coming up again. Then the log is held against what arrived.
`FENGHUO_TEST_SEED` repeats a run's moments.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import msgspec
import pytest

from api.commands import Actor
from domain.commands import CommandAccepted
from domain.events import Recorded
from domain.ids import command_stream, warning_stream
from domain.people import Channel
from domain.warnings import WarningDrafted
from tests.ports import free_port

from .fan_out import crashed, held, released, settled, taken
from .installation import OFFICERS, draft, install
from .process import Sandbox, Serve, sandbox

PEOPLE = 2000
KILLS = 20
BY_CLOCK = 6  # kills at a moment after the start: these hit the coming up; the others hit the sending
SETTLED_S = 120.0
PROVIDER = {Channel.SMS: "sms", Channel.EMAIL: "smtp", Channel.WEBPUSH: "push"}


class Moments:
    """When the next kill comes: `seconds` after the start, or once the providers took `messages` in all."""

    def __init__(self, seed: int, people: int, kills: int, by_clock: int = 0) -> None:
        self.dice = Random(seed)
        clock: list[tuple[str, float]] = [("seconds", self.dice.uniform(0, 4)) for _ in range(by_clock)]
        taken = sorted(self.dice.uniform(1, people * 0.95) for _ in range(kills - by_clock))
        waits = [*("clock" for _ in clock), *("taken" for _ in taken)]
        self.dice.shuffle(waits)
        first = waits.index("taken")  # or all may have been sent by then, and the others show nothing
        waits[0], waits[first] = waits[first], waits[0]
        by = {"clock": iter(clock), "taken": iter([("messages", n) for n in taken])}
        self.all: list[tuple[str, float]] = [next(by[kind]) for kind in waits]


class Asker:
    """Somebody who drafts one warning after the other, through every crash, and notes what was answered with 2xx.

    What got no answer is asked again with the same key until it has one.
    """

    def __init__(self, url: str, token: str) -> None:
        self.accepted: dict[str, list[dict[str, Any]]] = {}
        self.unanswered = 0
        self._url, self._token = url, token
        self._stopping = False

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(self._url, timeout=timeout) as http:
            number = 0
            while not self._stopping:
                number += 1
                await self._ask(http, f"key-{number}", draft(f"Nr. {number}"))
                if number % 7 == 0:  # as a client does whose answer was lost on the way
                    await self._ask(http, f"key-{number}", self._last)
                await asyncio.sleep(0.05)

    async def _ask(self, http: aiohttp.ClientSession, key: str, body: dict[str, Any]) -> None:
        self._last = body
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": key}
        while not self._stopping:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with http.post("/v1/warnings", json=body, headers=headers) as answer:
                    if answer.status == 201:
                        self.accepted.setdefault(key, []).append(await answer.json())
                        return
                    assert answer.status >= 500, await answer.text()
            self.unanswered += 1
            await asyncio.sleep(0.05)

    def stop(self) -> None:
        self._stopping = True


@pytest.mark.timeout(480)
async def test_twenty_kills_in_a_fan_out(tmp_path: Path) -> None:
    seed = int(os.environ.get("FENGHUO_TEST_SEED") or secrets.randbelow(2**32))
    print(f"FENGHUO_TEST_SEED={seed}")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with sandbox("--count") as providers, aiohttp.ClientSession() as http:
        subscriptions = await subscribed(http, providers, PEOPLE // 5)
        installed = await install(tmp_path / "data", PEOPLE, subscribe=iter(subscriptions).__next__)
        settings = {
            **providers.settings(),
            "FENGHUO_DATA_DIR": str(installed.folder),
            "FENGHUO_PORT": str(port),
            "FENGHUO_PUBLIC_URL": url,
        }
        asker = Asker(url, installed.tokens[0])
        asking = asyncio.create_task(asker.run())
        program = await Serve.start(settings)
        try:
            await program.up()
            warning_id = await released(http, url, installed.tokens)
            for moment in Moments(seed, PEOPLE, KILLS, BY_CLOCK).all:
                await reached(moment, program, http, providers)
                await program.kill()
                program = await Serve.start(settings)
            await program.up()
            await settled(http, url, installed.tokens[0], warning_id, PEOPLE)
            asker.stop()
            await asking
            assert await program.stop() == 0, program.said
        finally:
            await program.kill()
            asking.cancel()
        arrived = await providers.stats(http)
    events = await held(installed, [warning_id], arrived)
    assert crashed(events), "no kill hit the sending: this run shows nothing"
    _nothing_accepted_is_missing(events, asker.accepted)


async def subscribed(http: aiohttp.ClientSession, providers: Sandbox, count: int) -> list[dict[str, Any]]:
    found = []
    for _ in range(count):
        async with http.post(f"{providers.ready['push']}/subscribe") as answer:
            found.append(await answer.json(content_type=None))
    return found


async def reached(moment: tuple[str, float], program: Serve, http: aiohttp.ClientSession, providers: Sandbox) -> None:
    kind, number = moment
    if kind == "seconds":
        await asyncio.sleep(number)
        return
    await program.up()
    async with asyncio.timeout(SETTLED_S):
        while await taken(http, providers) < number:
            assert program.process.returncode is None, "\n".join(program.said)
            await asyncio.sleep(0.02)


def _nothing_accepted_is_missing(events: list[Recorded], accepted: dict[str, list[dict[str, Any]]]) -> None:
    """Every command that was answered with 2xx is in the log, once, as it was answered."""
    drafted = Counter(r.stream for r in events if isinstance(r.event, WarningDrafted))
    commands = {r.stream: r.event.accepted for r in events if isinstance(r.event, CommandAccepted)}
    by_position = {r.position: r for r in events}
    asker = Actor(person_id=OFFICERS[0], correlation_id="")
    assert accepted
    for key, answers in accepted.items():
        stream = command_stream(asker.person_id, key)
        assert stream in commands, f"{key} was accepted and is not in the log"
        assert {answer["id"] for answer in answers} == {commands[stream].result}, key
        assert drafted[warning_stream(commands[stream].result)] == 1, key
        for answer in answers:
            if not answer["repeated"]:
                assert by_position[answer["position"]].stream == stream, msgspec.json.encode(answer)
    print(f"{len(accepted)} commands accepted, {sum(map(len, accepted.values())) - len(accepted)} answered again")
