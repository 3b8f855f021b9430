"""What an installation consists of: its log, vault and views, in files or in a database, and the commands on them."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections.abc import Callable
from pathlib import Path

import structlog

from api.desk import Desk
from api.duty import Duty
from api.feeds.desk import FeedDesk
from api.reachability import Reachability
from api.registry import Registry
from domain.errors import FenghuoError, UnknownEvent, Unreachable
from domain.ports import Clock
from infra.clock import SystemClock
from infra.config import DatabaseConfig
from infra.engine.follower import Follower
from infra.locks import Lock
from infra.log.mapper import EventMapper
from infra.log.proof import Prover
from infra.log.store import EventLog
from infra.roles import Role
from infra.storage import in_database, in_files
from infra.vault import FileVault
from projections.follower import Views

_log = structlog.get_logger("fenghuo.stores")

_ids = random.Random(os.urandom(32))  # noqa: S311  ids must be unique, not secret


def new_id() -> str:
    """A random UUID. Drawn without a system call: each of those would give the interpreter's lock away."""
    return uuid.UUID(int=_ids.getrandbits(128), version=4).hex


class Stores:
    """The log, the vault and the views of one installation, with the commands on them. Use as an async context.

    They are files of the data folder or, with `database`, lie in its schema; `master.key` is in the folder in any case.
    Call `catch_up` before reading the views, unless a follower runs.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock | None = None,
        new_id: Callable[[], str] = new_id,
        database: DatabaseConfig | None = None,
    ) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unreachable("data.folder", f"The data folder cannot be made: {error.strerror}.") from error
        if not os.access(folder, os.W_OK):
            raise Unreachable("data.folder", "The data folder cannot be written to.", "Check its rights.")
        self.folder = folder
        self.clock = clock or SystemClock()
        self.new_id = new_id
        kept = in_database(database) if database is not None else in_files(folder)
        self.shared = kept.shared
        self._lock = kept.lock
        try:
            self.vault = FileVault(folder, keys=kept.keys)
        except BaseException:
            kept.close()
            raise
        self.log = EventLog(kept.log, EventMapper(self.vault), self.clock, new_id)
        self.views = Views(kept.views)
        self.follower = Follower(self.log, self.views)
        self.prover = Prover(kept.checkpoints, self.log, self.vault)
        self.desk = Desk(self.log, self.views, self.vault, self.clock, new_id)
        self.feeds = FeedDesk(self.log, self.views, self.vault, self.clock, new_id)
        self.registry = Registry(self.log, self.views, self.vault, self.clock, new_id)
        self.duty = Duty(self.log, self.views, self.vault, self.clock, new_id)
        self.reachability = Reachability(self.log, self.views, self.vault, self.clock, new_id)

    async def __aenter__(self) -> Stores:
        await self.log.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.log.close()
        self.views.close()
        self.prover.close()
        self.vault.close()
        self.log.recorder.datastore.close()  # type: ignore[attr-defined]

    def lock(self, name: str) -> Lock:
        """The lock of this name on the installation."""
        return self._lock(name)

    async def catch_up(self) -> int:
        """Brings the views to the end of the log, or to an event of a newer program; the position reached."""
        try:
            return await asyncio.to_thread(self.views.catch_up, self.log.read_now)
        except UnknownEvent:  # which was logged when it was met
            return self.views.position

    async def sign(self) -> None:
        """Signs the log as it is; where that fails, it is logged, and the next to run signs instead."""
        try:
            await asyncio.to_thread(self.prover.extend)
        except FenghuoError as error:
            _log.error("unsigned", code=error.code)


def runs(stores: Stores) -> bool:
    """Whether a process plans what is released on this installation."""
    return stores.lock(Role.RELAY).taken()
