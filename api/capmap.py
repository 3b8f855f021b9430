"""Between CAP 1.2 messages and warnings of ours: what a message says becomes a draft, what we said becomes a message.

A draft from CAP is for a person to look through and for a second one to release; nothing here sends. Where a message is
silent (validity, contact numbers), the draft holds a cautious default that the person sees and can revise.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from api.cap import Alert, CapWriteError, Pair, Reference, read, write
from api.cap import Area as CapArea
from api.cap import Info as CapInfo
from api.cap.values import format_time
from domain import audience
from domain.audience import AnyOf, Audience, Circle, Polygon
from domain.content import Area, ContactCard, Content, Source, Target, Text
from domain.errors import InvalidInput, Refused
from domain.ids import cap_warning_id
from domain.moments import FIRST_YEAR, LAST_YEAR, within_reason
from domain.rulepacks import Level
from domain.warnings import Status
from notifiers.render import drill_mark

SENDER = "fenghuo@localhost"
HOME_ZONE = ZoneInfo("Asia/Shanghai")
VALID_FOR = timedelta(hours=24)  # where the message does not say
LONGEST = timedelta(days=366)  # a validity beyond this is a mistake of the sender's (a year in another calendar)
HOTLINE = "12308 / +86-10-12308"
POLICE = "112"

LEVELS = {"Extreme": Level.RED, "Severe": Level.ORANGE, "Moderate": Level.YELLOW}
SEVERITIES = {Level.RED: "Extreme", Level.ORANGE: "Severe", Level.YELLOW: "Moderate", Level.BLUE: "Minor"}


def one_alert(data: bytes) -> Alert:
    """The single alert of a message. Raises InvalidInput with the reader's first finding where there is none."""
    report = read(data)
    if report.errors:
        first = report.errors[0]
        raise InvalidInput(first.code, first.message, "Check the file with: fenghuo cap check FILE.")
    if len(report.alerts) != 1:
        raise InvalidInput("cap.several", f"The file holds {len(report.alerts)} alerts.", "Import one at a time.")
    return report.alerts[0]


def content_of(alert: Alert, data: bytes, *, target: str) -> tuple[Content, str]:
    """A draft's content and its id: the same message is always the same warning.

    An exercise makes a drill. Raises InvalidInput for what else is no warning of a real event (tests, acknowledgements)
    or says nothing.
    """
    if alert.status not in ("Actual", "Exercise"):
        raise InvalidInput("cap.not_actual", f"The message has status {alert.status}: it warns of nothing real.")
    if alert.msg_type not in ("Alert", "Update"):
        raise InvalidInput("cap.not_alert", f"A message of type {alert.msg_type} is not drafted from.")
    infos = alert.info
    if not infos:
        raise InvalidInput("cap.info_missing", "The message has no info block: it says nothing.")
    first = infos[0]
    texts: dict[str, Text] = {}
    for info in infos:
        tag = info.language or "en-US"  # CAP 1.2, 3.2.2: the language where none is named
        if tag.lower() not in texts:
            texts[tag.lower()] = Text(
                language=tag,
                headline=(info.headline or info.event or "").strip() or "(no headline)",
                description=(info.description or "").strip(),
                instruction=(info.instruction or "").strip(),
            )
    effective = first.effective or alert.sent
    if not within_reason(effective, first.expires, alert.sent):
        raise InvalidInput("cap.year", f"A time of the message lies outside the years {FIRST_YEAR} to {LAST_YEAR}.")
    expires = first.expires or effective + VALID_FOR
    if expires > effective + LONGEST or expires <= effective:
        expires = effective + VALID_FOR
    said = {p.value_name.removeprefix("fenghuo:"): p.value for i in infos for p in i.parameter}
    levels = [LEVELS.get(info.severity, Level.BLUE) for info in infos]
    content = Content(
        event=first.event,
        level=max(levels, key=list(Level).index),
        texts=tuple(texts.values()),
        area=_area(first),
        target=Target(nodes=(target,), countries=tuple(c for c in said.get("countries", "").split() if c)),
        contact=ContactCard(
            hotline=said.get("hotline", HOTLINE),
            mission=said.get("mission", first.contact or "12308"),
            police=said.get("police", POLICE),
            valid_from=alert.sent,
            web=first.web or "",
        ),
        effective_at=effective,
        expires_at=expires,
        source=Source(
            kind="cap",
            sender=alert.sender,
            identifier=alert.identifier,
            sent=format_time(alert.sent),
            sha256=hashlib.sha256(data).hexdigest(),
        ),
        drill=alert.status == "Exercise",
    )
    return content, cap_warning_id(alert.sender, alert.identifier, format_time(alert.sent))


