"""The log as a file: shared by processes, whole after it is opened again, readable by any tool, never misread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading

import msgspec
import pytest
from eventsourcing.persistence import ConnectionPoolClosedError
from log_rig import NOW, ORIGIN, opened, to, word, words

from domain.errors import UnknownEvent, Unreachable, VerificationFailed, VersionConflict
from domain.people import PersonRegistered, Role
from domain.ports import Append
from domain.private import Private
from infra.log.recorders import check_sqlite, sqlite_log


async def test_another_process_on_the_same_file_is_seen(tmp_path):
    async with (
        opened(tmp_path, sqlite_log(tmp_path / "log.sqlite")) as one,
        opened(tmp_path, sqlite_log(tmp_path / "log.sqlite")) as two,
    ):
        follow = two.follow(0)
        async with asyncio.timeout(30):
            waiting = asyncio.create_task(anext(follow))
            await one.append([to("a", "1")], ORIGIN)
            assert [word(r.event) for r in await waiting] == ["1"]
        with pytest.raises(VersionConflict):
            await two.append([to("a", "also first")], ORIGIN)
        await follow.aclose()


async def test_a_file_that_is_opened_again_holds_everything(tmp_path):
    async with opened(tmp_path, sqlite_log(tmp_path / "log.sqlite")) as log:
        await log.append([to("a", "1", "2"), to("b", "3")], ORIGIN)
        before = await log.read(0, 99)
    async with opened(tmp_path, sqlite_log(tmp_path / "log.sqlite")) as log:
        assert await log.read(0, 99) == before
        await log.append([to("a", "4", after=2)], ORIGIN)
        assert await log.last_position() == 4
    assert check_sqlite(tmp_path / "log.sqlite") == []


async def test_stored_bytes_are_json_that_any_tool_reads(tmp_path):
    async with opened(tmp_path, sqlite_log(tmp_path / "log.sqlite")) as log:
        await log.append([to("a", "烽火")], ORIGIN)
    with sqlite3.connect(tmp_path / "log.sqlite") as db:
        ((topic, state),) = db.execute("SELECT topic, state FROM stored_events").fetchall()
    db.close()

    assert (topic, msgspec.json.decode(state)) == (
        "command.accepted.v1",
        {
            "meta": {
                "event_id": "e1",
                "recorded_at": "2026-07-01T08:00:00Z",
                "actor": "ann",
                "correlation_id": "c1",
            },
            "data": {"accepted": {"fingerprint": "烽火", "result": ""}},
        },
    )


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("topic", "nonsense"),
        ("state", b"{}"),
        ("state", b'{"meta": {"event_id": "e"'),
        ("state", b"\xff\xfe"),
        ("state", b""),
    ],
)
async def test_an_event_that_cannot_be_read_is_named(tmp_path, column, value):
    async with opened(tmp_path, sqlite_log(tmp_path / "log.sqlite")) as log:
        await log.append([to("warning-1", "1", "2")], ORIGIN)
    with sqlite3.connect(tmp_path / "log.sqlite") as db:
        db.execute(f"UPDATE stored_events SET {column} = ? WHERE originator_version = 2", (value,))
    db.close()
    async with opened(tmp_path, sqlite_log(tmp_path / "log.sqlite")) as log:
        for read in (lambda: log.read(1, 9), lambda: log.load("warning-1", words)):
            with pytest.raises(VerificationFailed) as failed:
                await read()
            assert failed.value.code == "log.unreadable_event"
            assert "Event 2 of warning-1" in failed.value.message


async def test_what_comes_before_an_event_that_is_not_known_is_read_and_then_it_is_named(tmp_path):
    async with opened(tmp_path, sqlite_log(tmp_path / "log.sqlite")) as log:
        await log.append([to("warning-1", "1", "2", "3")], ORIGIN)
    with sqlite3.connect(tmp_path / "log.sqlite") as db:
        db.execute("UPDATE stored_events SET topic = 'command.accepted.v2' WHERE originator_version = 2")
    db.close()
    async with opened(tmp_path, sqlite_log(tmp_path / "log.sqlite")) as log:
        assert [r.version for r in await log.read(0, 9)] == [1]
        assert [r.version for r in await log.read(2, 9)] == [3]
        follow = log.follow(0)
        assert len(await anext(follow)) == 1
        for read in (lambda: log.read(1, 9), lambda: log.load("warning-1", words), lambda: anext(follow)):
            with pytest.raises(UnknownEvent) as failed:
                await read()
            assert (failed.value.code, failed.value.topic) == ("log.unknown_event", "command.accepted.v2")
            assert (failed.value.stream, failed.value.version) == ("warning-1", 2)
        assert log.unknown_now(1) is not None
        assert log.unknown_now(0) is log.unknown_now(2) is None
        assert log.recorded_at_now(1) == log.last_recorded_now() == NOW


async def test_a_file_that_is_no_log_is_unreachable(tmp_path):
    (tmp_path / "log.sqlite").write_bytes(b"this is not a database" * 100)

    with pytest.raises(Unreachable) as failed:
        await asyncio.to_thread(sqlite_log, tmp_path / "log.sqlite")
    assert failed.value.code == "log.open_failed"


async def test_a_file_that_is_not_there_is_told_from_one_that_is_whole(tmp_path):
    assert check_sqlite(tmp_path / "log.sqlite") == ["unable to open database file"]
    assert list(tmp_path.iterdir()) == []


async def test_closing_waits_for_threads_that_still_read(tmp_path):
    recorder = sqlite_log(tmp_path / "log.sqlite")
    began, go, read = threading.Event(), threading.Event(), []

    def slow_reader() -> None:
        with recorder.datastore.transaction(commit=False) as cursor:
            began.set()
            go.wait(10)
            cursor.execute("SELECT count(*) FROM stored_events")
            read.append(cursor.fetchone()[0])

    reader, closer = threading.Thread(target=slow_reader), threading.Thread(target=recorder.datastore.close)
    reader.start()
    began.wait(10)
    closer.start()
    closer.join(0.05)
    closed_too_early = not closer.is_alive()
    go.set()
    reader.join(10)
    closer.join(10)

    assert (closed_too_early, read, closer.is_alive()) == (False, [0], False)
    with pytest.raises(ConnectionPoolClosedError):
        recorder.max_notification_id()


async def test_sealed_data_copied_from_another_event_is_noticed(tmp_path):
    def registered(person_id: str) -> Append:
        personal = Private(person_id, {"phone": "+8613800000000"})
        event = PersonRegistered(
            person_id=person_id, node_id="n", role=Role.CITIZEN, language="zh", channels=(), personal=personal
        )
        return Append(f"person-{person_id}", 0, [event])

    async with opened(tmp_path, sqlite_log(tmp_path / "log.sqlite")) as log:
        await log.append([registered("a"), registered("b")], ORIGIN)
        assert len(await log.read(0, 9)) == 2
    with sqlite3.connect(tmp_path / "log.sqlite") as db:
        db.execute("UPDATE stored_events SET state = (SELECT state FROM stored_events WHERE rowid = 1) WHERE rowid = 2")
    db.close()
    async with opened(tmp_path, sqlite_log(tmp_path / "log.sqlite")) as log:
        with pytest.raises(VerificationFailed) as failed:
            await log.read(1, 9)
    assert failed.value.code == "log.misplaced_box"
