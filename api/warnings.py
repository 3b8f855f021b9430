"""Warnings over HTTP: draft, revise, release, cancel, read, import and export as CAP 1.2, and the live tree."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from api import capmap
from api.auth import O_, A, S, V
from api.commands import Actor
from api.paging import LARGEST, After, Limit, page_of, uncursor
from api.schemas import (
    CancelIn,
    Command,
    Page,
    ReleaseIn,
    TreeOut,
    WarningIn,
    WarningOut,
    jsonable,
)
from api.services import Services
from api.treeview import tree_nodes
from domain.content import Text
from domain.errors import InvalidInput, NotFound
from domain.grants import Action

MAX_CAP = 8 * 1024 * 1024  # bytes
router = APIRouter(prefix="/v1/warnings", tags=["warnings"])


@router.post("", status_code=201)
async def draft(body: WarningIn, actor: A, once: O_, s: S, response: Response) -> Command:
    """Drafts a warning. Durable when answered."""
    done = await s.desk.draft(actor, body.content(), updates=body.updates, correction=body.correction, once=once)
    await s.progress.reached(done.position)
    response.headers["Location"] = f"/v1/warnings/{done.id}"
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.post("/import", status_code=201)
async def import_cap(
    request: Request, actor: A, s: S, response: Response, node: str = "", area: bool = False
) -> Command:
    """Drafts from a CAP 1.2 message (`application/cap+xml`). The same message again is the same draft.

    With `area` the polygons and circles of the message are the audience; otherwise they are only shown.
    """
    data = await limited(request, MAX_CAP)
    alert = await asyncio.to_thread(capmap.one_alert, data)
    content, warning_id = capmap.content_of(alert, data, target=node or top_node(s))
    if area:
        content = await asyncio.to_thread(capmap.to_its_area, content)
    done = await s.desk.draft(actor, content, warning_id=warning_id)
    await s.progress.reached(done.position)
    response.headers["Location"] = f"/v1/warnings/{done.id}"
    return Command(id=done.id, position=done.position)


@router.get("")
def listed(
    actor: A,
    s: S,
    limit: Limit = 50,
    after: After = None,
) -> Page:
    """Warnings, newest first, as far as the asker may read them."""
    nodes = s.desk.nodes_allowed(actor.person_id, Action.WARNING_READ, actor.grant_id)
    with s.views.reading() as db:
        rows = s.views.warnings.page(db, before=uncursor(after), limit=limit + 1)

    def shown(row: dict[str, Any]) -> dict[str, Any] | None:
        mine = s.desk.concerns(nodes, row["warning_id"], row["content"]["target"]["nodes"])
        return jsonable(row) if mine else None

    return page_of(rows, limit, "drafted_position", shown)


@router.get("/{warning_id}")
def read(warning_id: str, actor: A, s: S, response: Response) -> WarningOut:
    """One warning; the ETag is its version, to be sent as If-Match with a change."""
    row = visible(s, actor, warning_id)
    response.headers["ETag"] = f'"v{row["version"]}"'
    return WarningOut.model_validate(row, from_attributes=False, extra="ignore")


@router.put("/{warning_id}")
async def revise(warning_id: str, body: WarningIn, actor: A, once: O_, version: V, s: S) -> Command:
    """New words for a draft."""
    done = await s.desk.revise(actor, warning_id, body.content(), expected_version=version, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.post("/{warning_id}/release")
async def release(warning_id: str, body: ReleaseIn, actor: A, once: O_, version: V, s: S) -> Command:
    """Lets it go out: by a second person, or by breaking the glass with a reason. A drill needs one person."""
    done = await s.desk.release(
        actor,
        warning_id,
        break_glass=body.break_glass,
        reason=body.reason,
        real_channels=body.real_channels,
        expected_version=version,
        once=once,
    )
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.post("/{warning_id}/cancel")
async def cancel(warning_id: str, body: CancelIn, actor: A, once: O_, version: V, s: S) -> Command:
    """Withdraws it; exactly those whom it reached are told."""
    texts = tuple(Text(**text.model_dump()) for text in body.texts)
    done = await s.desk.cancel(actor, warning_id, reason=body.reason, texts=texts, expected_version=version, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)


@router.get("/{warning_id}/cap", response_class=Response, responses={200: {"content": {"application/cap+xml": {}}}})
def export(warning_id: str, actor: A, s: S) -> Response:
    """The warning as CAP 1.2."""
    row = visible(s, actor, warning_id)
    parent: dict[str, Any] | None = None
    if row["updates"]:
        with s.views.reading() as db:
            parent = s.views.warnings.one(db, row["updates"])
    return Response(capmap.cap_of(row, sender=capmap.SENDER, parent=parent), media_type="application/cap+xml")


@router.get("/{warning_id}/tree")
def tree(warning_id: str, actor: A, s: S, response: Response) -> TreeOut:
    """What every node did, and how many people were told and answered."""
    row = visible(s, actor, warning_id)
    nodes = s.desk.nodes_allowed(actor.person_id, Action.RELAY_READ, actor.grant_id)
    with s.views.reading() as db:
        position = s.views.position
        lines = tree_nodes(s.views, db, warning_id)
    response.headers["Cache-Control"] = "no-store"
    return TreeOut.model_validate(
        {
            "warning_id": warning_id,
            "drill": row["drill"],
            "position": position,
            "nodes": [line for line in lines if line["node_id"] in nodes],
        }
    )


@router.get("/{warning_id}/deliveries")
def deliveries(
    warning_id: str,
    actor: A,
    s: S,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> Page:
    """Every delivery with its outcome, by ids alone."""
    visible(s, actor, warning_id)
    s.desk.allow(actor, Action.RELAY_READ, [top_node(s)])
    shard, _, index = (after or "").partition(".")
    if after and not (index.isdecimal() and int(index) <= LARGEST):
        raise InvalidInput("page.cursor", "This cursor is not one of ours.")
    with s.views.reading() as db:
        rows = s.views.deliveries.page(db, warning_id, after=(shard, int(index) if index else -1), limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(
        items=[jsonable(row) for row in rows[:limit]], next=f"{last['shard_id']}.{last['idx']}" if last else None
    )


async def limited(request: Request, most: int) -> bytes:
    """The body, at most `most` bytes. Raises HTTPException (413) for a longer one before it is all read."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise HTTPException(413, f"The body has over {most} bytes.")
        parts.append(part)
    return b"".join(parts)


def visible(s: Services, actor: Actor, warning_id: str) -> dict[str, Any]:
    """The row of a warning that the person may read. Raises NotFound alike for none and for one that they may not."""
    with s.views.reading() as db:
        row = s.views.warnings.one(db, warning_id)
    if row is None or not s.desk.may_read(actor, warning_id, row["content"]["target"]["nodes"]):
        raise NotFound("warning.unknown", "There is no such warning.")
    return row


def top_node(s: Services) -> str:
    with s.views.reading() as db:
        for node in s.views.directory.hierarchy(db).nodes.values():
            if node.parent is None:
                return node.node_id
    raise NotFound("node.none", "No hierarchy is loaded.", "Load one: fenghuo hierarchy load FILE.")
