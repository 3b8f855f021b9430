"""Providers that fail, through the real program on real sockets: nobody is lost, repeats are explained, the reason is
in the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
from town import NOW, Town, in_earnest, town
from townsfolk import PEOPLE, SETUP, SMS, phone_of, populate

from domain.outcomes import Outcome, Reason, Row
from domain.people import Person
from domain.shards import ChunkRecorded, ShardPlanned
from infra.clock import ManualClock
from infra.config import Settings, SmsConfig
from infra.sandbox.behaviour import Behaviour, Kind
from infra.sandbox.sms import SandboxSms
from infra.serve import serving
from infra.stores import Stores
from notifiers.breaker import FIRST_S

HEAD, OFFICER = phone_of("milan-head"), phone_of("officer1")
BACKUP = ("AC" + "1" * 32, "backup-token")


@asynccontextmanager
async def two_providers(folder: Path) -> AsyncIterator[tuple[Town, SandboxSms]]:
    """A town whose second SMS provider is another one, with a key of its own."""
    backup = SandboxSms(*BACKUP)
    await backup.start()
    try:
        config = SmsConfig(
            account_sid=BACKUP[0], auth_token=BACKUP[1], sender="+15005550009", base_url=backup.url, name="backup"
        )
        async with in_earnest(folder / "data", sms_next=[config]) as made:
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


async def test_429_with_a_wait_is_obeyed_and_without_one_is_tried_again_soon(tmp_path: Path) -> None:
    async with town(tmp_path / "data") as only:
        only.sandbox.sms.behave(HEAD, Behaviour(Kind.DEFER, retry_after_s=90, times=1))
        only.sandbox.sms.behave(OFFICER, Behaviour(Kind.DEFER, times=1))
        await only.release()
        await only.quiet()
        limited = (Outcome.DEFERRED, Reason.RATE_LIMITED, "sms")
        assert (said(only, "milan-head"), said(only, "officer1")) == ([limited], [limited])
        asked = rows(only, "milan-head")[0].retry_at
        assert asked is not None and asked >= only.clock.now() + timedelta(seconds=90)

        await only.pass_time(seconds=5)
        assert said(only, "officer1")[1:] == [(Outcome.ACCEPTED, Reason.NONE, "sms")]
        assert len(said(only, "milan-head")) == 1
        await only.pass_time(seconds=90)
        assert said(only, "milan-head")[1:] == [(Outcome.ACCEPTED, Reason.NONE, "sms")]
        assert {person_id: len(only.inbox(person_id, SMS)) for person_id in by_sms(only)} == dict.fromkeys(
            by_sms(only), 1
        )
        only.read_all()


async def test_429_goes_to_the_second_provider_at_once(tmp_path: Path) -> None:
    async with two_providers(tmp_path) as (town, backup):
        town.sandbox.sms.behave(HEAD, Behaviour(Kind.DEFER, retry_after_s=90))
        await town.release()
        await town.quiet()
        assert said(town, "milan-head") == [(Outcome.ACCEPTED, Reason.NONE, "backup")]
        assert [m.to for m in backup.messages] == [HEAD]
        town.read_all()


async def test_a_failing_provider_is_in_doubt_so_nobody_else_is_asked_until_the_next_attempt(tmp_path: Path) -> None:
    async with two_providers(tmp_path) as (town, backup):
        for person_id in PEOPLE:
            town.sandbox.sms.behave(phone_of(person_id), Behaviour(Kind.ERROR, code=503))
        await town.release(level="red")
        await town.quiet()
        told = by_sms(town)
        doubt = (Outcome.UNKNOWN, Reason.PROVIDER_ERROR, "sms")
        # Until it was noticed that the provider itself fails, messages were given to it; after that, to the other.
        doubted = [person_id for person_id in told if said(town, person_id)[0] == doubt]
        assert len(doubted) >= 5
        assert sorted(m.to for m in backup.messages) == sorted(phone_of(p) for p in told if p not in doubted)
        await town.pass_time(seconds=4)
        assert {said(town, person_id)[-1] for person_id in told} == {(Outcome.ACCEPTED, Reason.NONE, "backup")}
        assert {person_id: rows(town, person_id)[-1].attempt for person_id in doubted} == dict.fromkeys(doubted, 2)
        assert sorted(m.to for m in backup.messages) == sorted(phone_of(person_id) for person_id in told)
        town.read_all()


CODES = [
    (21211, Outcome.REFUSED, Reason.BAD_ADDRESS),
    (21610, Outcome.REFUSED, Reason.BLOCKED),
    (21617, Outcome.REFUSED, Reason.CONTENT_REFUSED),
    (20429, Outcome.DEFERRED, Reason.RATE_LIMITED),
    (20003, Outcome.DEFERRED, Reason.CREDENTIALS),
    (99999, Outcome.REFUSED, Reason.BLOCKED),  # one that the table does not know
]


async def test_each_kind_of_refusal_stands_in_the_log_with_its_reason(tmp_path: Path) -> None:
    async with town(tmp_path / "data") as only:
        people = ["officer1", "county1", "milan-head", "rome-head", "village-head", "milan-zh"]
        for person_id, (code, _, _) in zip(people, CODES, strict=True):
            only.sandbox.sms.behave(phone_of(person_id), Behaviour(Kind.REFUSE, code=code, times=1))
        await only.release(level="red")
        await only.quiet()
        assert [said(only, person_id) for person_id in people] == [
            [(outcome, reason, "sms")] for _, outcome, reason in CODES
        ]
        await only.pass_time(seconds=30)
        again = [person_id for person_id in people if len(said(only, person_id)) > 1]
        assert again == [p for p, (_, outcome, _) in zip(people, CODES, strict=True) if outcome is Outcome.DEFERRED]
        assert {said(only, person_id)[-1][0] for person_id in again} == {Outcome.ACCEPTED}
        only.read_all()


async def test_what_the_provider_took_and_never_delivered_stays_accepted(tmp_path: Path) -> None:
    async with town(tmp_path / "data") as only:
        only.sandbox.sms.behave(HEAD, Behaviour(Kind.NEVER_DELIVERED))
        warning_id = await only.release()
        await only.until(lambda: len(only.inbox("milan-head", SMS)) == 1)
        await only.until(
            lambda: only.sandbox.sms.callbacks_posted == 3 * len(only.sandbox.sms.messages) - 1, "the other receipts"
        )
        only.sandbox.sms.callbacks_lost += 1  # the one that never comes
        await only.pass_time(hours=1)
        assert await only.stores.follower.reached(only.stores.log.last_position_now())
        assert said(only, "milan-head") == [(Outcome.ACCEPTED, Reason.NONE, "sms")]
        assert "milan-head" not in await delivered(only)
        page = (await only.get("auditor1", f"/v1/warnings/{warning_id}/deliveries")).json()["items"]
        (row,) = [row for row in page if row["person_id"] == "milan-head"]
        assert (row["outcome"], row["provider"]) == ("accepted", "sms")
        only.read_all()


async def test_a_premium_number_is_never_asked_for_and_the_log_says_why(tmp_path: Path) -> None:
    async with two_providers(tmp_path) as (town, backup):
        await change_phone(town, "milan-zh", "+39899123456")
        await town.release(level="red")
        await town.quiet()
        assert [row[:2] for row in said(town, "milan-zh")] == [(Outcome.REFUSED, Reason.NOT_ALLOWED)]
        assert not [m for m in [*town.sandbox.sms.messages, *backup.messages] if m.to == "+39899123456"]
        assert {said(town, p)[-1][0] for p in by_sms(town) if p != "milan-zh"} == {Outcome.ACCEPTED}
        town.read_all()


@asynccontextmanager
async def metered(folder: Path, clock: ManualClock) -> AsyncIterator[Town]:
    """The town's program on a folder, with prices and a limit of 0.3 a day."""
    account = SmsConfig(
        account_sid="x", auth_token="x", sender="x", prices={"+39": 0.05}, spend_limit=0.3, currency="EUR"
    )
    settings = Settings(data_dir=folder, port=0, sandbox=True, sms=account)
    async with (
        Stores(folder, clock) as stores,
        serving(settings, stores) as live,
        httpx.AsyncClient(base_url=live.url, timeout=20) as http,
    ):
        yield Town(live, clock, http)


