"""Cases over HTTP: report, task, record what was done, close, read. Words about a person open only to who may."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api.auth import O_, A, S
from api.commands import Actor
from api.paging import After, Limit, page_of, uncursor
from api.schemas import ActionIn, CaseIn, CloseIn, Command, Page, TaskIn, jsonable
from api.services import Services
from domain.cases import ActionKind, Place
from domain.errors import NotFound
from domain.grants import Action

router = APIRouter(prefix="/v1/cases", tags=["cases"])


@router.post("", status_code=201)
async def report(body: CaseIn, actor: A, once: O_, s: S, response: Response) -> Command:
    """A station reports an incident."""
    done = await s.desk.open_case(
        actor, node_id=body.node_id, text=body.text, warning_id=body.warning_id, person_id=body.person_id, once=once
    )
    await s.progress.reached(done.position)
    response.headers["Location"] = f"/v1/cases/{done.id}"
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.get("")
def listed(
    actor: A,
    s: S,
    limit: Limit = 50,
    after: After = None,
    warning_id: Annotated[str | None, Query(max_length=100)] = None,
) -> Page:
    """Cases of the nodes that the asker may read, newest first."""
    nodes = s.desk.nodes_allowed(actor.person_id, Action.CASE_READ, actor.grant_id)
    with s.views.reading() as db:
        rows = s.views.cases.page(db, before=uncursor(after), limit=limit + 1, warning_id=warning_id)
    return page_of(rows, limit, "opened_position", lambda row: jsonable(row) if row["node_id"] in nodes else None)


@router.get("/{case_id}")
def read(case_id: str, actor: A, s: S) -> dict[str, Any]:
    """A case and its entries, in order; sealed words stay sealed."""
    row = _visible(s, actor, case_id)
    with s.views.reading() as db:
        entries = s.views.cases.entries_of(db, case_id)
    return {**jsonable(row), "entries": [{**jsonable(e), "sealed": e["sealed"] is not None} for e in entries]}


@router.post("/{case_id}/task")
async def task(case_id: str, body: TaskIn, actor: A, once: O_, s: S) -> Command:
    """Tasks a station with the case."""
    _visible(s, actor, case_id)
    done = await s.desk.task(actor, case_id, node_id=body.node_id, instruction=body.instruction, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.post("/{case_id}/actions", status_code=201)
async def act(case_id: str, body: ActionIn, actor: A, once: O_, s: S) -> Command:
    """Records what was done and where."""
    done = await s.desk.record_action(
        actor,
        case_id,
        node_id=body.node_id,
        kind=ActionKind(body.kind),
        place=Place(country=body.country, city=body.city),
        text=body.text,
        once=once,
    )
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.post("/{case_id}/close")
async def close(case_id: str, body: CloseIn, actor: A, once: O_, s: S) -> Command:
    """Closes the case with its result."""
    done = await s.desk.close_case(actor, case_id, result=body.result, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


def _visible(s: Services, actor: Actor, case_id: str) -> dict[str, Any]:
    with s.views.reading() as db:
        row = s.views.cases.one(db, case_id)
    nodes = s.desk.nodes_allowed(actor.person_id, Action.CASE_READ, actor.grant_id)
    if row is None or row["node_id"] not in nodes:
        tasked = False
        if row is not None:
            with s.views.reading() as db:
                tasked = any(e["node_id"] in nodes for e in s.views.cases.entries_of(db, case_id))
        if not tasked or row is None:
            raise NotFound("case.unknown", "There is no such case.")
    return row
