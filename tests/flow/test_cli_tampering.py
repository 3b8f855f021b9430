"""What happens to files behind the program's back is noticed: `fenghuo log verify` says so and exits 3."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from setting import History
from terminal import Ran, fenghuo, process, refused

from projections.follower import Views

BYTES = 24  # how many single bytes are tried


def change(path: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(path) as db:
        assert db.execute(statement, values).rowcount == 1
    db.close()


def content(path: Path) -> list[Any] | None:
    """Every row of the log, None where SQLite itself cannot read it."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return db.execute("SELECT * FROM stored_events ORDER BY 1, 2").fetchall()
    except sqlite3.Error:
        return None


@pytest.fixture
def signed(history: History) -> History:
    """Signed to its end, and all in one file."""
    assert fenghuo("log", "checkpoint", folder=history.folder).status == 0
    for name in ("log.sqlite", "proof.sqlite", "views.sqlite"):
        with sqlite3.connect(history.folder / name) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
    return history


def verify(history: History) -> Ran:
    return fenghuo("log", "verify", folder=history.folder)


def test_an_untouched_log_is_whole(signed: History) -> None:
    ran = verify(signed)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("The log is whole: ")


def test_it_says_how_much_of_the_log_is_signed(signed: History) -> None:
    before = fenghuo("log", "verify", "--json", folder=signed.folder).json
    assert before["signed"] == before["events"]
    assert fenghuo("grant", "give", "milan-zh", "auditor", "milan", folder=signed.folder).status == 0
    after = fenghuo("log", "verify", "--json", folder=signed.folder).json
    assert (after["signed"], after["events"]) == (before["signed"], before["events"] + 1)


REPLACED = "UPDATE stored_events SET state = CAST(replace(CAST(state AS TEXT), ?, ?) AS BLOB)"


@pytest.mark.parametrize(
    ("statement", "values", "code"),
    [
        (REPLACED, ("洪水", "洪峰"), "log.altered"),
        (REPLACED, ('"actor":"officer2"', '"actor":"officer1"'), "log.altered"),
        ("UPDATE stored_events SET topic = 'warning.cancelled.v1' WHERE rowid = 55", (), "log.altered"),
        ("UPDATE stored_events SET state = 'x' WHERE rowid = 70", (), "log.altered"),
        ("UPDATE stored_events SET topic = CAST(x'ff' AS TEXT) WHERE rowid = 30", (), "log.unreadable"),
        ("ALTER TABLE stored_events RENAME COLUMN topic TO tipic", (), "log.unreadable"),
        ("DELETE FROM stored_events WHERE rowid = 40", (), "log.gap"),
        ("DELETE FROM stored_events WHERE rowid = (SELECT max(rowid) FROM stored_events)", (), "log.trimmed"),
    ],
)
def test_an_event_that_was_edited_or_removed_is_noticed(
    signed: History, statement: str, values: tuple[str, ...], code: str
) -> None:
    before = content(signed.folder / "log.sqlite") or []
    with sqlite3.connect(signed.folder / "log.sqlite") as db:
        db.execute(statement, values)
    db.close()
    assert content(signed.folder / "log.sqlite") != before or "RENAME" in statement
    refused(verify(signed), 3, code)


def test_any_byte_that_matters_is_noticed(signed: History) -> None:
    log = signed.folder / "log.sqlite"
    whole, before = log.read_bytes(), content(log)
    dice = random.Random(7)
    noticed = 0
    for _ in range(BYTES):
        position = dice.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[position] ^= 1 << dice.randrange(8)
        log.write_bytes(flipped)
        ran = verify(signed)
        for name in ("log.sqlite-wal", "log.sqlite-shm"):
            (signed.folder / name).unlink(missing_ok=True)
        if ran.status == 0:
            assert content(log) == before, f"byte {position}"  # a byte that says nothing: free space
        else:
            assert (ran.status, ran.err.count("\n")) == (3, 1), (position, ran)
            noticed += 1
    assert noticed > BYTES // 2


def test_a_signed_head_that_was_edited_is_noticed(signed: History) -> None:
    change(
        signed.folder / "proof.sqlite",
        "UPDATE checkpoint SET note = replace(note, 'fenghuo.log', 'fenghuo.lag')"
        " WHERE size = (SELECT max(size) FROM checkpoint)",
    )
    ran = verify(signed)
    assert (ran.status, ran.err.count("\n")) == (3, 1), ran


