"""What lies beside the log on each backend: checkpoints with the prover on them, the vault's rows, locks by name."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from eventsourcing.persistence import StoredEvent
from log_rig import NOW, ORIGIN, to

from domain.checkpoint import open_checkpoint
from domain.errors import Refused, VerificationFailed
from infra.clock import ManualClock
from infra.copying import copy
from infra.keys import TABLES
from infra.locks import FileLock, Relief, alone
from infra.log.checkpoints import Kept
from infra.log.mapper import EventMapper
from infra.log.proof import Prover
from infra.log.store import EventLog
from infra.storage import Storage, in_database, in_files
from infra.vault import FileVault

Again = Callable[[], Storage]


@pytest.fixture(params=["sqlite", "postgresql"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Again]:
    """Opens one storage as often as wanted: each as a process of its own would."""
    made: list[Storage] = []

    def opened() -> Storage:
        made.append(in_files(tmp_path) if request.param == "sqlite" else in_database(config))
        return made[-1]

    if request.param == "sqlite":
        yield opened
    else:
        with request.getfixturevalue("postgres").schema() as config:
            yield opened
            while made:
                made.pop().close()
    for storage in made:
        storage.close()


# Moving house ---------------------------------------------------------------------------------------------------------


def event(n: int) -> StoredEvent:
    return StoredEvent(f"person-{n}", 1, "person.registered.v1", b"{}")


def registers(other: Storage) -> None:
    other.keys.add([("late", b"wrapped")])
    other.log.insert_events([event(9)])


@pytest.mark.parametrize("meanwhile", [registers, lambda other: other.keys.destroy("ann")], ids=["adds", "forgets"])
def test_a_source_that_is_written_to_is_not_copied(again: Again, tmp_path: Path, meanwhile) -> None:
    """Its vault is copied before its log: whose key came or went in between would be lost, or live on."""
    source, other = again(), again()
    source.keys.add([("ann", b"wrapped")])
    source.log.insert_events([event(1), event(2)])
    folder = tmp_path / "target"
    folder.mkdir()
    target, told = in_files(folder), []

    def on_event(count: int) -> None:
        if not told:
            meanwhile(other)
        told.append(count)

    with closing(target), pytest.raises(Refused) as raised:
        copy(source, target, on_event)
    assert (raised.value.code, told[0]) == ("copy.grew", 2)


def test_a_source_that_rests_is_copied_beside_a_program_that_only_reads(again: Again, tmp_path: Path) -> None:
    source, other = again(), again()
    source.keys.add([("ann", b"wrapped")])
    source.log.insert_events([event(1), event(2)])
    folder = tmp_path / "target"
    folder.mkdir()
    with closing(in_files(folder)) as target:
        done = copy(source, target, lambda _: other.keys.wrapped(["ann"]))
        assert (done.events, done.position, done.vault_rows) == (2, 2, 1)
        assert target.keys.wrapped(["ann"]) == {"ann": b"wrapped"}


# Proof ----------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def proved(storage: Storage, folder: Path) -> AsyncIterator[tuple[EventLog, Prover]]:
    vault = FileVault(folder, keys=storage.keys)
    log = EventLog(storage.log, EventMapper(vault), ManualClock(NOW))
    await log.start()
    try:
        yield log, Prover(storage.checkpoints, log, vault)
    finally:
        await log.close()


def kept(size: int, word: str = "") -> Kept:
    return Kept(size, size, "{}", f"note {size} {word}")


def test_checkpoints_come_back_in_order_and_the_first_of_a_size_stays(again: Again) -> None:
    one = again().checkpoints
    assert (one.latest(), one.all()) == (None, [])
    one.add([kept(2), kept(9)])
    one.add([kept(5), kept(9, "another")])
    one.add([])
    two = again().checkpoints
    assert two.all() == [kept(2), kept(5), kept(9)]
    assert two.latest() == kept(9)


async def test_the_log_is_signed_as_it_grows_and_two_that_sign_agree(again: Again, tmp_path: Path) -> None:
    async with proved(again(), tmp_path) as (log, prover), proved(again(), tmp_path) as (_, other):
        assert (prover.extend(), prover.note(), prover.signed(), prover.verify()) == (None, None, 0, 0)
        await log.append([to("a", "1", "2")], ORIGIN)
        first = prover.extend()
        await log.append([to("b", "3")], ORIGIN)
        assert other.extend() == prover.extend() == open_checkpoint((other.note() or "").encode(), prover.verifier)
        assert (first and first.size, prover.signed(), other.signed_position(), other.verify()) == (2, 3, 3, 3)


async def test_a_trimmed_log_and_another_log_are_noticed(again: Again, tmp_path: Path) -> None:
    storage = again()
    async with proved(storage, tmp_path) as (log, prover):
        await log.append([to("a", "1", "2")], ORIGIN)
        prover.extend()
        latest = storage.checkpoints.latest()
        assert latest is not None
        storage.checkpoints.add([latest._replace(size=3, position=3)])
        with pytest.raises(VerificationFailed) as trimmed:
            prover.verify()
        await log.append([to("b", "3")], ORIGIN)
        with pytest.raises(VerificationFailed) as altered:
            prover.verify()
    assert (trimmed.value.code, altered.value.code) == ("log.trimmed", "log.altered")


# The vault's rows -----------------------------------------------------------------------------------------------------


def test_keys_are_kept_once_and_stay_destroyed(again: Again) -> None:
    one, two = again().keys, again().keys
    one.add([("ann", b"a"), ("bob", b"b")])
    two.add([("ann", b"other"), ("cat", b"c")])
    before = one.version()
    two.destroy("bob")
    two.destroy("nobody-yet")
    assert one.version() != before
    one.add([("bob", b"again"), ("nobody-yet", b"n")])
    wanted = ["ann", "bob", "cat", "nobody-yet", "unknown"]
    assert one.wrapped(wanted) == two.wrapped(wanted) == {"ann": b"a", "bob": None, "cat": b"c", "nobody-yet": None}


def test_an_address_is_theirs_who_noted_it_last_until_they_give_it_up(again: Again) -> None:
    one, two = again().keys, again().keys
    first = one.note([(b"x", "ann"), (b"y", "ann")])
    second = two.note([(b"x", "bob")])
    assert second > first
    assert (one.noted(b"x"), one.noted(b"z")) == (["bob", "ann"], [])
    third = one.note([(b"y", "ann")])
    two.unnote(["ann"], third)
    assert (one.noted(b"x"), one.noted(b"y")) == (["bob"], ["ann"])
    one.destroy("ann")
    assert two.noted(b"y") == []


def test_a_secret_is_kept_once_and_rows_move_as_they_are(again: Again, tmp_path: Path) -> None:
    one = again().keys
    assert (one.secret("links"), one.keep_secret("links", b"s"), one.keep_secret("links", b"t")) == (None, b"s", b"s")
    one.add([(f"p{n}", b"k%d" % n) for n in range(5)])
    one.note([(b"x", "p1")])
    one.destroy("p2")
    (tmp_path / "moved").mkdir()
    other = in_files(tmp_path / "moved")
    for table in TABLES:
        for rows in one.portions(table, 2):
            assert len(rows) <= 2
            other.keys.take_over(table, rows)
        assert other.keys.count(table) == one.count(table)
        assert sorted(map(repr, *other.keys.portions(table, 99))) == sorted(map(repr, *one.portions(table, 99)))
    assert other.keys.note([(b"x", "p3")]) > 0
    assert other.keys.noted(b"x") == ["p3", "p1"]
    other.close()


# Locks ----------------------------------------------------------------------------------------------------------------


def test_one_has_a_lock_and_another_gets_it_when_it_is_given_back(again: Again) -> None:
    one, two = again(), again()
    mine, theirs, other = one.lock("project"), two.lock("project"), two.lock("relay")
    assert (mine.taken(), mine.held(), theirs.taken()) == (False, False, False)
    assert (mine.take(), mine.take(), mine.held(), mine.taken(), theirs.taken()) == (True,) * 5
    assert (theirs.take(), theirs.held(), other.take(), other.held()) == (False, False, True, True)
    mine.give_back()
    mine.give_back()
    assert (mine.held(), theirs.taken(), theirs.take(), mine.take()) == (False, False, True, False)
    for lock in (theirs, other):
        lock.give_back()


def test_who_takes_a_lock_waits_out_somebody_who_only_looks_at_it(tmp_path: Path) -> None:
    path, looked = tmp_path / "relay.lock", []

    def look() -> None:
        looked.append(os.open(path, os.O_RDONLY | os.O_CREAT))
        fcntl.flock(looked[-1], fcntl.LOCK_SH)

    look()
    lock = FileLock(path, sleep=lambda _: os.close(looked.pop()))
    assert (lock.take(), looked) == (True, [])
    other = FileLock(path, sleep=lambda _: None)
    assert (other.taken(), other.take()) == (True, False)
    lock.give_back()
    assert not other.taken()
    assert not FileLock(tmp_path / "none.lock").taken()
    assert not (tmp_path / "none.lock").exists(), "looking makes no file"


async def test_who_is_stuck_leaves_its_lock_to_who_stands_by_and_to_nobody_else(again: Again) -> None:
    said: list[str] = []
    stuck: set[str] = set()

    def process(name: str) -> asyncio.Task[None]:
        storage = again()

        async def part() -> None:
            said.append(name)
            await asyncio.Event().wait()

        relief = Relief(lambda: name in stuck, storage.lock("project-next"))
        return asyncio.create_task(alone("project", storage.lock("project"), {"part": part}, relief))

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110  a lock raises no event
                await asyncio.sleep(0.02)

    old = process("old")
    await until(lambda: said == ["old"])
    stuck.add("old")
    looked = again().lock("project")
    await asyncio.sleep(0)
    assert looked.taken(), "nobody stands by: it stays"
    new = process("new")
    await until(lambda: said == ["old", "new"])
    waiting = again().lock("project-next")
    await until(waiting.taken)  # the old one stands by from now on
    for task in (old, new):
        task.cancel()
    await asyncio.gather(old, new, return_exceptions=True)
    assert not looked.taken()
    assert not waiting.taken()
