"""Cases: opened once, acted upon by those who were tasked, closed for good."""

from __future__ import annotations

from typing import Any

import pytest
from given import code_of

from domain import cases
from domain.cases import ActionKind, Case, CaseActionRecorded, CaseClosed, CaseOpened, CaseTasked, Place, Source
from domain.errors import InvalidInput, Refused
from domain.events import Event, fold
from domain.private import Private

ITALY = Place(country="IT", city="Milano")
WORDS = Private("ann", {"text": "broken leg"})
OPENED = CaseOpened(
    case_id="c1",
    node_id="milan",
    source=Source.HELP_ANSWER,
    opened_by="ann",
    warning_id="w1",
    person_id="ann",
    personal=WORDS,
)
TASKED = CaseTasked(case_id="c1", node_id="milan", tasked_by="officer", instruction="visit")
CLOSED = CaseClosed(case_id="c1", closed_by="officer", result="safe at home")


def case(*events: Event) -> Case:
    state = fold(cases.evolve, [OPENED, *events])
    assert state is not None
    return state


def opened(state: Case | None) -> list[Event]:
    return cases.open_case(
        state,
        case_id="c1",
        node_id="milan",
        source=Source.HELP_ANSWER,
        opened_by="ann",
        warning_id="w1",
        person_id="ann",
        personal=WORDS,
    )


def acted(state: Case | None, **changes: Any) -> list[Event]:
    fields: dict[str, Any] = {
        "node_id": "milan",
        "actor": "head",
        "kind": ActionKind.VERIFIED,
        "place": ITALY,
        "personal": WORDS,
        "is_office": False,
    }
    return cases.record_action(state, **{**fields, **changes})


def test_a_case_opens_once():
    assert opened(None) == [OPENED]
    again = [cases.CaseHelpRepeated(case_id="c1", node_id="milan", person_id="ann", personal=OPENED.personal)]
    assert opened(case()) == again
    assert cases.evolve(case(), again[0]) == case()
    assert (case().node_id, case().warning_id, case().person_id, case().closed) == ("milan", "w1", "ann", False)


def test_a_station_is_tasked_once_with_the_same_words():
    assert cases.task(case(), node_id="milan", tasked_by="officer", instruction=" visit ") == [TASKED]
    assert cases.task(case(TASKED), node_id="milan", tasked_by="other", instruction="visit") == []
    other = cases.task(case(TASKED), node_id="milan", tasked_by="officer", instruction="Stop: go to the airport")
    assert [event.instruction for event in other] == ["Stop: go to the airport"]
    assert cases.task(case(TASKED, *other), node_id="milan", tasked_by="officer", instruction="visit") != []
    assert len(cases.task(case(TASKED), node_id="madrid", tasked_by="officer", instruction="visit")) == 1


@pytest.mark.parametrize("instruction", ["", " \n"])
def test_a_task_without_an_instruction_is_refused(instruction):
    def task() -> object:
        return cases.task(case(), node_id="milan", tasked_by="officer", instruction=instruction)

    assert code_of(InvalidInput, task) == "case.instruction"


def test_a_tasked_station_records_what_it_did():
    events = acted(case(TASKED))

    assert events == [
        CaseActionRecorded(
            case_id="c1", node_id="milan", actor="head", kind=ActionKind.VERIFIED, place=ITALY, personal=WORDS
        )
    ]
    assert case(TASKED, *events, *events).actions == 2


def test_a_station_without_a_task_is_refused_and_an_office_needs_none():
    assert code_of(Refused, lambda: acted(case())) == "case.not_tasked"
    assert code_of(Refused, lambda: acted(case(TASKED), node_id="madrid")) == "case.not_tasked"
    assert len(acted(case(), node_id="north", is_office=True)) == 1


def test_an_action_has_a_place():
    assert code_of(InvalidInput, lambda: acted(case(TASKED), place=Place(country=""))) == "case.place"


def test_a_case_is_closed_once_with_its_result():
    assert cases.close(case(), closed_by="officer", result=" safe at home ") == [CLOSED]
    assert cases.close(case(CLOSED), closed_by="other", result="") == []
    assert case(CLOSED).closed is True


@pytest.mark.parametrize("result", ["", "  "])
def test_closing_without_a_result_is_refused(result):
    assert code_of(InvalidInput, lambda: cases.close(case(), closed_by="o", result=result)) == "case.result"


@pytest.mark.parametrize(
    "act",
    [lambda state: cases.task(state, node_id="madrid", tasked_by="o", instruction="visit"), acted],
    ids=["task", "action"],
)
def test_a_closed_case_and_one_that_does_not_exist_refuse(act):
    assert code_of(Refused, lambda: act(case(TASKED, CLOSED))) == "case.closed"
    assert code_of(Refused, lambda: act(None)) == "case.unknown"


def test_a_case_that_does_not_exist_is_not_closed():
    assert code_of(Refused, lambda: cases.close(None, closed_by="o", result="r")) == "case.unknown"