def test_a_view_that_was_edited_is_noticed_and_rebuilt(signed: History) -> None:
    views = signed.folder / "views.sqlite"
    with sqlite3.connect(views) as db:
        (table,) = db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'warnings_g%'").fetchone()
    db.close()
    change(views, f"UPDATE {table} SET status = 'released' WHERE status = 'draft'")

    refused(verify(signed), 3, "views.differ")
    rebuilt = fenghuo("views", "rebuild", "--json", folder=signed.folder)
    assert (rebuilt.status, rebuilt.json["identical"]) == (3, False)
    assert verify(signed).status == 0
    again = fenghuo("views", "rebuild", "warnings", "--json", folder=signed.folder)
    assert (again.status, again.json) == (
        0,
        {"views": ["warnings"], "identical": True, "position": again.json["position"]},
    )


def test_a_rebuild_beside_a_growing_log_claims_no_damage(signed: History, monkeypatch: pytest.MonkeyPatch) -> None:
    rebuild = Views.rebuild

    def meanwhile(views: Views, *arguments: Any) -> None:
        given = process("grant", "give", "milan-zh", "auditor", "milan", folder=signed.folder)
        assert given.status == 0, given.err
        rebuild(views, *arguments)

    monkeypatch.setattr(Views, "rebuild", meanwhile)
    rebuilt = fenghuo("views", "rebuild", "--json", folder=signed.folder)
    assert (rebuilt.status, rebuilt.json["identical"]) == (0, None)
    assert verify(signed).status == 0


def test_views_are_made_anew_where_they_are_missing(signed: History) -> None:
    for file in signed.folder.glob("views.sqlite*"):
        file.unlink()
    listed = fenghuo("warning", "list", "--json", folder=signed.folder)
    assert [row["status"] for row in listed.json] == ["draft", "released", "updated", "cancelled"]
    assert verify(signed).status == 0


def test_a_views_file_that_is_no_database_is_one_line(signed: History) -> None:
    for file in signed.folder.glob("views.sqlite*"):
        file.unlink()
    (signed.folder / "views.sqlite").write_bytes(b"no database " * 1000)
    refused(fenghuo("warning", "list", folder=signed.folder), 4, "views.open_failed")


@pytest.mark.parametrize("part", ["vault", "proof"])
def test_a_vault_or_proofs_that_are_no_database_are_one_line(signed: History, part: str) -> None:
    for file in signed.folder.glob(f"{part}.sqlite*"):
        file.unlink()
    (signed.folder / f"{part}.sqlite").write_bytes(b"no database " * 1000)
    refused(fenghuo("warning", "list", folder=signed.folder), 4, f"{part}.failed")


@pytest.mark.parametrize(("part", "table"), [("vault", "secret"), ("proof", "checkpoint")])
def test_a_vault_or_proofs_with_a_damaged_page_are_one_line(signed: History, part: str, table: str) -> None:
    path = signed.folder / f"{part}.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()
        ((size,),) = db.execute("PRAGMA page_size").fetchall()
    db.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    refused(fenghuo("log", "checkpoint", folder=signed.folder), 4, f"{part}.failed")


def test_another_vault_is_noticed(signed: History) -> None:
    (signed.folder / "master.key").write_bytes(b"x" * 32)
    refused(verify(signed), 3, "vault.master_key")


def test_a_master_key_that_is_missing_is_named_and_stays_missing(signed: History) -> None:
    kept = (signed.folder / "master.key").read_bytes()
    (signed.folder / "master.key").unlink()
    for command in (("status",), ("init",), ("log", "verify"), ("people", "forget", "officer1", "--as", "officer2")):
        refused(fenghuo(*command, folder=signed.folder), 3, "vault.master_key")
        assert not (signed.folder / "master.key").exists()
    refused(process("all", "--port", "0", folder=signed.folder), 3, "vault.master_key")
    (signed.folder / "master.key").write_bytes(kept)
    assert verify(signed).status == 0


def test_a_master_key_that_a_crash_left_empty_is_named(signed: History) -> None:
    (signed.folder / "master.key").write_bytes(b"")
    for command in (("warning", "list"), ("log", "verify")):
        ran = fenghuo(*command, folder=signed.folder)
        refused(ran, 3, "vault.master_key")
        assert "Restore master.key from its backup." in ran.err
