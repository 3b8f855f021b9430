"""What a node does with a warning over HTTP: acknowledge, relay, assess; and its inbox."""

from __future__ import annotations

from fastapi import APIRouter

from api.auth import O_, A, S
from api.paging import After, Limit, page_of, uncursor
from api.schemas import AssessIn, Command, Page, jsonable
from domain.grants import Action

router = APIRouter(prefix="/v1", tags=["relays"])


@router.post("/warnings/{warning_id}/nodes/{node_id}/acknowledge")
async def acknowledge(warning_id: str, node_id: str, actor: A, once: O_, s: S) -> Command:
    """The node has the warning."""
    done = await s.desk.acknowledge(actor, warning_id, node_id, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.post("/warnings/{warning_id}/nodes/{node_id}/relay")
async def relay(warning_id: str, node_id: str, actor: A, once: O_, s: S) -> Command:
    """The node has its own people told."""
    done = await s.desk.relay_on(actor, warning_id, node_id, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.post("/warnings/{warning_id}/nodes/{node_id}/assess")
async def assess(warning_id: str, node_id: str, body: AssessIn, actor: A, once: O_, s: S) -> Command:
    """The node's assessment of the harm, reported upward. The words are kept sealed."""
    done = await s.desk.assess(actor, warning_id, node_id, harm=body.harm, text=body.text, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.get("/nodes/{node_id}/inbox")
def inbox(
    node_id: str,
    actor: A,
    s: S,
    limit: Limit = 50,
    after: After = None,
) -> Page:
    """What the node has to acknowledge, relay or do, newest first; drills say that they are."""
    s.desk.allow(actor, Action.RELAY_READ, [node_id])
    with s.views.reading() as db:
        rows = s.views.inbox.page(db, node_id, before=uncursor(after), limit=limit + 1)
        drills = s.views.warnings.drills(db, [row["key"] for row in rows if row["kind"] == "warning"])
        drills |= s.views.cases.drills(db, [row["key"] for row in rows if row["kind"] == "task"])
    return page_of(rows, limit, "arrived_position", lambda row: {**jsonable(row), "drill": row["key"] in drills})
