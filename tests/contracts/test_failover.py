"""Several providers of one channel: who is asked, who is not, and what is said of those whom nobody took."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import structlog

from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.rates import Rate
from domain.shards import Purpose
from infra.clock import ManualClock
from notifiers.breaker import FIRST_S, OPENS_AFTER, Breaker, Pass, State
from notifiers.channel import Delivery, Rendered, Result
from notifiers.drill import DrillNotifier
from notifiers.failover import PROBE, FailoverNotifier, Provider
from notifiers.limits import Budget, Limits
from notifiers.rates import Pace

NOW = datetime(2026, 7, 1, 8, tzinfo=UTC)
WORDS = Rendered(language="en", subject="s", text="t", html="h", short="short")
DOWN = (Outcome.DEFERRED, Reason.UNREACHABLE)


class Account:
    """A provider's account that answers everybody the same way, or some as told."""

    channel = Channel.SMS
    chunk = 100

    def __init__(self, outcome: Outcome = Outcome.ACCEPTED, reason: Reason = Reason.NONE) -> None:
        self.answer = outcome, reason
        self.retry_after_s: float | None = None
        self.of: dict[int, tuple[Outcome, Reason]] = {}
        self.asked: list[int] = []
        self.batches: list[int] = []
        self.callbacks: list[str] = []

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        self.asked += [delivery.index for delivery in deliveries]
        self.batches.append(len(deliveries))
        self.callbacks += [delivery.callback for delivery in deliveries]
        return [
            Result(index=d.index, outcome=outcome, reason=reason, retry_after_s=self.retry_after_s)
            for d in deliveries
            for outcome, reason in [self.of.get(d.index, self.answer)]
        ]

    async def close(self) -> None:
        pass


def to(count: int, number: str = "+39347000{:04d}") -> list[Delivery]:
    return [
        Delivery(
            index=i, attempt=1, message_id=f"m.{i}", address=number.format(i), link="l", callback=f"http://us/cb/{i}"
        )
        for i in range(count)
    ]


class Pair:
    def __init__(self, **limits: Limits) -> None:
        self.clock = ManualClock(NOW)
        self.first, self.second = Account(), Account()
        self.providers = [
            Provider(name, account, self.clock, budget=Budget(name, limits.get(name, Limits()), self.clock))
            for name, account in (("sms", self.first), ("backup", self.second))
        ]
        self.channel = FailoverNotifier(self.providers)

    async def send(self, count: int = 10, **more: str) -> dict[int, Result]:
        results = await self.channel.send(WORDS, to(count, **more))
        assert sorted(result.index for result in results) == list(range(count))
        return {result.index: result for result in results}


async def test_what_the_first_did_not_take_the_second_gets_in_the_same_attempt() -> None:
    pair = Pair()
    pair.first.of = {2: DOWN, 5: (Outcome.DEFERRED, Reason.RATE_LIMITED)}
    found = await pair.send()

    assert pair.second.asked == [2, 5]
    assert {i: r.provider for i, r in found.items()} == {i: "backup" if i in (2, 5) else "sms" for i in range(10)}
    assert {r.outcome for r in found.values()} == {Outcome.ACCEPTED}


async def test_what_is_in_doubt_or_refused_is_not_repeated_by_another() -> None:
    pair = Pair()
    pair.first.of = {1: (Outcome.UNKNOWN, Reason.TIMEOUT), 2: (Outcome.REFUSED, Reason.BAD_ADDRESS)}
    found = await pair.send()

    assert pair.second.asked == []
    assert [(found[i].outcome, found[i].reason, found[i].provider) for i in (1, 2)] == [
        (Outcome.UNKNOWN, Reason.TIMEOUT, "sms"),
        (Outcome.REFUSED, Reason.BAD_ADDRESS, "sms"),
    ]


