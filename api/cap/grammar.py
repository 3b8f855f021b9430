"""The element tables of CAP 1.2 section 3.2: which element may stand where, how often, and holding what.

Reader and writer both walk these tables, so the order of elements is written down once.
"""

from enum import Enum, auto
from typing import Final, NamedTuple, get_args

from api.cap import model

CAP_1_2: Final = "urn:oasis:names:tc:emergency:cap:1.2"
CAP_VERSIONS: Final = {
    CAP_1_2: "1.2",
    "urn:oasis:names:tc:emergency:cap:1.1": "1.1",
    "http://www.incident.com/cap/1.0": "1.0",
    "urn:oasis:names:tc:emergency:cap:1.0": "1.0",
}
XMLDSIG: Final = "http://www.w3.org/2000/09/xmldsig#"

# Limits keep one message from taking the process down; each is far above what real senders produce.
MAX_BYTES: Final = 8 * 1024 * 1024
MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 250_000
MAX_NAME: Final = 200  # characters of an element name; it is repeated in findings
MAX_ALERTS: Final = 2_000
MAX_INFOS: Final = 100
MAX_AREAS: Final = 5_000
MAX_POINTS: Final = 200_000
MAX_FINDINGS: Final = 1_000


class Kind(Enum):
    """What the text of an element is."""

    TEXT = auto()  # any text, kept exactly
    TOKEN = auto()  # a short code; the white space around it is layout
    IDENTITY = auto()  # identifier or sender: a token without spaces, commas, < and &
    CHOICE = auto()  # one of a closed list
    TIME = auto()  # section 3.3.2
    LANGUAGE = auto()  # RFC 3066 tag
    DECIMAL = auto()
    INTEGER = auto()
    POLYGON = auto()
    CIRCLE = auto()
    REFERENCES = auto()
    PAIR = auto()  # valueName and value
    PART = auto()  # a group of elements with its own table


class Slot(NamedTuple):
    """One row of a table: the element, its field in the model, what it holds and how often it may occur."""

    name: str
    field: str
    kind: Kind
    required: bool = False
    many: bool = False
    choices: tuple[str, ...] = ()


class Part(NamedTuple):
    """A group of elements in the order the standard demands."""

    name: str
    slots: tuple[Slot, ...]
    position: dict[str, int]


def _part(name: str, *slots: Slot) -> Part:
    return Part(name, slots, {slot.name: place for place, slot in enumerate(slots)})


def _choice(name: str, field: str, choices: object, *, required: bool = True, many: bool = False) -> Slot:
    return Slot(name, field, Kind.CHOICE, required, many, get_args(choices))


RESOURCE: Final = _part(
    "resource",
    Slot("resourceDesc", "resource_desc", Kind.TEXT, required=True),
    Slot("mimeType", "mime_type", Kind.TOKEN, required=True),
    Slot("size", "size", Kind.INTEGER),
    Slot("uri", "uri", Kind.TOKEN),
    Slot("derefUri", "deref_uri", Kind.TEXT),
    Slot("digest", "digest", Kind.TOKEN),
)

AREA: Final = _part(
    "area",
    Slot("areaDesc", "area_desc", Kind.TEXT, required=True),
    Slot("polygon", "polygon", Kind.POLYGON, many=True),
    Slot("circle", "circle", Kind.CIRCLE, many=True),
    Slot("geocode", "geocode", Kind.PAIR, many=True),
    Slot("altitude", "altitude", Kind.DECIMAL),
    Slot("ceiling", "ceiling", Kind.DECIMAL),
)

INFO: Final = _part(
    "info",
    Slot("language", "language", Kind.LANGUAGE),
    _choice("category", "category", model.Category, many=True),
    Slot("event", "event", Kind.TEXT, required=True),
    _choice("responseType", "response_type", model.ResponseType, required=False, many=True),
    _choice("urgency", "urgency", model.Urgency),
    _choice("severity", "severity", model.Severity),
    _choice("certainty", "certainty", model.Certainty),
    Slot("audience", "audience", Kind.TEXT),
    Slot("eventCode", "event_code", Kind.PAIR, many=True),
    Slot("effective", "effective", Kind.TIME),
    Slot("onset", "onset", Kind.TIME),
    Slot("expires", "expires", Kind.TIME),
    Slot("senderName", "sender_name", Kind.TEXT),
    Slot("headline", "headline", Kind.TEXT),
    Slot("description", "description", Kind.TEXT),
    Slot("instruction", "instruction", Kind.TEXT),
    Slot("web", "web", Kind.TOKEN),
    Slot("contact", "contact", Kind.TEXT),
    Slot("parameter", "parameter", Kind.PAIR, many=True),
    Slot("resource", "resource", Kind.PART, many=True),
    Slot("area", "area", Kind.PART, many=True),
)

ALERT: Final = _part(
    "alert",
    Slot("identifier", "identifier", Kind.IDENTITY, required=True),
    Slot("sender", "sender", Kind.IDENTITY, required=True),
    Slot("sent", "sent", Kind.TIME, required=True),
    _choice("status", "status", model.Status),
    _choice("msgType", "msg_type", model.MsgType),
    Slot("source", "source", Kind.TEXT),
    _choice("scope", "scope", model.Scope),
    Slot("restriction", "restriction", Kind.TEXT),
    Slot("addresses", "addresses", Kind.TEXT),
    Slot("code", "code", Kind.TOKEN, many=True),
    Slot("note", "note", Kind.TEXT),
    Slot("references", "references", Kind.REFERENCES),
    Slot("incidents", "incidents", Kind.TEXT),
    Slot("info", "info", Kind.PART, many=True),
)

PAIR: Final = _part(
    "pair",
    Slot("valueName", "value_name", Kind.TOKEN, required=True),
    Slot("value", "value", Kind.TOKEN, required=True),
)

PARTS: Final = {"info": INFO, "area": AREA, "resource": RESOURCE}

OPTIONAL_IN_OLDER: Final = {"1.1": frozenset({"mimeType"}), "1.0": frozenset({"mimeType", "category"})}
"""Elements that CAP 1.2 requires and the older versions did not."""
