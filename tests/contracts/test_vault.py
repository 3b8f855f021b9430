"""The contract of the vault: what is sealed opens for its owner's key alone, and for nobody once that is destroyed."""

from __future__ import annotations

import base64
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from api.commands import Actor
from domain.errors import Refused, VerificationFailed
from domain.grants import GrantRole
from domain.people import Channel, Person, PersonRegistered, Role
from domain.private import Sealed
from domain.stations import Kind, Node
from infra.keys_postgres import PostgresKeys
from infra.postgres import Database
from infra.stores import Stores
from infra.vault import FileVault

FIELDS = {"name": "安娜·罗西", "phone": "+393331234567", "email": "anna.rossi@people.example"}
ADMIN = Actor(person_id="admin", correlation_id="test")


@pytest.fixture(params=["sqlite", "postgresql"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], FileVault]]:
    """Opens the vault, as often as wanted: each as a process of its own would."""
    if request.param == "sqlite":
        yield lambda: FileVault(tmp_path)
        return
    made: list[Database] = []

    def opened() -> FileVault:
        made.append(Database(config.url.get_secret_value(), config.db_schema))
        return FileVault(tmp_path, keys=PostgresKeys(made[-1]))

    with request.getfixturevalue("postgres").schema() as config:
        yield opened
        for database in made:
            database.close()


@pytest.fixture
def vault(again):
    made = again()
    yield made
    made.close()


@pytest.fixture
def file_vault(tmp_path: Path):
    """For what is said of files."""
    made = FileVault(tmp_path)
    yield made
    made.close()


def test_what_is_sealed_opens_again(vault, again):
    sealed = vault.seal("ann", "person-ann/1", FIELDS)
    other = again()

    assert (sealed.key_id, sealed.bound_to) == ("ann", "person-ann/1")
    assert vault.open(sealed) == FIELDS
    assert other.open(sealed) == FIELDS
    other.close()


def test_sealing_the_same_twice_gives_two_boxes(vault):
    boxes = {vault.seal("ann", "person-ann/1", FIELDS).box for _ in range(10)}

    assert len(boxes) == 10


@pytest.mark.parametrize("kept", [1, 7, 10])
def test_every_box_opens_however_few_keys_are_kept(vault, monkeypatch, kept):
    monkeypatch.setattr("infra.vault.CACHED_KEYS", kept)
    monkeypatch.setattr("infra.vault.PORTION", 6)
    people = [f"person-{n:02d}" for n in range(20)]
    boxes = [vault.seal(who, f"{who}/1", FIELDS) for who in people]

    for some in (boxes[:3], boxes, boxes[5:]):  # kept keys are dropped at another place each time
        assert vault.open_all(some) == [FIELDS] * len(some)
    assert [vault.open(box) for box in boxes] == [FIELDS] * len(boxes)


@pytest.mark.parametrize("change", [{"bound_to": "person-ann/2"}, {"bound_to": "person-bob/1"}, {"key_id": "bob"}])
def test_a_box_does_not_open_in_another_place_or_for_another_person(vault, change):
    vault.prepare(["bob"])
    moved = msgspec.structs.replace(vault.seal("ann", "person-ann/1", FIELDS), **change)

    with pytest.raises(VerificationFailed) as failed:
        vault.open(moved)
    assert failed.value.code == "vault.altered"


