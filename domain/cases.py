"""Cases (领事保护案（事）件): opened from a call for help or a station's report, tasked, acted upon, closed.

A case belongs to the node whose person it is about and names the warning it came from, so both replay together.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from domain.errors import InvalidInput, Refused
from domain.events import Event, topic
from domain.private import Personal


class Source(StrEnum):
    HELP_ANSWER = "help_answer"
    STATION_REPORT = "station_report"


class ActionKind(StrEnum):
    """What was done. The words of the guideline: verify, report, comfort, aftermath, emergency aid, refer."""

    VERIFIED = "verified"
    REPORTED = "reported"
    COMFORTED = "comforted"
    AFTERCARE = "aftercare"
    EMERGENCY_AID = "emergency_aid"
    REFERRED = "referred_to_mission"
    CONTACTED = "contacted"
    OTHER = "other"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an action was done, as far as the log may say it; the exact spot is personal and travels sealed."""

    country: str
    city: str = ""


@topic("case.opened")
class CaseOpened(Event, frozen=True, kw_only=True):
    """`drill`: the call for help answered a drill. Somebody still looks at it, since it may be meant; it never counts
    among the real ones. Where it is meant, the station reports it and that opens a real case."""

    case_id: str
    node_id: str
    source: Source
    opened_by: str
    warning_id: str | None = None
    person_id: str | None = None
    personal: Personal | None = None
    drill: bool = False


@topic("case.help_repeated")
class CaseHelpRepeated(Event, frozen=True, kw_only=True):
    """The person asked for help once more while the case was open."""

    case_id: str
    node_id: str
    person_id: str
    personal: Personal | None = None


@topic("case.tasked")
class CaseTasked(Event, frozen=True, kw_only=True):
    case_id: str
    node_id: str
    tasked_by: str
    instruction: str


@topic("case.action_recorded")
class CaseActionRecorded(Event, frozen=True, kw_only=True):
    case_id: str
    node_id: str
    actor: str
    kind: ActionKind
    place: Place
    personal: Personal


@topic("case.closed")
class CaseClosed(Event, frozen=True, kw_only=True):
    case_id: str
    closed_by: str
    result: str


class Case(msgspec.Struct, frozen=True, kw_only=True):
    case_id: str
    node_id: str
    warning_id: str | None
    person_id: str | None
    tasked: dict[str, str] = msgspec.field(default_factory=dict)  # what each station was last told to do
    actions: int = 0
    closed: bool = False


def open_case(
    state: Case | None,
    *,
    case_id: str,
    node_id: str,
    source: Source,
    opened_by: str,
    warning_id: str | None,
    person_id: str | None,
    personal: Personal | None,
    drill: bool = False,
) -> list[Event]:
    """Opens a case; a second call for help of the same person to the same warning is the same case, while it is open.

    It is written down there, so that whoever closes the case at that moment does not close it over the call.
    """
    if state is not None:
        if source is not Source.HELP_ANSWER or person_id is None:
            return []
        case = _open(state)
        return [CaseHelpRepeated(case_id=case.case_id, node_id=node_id, person_id=person_id, personal=personal)]
    return [
        CaseOpened(
            case_id=case_id,
            node_id=node_id,
            source=source,
            opened_by=opened_by,
            warning_id=warning_id,
            person_id=person_id,
            personal=personal,
            drill=drill,
        )
    ]


def task(state: Case | None, *, node_id: str, tasked_by: str, instruction: str) -> list[Event]:
    """Tasks a station (D1: a station acts on the tasking of its office); other words are another task."""
    case = _open(state)
    if not instruction.strip():
        raise InvalidInput("case.instruction", "Say what the station is to do.")
    instruction = instruction.strip()
    if case.tasked.get(node_id) == instruction:
        return []
    return [CaseTasked(case_id=case.case_id, node_id=node_id, tasked_by=tasked_by, instruction=instruction)]


def record_action(
    state: Case | None,
    *,
    node_id: str,
    actor: str,
    kind: ActionKind,
    place: Place,
    personal: Personal,
    is_office: bool,
) -> list[Event]:
    """Writes down what was done and where. A station that was not tasked is refused (D1); an office needs no task."""
    case = _open(state)
    if not is_office and node_id not in case.tasked:
        raise Refused(
            "case.not_tasked", "This station was not tasked with the case.", "Ask the county office for a task."
        )
    if not place.country:
        raise InvalidInput("case.place", "An action has a place: name at least the country.")
    return [
        CaseActionRecorded(
            case_id=case.case_id, node_id=node_id, actor=actor, kind=kind, place=place, personal=personal
        )
    ]


def close(state: Case | None, *, closed_by: str, result: str) -> list[Event]:
    if state is not None and state.closed:
        return []
    case = _open(state)
    if not result.strip():
        raise InvalidInput("case.result", "Say how the case ended.")
    return [CaseClosed(case_id=case.case_id, closed_by=closed_by, result=result.strip())]


def evolve(state: Case | None, event: Event) -> Case | None:
    match event:
        case CaseOpened():
            return Case(
                case_id=event.case_id, node_id=event.node_id, warning_id=event.warning_id, person_id=event.person_id
            )
        case CaseTasked() if state:
            return msgspec.structs.replace(state, tasked={**state.tasked, event.node_id: event.instruction})
        case CaseActionRecorded() if state:
            return msgspec.structs.replace(state, actions=state.actions + 1)
        case CaseClosed() if state:
            return msgspec.structs.replace(state, closed=True)
    return state


def _open(state: Case | None) -> Case:
    if state is None:
        raise Refused("case.unknown", "There is no such case.")
    if state.closed:
        raise Refused("case.closed", "The case is closed.")
    return state
