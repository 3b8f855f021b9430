"""What people mean by what they answer: a cry for help is never missed, and silence of meaning is never "safe"."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import answers
from domain.answers import Answer, AnswerReceived, Answers, interpret
from domain.events import Event, fold

SAFE, HELP, UNCLEAR = Answer.SAFE, Answer.HELP, Answer.UNCLEAR


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", SAFE),
        (" 1。", SAFE),
        ("１", SAFE),
        ("1!", SAFE),
        ("收到", SAFE),
        ("收到！", SAFE),
        ("我很安全。", SAFE),
        ("OK", SAFE),
        ("Okay.", SAFE),
        ("I'm safe", SAFE),
        ("Estoy bien", SAFE),
        ("SEGURO", SAFE),
        ("Sto bene!", SAFE),
        ("sì", SAFE),
        ("Sí", SAFE),
        ("2", HELP),
        ("２", HELP),
        ("(2)", HELP),
        ("2 求助", HELP),
        ("2 need help", HELP),
        ("救命", HELP),
        ("救命！！！", HELP),
        ("我在三楼，救命", HELP),
        ("我需要帮助", HELP),
        ("Help!", HELP),
        ("please help me", HELP),
        ("SOS", HELP),
        ("Ayuda", HELP),
        ("necesito ayuda por favor", HELP),
        ("aiuto!", HELP),
        ("ho bisogno di aiuto", HELP),
        ("socorro", HELP),
        ("no help needed", UNCLEAR),
        ("I don't need help", UNCLEAR),
        ("不需要帮助", UNCLEAR),
        ("我无需帮助，谢谢", UNCLEAR),
        ("ok 1", UNCLEAR),
        ("12", UNCLEAR),
        ("11", UNCLEAR),
        ("0", UNCLEAR),
        ("", UNCLEAR),
        ("   ", UNCLEAR),
        ("？", UNCLEAR),
        ("不安全", UNCLEAR),
        ("not safe", UNCLEAR),
        ("no estoy bien", UNCLEAR),
        ("who is this?", UNCLEAR),
        ("🙏", UNCLEAR),
        # A cry for help beside a "no" is a cry for help.
        ("no help came, sos", HELP),
        ("我妈妈不需要帮助，但是我爸爸救命", HELP),
    ],
)
def test_what_people_answer(text, expected):
    assert interpret(text) is expected


@given(st.text())
def test_whatever_is_written_has_a_meaning_and_long_words_are_never_safe(text):
    assert interpret(text) in Answer
    assert interpret(f"{text} with something more that nobody could know") is not SAFE


@given(st.text(), st.text())
def test_a_text_with_a_cry_for_help_is_never_safe(before, after):
    assert interpret(f"{before}救命{after}") is HELP


def received(answer: Answer, *, state: Answers | None = None, **changes: Any) -> list[Event]:
    fields: dict[str, Any] = {
        "warning_id": "w1",
        "person_id": "ann",
        "node_id": "milan",
        "channel": "sms",
        "late": False,
        "personal": None,
    }
    return answers.receive(state, answer=answer, **{**fields, **changes})


def state_after(*answered: Answer) -> Answers:
    events: list[Event] = []
    for n, answer in enumerate(answered):
        events += received(answer, state=fold(answers.evolve, events), provider_ref=f"m{n}")
    state = fold(answers.evolve, events)
    assert state is not None
    return state


def test_a_late_answer_is_kept_and_says_that_it_is_late():
    assert received(SAFE, late=True) == [
        AnswerReceived(
            warning_id="w1", person_id="ann", node_id="milan", answer=SAFE, channel="sms", late=True, personal=None
        )
    ]


def test_the_providers_same_message_again_changes_nothing():
    state = fold(answers.evolve, received(SAFE, provider_ref="m1"))

    assert received(SAFE, state=state, provider_ref="m1") == []
    assert len(received(SAFE, state=state, provider_ref="m2")) == 1


def test_the_same_link_pressed_again_changes_nothing_but_another_answer_does():
    state = fold(answers.evolve, received(SAFE))

    assert received(SAFE, state=state) == []
    assert [event.answer for event in received(HELP, state=state)] == [HELP]


@pytest.mark.parametrize(
    ("answered", "answer", "help_asked"),
    [
        ((SAFE,), SAFE, False),
        ((HELP, SAFE), SAFE, True),
        ((SAFE, HELP), HELP, True),
        ((SAFE, UNCLEAR), SAFE, False),
        ((HELP, UNCLEAR), HELP, True),
        ((UNCLEAR,), UNCLEAR, False),
        ((UNCLEAR, SAFE), SAFE, False),
    ],
)
def test_the_last_clear_answer_stands_and_a_call_for_help_is_remembered(answered, answer, help_asked):
    state = state_after(*answered)

    assert (state.answer, state.help_asked) == (answer, help_asked)
    assert state.refs == tuple(f"m{n}" for n in range(len(answered)))
