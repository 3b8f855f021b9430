"""Feeds over HTTP: add, list, remove, allow to release; and what their items said last."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints

from api.auth import O_, A, S
from api.schemas import Command, Id, Line, Page, Strict, jsonable
from domain.feeds import Feed, Form, Mapping
from domain.grants import Action
from domain.rulepacks import Level

router = APIRouter(prefix="/v1/feeds", tags=["feeds"])
Name = Annotated[str, StringConstraints(max_length=100)]


class MappingIn(Strict):
    """Where the fields of a JSON item stand."""

    items: Name = ""
    key: Annotated[str, StringConstraints(min_length=1, max_length=100)] = "id"
    title: Annotated[str, StringConstraints(min_length=1, max_length=100)] = "title"
    text: Name = ""
    level: Name = ""
    link: Name = ""
    updated: Name = ""
    changes: Annotated[list[Name], Field(max_length=20, default_factory=list)]


class FeedIn(Strict):
    """A feed: where it is, how it is written, and whom its drafts concern."""

    feed_id: Id
    url: Annotated[str, StringConstraints(min_length=10, max_length=2_000, pattern=r"^https?://")]
    form: Form
    node_id: Id
    title: Line
    language: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$")] = "en"
    every_s: Annotated[int, Field(ge=30, le=86_400)] = 300
    level: Level = Level.BLUE
    levels: Annotated[dict[Line, Level], Field(max_length=100, default_factory=dict)]
    hours: Annotated[int, Field(ge=1, le=720)] = 24
    baseline: bool | None = None
    mapping: Annotated[MappingIn, Field(default_factory=MappingIn)]

    def feed(self) -> Feed:
        fields = self.model_dump(exclude={"mapping"})
        mapping = self.mapping.model_dump()
        return Feed(**fields, mapping=Mapping(**{**mapping, "changes": tuple(mapping["changes"])}))


class ReleaseLevelsIn(Strict):
    """Of these levels the feed's drafts go out by themselves."""

    levels: Annotated[list[Level], Field(max_length=4)]


class FeedOut(BaseModel):
    """A feed, and how its last reading went; `code` is empty where it went well."""

    feed: dict[str, Any]
    added_by: str
    release_levels: list[Level]
    allowed_by: str
    read_at: datetime | None
    changed_at: datetime | None
    next_at: datetime | None
    failures: int
    code: str
    message: str


class FeedsOut(BaseModel):
    items: list[FeedOut]


@router.post("", status_code=201)
async def add(body: FeedIn, actor: A, once: O_, s: S) -> Command:
    """Begins to read a feed. What is new in it becomes a draft for a person to release."""
    done = await s.feeds.add(actor, body.feed(), once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.get("")
def listed(actor: A, s: S) -> FeedsOut:
    """The feeds of nodes whose warnings the asker may read."""
    nodes = s.desk.nodes_allowed(actor.person_id, Action.WARNING_READ, actor.grant_id)
    with s.views.reading() as db:
        rows = [row for row in s.views.feeds.rows(db) if row["feed"]["node_id"] in nodes]
    return FeedsOut(items=[_shown(s, row) for row in rows])


@router.get("/{feed_id}/items")
def items(
    feed_id: str,
    actor: A,
    s: S,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    after: Annotated[str, Query(max_length=500)] = "",
) -> Page:
    """What each item said last and what became of it, by key."""
    with s.views.reading() as db:
        row = next((row for row in s.views.feeds.rows(db) if row["feed_id"] == feed_id), None)
        if row is None:
            raise s.feeds.unknown(actor)
        s.desk.allow(actor, Action.WARNING_READ, [row["feed"]["node_id"]])
        found = s.views.feeds.items(db, feed_id, after=after, limit=limit + 1)
    more = len(found) > limit
    return Page(items=[jsonable(item) for item in found[:limit]], next=found[limit - 1]["key"] if more else None)


@router.delete("/{feed_id}")
async def remove(feed_id: str, actor: A, s: S) -> Command:
    """Reads it no more; drafts made from it stay."""
    done = await s.feeds.remove(actor, feed_id)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position)


@router.put("/{feed_id}/release-levels")
async def release_levels(feed_id: str, body: ReleaseLevelsIn, actor: A, s: S) -> Command:
    """Lets drafts of these levels go out by themselves: by another person than the one who added the feed."""
    done = await s.feeds.allow_release(actor, feed_id, body.levels)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position)


def _shown(s: S, row: dict[str, Any]) -> FeedOut:
    reading = s.readings(row["feed_id"])
    return FeedOut(
        feed=jsonable(row["feed"]),
        added_by=row["added_by"],
        release_levels=row["release_levels"],
        allowed_by=row["allowed_by"],
        read_at=reading.read_at if reading else None,
        changed_at=reading.changed_at if reading else None,
        next_at=reading.next_at if reading else None,
        failures=reading.failures if reading else 0,
        code=reading.code if reading else "",
        message=reading.message if reading else "",
    )
