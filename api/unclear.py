"""Answers that nobody understood, over HTTP: who they are from, what they say, and what somebody takes them for."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.auth import O_, A, S
from api.paging import After, Limit, page_of, uncursor
from api.schemas import Command, Page, Strict, jsonable
from domain.answers import Answer
from domain.grants import Action

router = APIRouter(prefix="/v1/unclear", tags=["answers"])


class SettleIn(Strict):
    """What the answer means: `safe`, `help` (a case is opened), or `nothing` more to be done."""

    meaning: Literal["safe", "help", "nothing"]


class Words(BaseModel):
    """What somebody wrote, oldest first; empty where they were forgotten since."""

    person_id: str
    words: list[str]


MEANINGS = {"safe": Answer.SAFE, "help": Answer.HELP, "nothing": Answer.UNCLEAR}


@router.get("")
def listed(
    actor: A,
    s: S,
    limit: Limit = 50,
    after: After = None,
    warning_id: Annotated[str | None, Query(max_length=100)] = None,
) -> Page:
    """Unclear answers of the nodes that the asker may read, newest first: `referred` ones need a person to read them,
    `asked` ones were asked about and may yet clear up."""
    nodes = s.desk.nodes_allowed(actor.person_id, Action.CASE_READ, actor.grant_id)
    with s.views.reading() as db:
        rows = s.views.unclear.page(db, before=uncursor(after), limit=limit + 1, warning_id=warning_id)
    return page_of(rows, limit, "position", lambda row: jsonable(row) if row["node_id"] in nodes else None)


@router.post("/{warning_id}/{person_id}/open")
async def opened(warning_id: str, person_id: str, actor: A, s: S) -> Words:
    """Reads the words. That they were read, and by whom, is in the log."""
    words, done = await s.desk.open_answer(actor, warning_id, person_id)
    await s.progress.reached(done.position)
    return Words(person_id=person_id, words=words)


@router.post("/{warning_id}/{person_id}/settle")
async def settled(warning_id: str, person_id: str, body: SettleIn, actor: A, once: O_, s: S) -> Command:
    """Says what the answer means, which takes it off the list."""
    done = await s.desk.settle_answer(actor, warning_id, person_id, meaning=MEANINGS[body.meaning], once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)
