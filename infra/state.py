"""How an installation stands: log, views, lanes, silence, timers, proof. Read from its stores, so that
`fenghuo status` says it whether the program runs or not, and the program's metrics say the same.
"""

from __future__ import annotations

import shutil
from datetime import datetime

import msgspec

from domain.errors import FenghuoError
from domain.rulepacks import Lane, Level
from infra.stores import Stores
from projections import backlog


class LaneState(msgspec.Struct, frozen=True, kw_only=True):
    """A dispatch lane. Counts of shards; `retries` of messages; `oldest_s`: for how long the first has waited."""

    lane: Lane
    waiting: int
    sending: int
    resting: int
    retries: int
    oldest_s: float


class SilenceState(msgspec.Struct, frozen=True, kw_only=True):
    """Stations that have not acknowledged a warning in force of this level; `chased`: longer than its rule allows."""

    level: Level
    unacknowledged: int
    chased: int
    oldest_s: float


class TimerState(msgspec.Struct, frozen=True, kw_only=True):
    """Timers of one kind, those that are due, and for how many seconds the first of them has been."""

    kind: str
    timers: int
    due: int
    oldest_s: float


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """The event at which the views stand, since this program does not know it; `for_s`: since it was recorded."""

    position: int
    topic: str
    for_s: float


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment. Positions are the log's, times in seconds, sizes in bytes; 0 where nothing waits."""

    at: datetime
    position: int
    views_position: int
    lag_events: int
    lag_s: float
    parked: Parked | None
    plans_pending: int
    plans_oldest_s: float
    lanes: tuple[LaneState, ...]
    silence: tuple[SilenceState, ...]
    silent: tuple[backlog.Silent, ...]
    timers: tuple[TimerState, ...]
    signed_position: int
    unsigned_s: float
    disk_free: int
    disk_size: int


def measure(stores: Stores) -> State:
    """Reads it, in a few queries on indexes. Raises Unreachable where log or views cannot be read."""
    now, log, views = stores.clock.now(), stores.log, stores.views
    position, followed = log.last_position_now(), views.position
    with views.reading() as db:
        lanes = backlog.lanes(views, db, now)
        silence, silent = backlog.silence(views, db)
        timers = backlog.timers(views, db, now)
        plans = backlog.plans(views, db)
    signed = stores.prover.signed_position()

    def since(at: datetime | None) -> float:
        return max(0.0, (now - at).total_seconds()) if at is not None else 0.0

    def after(behind: int) -> float:
        return since(_recorded(stores, behind)) if behind < position else 0.0

    def of(lane: backlog.LaneBacklog) -> float:
        return max(since(lane.since), after(lane.position - 1) if lane.position is not None else 0.0)

    unknown = log.unknown_now(followed) if followed < position else None
    disk = shutil.disk_usage(stores.folder)
    return State(
        at=now,
        position=position,
        views_position=followed,
        lag_events=max(0, position - followed),
        lag_s=after(followed),
        parked=None
        if unknown is None
        else Parked(position=unknown.position, topic=unknown.topic, for_s=since(unknown.recorded_at)),
        plans_pending=plans.pending,
        plans_oldest_s=after(plans.position - 1) if plans.position is not None else 0.0,
        lanes=tuple(
            LaneState(
                lane=lane.lane,
                waiting=lane.waiting,
                sending=lane.sending,
                resting=lane.resting,
                retries=lane.retries,
                oldest_s=of(lane),
            )
            for lane in lanes
        ),
        silence=tuple(
            SilenceState(level=level, unacknowledged=found.stations, chased=found.chased, oldest_s=since(found.since))
            for level, found in silence.items()
        ),
        silent=tuple(silent),
        timers=tuple(
            TimerState(kind=kind, timers=found.timers, due=found.due, oldest_s=since(found.since))
            for kind, found in timers.items()
        ),
        signed_position=signed,
        unsigned_s=after(signed),
        disk_free=disk.free,
        disk_size=disk.total,
    )


def _recorded(stores: Stores, after: int) -> datetime | None:
    """When the first event after a position was recorded; None where it cannot be read here."""
    try:
        return stores.log.recorded_at_now(after)
    except FenghuoError:
        return None
