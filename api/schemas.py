"""The shapes of API requests and answers, with their limits: what pydantic refuses never reaches the domain."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from api.audience import expression_of
from domain.content import MAX_TEXT, Area, ContactCard, Content, Source, Target, Text
from domain.geometry import HALF_ROUND_KM
from domain.rulepacks import Level

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
Long = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Point = tuple[Latitude, Longitude]
Radius = Annotated[float, Field(ge=0, le=HALF_ROUND_KM)]


AUDIENCE = """An expression over people: a term, or terms combined.
`{"is": "subtree", "node"}`, `{"is": "country", "country"}`, `{"is": "region", "region"}`,
`{"is": "polygon", "ring": [[lat, lon], …]}`, `{"is": "circle", "lat", "lon", "km"}`,
`{"is": "itinerary", "from", "to", "countries"?, "within"?: polygon or circle}`, `{"is": "enterprise", "enterprise"}`,
`{"is": "role", "role"}`, `{"is": "tag", "tag"}`, `{"is": "and", "of": […]}`, `{"is": "or", "of": […]}`,
`{"is": "not", "of": …}`."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextIn(Strict):
    """The words in one language (RFC 5646)."""

    language: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$")]
    headline: Line
    description: Long = ""
    instruction: Long = ""


class ContactIn(Strict):
    """Hotline, mission and local police; `valid_from` is since when these numbers hold."""

    hotline: Line
    mission: Line
    police: Line
    valid_from: AwareDatetime
    web: Annotated[str, StringConstraints(max_length=500)] = ""


class AreaIn(Strict):
    """Rings of (latitude, longitude); circles of (latitude, longitude, radius in km)."""

    description: Line
    polygons: Annotated[
        list[Annotated[list[Point], Field(min_length=4, max_length=10_000)]], Field(max_length=100)
    ] = []
    circles: Annotated[list[tuple[Latitude, Longitude, Radius]], Field(max_length=100)] = []
    geocodes: Annotated[list[tuple[str, str]], Field(max_length=2_000)] = []


class TargetIn(Strict):
    """All below these nodes, kept to stations in these countries where any are named, and to those of an audience."""

    nodes: Annotated[list[Id], Field(min_length=1, max_length=100)]
    countries: Annotated[list[Country], Field(max_length=250)] = []
    audience: Annotated[dict[str, Any] | None, Field(description=AUDIENCE)] = None

    def target(self) -> Target:
        """Raises InvalidInput where the audience is none."""
        return Target(
            nodes=tuple(self.nodes),
            countries=tuple(self.countries),
            audience=None if self.audience is None else expression_of(self.audience),
        )


class SourceIn(Strict):
    kind: Literal["own", "official"] = "own"
    reference: Annotated[str, StringConstraints(max_length=500)] = ""


class WarningIn(Strict):
    """A draft. Times carry their offset.

    `updates` names the warning whose place it takes; with `correction` it is told to exactly those who have that one's
    words. A `drill` is marked as one in every message, and stays one.
    """

    event: Line
    level: Level
    texts: Annotated[list[TextIn], Field(min_length=1, max_length=40)]
    area: AreaIn
    target: TargetIn
    contact: ContactIn
    effective_at: AwareDatetime
    expires_at: AwareDatetime
    source: SourceIn = SourceIn()
    updates: Id | None = None
    correction: bool = False
    drill: bool = False

    def content(self) -> Content:
        return Content(
            event=self.event,
            level=self.level,
            texts=tuple(Text(**text.model_dump()) for text in self.texts),
            area=Area(
                description=self.area.description,
                polygons=tuple(tuple(ring) for ring in self.area.polygons),
                circles=tuple(self.area.circles),
                geocodes=tuple(self.area.geocodes),
            ),
            target=self.target.target(),
            contact=ContactCard(**self.contact.model_dump()),
            effective_at=self.effective_at,
            expires_at=self.expires_at,
            source=Source(kind=self.source.kind, reference=self.source.reference),
            drill=self.drill,
        )


class ReleaseIn(Strict):
    """`break_glass` with a `reason`, where there is no second person; `real_channels` with a `reason`, where a drill is
    to reach people by the real providers."""

    break_glass: bool = False
    real_channels: bool = False
    reason: Annotated[str, StringConstraints(max_length=2_000)] = ""


class CancelIn(Strict):
    reason: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
    texts: Annotated[list[TextIn], Field(max_length=40)] = []


class AssessIn(Strict):
    harm: Literal["none", "low", "medium", "high", "severe"]
    text: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]


class CaseIn(Strict):
    """A station's report. `text` is kept sealed."""

    node_id: Id
    text: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
    warning_id: Id | None = None
    person_id: Id | None = None


class TaskIn(Strict):
    node_id: Id
    instruction: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]


class ActionIn(Strict):
    """What was done and where; `text` is kept sealed."""

    node_id: Id
    kind: Literal[
        "verified", "reported", "comforted", "aftercare", "emergency_aid", "referred_to_mission", "contacted", "other"
    ]
    country: Country
    city: Annotated[str, StringConstraints(max_length=100)] = ""
    text: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]


class CloseIn(Strict):
    result: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]


class Command(BaseModel):
    """A command that is durable. `position` is where the log holds it (0: nothing was left to do)."""

    id: str
    position: int
    repeated: bool = False


class Page(BaseModel):
    """One page. `next` is the cursor of the next one, null on the last."""

    items: list[dict[str, Any]]
    next: str | None


class WarningOut(BaseModel):
    """A warning as it stands; its version is also its ETag."""

    warning_id: str
    status: str
    version: int
    level: str
    content: dict[str, Any]
    authors: list[str]
    updates: str | None
    correction: bool
    drill: bool
    real_channels: bool
    updated_by: str | None
    released_by: str | None
    release: str | None
    release_reason: str | None
    released_at: datetime | None
    cancelled_by: str | None
    cancel_reason: str | None
    ended_at: datetime | None
    drafted_at: datetime


class StepOut(BaseModel):
    """A step of an escalation: what was done, after how many seconds of silence by the rule, when, and who was told.

    `told` are ids of staff, null while it is being planned; empty for `direct`, which tells the node's own people.
    """

    action: str
    after_s: int
    at: datetime
    told: list[str] | None


class TreeNode(BaseModel):
    """One node of a warning's tree; counts are people, rolled up over all below.

    `signed` of `quota` staff have acknowledged: its silence is over when they are equal. `silent_s`: for how long
    nobody had answered when its people were told directly, null where they were not.
    """

    node_id: str
    parent: str | None
    kind: str
    name_zh: str
    name_en: str
    country: str
    state: str
    late: bool
    escalations: list[str]
    steps: list[StepOut]
    silent_s: int | None
    quota: int
    signed: int
    acknowledged_at: datetime | None
    relayed_at: datetime | None
    recipients: int
    told: int
    held: int
    delivered: int
    acknowledged: int
    help: int
    unreached: int
    position: int


class TreeOut(BaseModel):
    warning_id: str
    drill: bool
    position: int
    nodes: list[TreeNode]


def jsonable(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a view as JSON takes it."""
    plain: dict[str, Any] = msgspec.to_builtins(row)
    return plain
