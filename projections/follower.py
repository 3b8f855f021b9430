"""Keeps the views in step with the log: batches, the position beside the rows, rebuilding beside the old.

A batch is one transaction: the rows of every view and the position that they stand for. A rebuild makes the next
generation of a view's tables, fills them from the first event on, and becomes the one that is read in one transaction.
The database of the views may be deleted at any time.

While an upgrade rolls, two programs have the same database open, whose code may make other rows of the same log. Each
reads and folds generations of its own code version, and leaves the other's alone.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from domain.errors import UnknownEvent, Unreachable
from domain.events import Recorded
from domain.shards import ChunkRecorded, ShardPlanned
from projections.cases import Cases
from projections.contact_points import ContactPoints
from projections.deliveries import Deliveries
from projections.directory import Directory
from projections.feeds import Feeds
from projections.inbox import Inbox
from projections.ladder import Ladder
from projections.plans import Plans
from projections.postgres import settle
from projections.projection import Projection
from projections.rates import RateView
from projections.roster import Rosters
from projections.sqlite import of_the_disk, own_connection
from projections.timers import Timers
from projections.tree import Tree
from projections.unclear import Unclear
from projections.warnings import Warnings
from projections.whereabouts import Whereabouts

VIEWS: tuple[type[Projection], ...] = (
    Directory,
    Warnings,
    Plans,
    Deliveries,
    Tree,
    Inbox,
    Timers,
    Cases,
    Feeds,
    Rosters,
    Whereabouts,
    ContactPoints,
    Ladder,
    Unclear,
    RateView,
)
P = TypeVar("P", bound=Projection)
BATCH = 500  # events in one transaction
BATCH_ROWS = 20_000  # recipients and outcomes in one transaction
Read = Callable[[int, int], Sequence[Recorded]]
"""Events after a position, at most so many."""

_meta = MetaData()
_positions = Table(
    "view_positions",
    _meta,
    Column("name", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("code_version", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("current", Integer, nullable=False),
)


class Views:
    """All views of one database. One writer at a time in this process; another process is noticed by its position."""

    def __init__(self, engine: Engine, views: Sequence[type[Projection]] = VIEWS) -> None:
        self.engine = engine
        self._writing_engine = own_connection(engine)
        self._writer = self._writing_engine.execution_options(fenghuo_write=True)
        self._classes = {cls.name: cls for cls in views}
        self._versions = {(cls.name, cls.code_version) for cls in views}
        self._writing = threading.Lock()
        self._current: dict[str, Projection] = {}
        self.position = 0
        try:
            self._open()
        except DBAPIError as error:
            raise Unreachable("views.open_failed", f"The views cannot be opened: {error.orig}.") from error

    def _open(self) -> None:
        with self._changing() as db:
            _meta.create_all(db)
            for name, cls in self._classes.items():
                ours = self._current_row(db, cls)
                if ours is not None:
                    self._current[name] = cls(ours.generation)
                    self._current[name].metadata.create_all(db)
                    continue
                # New here, or its code gives other rows: it begins beside what stands there, of which that stays which
                # is furthest: another program may be at it.
                furthest = db.execute(
                    select(_positions.c.code_version)
                    .where(_positions.c.name == name, _positions.c.current == 1)
                    .order_by(_positions.c.position.desc(), _positions.c.generation.desc())
                ).scalar()
                if furthest is not None:
                    self._drop(db, cls, _positions.c.code_version != furthest)
                self._current[name] = self._begun(db, cls, current=1)
        with self.reading() as db:
            self.position = self._lowest(db)

    def _current_row(self, db: Connection, cls: type[Projection]) -> Row[Any] | None:
        """The generation that is read by this code."""
        wanted = (_positions.c.name == cls.name, _positions.c.code_version == cls.code_version)
        return db.execute(select(_positions).where(*wanted, _positions.c.current == 1)).first()

    def _begun(self, db: Connection, cls: type[Projection], *, current: int) -> Projection:
        """A new generation of a view, empty, above all that there are."""
        last = db.execute(select(func.max(_positions.c.generation)).where(_positions.c.name == cls.name)).scalar() or 0
        fresh = cls(last + 1)
        fresh.metadata.drop_all(db)
        fresh.metadata.create_all(db)
        values = {"generation": last + 1, "code_version": cls.code_version, "position": 0, "current": current}
        db.execute(insert(_positions).values(name=cls.name, **values))
        return fresh

    def _drop(self, db: Connection, cls: type[Projection], *which: ColumnElement[bool]) -> None:
        """Removes generations of a view."""
        found = (_positions.c.name == cls.name, *which)
        for generation in db.execute(select(_positions.c.generation).where(*found)).scalars().all():
            cls(generation).metadata.drop_all(db)
        db.execute(delete(_positions).where(*found))

    # Reading ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose answers all come from one position. Raises Unreachable where the database is gone."""
        with _answering(self.engine), self.engine.connect() as db:
            yield db

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """A transaction of the one writer. Raises Unreachable where the database is gone."""
        with self._writing, _answering(self.engine), self._writer.begin() as db:
            yield db

    @property
    def directory(self) -> Directory:
        return self._view(Directory)

    @property
    def warnings(self) -> Warnings:
        return self._view(Warnings)

    @property
    def plans(self) -> Plans:
        return self._view(Plans)

    @property
    def deliveries(self) -> Deliveries:
        return self._view(Deliveries)

    @property
    def tree(self) -> Tree:
        return self._view(Tree)

    @property
    def inbox(self) -> Inbox:
        return self._view(Inbox)

    @property
    def timers(self) -> Timers:
        return self._view(Timers)

    @property
    def cases(self) -> Cases:
        return self._view(Cases)

    @property
    def feeds(self) -> Feeds:
        return self._view(Feeds)

    @property
    def roster(self) -> Rosters:
        return self._view(Rosters)

    @property
    def whereabouts(self) -> Whereabouts:
        return self._view(Whereabouts)

    @property
    def contact_points(self) -> ContactPoints:
        return self._view(ContactPoints)

    @property
    def ladder(self) -> Ladder:
        return self._view(Ladder)

    @property
    def unclear(self) -> Unclear:
        return self._view(Unclear)

    @property
    def rates(self) -> RateView:
        return self._view(RateView)

    def names(self) -> list[str]:
        return sorted(self._current)

    def view(self, name: str) -> Projection:
        return self._current[name]

    def _view(self, cls: type[P]) -> P:
        return cast("P", self._current[cls.name])

    # Following -------------------------------------------------------------------------------------------------------

    def catch_up(self, read: Read, upto: int | None = None, on_batch: Callable[[int], None] | None = None) -> int:
        """Folds what the log has beyond the views, to its end or to position `upto`; returns the position reached.

        Raises UnknownEvent at an event of a newer program, with all before it folded and nothing after it.
        """
        limit = BATCH
        with self._writing:
            while True:
                with _answering(self.engine), self._writer.begin() as db:
                    at = self._lowest(db)
                    if upto is not None and at >= upto:
                        break
                    try:
                        read_ = read(at, limit)
                    except UnknownEvent:
                        self.position = max(at, self.position)
                        raise
                    events = _bounded(read_)
                    limit = min(BATCH, limit * 2) if len(events) == len(read_) else max(1, len(events))
                    if upto is not None:
                        events = [e for e in events if e.position <= upto]
                    if events:
                        self._fold(db, events)
                if not events:
                    break
                self.position = events[-1].position
                if on_batch is not None:
                    on_batch(self.position)
            self.position = max(at, self.position)
            return at

    def look(self) -> int:
        """Notices what another process has folded or rebuilt, for one that only reads; the position that is read."""
        with self.reading() as db:
            self.position = max(self.position, self._lowest(db))
        return self.position

    def _fold(self, db: Connection, events: Sequence[Recorded]) -> None:
        positions = self._positions(db)
        for name, view in self._current.items():
            ahead = positions[name]
            view.apply([e for e in events if e.position > ahead] if ahead >= events[0].position else events, db)
        db.execute(
            update(_positions)
            .where(
                _positions.c.current == 1,
                _positions.c.position < events[-1].position,
                tuple_(_positions.c.name, _positions.c.code_version).in_(self._versions),
            )
            .values(position=events[-1].position)
        )

    def _positions(self, db: Connection) -> dict[str, int]:
        c = _positions.c
        rows = db.execute(select(c.name, c.code_version, c.generation, c.position).where(c.current == 1))
        found: dict[str, int] = {}
        for name, code_version, generation, position in rows:
            if (name, code_version) in self._versions:
                found[name] = position
                if self._current[name].generation != generation:  # another process has rebuilt it
                    self._current[name] = self._classes[name](generation)
        if len(found) < len(self._current):
            raise Unreachable(
                "views.replaced", "Views of this version are no more: newer ones took their place.", "Upgrade it."
            )
        return found

    def _lowest(self, db: Connection) -> int:
        return min(self._positions(db).values(), default=0)

    # Rebuilding ------------------------------------------------------------------------------------------------------

    def rebuild(
        self, read: Read, names: Sequence[str] | None = None, on_batch: Callable[[int], None] | None = None
    ) -> None:
        """Builds a new generation of the named views (all, for None) from the first event, then reads from it.

        They are built in one reading of the log, and change places with the old ones in one moment.
        """
        wanted = [self._classes[name] for name in names or self.names()]
        with self._changing() as db:
            for cls in wanted:  # the generation before stays for readers of other processes, until the next rebuild
                self._drop(db, cls, _positions.c.code_version == cls.code_version, _positions.c.current == 0)
            fresh = {cls.name: self._begun(db, cls, current=0) for cls in wanted}
        at = 0
        while fresh:
            events = _bounded(read(at, BATCH))
            with self._changing() as db:
                for view in fresh.values() if events else ():
                    view.apply(events, db)
                if events:
                    at = events[-1].position
                elif at >= max(position for name, position in self._positions(db).items() if name in fresh):
                    self._switch(db, fresh, at)
                    fresh = {}
            if on_batch is not None:
                on_batch(at)

    def _switch(self, db: Connection, fresh: dict[str, Projection], at: int) -> None:
        c = _positions.c
        for name, view in fresh.items():
            ours = (c.name == name, c.code_version == view.code_version)
            db.execute(update(_positions).where(*ours).values(current=0))
            db.execute(update(_positions).where(*ours, c.generation == view.generation).values(current=1, position=at))
        self._current.update(fresh)

    # Comparing -------------------------------------------------------------------------------------------------------

    def fingerprints(self) -> dict[str, str]:
        """A SHA-256 of every row of each view: equal for equal logs, whatever the generation or the database."""
        return self.snapshot()[1]

    def snapshot(self) -> tuple[int, dict[str, str]]:
        """The position of the views and their fingerprints, all read at the same moment."""
        with self.reading() as db:
            position = self._lowest(db)
            return position, {name: fingerprint(self._current[name], db) for name in self.names()}

    def close(self) -> None:
        for engine in (self._writing_engine, self.engine):
            settle(engine)
            engine.dispose()