def to_its_area(content: Content) -> Content:
    """The draft with its area as its audience, for an officer who chooses that: who is in the area is told.

    Circles without a radius hold nobody and are left out. Raises InvalidInput where there is no area to speak of.
    """
    areas: list[Audience] = [Polygon(ring) for ring in content.area.polygons]
    areas += [Circle(*circle) for circle in content.area.circles if circle[2] > 0]
    if not areas:
        raise InvalidInput("cap.no_area", "The message draws no area.", "Choose whom it concerns by nodes.")
    chosen = areas[0] if len(areas) == 1 else AnyOf(tuple(areas))
    audience.check(chosen)
    return msgspec.structs.replace(content, target=msgspec.structs.replace(content.target, audience=chosen))


def cap_of(row: dict[str, Any], *, sender: str, parent: dict[str, Any] | None = None) -> bytes:
    """A warning of ours, as the views have it, as one valid CAP 1.2 message.

    A cancelled one is a `Cancel` that references the alert; an update is an `Update` that references its `parent`. A
    drill is an `Exercise` from the first draft on, and its headlines say so to those who do not look at the status.
    Raises Refused where its words cannot stand in XML.
    """
    content = msgspec.convert(row["content"], Content)
    cancelled = row["status"] == Status.CANCELLED.value
    own = Reference(sender, row["warning_id"], _sent(row))
    references: tuple[Reference, ...] = ()
    if cancelled:
        references = (own,)
    elif parent is not None:
        references = (Reference(sender, parent["warning_id"], _sent(parent)),)
    alert = Alert(
        identifier=f"{row['warning_id']}.cancel" if cancelled else row["warning_id"],
        sender=sender,
        sent=_local(row["ended_at"]) if cancelled else _sent(row),
        status="Exercise" if content.drill else "Draft" if row["status"] == Status.DRAFT.value else "Actual",
        msg_type="Cancel" if cancelled else "Update" if parent is not None else "Alert",
        scope="Public",
        note=_note(row, cancelled=cancelled),
        references=references,
        info=tuple(_info(text, content) for text in content.texts),
    )
    try:
        return write(alert)
    except CapWriteError as error:
        raise Refused("cap.not_writable", f"This warning cannot be written as CAP: {error}.") from error


def _note(row: dict[str, Any], *, cancelled: bool) -> str | None:
    """What the message is for (CAP 1.2 means `note` for exercises and errors)."""
    parts = [
        "演习 DRILL." if row["drill"] else "",
        f"更正 Correction of {row['updates']}." if row["correction"] else "",
        (row["cancel_reason"] or "") if cancelled else "",
    ]
    return " ".join(part for part in parts if part) or None


def _info(text: Text, content: Content) -> CapInfo:
    contact = content.contact
    return CapInfo(
        category=("Safety",),
        event=content.event,
        urgency="Expected",
        severity=SEVERITIES[content.level],  # type: ignore[arg-type]
        certainty="Likely",
        language=text.language,
        effective=_local(content.effective_at),
        expires=_local(content.expires_at),
        headline=_headline(text, drill=content.drill),
        description=text.description or None,
        instruction=text.instruction or None,
        web=contact.web or None,
        contact=f"{contact.hotline}; {contact.mission}; {contact.police}",
        parameter=(
            Pair("fenghuo:hotline", contact.hotline),
            Pair("fenghuo:mission", contact.mission),
            Pair("fenghuo:police", contact.police),
            Pair("fenghuo:countries", " ".join(content.target.countries)),
        )
        if content.target.countries
        else (
            Pair("fenghuo:hotline", contact.hotline),
            Pair("fenghuo:mission", contact.mission),
            Pair("fenghuo:police", contact.police),
        ),
        area=(
            CapArea(
                area_desc=content.area.description,
                polygon=content.area.polygons,
                circle=content.area.circles,
                geocode=tuple(Pair(*pair) for pair in content.area.geocodes),
            ),
        ),
    )


def _headline(text: Text, *, drill: bool) -> str:
    mark = drill_mark(text.language)
    return text.headline if not drill or text.headline.startswith(mark) else f"{mark} {text.headline}"


def _area(info: CapInfo) -> Area:
    return Area(
        description="; ".join(dict.fromkeys(area.area_desc for area in info.area))[:2000] or "(no area named)",
        polygons=tuple(ring for area in info.area for ring in area.polygon),
        circles=tuple(circle for area in info.area for circle in area.circle),
        geocodes=tuple((p.value_name, p.value) for area in info.area for p in area.geocode),
    )


def _sent(row: dict[str, Any]) -> datetime:
    return _local(row["released_at"] or row["drafted_at"])


def _local(at: datetime) -> datetime:
    return at.astimezone(HOME_ZONE).replace(microsecond=0)
