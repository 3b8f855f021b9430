"""A cancellation that comes while messages are on their way: whoever may have one is told, late or not, and once."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import structlog
from house import EMAIL, MILAN, NOW, SMS, House, actor, house

from domain.content import Target
from domain.outcomes import Outcome, Reason
from domain.planning import PlanMade
from domain.rulepacks import Level
from domain.shards import Purpose, ShardLeased, ShardStopped
from infra.clock import ManualClock
from infra.engine import planner, portions

LATE = ("milan-both", SMS)  # whose answer comes after the cancellation went out to the others
OTHERS = {("milan-head", SMS), ("milan-both", EMAIL), ("milan-it", EMAIL)}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "SETTLE_S", 1.5)


async def hanging(h: House) -> str:
    """A warning to Milan that one SMS has no answer of yet; the id."""
    h.notifiers[SMS].hanging = {LATE[0]}
    warning_id = await h.release(Level.RED, target="milan")
    await h.until(lambda: LATE in h.sent() and set(h.sent()) >= OTHERS)
    await h.until(lambda: h.stores.views.position == h.stores.log.last_position_now())
    return warning_id


async def cancel(h: House, warning_id: str) -> None:
    await h.desk.cancel(actor("officer1"), warning_id, reason="mistake")


async def follow(h: House, warning_id: str, *, correction: bool, **changes: object) -> str:
    """A correction or an update of a warning, released; the id."""
    before = h.view(lambda v, db: v.warnings.state(db, warning_id)).content
    words = msgspec.structs.replace(before, event="Put right", **changes)
    drafted = await h.desk.draft(actor("officer1"), words, updates=warning_id, correction=correction)
    await h.stores.follower.reached(drafted.position)
    await h.desk.release(actor("officer2"), drafted.id)
    return drafted.id


def plans(h: House, warning_id: str) -> int:
    return sum(plan.warning_id == warning_id for plan in h.events(PlanMade))


def told_once(h: House, warning_id: str, purpose: Purpose) -> bool:
    """Whether nobody is in the plan twice, and the channels sent it to nobody twice."""
    sends = Counter((d.message_id, n.channel) for n in h.notifiers.values() for _, d, _ in n.sent)
    return max(Counter(h.planned(warning_id, purpose)).values()) == 1 == max(sends.values())


async def test_a_stopped_shard_with_something_in_doubt_is_settled_at_the_next_start(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with house(tmp_path, clock, chunk=1) as h:
        warning_id = await hanging(h)
        shard_id, _ = h.place(warning_id, *LATE)
        await cancel(h, warning_id)
        await h.until(lambda: shard_id in {e.shard_id for e in h.events(ShardStopped)})
    async with house(tmp_path, clock, chunk=1) as h:
        await h.until(lambda: h.planned(warning_id, Purpose.CANCEL), seconds=20)
        await h.quiet()

        assert [r[:2] for r in h.rows(warning_id, LATE[0], channel=SMS)] == [(Outcome.UNKNOWN, Reason.CRASH)]
        assert LATE in h.planned(warning_id, Purpose.CANCEL)
        assert LATE in h.sent()
        assert h.view(lambda v, db: v.deliveries.unfinished(db, warning_id)) == []
        assert shard_id not in {row.shard_id for row in h.view(lambda v, db: v.deliveries.queue(db, NOW, "x", 9))}
        leases = [e for e in h.events(ShardLeased) if e.shard_id == shard_id]
        assert len(leases) == 2  # its own, and the one for what was in doubt


async def test_whose_answer_comes_late_is_told_late_and_nobody_is_told_twice(tmp_path: Path) -> None:
    async with house(tmp_path, chunk=1) as h:
        warning_id = await hanging(h)
        await cancel(h, warning_id)
        await h.until(lambda: h.planned(warning_id, Purpose.CANCEL))
        assert set(h.planned(warning_id, Purpose.CANCEL)) >= OTHERS
        assert (LATE in h.planned(warning_id, Purpose.CANCEL), plans(h, warning_id)) == (False, 1)
        h.notifiers[SMS].release()
        await h.quiet()

        assert set(h.planned(warning_id, Purpose.CANCEL)) == (MILAN | OTHERS) - {("milan-zh", SMS)}  # who got nothing
        assert told_once(h, warning_id, Purpose.CANCEL)
        assert Counter(h.sent())[LATE] == 2  # the warning and its withdrawal
        made = h.events(PlanMade)[-1]
        assert (plans(h, warning_id), made.shards) == (2, len(h.shards(warning_id, Purpose.CANCEL)))
        assert made.recipients == len({who for who, _ in h.planned(warning_id, Purpose.CANCEL)})


async def test_rounds_without_news_write_nothing_and_keep_nobody_else_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, chunk=1) as h:
        warning_id = await hanging(h)
        monkeypatch.setattr(planner, "SETTLE_S", 0.1)
        await cancel(h, warning_id)
        await h.until(lambda: h.planned(warning_id, Purpose.CANCEL))
        for level in (Level.RED, Level.ORANGE):
            other = await h.release(level, target="madrid")
            await h.until(lambda: plans(h, other) == 1, seconds=10)  # noqa: B023  it is awaited here
        await h.desk.cancel(actor("officer1"), other, reason="mistake")
        await h.until(lambda: plans(h, other) == 2, seconds=10)
        assert plans(h, warning_id) == 1
        h.notifiers[SMS].release()
        await h.quiet()

        assert LATE in h.planned(warning_id, Purpose.CANCEL)
        assert told_once(h, warning_id, Purpose.CANCEL)


async def test_a_cancellation_that_waits_for_somebody_goes_on_after_a_restart(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with house(tmp_path, clock, chunk=1) as h:
        warning_id = await hanging(h)
        with structlog.testing.capture_logs() as lines:
            await cancel(h, warning_id)
            await h.until(lambda: sum(line["event"] == "cancel_unsettled" for line in lines) == 2, seconds=10)
        assert set(h.planned(warning_id, Purpose.CANCEL)) >= OTHERS  # the first round is over
        assert LATE not in h.planned(warning_id, Purpose.CANCEL)
    async with house(tmp_path, clock, chunk=1) as h:
        await h.quiet()

        assert [r[:2] for r in h.rows(warning_id, LATE[0], channel=SMS)] == [(Outcome.UNKNOWN, Reason.CRASH)]
        assert LATE in h.planned(warning_id, Purpose.CANCEL)
        assert told_once(h, warning_id, Purpose.CANCEL)
        assert plans(h, warning_id) == 2


async def test_shards_that_are_still_being_written_then_are_stopped_and_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, rest = portions.Portions.of, threading.Event()

    def slow(self, trigger):
        for at, portion in enumerate(whole(self, trigger)):
            if at and trigger["kind"] == "released":
                rest.wait(20)
            yield portion

    monkeypatch.setattr(portions.Portions, "of", slow)
    monkeypatch.setattr(portions, "FIRST", 1)
    monkeypatch.setattr(portions, "PORTION", 1)
    async with house(tmp_path) as h:
        warning_id = await h.release(Level.RED, target="milan")
        await h.until(h.sent)
        await cancel(h, warning_id)
        await h.until(lambda: h.planned(warning_id, Purpose.CANCEL))
        for notifier in h.notifiers.values():
            notifier.hanging = {who for who, _ in MILAN}  # what of the rest is sent is stopped while it is under way
        rest.set()
        await h.until(lambda: plans(h, warning_id) == 1)
        await h.until(lambda: h.events(ShardStopped))
        for notifier in h.notifiers.values():
            notifier.release()
        await h.quiet()

        reached = {(t.person_id, t.channel) for t in h.view(lambda v, db: v.deliveries.reached(db, warning_id))}
        assert set(h.planned(warning_id, Purpose.CANCEL)) == reached
        assert told_once(h, warning_id, Purpose.CANCEL)
        assert plans(h, warning_id) == 2


async def test_a_correction_reaches_whoever_got_the_wrong_words_late(tmp_path: Path) -> None:
    async with house(tmp_path, chunk=1) as h:
        wrong = await hanging(h)
        right = await follow(h, wrong, correction=True)
        await h.until(lambda: set(h.planned(right)) >= OTHERS)
        assert (LATE in h.planned(right), plans(h, right)) == (False, 0)
        h.notifiers[SMS].release()
        await h.quiet()

        assert set(h.planned(right)) == (MILAN | OTHERS) - {("milan-zh", SMS)}
        assert told_once(h, right, Purpose.NOTICE)
        assert (plans(h, right), plans(h, wrong)) == (1, 2)


async def test_an_update_that_concerns_others_is_over_also_for_whoever_got_the_warning_late(tmp_path: Path) -> None:
    async with house(tmp_path, chunk=1) as h:
        before = await hanging(h)
        await follow(h, before, correction=False, target=Target(nodes=("madrid",)))
        await h.until(lambda: set(h.planned(before, Purpose.CANCEL)) >= OTHERS)
        assert LATE not in h.planned(before, Purpose.CANCEL)
        h.notifiers[SMS].release()
        await h.quiet()

        assert LATE in h.planned(before, Purpose.CANCEL)
        assert told_once(h, before, Purpose.CANCEL)
