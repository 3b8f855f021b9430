"""Drills: one is issued in one request, and what it measured is read from the views, so it may be asked anew."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import Connection

from api.auth import O_, A, S
from api.capmap import HOTLINE, POLICE
from api.commands import Actor, Done, Once
from api.desk import Desk
from api.schemas import Command, Id, Strict
from api.warnings import top_node, visible
from domain.content import Area, ContactCard, Content, Target, Text
from domain.errors import Refused
from domain.grants import Action
from domain.rulepacks import Level
from domain.stations import Kind
from projections.follower import Views

router = APIRouter(prefix="/v1", tags=["drills"])
LONGEST_MIN = 24 * 60
SHARES = (50, 90, 99)  # per cent of the stations
WORDS = (
    ("zh", "通信演习，请确认收到", "这是演习，没有真实险情。请确认收到。"),
    ("en", "Communication drill: please acknowledge", "This is a drill; nothing of it is real. Please acknowledge."),
    ("es", "Simulacro de comunicación: confirme", "Es un simulacro; nada es real. Confirme la recepción."),
    ("it", "Esercitazione: confermate la ricezione", "È un'esercitazione; nulla è reale. Confermate la ricezione."),
    ("fr", "Exercice de communication : confirmez", "Ceci est un exercice ; rien n'est réel. Confirmez la réception."),
)


class StationAnswer(BaseModel):
    """One station; `seconds` from the release to its acknowledgement, null while it is silent."""

    node_id: str
    name_zh: str
    name_en: str
    seconds: float | None
    escalations: list[str]


class DrillReport(BaseModel):
    """`seconds_to` says by per cent of stations how long it took until as many had acknowledged; null where they have
    not. `planned` is false while it is still worked out who is concerned. Stations stand in the order in which they
    answered, silent ones last. `messages` counts by channel and outcome.
    """

    warning_id: str
    status: str
    level: str
    real_channels: bool
    released_at: datetime | None
    planned: bool
    stations: int
    acknowledged: int
    seconds_to: dict[str, float | None]
    people: int
    told: int
    delivered: int
    answered: int
    help: int
    messages: dict[str, dict[str, int]]
    answers: list[StationAnswer]
    position: int


class DrillIn(Strict):
    """A drill for all below `node` (the top where none is named), in force for so many minutes. Over the
    `real_channels` it reaches people, and needs a `reason`; otherwise nobody outside hears of it.
    """

    node: Id | None = None
    level: Level = Level.ORANGE
    minutes: Annotated[float, Field(gt=0, le=LONGEST_MIN)] = 60
    real_channels: bool = False
    reason: Annotated[str, StringConstraints(max_length=2_000)] = ""


@router.post("/drills", status_code=201)
async def drill(body: DrillIn, actor: A, once: O_, s: S, response: Response) -> Command:
    """Drafts and releases a drill with words of its own. It takes one person who may draft and release."""
    done = await issue(
        s.desk,
        s.progress.reached,
        actor,
        content_of(body.node or top_node(s), body.level, s.clock.now(), timedelta(minutes=body.minutes)),
        real_channels=body.real_channels,
        reason=body.reason,
        once=once,
    )
    response.headers["Location"] = f"/v1/warnings/{done.id}"
    return Command(id=done.id, position=done.position, repeated=done.repeated)


async def issue(
    desk: Desk,
    reached: Callable[[int], Awaitable[object]],
    actor: Actor,
    content: Content,
    *,
    real_channels: bool,
    reason: str,
    once: Once | None = None,
) -> Done:
    """Drafts and releases; the same key again is the same drill. `reached` waits for the views at a position."""
    nodes = content.target.nodes
    desk.allow(actor, Action.WARNING_RELEASE, nodes)
    if real_channels and not reason.strip():
        raise Refused("warning.reason_missing", "A drill over the real channels needs a reason.", "Say why.")
    drafted = await desk.draft(actor, content, once=once)
    await reached(drafted.position)
    released = await desk.release(actor, drafted.id, real_channels=real_channels, reason=reason)
    await reached(released.position)
    return Done(id=drafted.id, position=released.position, repeated=drafted.repeated)


def content_of(node: str, level: Level, now: datetime, lasts: timedelta) -> Content:
    """A drill in the five languages: acknowledge, and nothing else."""
    return Content(
        event="演习 Drill",
        level=level,
        texts=tuple(Text(language=tag, headline=head, instruction=ask) for tag, head, ask in WORDS),
        area=Area(description="—"),
        target=Target(nodes=(node,)),
        contact=ContactCard(hotline=HOTLINE, mission=HOTLINE, police=POLICE, valid_from=now),
        effective_at=now,
        expires_at=now + lasts,
        drill=True,
    )


@router.get("/warnings/{warning_id}/drill-report")
def read(warning_id: str, actor: A, s: S) -> DrillReport:
    """How fast stations acknowledged a drill."""
    row = visible(s, actor, warning_id)
    s.desk.allow(actor, Action.RELAY_READ, row["content"]["target"]["nodes"])
    with s.views.reading() as db:
        return report(s.views, db, row)


def report(views: Views, db: Connection, row: dict[str, Any]) -> DrillReport:
    """The report of a warning's row. Raises Refused for what is no drill: real figures are not measured so."""
    if not row["drill"]:
        raise Refused("drill.not_one", "This warning is real; a drill report is of a drill.")
    warning_id, released_at = row["warning_id"], row["released_at"]
    nodes = views.directory.hierarchy(db).nodes
    relays = views.tree.rows(db, warning_id)
    totals = views.tree.totals(db, warning_id)
    answers = []
    for node_id, relay in relays.items():
        node = nodes[node_id]
        if node.kind is not Kind.STATION or relay["opened_at"] is None:
            continue
        at = relay["acknowledged_at"]
        answers.append(
            StationAnswer(
                node_id=node_id,
                name_zh=node.name_zh,
                name_en=node.name_en,
                seconds=round((at - released_at).total_seconds(), 3) if at and released_at else None,
                escalations=[step["action"] for step in relay["escalations"]],
            )
        )
    answers.sort(key=lambda a: (a.seconds is None, a.seconds or 0.0, a.node_id))
    times = [answer.seconds for answer in answers if answer.seconds is not None]
    messages: dict[str, dict[str, int]] = {}
    for purpose, channel, outcome, n in views.deliveries.counts(db, warning_id):
        if purpose != "cancel":
            found = messages.setdefault(channel, {})
            found[outcome] = found.get(outcome, 0) + n
    return DrillReport(
        warning_id=warning_id,
        status=row["status"],
        level=row["level"],
        real_channels=row["real_channels"],
        released_at=released_at,
        planned=released_at is not None
        and (warning_id, "released") not in {(t["warning_id"], t["kind"]) for t in views.plans.pending(db)},
        stations=len(answers),
        acknowledged=len(times),
        seconds_to={str(share): time_to(times, len(answers), share) for share in SHARES},
        people=totals["recipients"],
        told=totals["told"],
        delivered=totals["delivered"],
        answered=totals["acknowledged"],
        help=totals["help"],
        messages=messages,
        answers=answers,
        position=views.position,
    )


def time_to(times: list[float], of: int, share: int) -> float | None:
    """When `share` per cent of `of` had answered, by the times of those who did, in order; None where too few did."""
    needed = math.ceil(of * share / 100)
    return times[needed - 1] if 0 < needed <= len(times) else None
