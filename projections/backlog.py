"""What an operator asks of the views: what waits, and for how long. Read for metrics and for `fenghuo status`.

Counts and moments alone: of the warnings, stations and people behind them nothing is said.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from domain.rulepacks import LANES, Lane, Level
from domain.stations import Kind
from domain.warnings import Status
from projections.delivery_rows import PLANNED, STOPPED
from projections.follower import Views
from projections.projection import Utc
from projections.reach import CONTACTS
from projections.timers import ESCALATE, EXPIRE, REFER


class LaneBacklog(msgspec.Struct, frozen=True, kw_only=True):
    """The shards of one lane that are not at their end.

    `waiting`: something is to be sent now and nobody does it; since `since`, or since the event at `position`,
    whichever is earlier. `sending`: a worker has them. `resting`: a retry, or the end of a night, is still to come, for
    `retries` messages.
    """

    lane: Lane
    waiting: int = 0
    since: datetime | None = None
    position: int | None = None
    sending: int = 0
    resting: int = 0
    retries: int = 0


class Silence(msgspec.Struct, kw_only=True):
    """Of the warnings of one level that are in force: the stations that have not acknowledged one, the first of them
    since `since`; `chased` of them have been silent for so long that a step of the escalation was taken."""

    stations: int = 0
    chased: int = 0
    since: datetime | None = None


class Silent(msgspec.Struct, frozen=True, kw_only=True):
    """A station that the escalation chases over a warning in force: `steps` were taken since it was told."""

    warning_id: str
    node_id: str
    level: Level
    since: datetime
    steps: int


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """Timers of one kind: all of them, and those whose time has come, the first at `since`."""

    timers: int = 0
    due: int = 0
    since: datetime | None = None


class Plans(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions that wait for a plan, the first of them the event at `position`."""

    pending: int
    position: int | None


def lanes(views: Views, db: Connection, now: datetime) -> list[LaneBacklog]:
    """One of each lane, the highest first."""
    s = views.deliveries.shards.c
    resting = and_(s.next_due.is_not(None), s.next_due > now)
    due_again = and_(s.next_due.is_not(None), s.next_due <= now)
    unheld = and_(s.next_due.is_(None), or_(s.leased_until.is_(None), s.leased_until < now))
    query = (
        select(
            s.lane,
            _count(or_(due_again, unheld)),
            func.min(case((due_again, s.next_due)), type_=Utc),
            func.min(case((and_(unheld, s.leased_until.is_not(None)), s.leased_until)), type_=Utc),
            func.min(case((and_(unheld, s.leased_until.is_(None)), s.planned_position))),
            _count(and_(s.next_due.is_(None), s.leased_until >= now)),
            _count(resting),
            func.sum(case((resting, s.recipients - s.settled), else_=0)),
        )
        .where(or_(s.status.in_((PLANNED, "leased")), and_(s.status == STOPPED, s.open > 0)))
        .group_by(s.lane)
    )
    found: dict[int, LaneBacklog] = {}
    for lane, waiting, due, expired, planned, sending, rest, retries in db.execute(query):
        found[lane] = LaneBacklog(
            lane=LANES[lane],
            waiting=int(waiting),
            since=min((at for at in (due, expired) if at is not None), default=None),
            position=planned,
            sending=int(sending),
            resting=int(rest),
            retries=int(retries),
        )
    return [found.get(n, LaneBacklog(lane=lane)) for n, lane in enumerate(LANES)]


def silence(views: Views, db: Connection) -> tuple[dict[Level, Silence], list[Silent]]:
    """(by level, the stations that are chased: the longest silent first). Drills are left out."""
    w, r = views.warnings.warnings.c, views.tree.relays.c
    query = (
        select(w.warning_id, w.level, r.node_id, r.opened_at, r.escalations)
        .join(views.tree.relays, r.warning_id == w.warning_id)
        .where(
            w.status == Status.RELEASED.value,
            w.drill.is_(False),
            r.opened_at.is_not(None),
            r.acknowledged_at.is_(None),
        )
        .order_by(r.opened_at, w.warning_id, r.node_id)
    )
    levels = {level: Silence() for level in Level}
    chased: list[Silent] = []
    for warning_id, level, node_id, opened_at, escalations in db.execute(query):
        of = levels[Level(level)]
        of.stations += 1
        of.since = of.since or opened_at
        if escalations:
            of.chased += 1
            chased.append(
                Silent(
                    warning_id=warning_id, node_id=node_id, level=Level(level), since=opened_at, steps=len(escalations)
                )
            )
    return levels, chased


def timers(views: Views, db: Connection, now: datetime) -> dict[str, Due]:
    """By kind."""
    t = views.timers.timers.c
    due = and_(t.due_at.is_not(None), t.due_at <= now)
    query = select(t.kind, func.count(), _count(due), func.min(case((due, t.due_at)), type_=Utc)).group_by(t.kind)
    found = {kind: Due(timers=int(count), due=int(over), since=since) for kind, count, over, since in db.execute(query)}
    return {kind: found.get(kind, Due()) for kind in (ESCALATE, EXPIRE, REFER)}


def plans(views: Views, db: Connection) -> Plans:
    t = views.plans.triggers.c
    count, first = db.execute(select(func.count(), func.min(t.position)).where(t.planned == 0)).one()
    return Plans(pending=int(count), position=first)


def stations_without_contact(views: Views, db: Connection) -> int:
    """Stations none of whose head and liaisons has a working channel: nobody there can be told of a warning."""
    hierarchy = views.directory.hierarchy(db)
    stations = [node.node_id for node in hierarchy.nodes.values() if node.kind is Kind.STATION]
    reachable: set[str] = set()
    for start in range(0, len(stations), 400):
        some = stations[start : start + 400]
        people = views.directory.audience_page(db, some, views.position, limit=100_000, roles=CONTACTS)
        dead = views.contact_points.unreachable(db, [person.person_id for person in people], views.position)
        reachable.update(p.node_id for p in people if any((p.person_id, c) not in dead for c in p.channels))
    return len(stations) - len(reachable)


def _count(condition: ColumnElement[bool]) -> Any:
    return func.sum(case((condition, 1), else_=0))
