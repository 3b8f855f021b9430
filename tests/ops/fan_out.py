"""One warning to everybody through a program that is being hurt, and what must hold of the log afterwards.

`held` is the one check of every test that kills, cuts off or stops a part of the program.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from domain.events import Recorded
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.shards import ChunkRecorded, ReceiptsRecorded, ShardPlanned
from infra.config import DatabaseConfig
from infra.fsck import verify
from infra.stores import Stores

from .installation import Installation, draft
from .process import Sandbox

SETTLED_S = 150.0
PROVIDER = {Channel.SMS: "sms", Channel.EMAIL: "smtp", Channel.WEBPUSH: "push"}
STANDS = frozenset({"accepted", "delivered"})


async def released(http: aiohttp.ClientSession, url: str, tokens: Sequence[str]) -> str:
    """One warning to everybody, drafted by one officer and released by the other; its id.

    What got no answer, or was answered by a server that cannot reach its database, is asked again with the same key.
    """
    warning_id = str((await _asked(http, f"{url}/v1/warnings", draft(), tokens[0]))["id"])
    await _asked(http, f"{url}/v1/warnings/{warning_id}/release", {}, tokens[1])
    return warning_id


async def _asked(http: aiohttp.ClientSession, url: str, body: dict[str, Any], token: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": uuid.uuid4().hex}
    async with asyncio.timeout(SETTLED_S):
        while True:
            try:
                async with http.post(url, json=body, headers=headers) as answer:
                    if answer.status < 300:
                        found: dict[str, Any] = await answer.json()
                        return found
                    assert answer.status >= 500, await answer.text()
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def taken(http: aiohttp.ClientSession, providers: Sandbox) -> int:
    """How many messages the providers took so far."""
    return sum(provider["total"] for provider in (await providers.stats(http)).values())


async def until_taken(http: aiohttp.ClientSession, providers: Sandbox, count: float) -> None:
    async with asyncio.timeout(SETTLED_S):
        while await taken(http, providers) < count:  # noqa: ASYNC110  other processes send
            await asyncio.sleep(0.02)


async def settled(http: aiohttp.ClientSession, url: str, token: str, warning_id: str, people: int) -> None:
    """Returns once every delivery has an outcome that stands. A server that comes up, or is cut off, is asked again."""
    async with asyncio.timeout(SETTLED_S):
        while await _standing(http, url, token, warning_id) != people:  # noqa: ASYNC110  other processes send
            await asyncio.sleep(0.3)


async def _standing(http: aiohttp.ClientSession, url: str, token: str, warning_id: str) -> int:
    """How many deliveries have an outcome that stands; fewer where the server does not answer."""
    found = 0
    after: str | None = ""
    while after is not None:
        query = {"limit": "1000", **({"after": after} if after else {})}
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with http.get(f"{url}/v1/warnings/{warning_id}/deliveries", params=query, headers=headers) as answer:
                if answer.status >= 500:
                    return -1
                assert answer.status == 200, await answer.text()
                page = await answer.json()
        except aiohttp.ClientError:
            return -1
        found += sum(item["outcome"] in STANDS for item in page["items"])
        after = page["next"]
    return found


def crashed(events: Sequence[Recorded]) -> int:
    """How many sends were in doubt because their program ended."""
    rows = [row for r in events if isinstance(r.event, ChunkRecorded) for row in r.event.rows]
    return sum(row.outcome is Outcome.UNKNOWN and row.reason is Reason.CRASH for row in rows)


async def log_of(folder: Path, database: DatabaseConfig | None = None) -> list[Recorded]:
    """The whole log."""
    async with Stores(folder, database=database) as stores:
        return await _whole(stores)


async def _whole(stores: Stores) -> list[Recorded]:
    found: list[Recorded] = []
    while batch := await stores.log.read(found[-1].position if found else 0, 500):
        found += batch
    return found


class Told(msgspec.Struct):
    """How it went: messages that came twice, rows in doubt, people with a receipt."""

    repeats: int = 0
    in_doubt: int = 0
    receipts: int = 0


async def held(
    installed: Installation,
    warning_ids: Collection[str],
    arrived: Mapping[str, Any],
    database: DatabaseConfig | None = None,
) -> list[Recorded]:
    """Everybody was sent to, nobody twice without an `unknown`, the views are those of a fresh replay and the log
    verifies. `warning_ids` are all that were released, `arrived` what the providers counted. Returns the log."""
    async with Stores(installed.folder, database=database) as stores:
        verified = await asyncio.to_thread(verify, stores)  # what `fenghuo log verify` does; it folds the views afresh
        events = await _whole(stores)
    assert verified.views.keys() == set(stores.views.names())
    told = nobody_left_out(events, warning_ids, installed.addresses, arrived)
    print(f"{len(installed.addresses)} people, {len(warning_ids)} warnings, {len(events)} events, {told}")
    return events


def nobody_left_out(
    events: Sequence[Recorded],
    warning_ids: Collection[str],
    addresses: Mapping[str, tuple[Channel, str]],
    arrived: Mapping[str, Any],
) -> Told:
    """Holds the ledgers against what the providers took.

    A send is preceded by its intent, and an intent ends as a row: `accepted` when the answer came, `unknown` when the
    program ended before it did. So what arrived at an address lies between its `accepted` rows (each of these did
    arrive) and its `accepted` and `unknown` rows together. `deferred` rows are of sends that the provider never had.
    """
    plans = {e.shard_id: e for r in events if isinstance(e := r.event, ShardPlanned) and e.warning_id in warning_ids}
    ledgers: dict[tuple[str, str], list[Row]] = {(one, who): [] for one in warning_ids for who in addresses}
    planned = sorted((plan.warning_id, who) for plan in plans.values() for who in plan.recipients)
    assert planned == sorted(ledgers), "everybody is in each plan, once"
    delivered: set[str] = set()
    for r in events:
        event = r.event
        if isinstance(event, ChunkRecorded | ReceiptsRecorded) and event.shard_id in plans:
            plan = plans[event.shard_id]
            for row in event.rows:
                if isinstance(event, ChunkRecorded):
                    ledgers[plan.warning_id, plan.recipients[row.index]].append(row)
                else:
                    delivered.add(plan.recipients[row.index])
    told = Told(receipts=len(delivered))
    for who, (channel, address) in addresses.items():
        came = arrived[PROVIDER[channel]]["recipients"].get(address, 0)
        accepted = unknown = 0
        for one in warning_ids:
            ledger = ledgers[one, who]
            what = f"{who} by {channel}: {came} arrived, {ledger}"
            kinds = Counter(row.outcome for row in ledger)
            assert ledger, what
            assert ledger[-1].outcome is Outcome.ACCEPTED, what
            assert ledger[-1].retry_at is None, what
            assert kinds[Outcome.ACCEPTED] == 1, what
            assert set(kinds) <= {Outcome.ACCEPTED, Outcome.UNKNOWN, Outcome.DEFERRED}, what
            assert all(row.reason is Reason.CRASH for row in ledger if row.outcome is Outcome.UNKNOWN), what
            assert [row.attempt for row in ledger] == list(range(1, len(ledger) + 1)), what
            accepted, unknown = accepted + 1, unknown + kinds[Outcome.UNKNOWN]
        assert accepted <= came <= accepted + unknown, f"{who} by {channel}: {came}, {accepted} + {unknown}"
        told.repeats += came - accepted
        told.in_doubt += unknown
    for name, provider in arrived.items():
        known = {address for channel, address in addresses.values() if PROVIDER[channel] == name}
        assert set(provider["recipients"]) == known, "nobody else got anything"
    assert delivered <= set(addresses)
    return told
