"""What a drill measured: how long it took until stations acknowledged. From the views, so it may be asked anew."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import Connection

from api.auth import A, S
from api.warnings import visible
from domain.errors import Refused
from domain.grants import Action
from domain.stations import Kind
from projections.follower import Views

router = APIRouter(prefix="/v1/warnings", tags=["drills"])
SHARES = (50, 90, 99)  # per cent of the stations


class StationAnswer(BaseModel):
    """One station; `seconds` from the release to its acknowledgement, null while it is silent."""

    node_id: str
    name_zh: str
    name_en: str
    seconds: float | None
    escalations: list[str]


class DrillReport(BaseModel):
    """`seconds_to` says by per cent of stations how long it took until as many had acknowledged; null where they have
    not. Stations stand in the order in which they answered, silent ones last. `messages` counts by channel and outcome.
    """

    warning_id: str
    status: str
    level: str
    real_channels: bool
    released_at: datetime | None
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


@router.get("/{warning_id}/drill-report")
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
                escalations=relay["escalations"],
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