async def test_a_provider_that_is_down_is_left_alone_then_probed_with_a_few_then_used_again() -> None:
    pair = Pair()
    pair.first.answer = DOWN
    with structlog.testing.capture_logs() as lines:
        await pair.send()
        assert await pair.send() and pair.first.batches == [10]
        pair.clock.move(timedelta(seconds=FIRST_S))
        await pair.send()  # the probe fails
        assert pair.first.batches == [10, PROBE]
        pair.first.answer = (Outcome.ACCEPTED, Reason.NONE)
        pair.clock.move(timedelta(seconds=FIRST_S))
        await pair.send()  # it is left alone for twice as long
        assert pair.first.batches == [10, PROBE]
        pair.clock.move(timedelta(seconds=FIRST_S))
        found = await pair.send()
    assert pair.first.batches == [10, PROBE, PROBE, 10 - PROBE]
    assert {r.provider for r in found.values()} == {"sms"}
    assert [(line["state"], line["log_level"]) for line in lines if line["event"] == "provider_state"] == [
        ("open", "warning"),
        ("open", "warning"),
        ("closed", "info"),
    ]


async def test_when_all_are_open_it_is_deferred_until_the_soonest_is_tried_again() -> None:
    pair = Pair()
    pair.first.answer = pair.second.answer = DOWN
    await pair.send()
    pair.clock.move(timedelta(seconds=FIRST_S / 2))
    found = await pair.send()

    assert pair.first.batches == pair.second.batches == [10]
    assert {(r.outcome, r.reason, r.retry_after_s) for r in found.values()} == {(*DOWN, FIRST_S / 2)}
    assert all(r.provider for r in found.values())


async def test_a_probe_that_is_cancelled_or_lost_does_not_close_the_door_for_ever() -> None:
    breaker = Breaker(since=NOW)
    breaker.heard([Result(index=0, outcome=DOWN[0], reason=DOWN[1])] * OPENS_AFTER, NOW)
    later = NOW + timedelta(seconds=FIRST_S)
    assert [breaker.ask(NOW), breaker.ask(later), breaker.ask(later)] == [Pass.NONE, Pass.PROBE, Pass.NONE]
    assert breaker.ask(later + timedelta(minutes=1)) is Pass.PROBE


async def test_a_clock_that_is_put_back_an_hour_does_not_keep_a_provider_shut_for_one() -> None:
    breaker = Breaker(since=NOW)
    breaker.heard([Result(index=0, outcome=DOWN[0], reason=DOWN[1])] * OPENS_AFTER, NOW)
    assert breaker.state is State.OPEN
    assert breaker.ask(NOW - timedelta(hours=1)) is Pass.PROBE


async def test_refusals_of_single_recipients_never_open_a_provider() -> None:
    pair = Pair()
    pair.first.answer = (Outcome.REFUSED, Reason.BLOCKED)
    await pair.send(50)
    assert pair.providers[0].breaker.state is State.CLOSED


async def test_the_address_for_receipts_says_whose_they_are() -> None:
    pair = Pair()
    await pair.send(1)
    pair.first.answer = DOWN
    await pair.send(1)
    assert (pair.first.callbacks[0], pair.second.callbacks) == ("http://us/cb/0", ["http://us/cb/0?provider=backup"])


@pytest.mark.parametrize("number", ["+39899123456", "+19005551234", "+448712345678", "+97912345678"])
async def test_numbers_that_cost_whatever_they_like_are_refused_by_all(number: str) -> None:
    pair = Pair()
    found = await pair.send(1, number=number)
    assert (found[0].outcome, found[0].reason) == (Outcome.REFUSED, Reason.NOT_ALLOWED)
    assert pair.first.asked == pair.second.asked == []


async def test_a_country_that_is_not_on_the_list_goes_to_the_provider_that_has_it_or_is_refused() -> None:
    pair = Pair(sms=Limits(countries=frozenset({"CN"})), backup=Limits(countries=frozenset({"CN", "IT"})))
    assert (await pair.send(1))[0].provider == "backup"
    found = await pair.send(1, number="+34600123456")
    assert (found[0].outcome, found[0].reason) == (Outcome.REFUSED, Reason.NOT_ALLOWED)


