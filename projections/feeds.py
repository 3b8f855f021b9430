"""Feeds as they stand, and the latest that each of their items said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Connection, Integer, Text, select, update

from domain.events import Recorded
from domain.feeds import Feed, FeedAdded, FeedItemsTaken, FeedReleaseAllowed, FeedRemoved
from projections.projection import Json, Projection, Utc, upsert


class Feeds(Projection):
    name = "feeds"

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.table_ = self.table(
            "feeds",
            Column("feed_id", Text, primary_key=True),
            Column("feed", Json, nullable=False),
            Column("added_by", Text, nullable=False),
            Column("removed", Boolean, nullable=False),
            Column("release_levels", Json, nullable=False),
            Column("allowed_by", Text, nullable=False),
            Column("position", Integer, nullable=False),
        )
        self.items_ = self.table(
            "feed_items",
            Column("feed_id", Text, primary_key=True),
            Column("key", Text, primary_key=True),
            Column("verdict", Text, nullable=False),
            Column("warning_id", Text, nullable=False),
            Column("why", Text, nullable=False),
            Column("at", Utc, nullable=False),
            Column("position", Integer, nullable=False),
        )

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        for r in events:
            match r.event:
                case FeedAdded(feed=feed, added_by=by):
                    row = {
                        "feed_id": feed.feed_id,
                        "feed": msgspec.to_builtins(feed),
                        "added_by": by,
                        "removed": False,
                        "release_levels": [],
                        "allowed_by": "",
                        "position": r.position,
                    }
                    upsert(db, self.table_, [row])
                case FeedRemoved():
                    self._change(db, r, removed=True, release_levels=[])
                case FeedReleaseAllowed(levels=levels, allowed_by=by):
                    self._change(db, r, release_levels=[level.value for level in levels], allowed_by=by)
                case FeedItemsTaken(feed_id=feed_id, items=items):
                    rows = [
                        {
                            "feed_id": feed_id,
                            "key": item.key,
                            "verdict": item.verdict.value,
                            "warning_id": item.warning_id,
                            "why": item.why,
                            "at": r.metadata.recorded_at,
                            "position": r.position,
                        }
                        for item in items
                    ]
                    upsert(db, self.items_, rows)

    def _change(self, db: Connection, r: Recorded, **values: Any) -> None:
        of_stream = self.table_.c.feed_id == r.stream.partition("-")[2]
        db.execute(update(self.table_).where(of_stream).values(**values, position=r.position))

    # Reading ---------------------------------------------------------------------------------------------------------

    def rows(self, db: Connection) -> list[dict[str, Any]]:
        """The feeds that are read, by id."""
        query = select(self.table_).where(self.table_.c.removed.is_(False)).order_by(self.table_.c.feed_id)
        return [dict(row) for row in db.execute(query).mappings()]

    def feeds(self, db: Connection) -> list[Feed]:
        return [msgspec.convert(row["feed"], Feed) for row in self.rows(db)]

    def items(self, db: Connection, feed_id: str, *, after: str, limit: int) -> list[dict[str, Any]]:
        """What a feed's items said last, by key, from those after a key on."""
        i = self.items_.c
        query = select(self.items_).where(i.feed_id == feed_id, i.key > after).order_by(i.key).limit(limit)
        return [dict(row) for row in db.execute(query).mappings()]
