"""What is said where the disk or another program fails the files beside the log, and that it goes on after."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import structlog
from log_rig import ORIGIN, to
from sqlalchemy.exc import OperationalError

from domain.errors import Refused, Unreachable, VerificationFailed
from infra.copying import copy_master_key
from infra.keys import SqliteKeys
from infra.log.checkpoints import Kept, SqliteCheckpoints
from infra.stores import Stores
from infra.vault import FileVault
from projections.follower import Views
from projections.sqlite import sqlite_views

MANY = 5000
WRITES: dict[str, Callable[[SqliteKeys], object]] = {
    "many keys": lambda keys: keys.add([(f"p{n}", bytes(60)) for n in range(MANY)]),
    "a key": lambda keys: keys.add([("ann", bytes(100_000))]),
    "addresses": lambda keys: keys.note([(b"%d" % n, "ann") for n in range(MANY)]),
    "a secret": lambda keys: keys.keep_secret("links", bytes(100_000)),
    "another vault's rows": lambda keys: keys.take_over("secret", [(f"s{n}", bytes(60)) for n in range(MANY)]),
}


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[SqliteKeys]:
    made = SqliteKeys(tmp_path / "vault.sqlite")
    yield made
    made.close()


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[SqliteCheckpoints]:
    made = SqliteCheckpoints(tmp_path / "proof.sqlite")
    yield made
    made.close()


def kept(size: int) -> Kept:
    return Kept(size, size, "{}", "note " * 20_000)


@contextmanager
def full(of: SqliteKeys | SqliteCheckpoints) -> Iterator[None]:
    """As a disk that is full: SQLite gets no further page, says the same, and rolls back by itself as it does then."""
    of._db.execute("PRAGMA max_page_count = 1")
    yield
    of._db.execute("PRAGMA max_page_count = 1000000")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program that writes and comes to no end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def away(path: Path, table: str) -> Iterator[None]:
    """A file in which something is missing for a while."""
    for one, other in ((table, "elsewhere"), ("elsewhere", table)):
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"ALTER TABLE {one} RENAME TO {other}")
        if one == table:
            yield


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_full_disk_is_named_and_the_vault_goes_on_when_there_is_room(
    keys: SqliteKeys, write: Callable[[SqliteKeys], object]
) -> None:
    with full(keys), pytest.raises(Unreachable) as failed:
        write(keys)
    assert failed.value.code == "vault.failed"
    assert failed.value.message == "vault.sqlite cannot be read or written: database or disk is full."
    assert failed.value.remedy
    assert all(keys.count(table) == 0 for table in ("person_key", "addresses", "secret"))
    write(keys)
    assert any(keys.count(table) for table in ("person_key", "addresses", "secret"))


def test_a_vault_that_another_program_keeps_locked_is_unreachable_meanwhile(keys: SqliteKeys, tmp_path: Path) -> None:
    keys._db.execute("PRAGMA busy_timeout = 1")
    drops: list[Callable[[SqliteKeys], object]] = [
        lambda keys: keys.destroy("ann"),
        lambda keys: keys.unnote(["ann"], 9),
    ]
    for write in (*WRITES.values(), *drops):
        with locked(tmp_path / "vault.sqlite"), pytest.raises(Unreachable, match="locked"):
            write(keys)
    keys.destroy("ann")
    assert keys.wrapped(["ann"]) == {"ann": None}


def test_a_vault_that_cannot_be_read_is_unreachable_until_it_can_be(keys: SqliteKeys, tmp_path: Path) -> None:
    reads: dict[str, Callable[[], object]] = {
        "person_key": lambda: keys.wrapped(["ann"]),
        "addresses": lambda: keys.noted(b"x"),
        "secret": lambda: keys.secret("links"),
    }
    for table, read in reads.items():
        with away(tmp_path / "vault.sqlite", table):
            for fails in (read, lambda: keys.count(table), lambda: list(keys.portions(table, 9))):  # noqa: B023
                with pytest.raises(Unreachable, match="no such table"):
                    fails()
        assert not read()


def test_checkpoints_that_cannot_be_kept_or_read_are_unreachable_until_they_can_be(
    checkpoints: SqliteCheckpoints, tmp_path: Path
) -> None:
    with full(checkpoints), pytest.raises(Unreachable, match=r"proof\.sqlite .* full") as failed:
        checkpoints.add([kept(1)])
    assert failed.value.code == "proof.failed"
    checkpoints._db.execute("PRAGMA busy_timeout = 1")
    with locked(tmp_path / "proof.sqlite"), pytest.raises(Unreachable, match="locked"):
        checkpoints.add([kept(1)])
    with away(tmp_path / "proof.sqlite", "checkpoint"), pytest.raises(Unreachable, match="no such table"):
        checkpoints.latest()
    checkpoints.add([kept(1)])
    assert checkpoints.all() == [kept(1)]


@pytest.mark.parametrize(
    ("name", "opened", "code"),
    [("vault.sqlite", SqliteKeys, "vault.failed"), ("proof.sqlite", SqliteCheckpoints, "proof.failed")],
)
def test_a_file_that_is_no_database_or_cannot_be_made_is_unreachable(
    tmp_path: Path, name: str, opened: Callable[[Path], object], code: str
) -> None:
    (tmp_path / name).write_bytes(b"no database " * 1000)
    for path in (tmp_path / name, tmp_path / "nowhere" / name):
        with pytest.raises(Unreachable, match=name) as failed:
            opened(path)
        assert failed.value.code == code


async def test_who_ends_while_nothing_can_be_signed_says_so_and_ends(tmp_path: Path) -> None:
    async with Stores(tmp_path) as stores:
        await stores.log.append([to("a", "1")], ORIGIN)
        with away(tmp_path / "proof.sqlite", "checkpoint"), structlog.testing.capture_logs() as said:
            await stores.sign()
        assert [(line["event"], line["code"]) for line in said] == [("unsigned", "proof.failed")]
        await stores.sign()
        assert stores.prover.signed() == 1


# The views ------------------------------------------------------------------------------------------------------------


async def test_views_on_a_full_disk_say_so_and_go_on_when_there_is_room(tmp_path: Path) -> None:
    async with Stores(tmp_path) as stores:
        await stores.catch_up()
        end = await stores.log.append([to(f"a{n}", *["x"] * 100) for n in range(50)], ORIGIN)
        with stores.views._writer.connect() as db:  # its only connection
            db.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(Unreachable, match=r"database or disk is full\. Is there room") as failed:
            stores.views.rebuild(stores.log.read_now)
        assert (failed.value.code, failed.value.exit_status) == ("views.failed", 4)
        with stores.views._writer.connect() as db:
            db.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert await stores.catch_up() == end[-1].position


def test_views_that_are_damaged_say_so_themselves(tmp_path: Path) -> None:
    """To wait and try again, as with a disk, would not mend them."""
    views = Views(sqlite_views(tmp_path / "views.sqlite"))
    with views._changing() as db:
        views.feeds.metadata.drop_all(db)
    with pytest.raises(OperationalError, match="no such table"), views.reading() as db:
        views.feeds.rows(db)
    views.close()


# The master key -------------------------------------------------------------------------------------------------------


def opened(folder: Path) -> None:
    FileVault(folder).close()


def copied(folder: Path) -> None:
    copy_master_key(folder.parent, folder)


MAKERS = pytest.mark.parametrize("make", [opened, copied], ids=["opened", "copied"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "master.key").write_bytes(bytes(32))  # what is copied
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_of_two_that_make_the_master_key_at_once_both_have_the_same(folder: Path) -> None:
    others: list[FileVault] = []

    def meanwhile(size: int) -> bytes:
        if not others:
            others.append(FileVault(folder, lambda n: b"\1" * n))
        return os.urandom(size)

    vault = FileVault(folder, meanwhile)
    (other,) = others
    assert other.open(vault.seal("ann", "person-ann/1", {"name": "Ann"})) == {"name": "Ann"}
    assert (folder / "master.key").read_bytes() == b"\1" * 32
    assert {file.name.partition("-")[0] for file in folder.iterdir()} == {"master.key", "vault.sqlite"}
    vault.close()
    other.close()


@MAKERS
def test_a_master_key_that_could_not_be_written_whole_leaves_no_file(
    folder: Path, make: Callable[[Path], None]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))  # as a disk that has room for half of it
    try:
        with pytest.raises(Unreachable) as failed:
            make(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failed.value.code == "vault.failed"
    assert list(folder.iterdir()) == []
    make(folder)
    assert (folder / "master.key").stat().st_mode & 0o777 == 0o600


def test_no_master_key_is_copied_where_there_is_another(folder: Path) -> None:
    for _ in range(2):
        copied(folder)
    (folder / "master.key").write_bytes(b"x" * 32)
    with pytest.raises(Refused, match="another"):
        copied(folder)


@MAKERS
@pytest.mark.parametrize("content", [b"", b"x" * 16, b"x" * 33], ids=len)
def test_a_master_key_of_another_length_is_named_and_left_as_it_is(
    folder: Path, make: Callable[[Path], None], content: bytes
) -> None:
    (folder / "master.key").write_bytes(content)
    with pytest.raises(VerificationFailed) as failed:
        make(folder)
    assert failed.value.code == "vault.master_key"
    assert failed.value.remedy == "Restore master.key from its backup."
    assert (folder / "master.key").read_bytes() == content