def test_a_box_with_any_bit_changed_does_not_open(vault):
    sealed = vault.seal("ann", "person-ann/1", FIELDS)
    raw = base64.b64decode(sealed.box)
    for at in (0, 11, 12, len(raw) // 2, len(raw) - 1):
        altered = bytes([*raw[:at], raw[at] ^ 1, *raw[at + 1 :]])
        with pytest.raises(VerificationFailed):
            vault.open(msgspec.structs.replace(sealed, box=base64.b64encode(altered).decode()))


@pytest.mark.parametrize("cut", [0, 3, 4, 16, 37])
def test_a_box_that_was_cut_does_not_open(vault, cut):
    sealed = vault.seal("ann", "person-ann/1", FIELDS)

    with pytest.raises(VerificationFailed) as failed:
        vault.open(msgspec.structs.replace(sealed, box=sealed.box[:cut]))
    assert failed.value.code == "vault.altered"


def test_somebody_unknown_has_nothing_to_open(vault):
    assert vault.open(Sealed(key_id="nobody", bound_to="x/1", box="")) is None


def test_forgetting_destroys_the_key_and_the_addresses_for_every_process(vault, again):
    other = again()
    sealed = vault.seal("ann", "person-ann/1", FIELDS)
    vault.remember_addresses([("phone", FIELDS["phone"], "ann"), ("email", FIELDS["email"], "ann")])
    vault.remember_addresses([("phone", "+39111", "bob")])
    assert [v.open(sealed) for v in (vault, other)] == [FIELDS, FIELDS]
    vault.forget("ann")

    assert [v.open(sealed) for v in (vault, other)] == [None, None]
    assert [v.whose("phone", FIELDS["phone"]) for v in (vault, other)] == [None, None]
    assert (vault.whose("email", FIELDS["email"]), vault.whose("phone", "+39111")) == (None, "bob")
    for v in (vault, other):
        with pytest.raises(Refused) as refused:
            v.seal("ann", "person-ann/2", FIELDS)
        assert refused.value.code == "person.forgotten"
    other.close()


def test_a_number_of_several_people_is_the_last_ones_until_they_give_it_up(vault):
    first = vault.remember_addresses([("phone", "+39111", "ann"), ("email", "ann@x.example", "ann")])
    second = vault.remember_addresses([("phone", "+39111", "bob")])
    assert first < second
    assert (vault.whose("phone", "+39111"), vault.all_with("phone", "+39111")) == ("bob", ["bob", "ann"])
    third = vault.remember_addresses([("phone", "+39222", "bob")])
    vault.forget_addresses(["bob"], before=second)  # nothing of his is older than that
    assert vault.all_with("phone", "+39111") == ["bob", "ann"]
    vault.forget_addresses(["bob"], before=third)

    assert (vault.all_with("phone", "+39111"), vault.whose("phone", "+39222")) == (["ann"], "bob")
    assert vault.whose("email", "ANN@x.example ") == "ann"


def test_a_vault_of_an_earlier_version_keeps_its_addresses(file_vault, tmp_path):
    file_vault.remember_addresses([("phone", "+39111", "ann")])
    file_vault.close()
    with closing(sqlite3.connect(tmp_path / "vault.sqlite")) as db:
        (row,) = db.execute("SELECT digest, person_id FROM addresses").fetchall()
        db.execute("DROP TABLE addresses")
        db.execute("DROP TABLE noting")
        db.execute("CREATE TABLE address (digest BLOB PRIMARY KEY, person_id TEXT NOT NULL) WITHOUT ROWID")
        db.execute("CREATE INDEX address_person ON address (person_id)")
        db.execute("INSERT INTO address VALUES (?, ?)", row)
        db.commit()
    for _ in range(2):
        opened = FileVault(tmp_path)
        assert opened.all_with("phone", "+39111") == ["ann"]
        opened.close()


def test_the_forgotten_stay_forgotten(vault):
    sealed = vault.seal("ann", "person-ann/1", FIELDS)
    vault.forget("ann")
    vault.forget("ann")
    vault.prepare(["ann"])
    vault.remember_addresses([("phone", FIELDS["phone"], "ann")])

    assert (vault.open(sealed), vault.whose("phone", FIELDS["phone"])) == (None, None)


@contextmanager
def reading(folder: Path) -> Iterator[bytes]:
    """Somebody who reads ann's wrapped key and comes to no end meanwhile."""
    with closing(sqlite3.connect(folder / "vault.sqlite", isolation_level=None)) as db:
        db.execute("BEGIN")
        ((wrapped,),) = db.execute("SELECT wrapped FROM person_key WHERE key_id = 'ann'").fetchall()
        yield wrapped


def holding(folder: Path, wrapped: bytes) -> list[str]:
    """The files in which it is found."""
    return [file.name for file in folder.iterdir() if wrapped in file.read_bytes()]


def test_the_key_of_the_forgotten_is_gone_from_the_disk(file_vault, tmp_path):
    file_vault.seal("ann", "person-ann/1", FIELDS)
    with reading(tmp_path) as wrapped:
        assert holding(tmp_path, wrapped)
    file_vault.forget("ann")

    assert holding(tmp_path, wrapped) == []


LATER: dict[str, Callable[[FileVault], object]] = {
    "a key was made": lambda vault: vault.seal("bob", "person-bob/1", FIELDS),
    "many keys were made": lambda vault: vault.prepare(["bob", "cat"]),
    "an address was noted": lambda vault: vault.remember_addresses([("phone", "+39111", "bob")]),
    "an address was dropped": lambda vault: vault.forget_addresses(["bob"], 9),
    "a secret was made": lambda vault: vault.secret("links"),
    "the vault was closed": lambda vault: vault.close(),
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
def test_a_key_that_a_reader_kept_on_the_disk_is_gone_once_the_reader_is_and(file_vault, tmp_path, later):
    file_vault.seal("ann", "person-ann/1", FIELDS)
    with closing(sqlite3.connect(tmp_path / "vault.sqlite")) as idle:  # the last to close would clean up in any case
        idle.execute("SELECT count(*) FROM person_key").fetchall()
        with reading(tmp_path) as wrapped:
            file_vault.forget("ann")
            file_vault.seal("dan", "person-dan/1", FIELDS)
            assert holding(tmp_path, wrapped)
        later(file_vault)

        assert holding(tmp_path, wrapped) == []


def test_a_key_that_was_on_the_disk_at_the_end_is_gone_when_the_vault_is_opened_again(file_vault, tmp_path):
    file_vault.seal("ann", "person-ann/1", FIELDS)
    with closing(sqlite3.connect(tmp_path / "vault.sqlite")) as idle:
        idle.execute("SELECT count(*) FROM person_key").fetchall()
        with reading(tmp_path) as wrapped:
            file_vault.forget("ann")
            file_vault.close()
            FileVault(tmp_path).close()
            assert holding(tmp_path, wrapped)
        again = FileVault(tmp_path)

        assert holding(tmp_path, wrapped) == []
        again.close()


def test_an_address_is_found_however_it_is_written(vault):
    vault.remember_addresses([("email", " Anna.Rossi@People.example ", "ann")])

    assert vault.whose("email", "anna.rossi@people.EXAMPLE") == "ann"
    assert vault.whose("phone", "anna.rossi@people.example") is None


def test_an_address_belongs_to_whom_it_was_given_last(vault):
    vault.remember_addresses([("phone", "+39111", "ann")])
    vault.remember_addresses([("phone", "+39111", "bob")])

    assert vault.whose("phone", "+39111") == "bob"


def test_another_master_key_does_not_fit(vault, again, tmp_path):
    vault.seal("ann", "person-ann/1", FIELDS)
    vault.close()
    (tmp_path / "master.key").write_bytes(bytes(32))

    with pytest.raises(VerificationFailed) as failed:
        again()
    assert failed.value.code == "vault.master_key"


def test_a_master_key_that_is_missing_is_not_replaced(vault, again, tmp_path):
    """Also where the vault is as it was at the very beginning: its first secret is sealed already."""
    kept = (tmp_path / "master.key").read_bytes()
    for fill in (lambda: None, lambda: vault.seal("ann", "person-ann/1", FIELDS)):
        fill()
        (tmp_path / "master.key").unlink()
        before = {file.name for file in tmp_path.iterdir()}
        with pytest.raises(VerificationFailed, match=r"Restore master\.key") as failed:
            again()
        assert failed.value.code == "vault.master_key"
        assert {file.name for file in tmp_path.iterdir()} - {"vault.sqlite-wal", "vault.sqlite-shm"} <= before
        assert not (tmp_path / "master.key").exists()
        (tmp_path / "master.key").write_bytes(kept)
        again().close()


def test_a_wrapped_key_moved_to_another_person_does_not_fit(file_vault, tmp_path):
    sealed = file_vault.seal("ann", "person-ann/1", FIELDS)
    file_vault.seal("bob", "person-bob/1", FIELDS)
    with sqlite3.connect(tmp_path / "vault.sqlite") as db:
        db.execute(
            "UPDATE person_key SET wrapped = (SELECT wrapped FROM person_key WHERE key_id = 'bob') WHERE key_id = 'ann'"
        )
    db.close()
    other = FileVault(tmp_path)

    with pytest.raises(VerificationFailed):
        other.open(sealed)
    other.close()


def test_the_files_are_the_owners_alone(file_vault, tmp_path):
    file_vault.seal("ann", "person-ann/1", FIELDS)

    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(modes, 0o600)
    assert {"master.key", "vault.sqlite"} <= modes.keys()


def test_a_secret_of_the_program_is_made_once_and_kept(vault, again):
    other = again()
    secret = vault.secret("links")

    assert (len(secret), other.secret("links"), vault.secret("links")) == (32, secret, secret)
    assert vault.secret("push") != secret
    other.close()


def test_many_threads_share_one_vault(vault):
    opened: list[object] = []

    def use(n: int) -> None:
        for m in range(20):
            sealed = vault.seal(f"p{(n + m) % 7}", f"s/{n}", {"n": n})
            opened.append(vault.open(sealed))

    threads = [threading.Thread(target=use, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(fields["n"] for fields in opened) == sorted(list(range(6)) * 20)


async def test_nothing_personal_lies_in_clear_in_any_file(tmp_path):
    office = Node(
        node_id="office",
        kind=Kind.DUTY_OFFICE,
        parent=None,
        name_zh="值班室",
        name_en="Office",
        country="CN",
        lat=28.0,
        lon=120.7,
        zone="Asia/Shanghai",
    )
    ann = Person(
        person_id="p1", node_id="office", role=Role.CITIZEN, language="zh", channels=(Channel.SMS, Channel.EMAIL)
    )
    async with Stores(tmp_path) as stores:
        await stores.registry.register_nodes([office], ADMIN)
        await stores.registry.give_grant(
            ADMIN, person_id="admin", role=GrantRole.ADMINISTRATOR, node_id="office", bootstrap=True
        )
        await stores.catch_up()
        await stores.registry.register_people([(ann, FIELDS)], ADMIN)
        await stores.catch_up()
        (registered,) = [e.event for e in stores.log.read_now(0, 99) if isinstance(e.event, PersonRegistered)]
        assert stores.vault.open(registered.personal) == FIELDS
        assert stores.vault.whose("phone", "+393331234567") == "p1"
        contents = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    in_clear = ["安娜", "罗西", "3331234567", "anna.rossi", "people.example"]
    forms = [form for word in in_clear for form in (word.encode(), word.encode("utf-16-le"), _escaped(word))]
    forms += [base64.b64encode(value.encode())[:-4] for value in FIELDS.values()]
    for files in (contents, after):
        assert {"log.sqlite", "views.sqlite", "vault.sqlite", "proof.sqlite", "master.key"} <= files.keys()
        assert [(name, form) for name, data in files.items() for form in forms if form in data] == []
    assert any(b"p1" in data for data in after.values())  # the search does find what is there


def _escaped(word: str) -> bytes:
    return msgspec.json.encode(word).strip(b'"') if word.isascii() else word.encode("unicode_escape")