async def change_phone(town: Town, person_id: str, number: str) -> None:
    node, role, language, channels = PEOPLE[person_id]
    person = Person(person_id=person_id, node_id=node, role=role, language=language, channels=channels)
    await town.stores.registry.register_people([(person, {"name": "x", "phone": number})], SETUP)
    await town.stores.follower.reached(await town.stores.log.last_position())


async def test_the_spend_limit_holds_over_a_restart_and_the_extreme_lane_passes_it(
    tmp_path: Path,
) -> None:
    clock = ManualClock(NOW)
    spent = []
    async with metered(tmp_path / "data", clock) as first:
        first.push = await populate(first.stores, first.sandbox)
        await first.release()  # everybody on duty: several of two segments each
        await first.quiet()
        outcomes = [row[:2] for person_id in by_sms(first) for row in said(first, person_id)]
        refused = outcomes.count((Outcome.REFUSED, Reason.NOT_ALLOWED))
        assert 0 < refused < len(outcomes)
        assert refused + outcomes.count((Outcome.ACCEPTED, Reason.NONE)) == len(outcomes)
        spent.append((await first.get("officer1", "/v1/providers")).json()[0]["spent_today"])
        first.read_all()
    async with metered(tmp_path / "data", clock) as second:
        assert (await second.get("officer1", "/v1/providers")).json()[0]["spent_today"] == spent[0] > 0
        before = len(second.sandbox.sms.messages)
        await second.release()
        await second.quiet()
        assert len(second.sandbox.sms.messages) == before  # nothing more today
        await second.release(level="red")
        await second.quiet()
        assert len(second.sandbox.sms.messages) > before
        assert (await second.get("officer1", "/v1/providers")).json()[0]["spent_today"] > 300_000
        clock.move(timedelta(days=1))
        budget = second.live.runtime.providers.all[0].budget
        assert budget is not None
        assert budget.spent() == 0
        second.read_all()
