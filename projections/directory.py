"""The directory: nodes, people, grants, credentials and rule packs as they are, and people as they were.

People are kept by log position (`from_position`, `to_position`), so that an audience is the same whenever it is asked
for as of a position. Contacts stay sealed here too.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    Text,
    and_,
    func,
    or_,
    select,
    text,
    type_coerce,
    update,
)

from domain.events import Recorded
from domain.grants import Grant, GrantGiven, GrantRevoked, GrantRole, Token, TokenEnded, TokenIssued, TokenKind
from domain.people import STAFF, Channel, ContactChanged, Person, PersonForgotten, PersonRegistered, PersonTagged, Role
from domain.private import Sealed
from domain.rulepacks import RulePack, RulePackAdopted
from domain.stations import Hierarchy, Kind, Node, NodeRegistered, Scope
from projections.kept import Kept
from projections.projection import Json, Projection, Utc, among, rows_by_key, upsert

# As it stands in the index, word for word: that is how a database knows that it may use it.
_STAFF = text("role IN ({})".format(", ".join(f"'{role}'" for role in sorted(STAFF))))
# What every request asks for; people are read as they are needed.
KEPT = (NodeRegistered, GrantGiven, GrantRevoked, TokenIssued, TokenEnded, RulePackAdopted)


class Directory(Projection):
    name = "directory"
    code_version = 4

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.nodes = self.table(
            "nodes",
            Column("node_id", Text, primary_key=True),
            Column("kind", Text, nullable=False),
            Column("parent", Text),
            Column("name_zh", Text, nullable=False),
            Column("name_en", Text, nullable=False),
            Column("country", Text, nullable=False),
            Column("lat", Float, nullable=False),
            Column("lon", Float, nullable=False),
            Column("zone", Text, nullable=False),
            Column("scope", Text),
            Column("admin", Text, nullable=False),
            Column("position", Integer, nullable=False),
        )
        self.people = self.table(
            "people",
            Column("person_id", Text, primary_key=True),
            Column("from_position", Integer, primary_key=True),
            Column("to_position", Integer),
            Column("node_id", Text, nullable=False),
            Column("role", Text, nullable=False),
            Column("language", Text, nullable=False),
            Column("channels", Text, nullable=False),
            Column("tags", Text, nullable=False),
            Column("enterprise", Text, nullable=False),
            Column("sealed", Json),
        )
        p = self.people.c
        Index(f"people_node_g{generation}", p.node_id, p.person_id)
        # Staff are few, and asked for before anything is sent: they are not to be looked for among a million people.
        Index(f"people_staff_g{generation}", p.node_id, p.person_id, sqlite_where=_STAFF, postgresql_where=_STAFF)
        self.grants = self.table(
            "grants",
            Column("grant_id", Text, primary_key=True),
            Column("person_id", Text, nullable=False, index=True),
            Column("role", Text, nullable=False),
            Column("node_id", Text, nullable=False),
            Column("valid_from", Utc, nullable=False),
            Column("valid_to", Utc),
            Column("revoked_at", Utc),
        )
        self.tokens = self.table(
            "tokens",
            Column("digest", Text, primary_key=True),
            Column("kind", Text, nullable=False),
            Column("person_id", Text, nullable=False),
            Column("valid_until", Utc, nullable=False),
            Column("grant_id", Text),
            Column("ended", Boolean, nullable=False),
        )
        self.rule_packs = self.table(
            "rule_packs",
            Column("rule_pack_id", Text, primary_key=True),
            Column("position", Integer, nullable=False),
            Column("pack", Json, nullable=False),
        )
        self.revisions = self.table(
            "directory_revision",
            Column("key", Integer, primary_key=True),
            Column(
                "position", Integer, nullable=False
            ),  # of the last event that changed one of the tables above but people
        )
        # On the way of every request, so not built each time.
        self._asked = f"SELECT position FROM {self.revisions.name}"  # noqa: S608  our own table's name
        self._kept = Kept(0)

    def apply(self, events: Sequence[Recorded], db: Connection) -> None:
        people, revision = _People(self, db), 0
        for r in events:
            if isinstance(r.event, KEPT):
                revision = r.position
            match r.event:
                case PersonRegistered() | ContactChanged() | PersonTagged() | PersonForgotten():
                    people.apply(r)
                case NodeRegistered(node=node):
                    row = {**msgspec.structs.asdict(node), "kind": node.kind.value, "position": r.position}
                    row["scope"] = node.scope.value if node.scope else None
                    upsert(db, self.nodes, [row])
                case GrantGiven(grant=grant):
                    upsert(db, self.grants, [{**msgspec.structs.asdict(grant), "role": grant.role.value}])
                case GrantRevoked(grant_id=grant_id, revoked_at=at):
                    db.execute(update(self.grants).where(self.grants.c.grant_id == grant_id).values(revoked_at=at))
                case TokenIssued(token=token):
                    upsert(db, self.tokens, [{**msgspec.structs.asdict(token), "kind": token.kind.value}])
                case TokenEnded(digest=digest):
                    db.execute(update(self.tokens).where(self.tokens.c.digest == digest).values(ended=True))
                case RulePackAdopted(pack=pack):
                    row = {"rule_pack_id": pack.rule_pack_id, "position": r.position, "pack": msgspec.to_builtins(pack)}
                    upsert(db, self.rule_packs, [row])
        people.flush()
        if revision:
            upsert(db, self.revisions, [{"key": 0, "position": revision}])

    # Reading ---------------------------------------------------------------------------------------------------------

    def _now(self, db: Connection) -> Kept:
        """What was read of the tables that seldom change, at the revision that this connection sees, or a later one."""
        revision = _number(db, self._asked)
        kept = self._kept
        if kept.revision != revision:
            kept = self._kept = Kept(revision)
        return kept

    def standing(
        self, db: Connection, person_id: str, at: datetime
    ) -> tuple[Sequence[Grant], Hierarchy, RulePack | None]:
        """(the person's grants, the whole tree, the rules in force at a moment): what every command is judged by, for
        one question whether any of it changed."""
        kept = self._now(db)
        pack = next((pack for pack in self._packs(db, kept) if pack.in_force(at)), None)
        return self._grants(db, kept, person_id), self._tree(db, kept), pack

    def hierarchy(self, db: Connection) -> Hierarchy:
        """The whole tree."""
        return self._tree(db, self._now(db))

    def _tree(self, db: Connection, kept: Kept) -> Hierarchy:
        if kept.hierarchy is None:
            rows = db.execute(select(self.nodes).order_by(self.nodes.c.node_id)).mappings()
            kept.hierarchy = Hierarchy([_node(row) for row in rows])
        return kept.hierarchy

    def grants_of(self, db: Connection, person_id: str) -> tuple[Grant, ...]:
        return self._grants(db, self._now(db), person_id)

    def _grants(self, db: Connection, kept: Kept, person_id: str) -> tuple[Grant, ...]:
        if (found := kept.grants.get(person_id)) is None:
            g = self.grants.c
            rows = db.execute(select(self.grants).where(g.person_id == person_id).order_by(g.grant_id)).mappings()
            found = tuple(Grant(**{**row, "role": GrantRole(row["role"])}) for row in rows)
            kept.keep(kept.grants, person_id, found)
        return found

    def token(self, db: Connection, digest: str) -> Token | None:
        kept = self._now(db)
        if (found := kept.tokens.get(digest)) is None:
            row = db.execute(select(self.tokens).where(self.tokens.c.digest == digest)).mappings().first()
            if row is None:
                return None
            found = Token(**{**row, "kind": TokenKind(row["kind"])})
            kept.keep(kept.tokens, digest, found)
        return found

    def rule_pack(self, db: Connection, at: datetime) -> RulePack | None:
        """The pack in force at a moment: the latest adopted of those."""
        return next((pack for pack in self._packs(db, self._now(db)) if pack.in_force(at)), None)

    def rule_pack_by_id(self, db: Connection, rule_pack_id: str | None) -> RulePack | None:
        """The pack that a decision was taken under, in force or not: what was decided is never judged anew."""
        return next((p for p in self._packs(db, self._now(db)) if p.rule_pack_id == rule_pack_id), None)

    def _packs(self, db: Connection, kept: Kept) -> list[RulePack]:
        """All packs, the latest first."""
        if kept.packs is None:
            rows = db.execute(select(self.rule_packs.c.pack).order_by(self.rule_packs.c.position.desc())).scalars()
            kept.packs = [msgspec.convert(fields, RulePack) for fields in rows]
        return kept.packs

    def person(self, db: Connection, person_id: str) -> Person | None:
        query = select(self.people).where(self.people.c.person_id == person_id, self.people.c.to_position.is_(None))
        row = db.execute(query).mappings().first()
        return None if row is None else _person(row)

    def people_by_id(self, db: Connection, person_ids: Sequence[str]) -> dict[str, Person]:
        """These people as they are now; those unknown or forgotten are absent."""
        p = self.people.c
        rows = rows_by_key(db, self.people, p.person_id, person_ids, p.to_position.is_(None))
        return {row["person_id"]: _person(row) for row in rows}

    def audience(self, db: Connection, node_ids: Sequence[str], as_of: int) -> Iterator[Person]:
        """Everybody at these nodes as of a log position, by id."""
        p = self.people.c
        then = and_(p.from_position <= as_of, or_(p.to_position.is_(None), p.to_position > as_of))
        query = select(self.people).where(among(db, p.node_id, node_ids), then).order_by(p.person_id)
        for row in db.execute(query).mappings():
            yield _person(row)

    def audience_page(
        self,
        db: Connection,
        node_ids: Sequence[str],
        as_of: int,
        *,
        after: str = "",
        limit: int = 2000,
        roles: Collection[Role] | None = None,
    ) -> list[Person]:
        """People at these nodes as of a log position, by node and id; `after` a person, where it is one node alone.

        `roles`: those in these alone.
        """
        p = self.people.c
        query = (
            select(p.person_id, p.node_id, p.role, p.language, p.channels, p.tags, p.enterprise)
            .where(
                p.node_id.in_(node_ids) if len(node_ids) > 1 else p.node_id == node_ids[0],
                p.from_position <= as_of,
                or_(p.to_position.is_(None), p.to_position > as_of),
            )
            .order_by(p.node_id, p.person_id)
            .limit(limit)
        )
        if after:
            query = query.where(p.person_id > after)
        if roles is not None:
            query = query.where(p.role.in_([role.value for role in roles]))
            if STAFF.issuperset(roles):
                query = query.where(_STAFF)
        return [_person(row) for row in db.execute(query).mappings()]

    def sizes(self, db: Connection, node_ids: Sequence[str]) -> dict[str, int]:
        """How many people these nodes have at the most, whatever the position and the roles; none may be left out."""
        p = self.people.c
        query = select(p.node_id, func.count()).where(among(db, p.node_id, node_ids)).group_by(p.node_id)
        return dict(db.execute(query).all())

    def sealed(self, db: Connection, person_ids: Sequence[str]) -> dict[str, Sealed]:
        """The latest sealed contact of each person; those unknown or forgotten are absent."""
        p = self.people.c
        query = select(p.person_id, type_coerce(p.sealed, Text)).where(
            among(db, p.person_id, person_ids), p.to_position.is_(None), p.sealed.is_not(None)
        )
        return {person_id: _sealed.decode(text) for person_id, text in db.execute(query).all()}


_sealed = msgspec.json.Decoder(Sealed)


def _number(db: Connection, asked: str) -> int:
    """What a query for one number answers; 0 where there is none. On SQLite the driver is asked itself, for a tenth of
    what SQLAlchemy's part would cost."""
    raw = db.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        with contextlib.suppress(sqlite3.Error):  # what is wrong is said below, as it is everywhere
            row = raw.execute(asked).fetchone()
            return 0 if row is None else int(row[0])
    return db.exec_driver_sql(asked).scalar() or 0


class _People:
    """The versions of people that a batch adds and ends, gathered for two statements at the end of it."""

    def __init__(self, view: Directory, db: Connection) -> None:
        self.view, self.db = view, db
        self.new: dict[tuple[str, int], dict[str, Any]] = {}
        self.current: dict[str, dict[str, Any]] = {}

    def apply(self, r: Recorded) -> None:
        event = r.event
        match event:
            case PersonRegistered():
                self._add(
                    r,
                    {
                        "person_id": event.person_id,
                        "node_id": event.node_id,
                        "role": event.role.value,
                        **_tagged(event),
                        **_contact(event),
                    },
                )
            case ContactChanged():
                if before := self._end(event.person_id, r.position):
                    self._add(r, {**before, **_contact(event)})
            case PersonTagged():
                if before := self._end(event.person_id, r.position):
                    self._add(r, {**before, **_tagged(event)})
            case PersonForgotten():
                self._end(event.person_id, r.position)

    def _add(self, r: Recorded, fields: dict[str, Any]) -> None:
        row = {**fields, "from_position": r.position, "to_position": None}
        self.new[row["person_id"], r.position] = self.current[row["person_id"]] = row

    def _end(self, person_id: str, position: int) -> dict[str, Any] | None:
        row = self.current.pop(person_id, None)
        if row is None:
            p = self.view.people.c
            query = select(self.view.people).where(p.person_id == person_id, p.to_position.is_(None))
            found = self.db.execute(query).mappings().first()
            row = dict(found) if found else None
        if row is not None:
            # The contact of an earlier version stays sealed in the log; the view needs the latest alone.
            ended = {**row, "to_position": position, "sealed": None}
            self.new[person_id, row["from_position"]] = ended
        return row

    def flush(self) -> None:
        upsert(self.db, self.view.people, list(self.new.values()))


def _contact(event: PersonRegistered | ContactChanged) -> dict[str, Any]:
    return {
        "language": event.language,
        "channels": ",".join(event.channels),
        "sealed": msgspec.to_builtins(event.personal),
    }


def _tagged(event: PersonRegistered | PersonTagged) -> dict[str, Any]:
    return {"tags": ",".join(event.tags), "enterprise": event.enterprise}


def _node(row: Any) -> Node:
    fields = {k: v for k, v in row.items() if k != "position"}
    return Node(**{**fields, "kind": Kind(row["kind"]), "scope": Scope(row["scope"]) if row["scope"] else None})


def _person(row: Any) -> Person:
    return Person(
        person_id=row["person_id"],
        node_id=row["node_id"],
        role=Role(row["role"]),
        language=row["language"],
        channels=tuple(Channel(c) for c in row["channels"].split(",") if c),
        tags=tuple(t for t in row["tags"].split(",") if t),
        enterprise=row["enterprise"],
    )
