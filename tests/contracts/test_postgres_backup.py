"""A backup of PostgreSQL taken while it runs, and the log restored from it and the archive to a named moment."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import psycopg
import pytest
from log_rig import NOW, ORIGIN, to
from pydantic import SecretStr

from infra.clock import ManualClock
from infra.config import DatabaseConfig
from infra.fsck import rebuilt
from infra.migrate import migrate
from infra.stores import Stores
from tests.postgres_part import Absent, Server, absent, own


def config_of(server: Server) -> DatabaseConfig:
    return DatabaseConfig(url=SecretStr(server.url()), db_schema="city")


async def asked(server: Server, query: str, wanted: object) -> None:
    """Returns once the server answers a query so."""
    async with asyncio.timeout(30):
        with psycopg.connect(server.url(), autocommit=True) as db:
            while (row := db.execute(query).fetchone()) is None or row[0] != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@pytest.fixture
def archiving():
    """A server that archives its write-ahead log: (server, the archive)."""
    archive = Path(tempfile.mkdtemp(prefix="fenghuo-archive-", dir="/tmp"))  # where the server's user may write
    own(archive)
    try:
        server = Server({"archive_mode": "on", "archive_command": f"cp %p {archive}/%f", "wal_level": "replica"})
    except (Absent, OSError, AssertionError) as error:
        absent(error)
    yield server, archive
    server.remove()
    shutil.rmtree(archive)


@pytest.mark.timeout(180)
async def test_a_backup_and_the_archive_give_back_the_log_as_it_was_at_a_moment(archiving, tmp_path):
    server, archive = archiving
    folder = tmp_path / "data"
    migrate(server.url(), "city")
    async with Stores(folder, ManualClock(NOW), database=config_of(server)) as stores:
        await stores.log.append([to(f"before-{n}", "x", "y") for n in range(50)], ORIGIN)
        stores.prover.extend()
        sealed = stores.vault.seal("ann", "person-ann/1", {"name": "Anna"})
        backup = server.root / "backup"
        at = ("-h", str(server.root), "-U", "postgres")
        server.tool("pg_basebackup", *at, "-D", str(backup), "--checkpoint=fast", "--no-sync")

        await stores.log.append([to(f"after-{n}", "x") for n in range(30)], ORIGIN)
        stores.prover.extend()
        await stores.catch_up()
        note, (position, shown) = stores.prover.note(), stores.views.snapshot()
        with psycopg.connect(server.url(), autocommit=True) as db:
            db.execute("SELECT pg_create_restore_point('before the mistake')")
            db.execute("DELETE FROM city.stored_events WHERE notification_id > 20")
            (last,) = db.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
        await asked(server, f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver", True)
    server.kill()

    (backup / "recovery.signal").touch()
    own(server.root)
    backup.chmod(0o700)
    again = Server(
        {
            "restore_command": f"cp {archive}/%f %p",
            "recovery_target_name": "before the mistake",
            "recovery_target_action": "promote",
        },
        data=backup,
    )
    try:
        await asked(again, "SELECT pg_is_in_recovery()", False)
        async with Stores(folder, ManualClock(NOW), database=config_of(again)) as stores:
            assert stores.prover.verify() == position == 130
            assert stores.prover.note() == note
            assert stores.vault.open(sealed) == {"name": "Anna"}
            fresh = rebuilt(stores, None)
            assert fresh.fingerprints() == shown
            fresh.close()
            assert await stores.catch_up() == position
            stores.views.rebuild(stores.log.read_now)
            assert stores.views.snapshot() == (position, shown)
            await stores.log.append([to("life-goes-on", "x")], ORIGIN)
    finally:
        again.remove()
