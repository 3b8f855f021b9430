"""Providers that fail, through the real program on real sockets: nobody is lost, repeats are explained, the reason is
in the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from town import Town, town
from townsfolk import SMS, phone_of

from domain.outcomes import Outcome, Reason, Row
from domain.shards import ChunkRecorded, ShardPlanned
from infra.config import SmsConfig
from infra.sandbox.sms import SandboxSms
from notifiers.breaker import FIRST_S

HEAD, OFFICER = phone_of("milan-head"), phone_of("officer1")
BACKUP = ("AC" + "1" * 32, "backup-token")


@asynccontextmanager
async def two_providers(folder: Path, **more: Any) -> AsyncIterator[tuple[Town, SandboxSms]]:
    """A town whose second SMS provider is another one, with a key of its own."""
    backup = SandboxSms(*BACKUP)
    await backup.start()
    try:
        config = SmsConfig(
            account_sid=BACKUP[0], auth_token=BACKUP[1], sender="+15005550009", base_url=backup.url, name="backup"
        )
        async with town(folder / "data", sms_next=[config], **more) as made:
            yield made, backup
    finally:
        await backup.stop()


def rows(town: Town, person_id: str) -> list[Row]:
    """What the ledgers say of a person's text messages, in order."""
    plans = {r.event.shard_id: r.event for r in town.recorded(ShardPlanned) if r.event.channel is SMS}
    return [
        row
        for r in town.recorded(ChunkRecorded)
        if r.event.shard_id in plans
        for row in r.event.rows
        if plans[r.event.shard_id].recipients[row.index] == person_id
    ]


def said(town: Town, person_id: str) -> list[tuple[Outcome, Reason, str]]:
    return [(row.outcome, row.reason, row.provider) for row in rows(town, person_id)]


def by_sms(town: Town) -> list[str]:
    """Everybody whom some plan tells by text message."""
    plans = [r.event for r in town.recorded(ShardPlanned) if r.event.channel is SMS]
    return sorted(person_id for plan in plans for person_id in plan.recipients)


async def delivered(town: Town) -> set[str]:
    """Who has a receipt, by the view."""
    assert await town.stores.follower.reached(town.stores.log.last_position_now())
    with town.stores.views.reading() as db:
        table = town.stores.views.deliveries.deliveries
        rows = db.execute(table.select().where(table.c.outcome == "delivered")).mappings()
        return {str(row["person_id"]) for row in rows}


async def test_the_second_provider_takes_what_the_first_cannot_and_the_first_is_used_again_when_it_recovers(
    tmp_path: Path,
) -> None:
    async with two_providers(tmp_path) as (town, backup):
        first = town.sandbox.sms
        await first.stop()
        await town.release(level="red")
        await town.quiet()
        await town.until(lambda: backup.callbacks_posted >= 3 * len(backup.messages) > 0, "receipts")

        told = by_sms(town)
        assert sorted(m.to for m in backup.messages) == sorted(phone_of(person_id) for person_id in told)
        assert {tuple(said(town, person_id)) for person_id in told} == {((Outcome.ACCEPTED, Reason.NONE, "backup"),)}
        assert set(told) <= await delivered(town)  # its receipts are signed with its own key
        shown = {row["name"]: row for row in (await town.get("officer1", "/v1/providers")).json()}
        assert (shown["sms"]["state"], shown["sms"]["reason"]) == ("open", "unreachable")
        assert shown["backup"]["state"] == "closed"
        metrics = (await town.http.get("/metrics")).text
        assert 'fenghuo_provider_state{channel="sms",provider="sms"} 2.0' in metrics
        assert 'fenghuo_provider_state{channel="sms",provider="backup"} 0.0' in metrics

        await first.start()
        town.clock.move(timedelta(seconds=FIRST_S))
        await town.release(level="red")  # one batch of it is the probe; what goes out beside that still takes the other
        await town.quiet()
        assert len(first.messages) > 0
        probed, before = len(first.messages), len(backup.messages)
        await town.release(level="red")
        await town.quiet()
        assert sorted(m.to for m in first.messages[probed:]) == sorted(phone_of(person_id) for person_id in told)
        assert len(backup.messages) == before
        assert {said(town, person_id)[-1] for person_id in told} == {(Outcome.ACCEPTED, Reason.NONE, "sms")}
        shown = {row["name"]: row for row in (await town.get("officer1", "/v1/providers")).json()}
        assert shown["sms"]["state"] == "closed"
        town.read_all()