@contextmanager
def _answering(engine: Engine) -> Iterator[None]:
    """Says Unreachable where a server is gone, or a disk is full or does not answer; a damaged file says so itself."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        if engine.dialect.name == "sqlite":
            if (fault := of_the_disk(error)) is None:
                raise
            raise Unreachable(
                "views.failed",
                f"The views cannot be read or written: {fault}.",
                "Is there room on the disk, and may it be written to?",
            ) from error
        raise Unreachable("views.unreachable", "The views' database does not answer.") from error


def _bounded(events: Sequence[Recorded]) -> Sequence[Recorded]:
    """As many of them, from the first, as stand for BATCH_ROWS rows: one shard is one event, and 500 people."""
    rows = 0
    for n, r in enumerate(events):
        match r.event:
            case ShardPlanned(recipients=recipients):
                rows += len(recipients)
            case ChunkRecorded(rows=recorded):
                rows += len(recorded)
        if rows > BATCH_ROWS and n:
            return events[:n]
    return events


def fingerprint(view: Projection, db: Connection) -> str:
    digest = hashlib.sha256()
    for table, row in view.dump(db):
        # PostgreSQL holds no NUL: see projections/postgres.py.
        digest.update(msgspec.json.encode((table, row), order="sorted").replace(b"\\u0000", b"\xef\xbf\xbd"))
        digest.update(b"\n")
    return digest.hexdigest()


def wipe(engine: Engine) -> None:
    """Drops every table of the views' database."""
    with engine.begin() as db:
        for name in inspect(db).get_table_names():
            db.execute(text(f'DROP TABLE "{name}"'))
