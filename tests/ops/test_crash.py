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
from collections.abc import Mapping
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
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.shards import ChunkRecorded, ReceiptsRecorded, ShardPlanned
from domain.warnings import WarningDrafted
from infra.stores import Stores

from .installation import OFFICERS, Installation, draft, install
from .process import Sandbox, Serve, fenghuo, free_port, sandbox

PEOPLE = 2000
KILLS = 20
BY_CLOCK = 6  # kills at a moment after the start: these hit the coming up; the others hit the sending
SETTLED_S = 120.0
PROVIDER = {Channel.SMS: "sms", Channel.EMAIL: "smtp", Channel.WEBPUSH: "push"}


class Moments:
    """When the next kill comes: `seconds` after the start, or once the providers took `messages` in all."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        clock: list[tuple[str, float]] = [("seconds", self.dice.uniform(0, 4)) for _ in range(BY_CLOCK)]
        taken = sorted(self.dice.uniform(1, PEOPLE * 0.95) for _ in range(KILLS - BY_CLOCK))
        waits = [*("clock" for _ in clock), *("taken" for _ in taken)]
        self.dice.shuffle(waits)
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
        subscriptions = await _subscriptions(http, providers, PEOPLE // 5)
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
            warning_id = await _released(http, url, installed)
            for moment in Moments(seed).all:
                await _reached(moment, program, http, providers)
                await program.kill()
                program = await Serve.start(settings)
            await program.up()
            await _settled(http, url, installed, warning_id)
            asker.stop()
            await asking
            assert await program.stop() == 0, program.said
        finally:
            await program.kill()
            asking.cancel()
        taken = await providers.stats(http)
    events = await _log_of(installed.folder)
    _nobody_left_out_no_repeat_unexplained(events, warning_id, installed, taken)
    _nothing_accepted_is_missing(events, asker.accepted)
    status, out, err = await fenghuo("log", "verify", "--json", folder=installed.folder)
    assert status == 0, out + err


async def _subscriptions(http: aiohttp.ClientSession, providers: Sandbox, count: int) -> list[dict[str, Any]]:
    found = []
    for _ in range(count):
        async with http.post(f"{providers.ready['push']}/subscribe") as answer:
            found.append(await answer.json(content_type=None))
    return found


async def _released(http: aiohttp.ClientSession, url: str, installed: Installation) -> str:
    """One warning to everybody, drafted by one officer and released by the other; its id."""
    first, second = ({"Authorization": f"Bearer {token}"} for token in installed.tokens)
    async with http.post(f"{url}/v1/warnings", json=draft(), headers=first) as answer:
        assert answer.status == 201, await answer.text()
        warning_id = str((await answer.json())["id"])
    async with http.post(f"{url}/v1/warnings/{warning_id}/release", json={}, headers=second) as answer:
        assert answer.status == 200, await answer.text()
    return warning_id


async def _reached(moment: tuple[str, float], program: Serve, http: aiohttp.ClientSession, providers: Sandbox) -> None:
    kind, number = moment
    if kind == "seconds":
        await asyncio.sleep(number)
        return
    await program.up()
    async with asyncio.timeout(SETTLED_S):
        while sum(provider["total"] for provider in (await providers.stats(http)).values()) < number:
            assert program.process.returncode is None, "\n".join(program.said)
            await asyncio.sleep(0.02)


async def _settled(http: aiohttp.ClientSession, url: str, installed: Installation, warning_id: str) -> None:
    """Returns once every delivery has an outcome that stands."""
    headers = {"Authorization": f"Bearer {installed.tokens[0]}"}
    async with asyncio.timeout(SETTLED_S):
        while True:
            outcomes: Counter[str] = Counter()
            after: str | None = ""
            while after is not None:
                query = {"limit": "1000", **({"after": after} if after else {})}
                path = f"{url}/v1/warnings/{warning_id}/deliveries"
                async with http.get(path, params=query, headers=headers) as answer:
                    assert answer.status == 200, await answer.text()
                    page = await answer.json()
                outcomes.update(item["outcome"] for item in page["items"])
                after = page["next"]
            if outcomes["accepted"] + outcomes["delivered"] == PEOPLE:
                return
            await asyncio.sleep(0.5)


async def _log_of(folder: Path) -> list[Recorded]:
    found: list[Recorded] = []
    async with Stores(folder) as stores:
        while batch := await stores.log.read(found[-1].position if found else 0, 500):
            found += batch
    return found


def _nobody_left_out_no_repeat_unexplained(
    events: list[Recorded], warning_id: str, installed: Installation, taken: Mapping[str, Any]
) -> None:
    """Holds the ledgers against what the providers took.

    A send is preceded by its intent, and an intent ends as a row: `accepted` when the answer came, `unknown` when the
    program ended before it did. So what arrived at an address lies between its `accepted` rows (each of these did
    arrive) and its `accepted` and `unknown` rows together. `deferred` rows are of sends that the provider never had.
    """
    plans = {e.shard_id: e for r in events if isinstance(e := r.event, ShardPlanned) and e.warning_id == warning_id}
    planned = [person_id for plan in plans.values() for person_id in plan.recipients]
    assert sorted(planned) == sorted(installed.addresses), "everybody is in the plan, once"
    rows: dict[str, list[Row]] = {person_id: [] for person_id in planned}
    delivered: set[str] = set()
    for r in events:
        event = r.event
        if isinstance(event, ChunkRecorded | ReceiptsRecorded) and event.shard_id in plans:
            for row in event.rows:
                person_id = plans[event.shard_id].recipients[row.index]
                if isinstance(event, ChunkRecorded):
                    rows[person_id].append(row)
                else:
                    delivered.add(person_id)
    repeats = in_doubt = 0
    for person_id, (channel, address) in installed.addresses.items():
        ledger = rows[person_id]
        kinds = Counter(row.outcome for row in ledger)
        arrived = taken[PROVIDER[channel]]["recipients"].get(address, 0)
        what = f"{person_id} by {channel}: {arrived} arrived, {ledger}"
        assert arrived >= 1, what
        assert ledger[-1].outcome is Outcome.ACCEPTED, what
        assert ledger[-1].retry_at is None, what
        assert kinds[Outcome.ACCEPTED] == 1, what
        assert kinds[Outcome.ACCEPTED] <= arrived <= kinds[Outcome.ACCEPTED] + kinds[Outcome.UNKNOWN], what
        assert set(kinds) <= {Outcome.ACCEPTED, Outcome.UNKNOWN, Outcome.DEFERRED}, what
        assert all(row.reason is Reason.CRASH for row in ledger if row.outcome is Outcome.UNKNOWN), what
        assert [row.attempt for row in ledger] == list(range(1, len(ledger) + 1)), what
        repeats += arrived - 1
        in_doubt += kinds[Outcome.UNKNOWN]
    assert in_doubt, "no kill hit the sending: this run shows nothing"
    for name, provider in taken.items():
        known = {address for channel, address in installed.addresses.values() if PROVIDER[channel] == name}
        assert set(provider["recipients"]) == known, "nobody else got anything"
    assert delivered <= set(planned)
    print(f"{len(planned)} people, {repeats} repeats, {in_doubt} rows in doubt, {len(delivered)} receipts")


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
