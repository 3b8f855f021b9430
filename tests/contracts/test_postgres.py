"""What holds on PostgreSQL alone: losing it and finding it again, taking turns, the schema, the role's rights."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psycopg
import pytest
from log_rig import NOW, ORIGIN, opened, to, word, words
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import text
from views_rig import lived

from domain.errors import InvalidInput, Refused, Unreachable
from domain.feeds import FeedAdded
from infra.clock import ManualClock
from infra.config import DatabaseConfig
from infra.keys_postgres import PostgresKeys
from infra.log import postgres as log_postgres
from infra.log import store
from infra.log.postgres import PostgresLog
from infra.migrate import migrate
from infra.postgres import REVISION, Database, revision
from infra.storage import in_database
from infra.stores import Stores
from projections.follower import Views
from projections.sqlite import sqlite_views


@pytest.fixture
def config(postgres):
    with postgres.schema() as made:
        yield made


@asynccontextmanager
async def log_on(config: DatabaseConfig, folder: Path):
    """A log as a process of its own has it."""
    kept = in_database(config)
    try:
        async with opened(folder, kept.log) as made:
            yield made
    finally:
        kept.views.dispose()


async def heard(log) -> list[tuple[int, str]]:
    return [(r.position, word(r.event)) for r in await log.read(0, 10_000)]


# Losing the database -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_while_it_is_away_everything_says_so_and_goes_on_once_it_is_back(own_server, tmp_path, how, monkeypatch):
    monkeypatch.setattr("infra.postgres.WAIT_S", 3.0)  # attempts to connect are up to two seconds apart
    migrate(own_server.url(), "away")
    config = DatabaseConfig(url=SecretStr(own_server.url()), db_schema="away")
    clock = ManualClock(NOW)
    async with Stores(tmp_path, clock, database=config) as stores:
        vault, log, views = stores.vault, stores.log, stores.views
        await log.append([to("a", "1")], ORIGIN)
        sealed = vault.seal("ann", "person-ann/1", {"name": "Anna"})
        await stores.catch_up()
        getattr(own_server, how)()
        for ask in (
            lambda: log.append([to("a", "lost", after=1)], ORIGIN),
            lambda: log.read(0, 9),
            log.last_position,
            stores.catch_up,
            lambda: asyncio.to_thread(vault.open, sealed),
            lambda: asyncio.to_thread(stores.prover.extend),
            lambda: asyncio.to_thread(list, stores.prover._notifications(0, None)),
            lambda: asyncio.to_thread(views.snapshot),
        ):
            async with asyncio.timeout(20):
                with pytest.raises(Unreachable):
                    await ask()
        own_server.start()
        async with asyncio.timeout(20):
            await log.append([to("a", "2", after=1)], ORIGIN)
            assert await heard(log) == [(1, "1"), (2, "2")]
            assert vault.open(sealed) == {"name": "Anna"}
            assert await stores.catch_up() == 2
            assert stores.prover.extend().size == 2


async def test_a_restart_in_between_is_noticed_by_nobody(own_server, tmp_path):
    migrate(own_server.url(), "between")
    config = DatabaseConfig(url=SecretStr(own_server.url()), db_schema="between")
    async with Stores(tmp_path, ManualClock(NOW), database=config) as stores:
        sealed = stores.vault.seal("ann", "person-ann/1", {"name": "Anna"})
        for n in range(3):
            await asyncio.gather(*[stores.log.append([to(f"s{n}-{m}", "x")], ORIGIN) for m in range(8)])
            await asyncio.gather(*[stores.log.read(0, 9) for _ in range(8)])  # several connections that will be stale
            own_server.kill()
            own_server.start()
        await stores.log.append([to("after", "x")], ORIGIN)
        assert stores.vault.open(sealed) == {"name": "Anna"}
        assert await stores.catch_up() == 25


@pytest.mark.parametrize("asked", [False, True])
async def test_a_connection_that_breaks_in_an_append_leaves_no_doubt(config, tmp_path, monkeypatch, asked):
    real = PostgresLog._insert

    def broken(self, db, events, how_far):
        monkeypatch.setattr(PostgresLog, "_insert", real)
        if asked:  # it was committed, and nobody heard of it
            real(self, db, events, how_far)
        else:
            self._lock(db)
        db.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    async with log_on(config, tmp_path) as log:
        await log.append([to("a", "1")], ORIGIN)
        monkeypatch.setattr(PostgresLog, "_insert", broken)
        done = await log.append([to("a", "2", "3", after=1), to("b", "4")], ORIGIN)

        assert [r.position for r in done] == [2, 3, 4]
        assert await heard(log) == [(1, "1"), (2, "2"), (3, "3"), (4, "4")]


async def test_a_lock_that_somebody_keeps_is_not_waited_for_without_end(config, postgres, tmp_path):
    hasty = DatabaseConfig(
        url=SecretStr(f"{config.url.get_secret_value()}&options=-c%20lock_timeout%3D100ms"), db_schema=config.db_schema
    )
    async with log_on(hasty, tmp_path) as log:
        with postgres.connect() as other, other.transaction():
            other.execute(f"LOCK TABLE {config.db_schema}.stored_events IN EXCLUSIVE MODE")
            with pytest.raises(Unreachable) as failed:
                await log.append([to("a", "1")], ORIGIN)
            assert await heard(log) == []
        await log.append([to("a", "1")], ORIGIN)

    assert failed.value.code == "log.write_failed"


CHANGES = {
    "note": lambda keys: keys.note([(b"1", "ann"), (b"2", "bob")]),
    "unnote": lambda keys: keys.unnote(["bob", "ann"], 1000),
    "destroy": lambda keys: keys.destroy("ann"),
}


def waits(thread: threading.Thread, holder: int, by: psycopg.Connection) -> None:
    """Returns once what the thread does waits for the connection with that backend."""
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    while by.execute(blocked, (holder,)).fetchone() == (0,):
        assert thread.is_alive(), "it waited for nobody"


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whoever_changes_addresses_takes_a_turn_before_any_row(config, postgres, change):
    """Or one who forgets a person and one who registers the same would each have what the other waits for."""
    with closing_database(config) as database, postgres.connect() as other, postgres.connect() as third:
        keys = PostgresKeys(database)
        keys.add([("ann", b"a"), ("bob", b"b")])
        keys.note([(b"1", "ann"), (b"2", "bob")])
        changing = threading.Thread(target=change, args=(keys,))
        with other.transaction():
            (holder,) = other.execute("SELECT pg_backend_pid()").fetchone()
            other.execute(f"SELECT 1 FROM {config.db_schema}.noting FOR UPDATE")
            changing.start()
            waits(changing, holder, third)
            for table in ("person_key", "addresses"):
                free = third.execute(f"SELECT 1 FROM {config.db_schema}.{table} FOR UPDATE SKIP LOCKED").fetchall()
                assert len(free) == 2, table
        changing.join()


def test_two_that_make_the_same_keys_do_so_in_one_order(config, postgres):
    with closing_database(config) as database, postgres.connect() as other, postgres.connect() as third:
        keys = PostgresKeys(database)
        adding = threading.Thread(target=keys.add, args=([("p4", b"x"), ("p0", b"x")],))
        with other.transaction():
            (holder,) = other.execute("SELECT pg_backend_pid()").fetchone()
            other.execute(f"INSERT INTO {config.db_schema}.person_key VALUES ('p0', 'y')")
            adding.start()
            waits(adding, holder, third)
            other.execute(f"INSERT INTO {config.db_schema}.person_key VALUES ('p4', 'y')")
        adding.join()
        assert keys.wrapped(["p0", "p4"]) == {"p0": b"y", "p4": b"y"}


# Several processes ---------------------------------------------------------------------------------------------------


async def test_two_processes_write_and_a_third_follows_without_a_gap(config, tmp_path):
    seen: list[int] = []

    async def follow(log) -> None:
        async for batch in log.follow(0):
            seen.extend(r.position for r in batch)
            if len(seen) == 400:
                return

    async def write(log, name: str) -> None:
        await asyncio.gather(*[log.append([to(f"{name}{n}", "x", "y")], ORIGIN) for n in range(100)])

    async with (
        log_on(config, tmp_path) as one,
        log_on(config, tmp_path) as two,
        log_on(config, tmp_path) as three,
        asyncio.timeout(60),
    ):
        await asyncio.gather(follow(three), write(one, "a"), write(two, "b"))

    assert seen == list(range(1, 401))


async def test_an_append_of_another_process_wakes_who_follows(config, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "POLL_S", 1000.0)
    async with log_on(config, tmp_path) as one, log_on(config, tmp_path) as two, asyncio.timeout(30):
        await two.growth().wait()  # it says so once when it begins to listen
        growth = two.growth()
        await one.append([to("a", "1")], ORIGIN)
        await growth.wait()
        assert await heard(two) == [(1, "1")]


async def test_who_listens_listens_again_after_a_restart(own_server, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "POLL_S", 1000.0)
    monkeypatch.setattr(log_postgres, "AGAIN_S", 0.05)
    migrate(own_server.url(), "listen")
    config = DatabaseConfig(url=SecretStr(own_server.url()), db_schema="listen")
    async with log_on(config, tmp_path) as log, asyncio.timeout(60):
        await log.growth().wait()
        growth = log.growth()
        own_server.kill()
        own_server.start()
        await growth.wait()


async def test_thousands_of_events_are_one_append(config, tmp_path):
    async with log_on(config, tmp_path) as log:
        done = await log.append([to(f"s{n}", *"xyz") for n in range(4000)], ORIGIN)

        assert [r.position for r in done] == list(range(1, 12_001))
        assert await log.last_position() == 12_000


def test_a_number_of_the_views_outgrows_32_bits(config):
    views = Views(in_database(config).views)
    with views.engine.begin() as db:
        db.execute(text("UPDATE view_positions SET position = 5000000000"))
    assert Views(views.engine).position == 5_000_000_000
    views.close()


async def test_a_character_that_postgresql_cannot_hold_stops_nothing(config, tmp_path):
    kept = in_database(config)
    views = Views(kept.views)
    in_memory = Views(sqlite_views(None))
    added = next(r for r in lived().events if isinstance(r.event, FeedAdded))
    feed = msgspec.structs.replace(added.event.feed, title="Ad\x00vice")
    event = msgspec.structs.replace(added.event, feed=feed)
    log = [msgspec.structs.replace(added, event=event, position=1)]
    for each in (views, in_memory):
        each.catch_up(lambda after, limit: log[after:])

    assert views.fingerprints() == in_memory.fingerprints() != Views(sqlite_views(None)).fingerprints()
    with views.reading() as db:
        assert views.warnings.one(db, "a\x00b") is None
    async with log_on(config, tmp_path) as on:
        assert await on.load("warning-a\x00b", words) == (None, 0)
    views.close()
    in_memory.close()


# The schema ----------------------------------------------------------------------------------------------------------


def test_two_that_migrate_at_once_take_turns(postgres):
    with postgres.schema(migrated=False) as config:
        faults: list[BaseException] = []

        def make() -> None:
            try:
                migrate(postgres.url, config.db_schema)
            except BaseException as fault:
                faults.append(fault)

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert faults == []
        with closing_database(config) as database:
            database.check()


def closing_database(config: DatabaseConfig):
    return closing(Database(config.url.get_secret_value(), config.db_schema))


@pytest.mark.parametrize(("stored", "fits"), [(REVISION - 1, False), (REVISION, True), (REVISION + 1, True)])
def test_an_older_schema_is_refused_and_a_newer_one_is_not(config, postgres, stored, fits):
    with postgres.connect() as db:
        db.execute(f"UPDATE {config.db_schema}.alembic_version SET version_num = %s", (str(stored),))
    with closing_database(config) as database:
        if fits:
            database.check()
            return
        with pytest.raises(Unreachable) as refused:
            database.check()
    assert (refused.value.code, refused.value.exit_status) == ("database.migrate", 4)


def test_a_newer_schema_stays_as_it_is_and_an_older_program_runs_on_it(config, postgres):
    """Going back is installing the older version again, whose `migrate` runs before it as ever."""
    with postgres.role() as (role, _), postgres.connect() as db:
        migrate(postgres.url, config.db_schema, role)
        db.execute(f"CREATE TABLE {config.db_schema}.newer (n bigint)")
        db.execute(f"GRANT SELECT ON {config.db_schema}.newer TO {role}")
        db.execute(f"UPDATE {config.db_schema}.alembic_version SET version_num = %s", (str(REVISION + 1),))
        for given in (None, role):
            assert migrate(postgres.url, config.db_schema, given) == REVISION + 1
        with closing_database(config) as database:
            database.check()
        (may,) = db.execute(
            "SELECT has_table_privilege(%s, %s, 'SELECT')", (role, f"{config.db_schema}.newer")
        ).fetchone()
        assert may, "the newer program may be running still"
        db.execute(f"DROP TABLE {config.db_schema}.newer")
    with pytest.raises(InvalidInput, match="no role"):
        migrate(postgres.url, config.db_schema, "nobody-here")


def test_the_newest_step_is_the_one_that_the_program_asks_for(config, postgres):
    with psycopg.connect(postgres.url, row_factory=psycopg.rows.dict_row) as db:
        assert revision(db, config.db_schema) == REVISION


@pytest.mark.parametrize("url", ["", "sqlite:///x", "mysql://a@b/c", "postgresql://[", "host=localhost"])
def test_what_is_no_url_of_postgresql_is_refused_without_repeating_it(url):
    with pytest.raises(InvalidInput) as refused:
        Database(url, "fenghuo")
    assert refused.value.code == "config.database_url"


# Rights --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def granted(postgres, config):
    """The schema as the application sees it, which owns nothing in it."""
    with postgres.role() as (role, url):
        assert migrate(postgres.url, config.db_schema, role) == REVISION
        yield SimpleNamespace(url=url, config=DatabaseConfig(url=SecretStr(url), db_schema=config.db_schema))


async def test_the_applications_role_can_do_its_work(granted, tmp_path):
    async with Stores(tmp_path, ManualClock(NOW), database=granted.config) as stores:
        await stores.log.append([to("a", "1", "2")], ORIGIN)
        await stores.log.append([to("b", "3")], ORIGIN)
        sealed = stores.vault.seal("ann", "person-ann/1", {"name": "Anna"})
        mark = stores.vault.remember_addresses([("phone", "+39111", "ann"), ("phone", "+39222", "bob")])
        stores.vault.forget_addresses(["bob"], before=mark + 1)
        stores.vault.forget("ann")
        assert stores.vault.open(sealed) is None
        assert await stores.catch_up() == 3
        stores.views.rebuild(stores.log.read_now)
        stores.prover.extend()
        assert stores.prover.verify() == 3


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {s}.stored_events SET state = ''",
        "UPDATE {s}.stored_events SET notification_id = 99",
        "DELETE FROM {s}.stored_events",
        "TRUNCATE {s}.stored_events",
        "DROP TABLE {s}.stored_events",
        "ALTER TABLE {s}.stored_events DISABLE TRIGGER ALL",
        "LOCK TABLE {s}.stored_events IN EXCLUSIVE MODE",
        "DELETE FROM {s}.checkpoint",
        "UPDATE {s}.checkpoint SET note = ''",
        "UPDATE {s}.secret SET wrapped = ''",
        "DELETE FROM {s}.person_key",
        "UPDATE {s}.alembic_version SET version_num = '0'",
        "CREATE TABLE {s}.mine (x int)",
        "CREATE OR REPLACE FUNCTION {s}.lock_log() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
    ],
)
async def test_the_applications_role_can_change_and_remove_nothing_that_is_to_stay(granted, tmp_path, change):
    async with Stores(tmp_path, ManualClock(NOW), database=granted.config) as stores:
        await stores.log.append([to("a", "1")], ORIGIN)
        stores.prover.extend()
    with (
        psycopg.connect(granted.url) as db,
        pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable)) as refused,
    ):
        statement = sql.SQL(change.format(s=granted.config.db_schema))  # type: ignore[arg-type]
        with db.transaction():
            db.execute(statement)
            db.execute("SELECT 1")
    assert refused.type is psycopg.errors.InsufficientPrivilege


def test_views_that_the_owner_made_pass_to_the_role(postgres, config):
    Views(in_database(config).views).close()
    with postgres.role() as (role, url):
        migrate(postgres.url, config.db_schema, role)
        theirs = DatabaseConfig(url=SecretStr(url), db_schema=config.db_schema)
        views = Views(in_database(theirs).views)
        views.rebuild(lambda after, limit: [])
        views.close()


def test_another_role_sees_nothing_of_it(postgres, config):
    with (
        postgres.role() as (_, url),
        psycopg.connect(url) as db,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        db.execute(f"SELECT * FROM {config.db_schema}.stored_events")


def test_rights_that_the_owner_does_not_have_are_refused_in_one_line(postgres):
    with postgres.schema(migrated=False) as config, postgres.role() as (_, url):
        with pytest.raises(Refused) as refused:
            migrate(url, config.db_schema)
        assert refused.value.code == "database.refused"
        assert "\n" not in str(refused.value)
