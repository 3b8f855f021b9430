"""Where people said they will be, still sealed, by log position: the stays as they were known at any position.

What a later stay took the place of is kept until its person is forgotten: an audience may be asked for as of then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Index, Integer, Text, and_, or_, select, type_coerce, update

from domain.events import Recorded
from domain.people import PersonForgotten
from domain.private import Sealed
from domain.whereabouts import StayRecorded, StayWithdrawn
from projections.projection import Json, Projection, among, upsert

_sealed = msgspec.json.Decoder(Sealed)


class Whereabouts(Projection):
    name = "whereabouts"

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.stays = self.table(
            "stays",
            Column("person_id", Text, primary_key=True),
            Column("stay_id", Text, primary_key=True),
            Column("from_position", Integer, primary_key=True),
            Column("to_position", Integer),
            Column("sealed", Json),  # none once the person is forgotten
        )
        Index(f"stays_end_g{generation}", self.stays.c.to_position)

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        for r in events:
            match r.event:
                case StayRecorded(person_id=person_id, stay_id=stay_id, personal=personal):
                    self._end(db, r.position, person_id, stay_id)
                    row: dict[str, Any] = {
                        "person_id": person_id,
                        "stay_id": stay_id,
                        "from_position": r.position,
                        "to_position": None,
                        "sealed": msgspec.to_builtins(personal),
                    }
                    upsert(db, self.stays, [row])
                case StayWithdrawn(person_id=person_id, stay_id=stay_id):
                    self._end(db, r.position, person_id, stay_id)
                case PersonForgotten(person_id=person_id):
                    self._end(db, r.position, person_id)
                    db.execute(update(self.stays).where(self.stays.c.person_id == person_id).values(sealed=None))

    def _end(self, db: Connection, position: int, person_id: str, stay_id: str | None = None) -> None:
        s = self.stays.c
        now = update(self.stays).where(s.person_id == person_id, s.to_position.is_(None)).values(to_position=position)
        db.execute(now if stay_id is None else now.where(s.stay_id == stay_id))

    # Reading ---------------------------------------------------------------------------------------------------------

    def of(self, db: Connection, person_ids: Sequence[str], as_of: int | None = None) -> dict[str, list[Sealed]]:
        """The stays of these people as of a log position, or as they stand; people without any are absent."""
        s = self.stays.c
        now = s.to_position.is_(None)
        then = now if as_of is None else and_(s.from_position <= as_of, or_(now, s.to_position > as_of))
        query = (
            select(s.person_id, type_coerce(s.sealed, Text))
            .where(among(db, s.person_id, person_ids), s.sealed.is_not(None), then)
            .order_by(s.person_id, s.stay_id)
        )
        found: dict[str, list[Sealed]] = {}
        for person_id, text in db.execute(query):
            found.setdefault(person_id, []).append(_sealed.decode(text))
        return found

    def ids(self, db: Connection, person_id: str) -> list[str]:
        """The ids of a person's stays as they stand."""
        s = self.stays.c
        query = select(s.stay_id).where(s.person_id == person_id, s.to_position.is_(None)).order_by(s.stay_id)
        return list(db.execute(query).scalars())
