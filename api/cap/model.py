"""What a CAP message says, as frozen values under CAP's own field names, and what was found while reading it.

Field names are those of CAP 1.2 section 3.2 in snake case (msgType is `msg_type`). An element that may repeat is a
tuple under its own name (`category`, `info`, `polygon`). An optional element that is absent is None; one that is
present but empty is "". Free text is kept exactly; short codes come without the white space around them.
"""

from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec

Status = Literal["Actual", "Exercise", "System", "Test", "Draft"]
MsgType = Literal["Alert", "Update", "Cancel", "Ack", "Error"]
Scope = Literal["Public", "Restricted", "Private"]
Category = Literal[
    "Geo", "Met", "Safety", "Security", "Rescue", "Fire", "Health", "Env", "Transport", "Infra", "CBRNE", "Other"
]
ResponseType = Literal["Shelter", "Evacuate", "Prepare", "Execute", "Avoid", "Monitor", "Assess", "AllClear", "None"]
Urgency = Literal["Immediate", "Expected", "Future", "Past", "Unknown"]
Severity = Literal["Extreme", "Severe", "Moderate", "Minor", "Unknown"]
Certainty = Literal["Observed", "Likely", "Possible", "Unlikely", "Unknown"]

Point = tuple[float, float]
"""Latitude and longitude in degrees, WGS 84, in this order (CAP 1.2 section 3.3.1)."""

Polygon = tuple[Point, ...]
"""A closed ring: at least four points, the last equal to the first (section 3.2.4)."""

Circle = tuple[float, float, float]
"""Latitude and longitude of the centre in degrees, radius in kilometres (section 3.2.4)."""


class Reference(NamedTuple):
    """An earlier message, named by the triple that identifies it (section 3.2.1, references)."""

    sender: str
    identifier: str
    sent: datetime


class Pair(NamedTuple):
    """A valueName and its value: eventCode, parameter and geocode (sections 3.2.2 and 3.2.4)."""

    value_name: str
    value: str


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A file that goes with an info (section 3.2.3). `size` in bytes; `deref_uri` is the file itself in base64."""

    resource_desc: str
    mime_type: str | None = None
    """Required by CAP 1.2; None only when it was read from a CAP 1.0 or 1.1 message, and refused by `write`."""
    size: int | None = None
    uri: str | None = None
    deref_uri: str | None = None
    digest: str | None = None


class Area(msgspec.Struct, frozen=True, kw_only=True):
    """Where an info applies (section 3.2.4): the union of its polygons, circles and geocodes.

    `altitude` and `ceiling` are feet above mean sea level.
    """

    area_desc: str
    polygon: tuple[Polygon, ...] = ()
    circle: tuple[Circle, ...] = ()
    geocode: tuple[Pair, ...] = ()
    altitude: Decimal | None = None
    ceiling: Decimal | None = None


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """One event in one language (section 3.2.2).

    `language` is None where the sender gave none. The standard then means en-US, which real senders do not, so the
    choice is left to the reader and a warning is given.
    """

    category: tuple[Category, ...]
    event: str
    urgency: Urgency
    severity: Severity
    certainty: Certainty
    language: str | None = None
    response_type: tuple[ResponseType, ...] = ()
    audience: str | None = None
    event_code: tuple[Pair, ...] = ()
    effective: datetime | None = None
    onset: datetime | None = None
    expires: datetime | None = None
    sender_name: str | None = None
    headline: str | None = None
    description: str | None = None
    instruction: str | None = None
    web: str | None = None
    contact: str | None = None
    parameter: tuple[Pair, ...] = ()
    resource: tuple[Resource, ...] = ()
    area: tuple[Area, ...] = ()


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A CAP message (section 3.2.1). Sender, identifier and sent together identify it.

    `restriction`, `addresses` and `incidents` are kept as written: the standard gives the last two as lists
    separated by spaces, with quotation marks around entries that hold spaces.
    """

    identifier: str
    sender: str
    sent: datetime
    status: Status
    msg_type: MsgType
    scope: Scope
    source: str | None = None
    restriction: str | None = None
    addresses: str | None = None
    code: tuple[str, ...] = ()
    note: str | None = None
    references: tuple[Reference, ...] = ()
    incidents: str | None = None
    info: tuple[Info, ...] = ()


class Finding(msgspec.Struct, frozen=True):
    """One thing wrong (error) or odd (warning) in a message.

    `code` is stable and listed in api/cap/rules.py; `element` is a path such as `alert/info[2]/severity`, or ""
    where the fault is in the file itself; `message` is one English sentence.
    """

    code: str
    severity: Literal["error", "warning"]
    element: str
    message: str


class Report(msgspec.Struct, frozen=True):
    """The outcome of reading: the alerts without error, and every finding.

    A feed may hold both good and bad alerts; then `alerts` has the good ones and `errors` says why others are not
    there, and `ok` is False.
    """

    alerts: tuple[Alert, ...]
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True if nothing had to be refused."""
        return not self.errors