async def test_a_down_provider_and_one_that_may_not_be_used_defer() -> None:
    pair = Pair(backup=Limits(countries=frozenset({"CN"})))
    pair.first.answer = DOWN
    assert (await pair.send(1))[0].outcome is Outcome.DEFERRED


async def test_a_slow_rate_sends_part_by_part_as_tokens_come() -> None:
    clock, account = ManualClock(NOW), Account()
    channel = FailoverNotifier([Provider("sms", account, clock, pace=Pace(clock, "", {"": Rate(1, 2)}))])
    task = asyncio.create_task(channel.send(WORDS, to(5)))
    for expected in (2, 3, 4, 5):
        while len(account.asked) < expected:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(account.asked) == expected
        clock.move(timedelta(seconds=1))
    assert len(await task) == 5
    assert account.batches == [2, 1, 1, 1]


@pytest.mark.parametrize(("purpose", "late"), [(Purpose.NOTICE, 2), (Purpose.CANCEL, 0)])
async def test_who_waits_for_a_turn_until_the_warning_is_over_gets_nothing_but_its_withdrawal(
    purpose: Purpose, late: int
) -> None:
    clock, account, backup = ManualClock(NOW), Account(), Account()
    prices = Limits(prices={"": 1_000_000})
    first = Provider("sms", account, clock, pace=Pace(clock, "", {"": Rate(1, 2)}), budget=Budget("sms", prices, clock))
    channel = FailoverNotifier([first, Provider("backup", backup, clock)])
    words = msgspec.structs.replace(WORDS, purpose=purpose, expires_at=NOW + timedelta(seconds=2))
    task = asyncio.create_task(channel.send(words, to(5)))
    while not task.done():
        for _ in range(30):
            await asyncio.sleep(0)
        clock.move(timedelta(seconds=1))
    found = {result.index: (result.outcome, result.reason) for result in await task}

    taken = 5 - late
    assert account.asked == list(range(taken))
    assert backup.asked == [], "what is over for one is over for all"
    assert [found[i] for i in range(taken)] == [(Outcome.ACCEPTED, Reason.NONE)] * taken
    assert [found[i] for i in range(taken, 5)] == [(Outcome.EXPIRED, Reason.VALIDITY_OVER)] * late
    assert first.described()["spent_today"] == taken * 1_000_000


async def test_a_clock_that_was_ahead_for_a_while_holds_up_no_later_day() -> None:
    pair = Pair(sms=Limits(prices={"": 1}, per_day=10), backup=Limits(countries=frozenset({"FR"})))
    budget = pair.providers[0].budget
    assert budget is not None
    taken = []
    for day in range(4):
        if day == 1:
            pair.clock.jump(timedelta(days=365))
            assert budget.spent() == 0
            pair.clock.jump(timedelta(days=-365))
        found = await pair.send(8)
        taken.append(sum(r.outcome is Outcome.ACCEPTED for r in found.values()))
        assert budget.spent() == 8
        pair.clock.jump(timedelta(days=-1))
        assert budget.spent() == 8, "put back, it opens no fresh budget"
        pair.clock.jump(timedelta(days=1))
        pair.clock.move(timedelta(days=1))
    assert taken == [8] * 4


async def test_a_slow_rate_makes_chunks_smaller_as_soon_as_it_is_set() -> None:
    async def record(shard_id: str, row: Row) -> None:
        raise AssertionError

    pair = Pair()
    channel = DrillNotifier(pair.channel, record, pair.clock)  # as a running program has it
    assert channel.chunk == 100
    pair.providers[0].pace.change("", Rate(1, 100))
    pair.providers[1].pace.change("", Rate(0.3, 100))
    assert channel.chunk == 10
    pair.first.answer = DOWN
    await pair.send(OPENS_AFTER)
    assert channel.chunk == 3, "that of the one who is asked now"
