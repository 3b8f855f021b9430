"""People over HTTP: their stays and tags; and how many people an audience has, before anything is sent."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from api import audience
from api.auth import O_, A, S
from api.schemas import Command, Country, Id, Strict, TargetIn
from domain.grants import Action
from domain.people import MAX_TAGS
from domain.whereabouts import MAX_PLACE, Stay

router = APIRouter(prefix="/v1", tags=["people"])
Word = Annotated[str, StringConstraints(max_length=64)]


class StayIn(Strict):
    """In a country from one day to another, both included. All of it is kept sealed but the id.

    `stay_id`: one that the person has already is replaced; where none is named, a new one is made.
    """

    stay_id: Id | None = None
    country: Country
    zone: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    from_: Annotated[date, Field(alias="from")]
    to: date
    place: Annotated[str, StringConstraints(max_length=MAX_PLACE)] = ""
    lat: Annotated[float | None, Field(ge=-90, le=90)] = None
    lon: Annotated[float | None, Field(ge=-180, le=180)] = None

    def stay(self) -> Stay:
        return Stay(**self.model_dump(exclude={"stay_id"}))


class TagsIn(Strict):
    """All tags of a person, and their enterprise: ids, never anything personal."""

    tags: Annotated[list[Word], Field(default_factory=list, max_length=MAX_TAGS)]
    enterprise: Word = ""


class StaysOut(Strict):
    """The ids of a person's stays; what they say is sealed."""

    person_id: str
    stays: list[str]


class AudienceIn(Strict):
    target: TargetIn


class AudienceOut(Strict):
    """How many people a target has as of a log position: those warned, and by what; the staff of the nodes beside."""

    as_of: int
    people: int
    staff: int
    nodes: list[str]
    by_node: dict[str, int]
    by_channel: dict[str, int]
    by_language: dict[str, int]
    by_country: dict[str, int]
    unreachable: int


@router.post("/people/{person_id}/stays", status_code=201)
async def record_stay(person_id: str, body: StayIn, actor: A, once: O_, s: S) -> Command:
    """Notes where a person will be, and when. The answer's id is the stay's."""
    done = await s.registry.record_stay(actor, person_id, body.stay(), stay_id=body.stay_id, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.get("/people/{person_id}/stays")
async def stays(person_id: str, actor: A, s: S) -> StaysOut:
    """The ids of a person's stays, so that they can be withdrawn or replaced."""
    return StaysOut(person_id=person_id, stays=await s.registry.stays_of(actor, person_id))


@router.post("/people/{person_id}/stays/{stay_id}/withdraw")
async def withdraw_stay(person_id: str, stay_id: str, actor: A, once: O_, s: S) -> Command:
    """Takes a stay back."""
    done = await s.registry.withdraw_stay(actor, person_id, stay_id, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.post("/people/{person_id}/tags")
async def tag(person_id: str, body: TagsIn, actor: A, once: O_, s: S) -> Command:
    """Gives a person these tags and this enterprise in place of those they had."""
    done = await s.registry.tag(actor, person_id, tags=tuple(body.tags), enterprise=body.enterprise, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.post("/audience")
def counted(body: AudienceIn, actor: A, s: S) -> AudienceOut:
    """How many people a target has, without sending anything. For those who may draft a warning there."""
    s.desk.allow(actor, Action.WARNING_DRAFT, body.target.nodes)
    found = audience.count(s.views, s.registry.vault, body.target.target(), s.clock.now())
    return AudienceOut.model_validate(found, from_attributes=True)
