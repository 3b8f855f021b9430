"""Reachability over HTTP: the audit, and the order of a test. Ids only, of the nodes that the asker may read."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.auth import O_, A, S
from api.paging import cursor, uncursor
from domain.grants import Action
from domain.people import Channel
from domain.reach import UNTESTED_DAYS

router = APIRouter(prefix="/v1/reach", tags=["reach"])


class DeadPointOut(BaseModel):
    """A contact point that is not tried any more, and what the provider said of it."""

    person_id: str
    channel: str
    reason: str


class CountsOut(BaseModel):
    """Counts of a node and all below it: people, contact points, stations that lack somebody."""

    people: int
    unreachable: int
    dead: int
    untested: int
    without_contact: int
    without_deputy: int


class NodeReachOut(BaseModel):
    """What was found at a node itself; `untested` counts contact points by channel, `below` all of the subtree."""

    node_id: str
    parent: str | None
    depth: int
    kind: str
    name_zh: str
    name_en: str
    people: int
    unreachable: list[str]
    dead: list[DeadPointOut]
    untested: dict[str, int]
    no_contact: bool
    no_deputy: bool
    below: CountsOut


class ReachOut(BaseModel):
    """The audit as of a log position: `days` without a receipt make a contact point untested."""

    position: int
    days: int
    total: CountsOut
    nodes: list[NodeReachOut]
    next: str | None


class ReachTestIn(BaseModel):
    """A test to the contact points at or below a node that were not heard of for some days."""

    node_id: str = Field(min_length=1, max_length=100)
    channel: Channel | None = None
    untested_days: int = Field(default=UNTESTED_DAYS, ge=1, le=3650)


class ReachTestOut(BaseModel):
    """`points` are tested now, `left` are left to the next order; `id` is none where there was nothing to test."""

    id: str | None
    points: int
    left: int
    position: int
    repeated: bool


@router.get("", response_model=ReachOut)
def found(
    actor: A,
    s: S,
    node: Annotated[str | None, Query(max_length=100)] = None,
    days: Annotated[int, Query(ge=1, le=3650)] = UNTESTED_DAYS,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> dict[str, Any]:
    """Who cannot be told, which stations have nobody to tell, which contact points are untested; parents first."""
    if node is None:
        nodes = sorted(s.desk.nodes_allowed(actor.person_id, Action.RELAY_READ, actor.grant_id))
    else:
        s.desk.allow(actor, Action.RELAY_READ, [node])
        nodes = s.reachability.subtree(node)
    start = uncursor(after) or 0
    audit = s.reachability.audit(nodes, days)
    page = audit.nodes[start : start + limit]
    more = start + limit < len(audit.nodes)
    plain: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(audit, nodes=page))
    return {**plain, "next": cursor(start + limit) if more else None}


@router.post("/tests", status_code=201)
async def order(body: ReachTestIn, actor: A, once: O_, s: S) -> ReachTestOut:
    """Sends test messages, marked as such and without a wish for a reply, in the lane of drills."""
    done, ordered = await s.reachability.order_test(
        actor, node_id=body.node_id, channel=body.channel, untested_days=body.untested_days, once=once
    )
    await s.progress.reached(done.position)
    return ReachTestOut(
        id=ordered.test_id if ordered else None,
        points=ordered.points if ordered else 0,
        left=ordered.left if ordered else 0,
        position=done.position,
        repeated=done.repeated,
    )
