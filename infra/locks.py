"""Locks by name, of which only one process holds each: who folds the views, who plans and chases.

On a data folder a lock is a file, and the system gives it back when its process ends, however it ends; on PostgreSQL it
is the session's (locks_postgres.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import structlog

from domain.errors import FenghuoError, Unreachable
from notifiers.pause import ended

_log = structlog.get_logger("fenghuo.locks")

CHECK_S = 1.0  # how often a holder makes sure of its lock, and another one asks for it
FIRST_WAIT_S = 0.2  # before a part that failed begins again; doubles
LONGEST_WAIT_S = 15.0
LOOKED_AT_S = (0.01, 0.04)  # a lock that is only being looked at is free again by then
FIRST_OFFER_S = 5.0  # for so long a lock is kept that came back after it was offered; doubles
LONGEST_OFFER_S = 60.0
GONE_S = 6.0  # for so long a lock that we lost may seem to be ours still to a database that did not hear of our end

Part = Callable[[], Coroutine[Any, Any, None]]


class Lock(Protocol):
    """One lock, as one process sees it."""

    def take(self) -> bool:
        """Takes it where nobody has it; does not wait. Raises Unreachable where nobody can say."""

    def taken(self) -> bool:
        """Whether somebody has it. Keeps nobody from taking it. Raises Unreachable where nobody can say."""

    def held(self) -> bool:
        """Whether it is still ours: a database's is lost with the connection."""

    def give_back(self) -> None:
        """Lets another one have it."""


class FileLock:
    """A lock that is a file."""

    def __init__(self, path: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self._path = path
        self._sleep = sleep
        self._handle: int | None = None

    def take(self) -> bool:
        if self._handle is not None:
            return True
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        for wait_s in (*LOOKED_AT_S, None):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if wait_s is not None:
                    self._sleep(wait_s)
                continue
            self._handle = handle
            return True
        os.close(handle)
        return False

    def taken(self) -> bool:
        if self._handle is not None:
            return True
        try:
            handle = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # for a moment, which `take` waits out
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    def held(self) -> bool:
        return self._handle is not None

    def give_back(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


async def supervised(name: str, part: Part) -> None:
    """Runs a part to its end. A fault (a full disk, say) is logged, and the part begins again, ever more slowly."""
    structlog.contextvars.bind_contextvars(part=name, correlation_id=f"part-{name}")  # of this task and those it starts
    wait_s = FIRST_WAIT_S
    while True:
        began = time.monotonic()
        try:
            await part()
            return
        except Exception as error:
            if time.monotonic() - began > LONGEST_WAIT_S:
                wait_s = FIRST_WAIT_S
            if isinstance(error, Unreachable):  # of something outside; where in here it was noticed says nothing
                _log.error("part_failed", part=name, code=error.code, said=str(error), again_in_s=wait_s)
            else:
                _log.exception("part_failed", part=name, again_in_s=wait_s)
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


class Relief(NamedTuple):
    """When a lock is left to who stands by: `stuck` says that the parts are at what a newer program wrote, `waiting` is
    the lock that whoever stands by holds."""

    stuck: Callable[[], object]
    waiting: Lock


async def alone(name: str, lock: Lock, parts: Mapping[str, Part], relief: Relief | None = None) -> None:
    """Runs parts of which only one may run, while this process has the lock; stands by while another one has it.

    A lock that is lost ends the parts at once: another process may run them by now. Where the parts are stuck and
    somebody stands by, the lock is offered: it is ours again where that one is gone, or is stuck as well.
    """
    try:
        await _in_turn(name, lock, parts, relief)
    finally:
        if relief is not None:
            relief.waiting.give_back()


async def _in_turn(name: str, lock: Lock, parts: Mapping[str, Part], relief: Relief | None) -> None:
    waited = offered = False
    offer_s = 0.0
    while True:
        try:
            taken = await asyncio.to_thread(lock.take)
            if relief is not None:
                await asyncio.to_thread(_announce, relief.waiting, taken)
        except FenghuoError as error:
            _log.error("lock_unreachable", role=name, code=error.code)
            taken = False
        if not taken:
            if not waited or offered:
                _log.info("standing_by", role=name)
            waited, offered = True, False
            await asyncio.sleep(CHECK_S)
            continue
        if not offered:
            _log.info("taken_over" if waited else "active", role=name)
        offered, began = False, time.monotonic()
        tasks = [asyncio.create_task(supervised(part, run), name=part) for part, run in parts.items()]
        try:
            while await asyncio.to_thread(lock.held):
                if relief is not None and relief.stuck() and time.monotonic() - began >= offer_s:
                    offered = await asyncio.to_thread(_wanted, relief.waiting)
                if offered:
                    break
                await asyncio.sleep(CHECK_S)
            else:
                _log.error("lock_lost", role=name)
        finally:
            await ended(tasks)
            with contextlib.suppress(OSError):
                lock.give_back()
        waited = True
        if offered:
            offer_s = min(max(offer_s * 2, FIRST_OFFER_S), LONGEST_OFFER_S)
            await asyncio.sleep(2 * CHECK_S)  # who stands by asks every CHECK_S


def _announce(waiting: Lock, taken: bool) -> None:
    """Says by a lock of its own that somebody stands by, or that it does no more."""
    if taken:
        waiting.give_back()
    elif not waiting.held():
        waiting.take()


def _wanted(waiting: Lock) -> bool:
    """Whether somebody stands by. Who cannot be asked does not."""
    try:
        return waiting.taken()
    except FenghuoError:
        return False


async def kept(name: str, lock: Lock) -> None:
    """Keeps a lock that this process has; returns once another process has it.

    One that is lost with its connection is taken again. Meanwhile the work goes on: without the database nothing can be
    begun, and what two of one name begin is told apart by the versions of the log.
    """
    while True:
        await asyncio.sleep(CHECK_S)
        if await asyncio.to_thread(lock.held):
            continue
        _log.error("lock_lost", role=name)
        refused: float | None = None  # since when the database says that somebody has it
        while True:
            try:
                if await asyncio.to_thread(lock.take):
                    break
            except FenghuoError as error:
                _log.error("lock_unreachable", role=name, code=error.code)
                refused = None
            else:
                refused = time.monotonic() if refused is None else refused
                if time.monotonic() - refused > GONE_S:
                    _log.error("lock_taken_by_another", role=name)
                    return
            await asyncio.sleep(CHECK_S)
        _log.info("taken_again", role=name)
