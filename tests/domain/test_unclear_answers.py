"""Answers that are not clear: asked about once, then for a person to read, then settled."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import answers
from domain.answers import Answer, AnswerAskedBack, AnswerReceived, AnswerReferred, Answers, AnswerSettled
from domain.errors import Refused
from domain.events import Event, fold
from domain.people import Channel
from domain.private import Private

SAFE, HELP, UNCLEAR = Answer.SAFE, Answer.HELP, Answer.UNCLEAR
IDS = {"warning_id": "w1", "person_id": "ann"}


def receive(state: Answers | None, answer: Answer, ref: str, **changes: Any) -> list[Event]:
    fields: dict[str, Any] = {"node_id": "milan", "channel": "sms", "late": False, "personal": None, **IDS}
    return answers.receive(state, answer=answer, provider_ref=ref, **{**fields, **changes})


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


def test_the_first_unclear_answer_asks_back_and_the_second_goes_to_a_person():
    first = receive(None, UNCLEAR, "m1")
    assert first[1:] == [AnswerAskedBack(node_id="milan", channel=Channel.SMS, **IDS)]
    second = receive(fold(answers.evolve, first), UNCLEAR, "m2")
    assert second[1:] == [AnswerReferred(node_id="milan", channel="sms", **IDS)]
    third = receive(fold(answers.evolve, first + second), UNCLEAR, "m3")
    assert kinds(third) == [AnswerReceived]


@pytest.mark.parametrize("changes", [{"late": True}, {"channel": "voice"}, {"channel": "link"}])
def test_where_asking_makes_no_sense_a_person_reads_it_at_once(changes):
    assert kinds(receive(None, UNCLEAR, "m1", **changes)) == [AnswerReceived, AnswerReferred]


def test_silence_is_referred_once_and_never_after_a_clear_answer():
    asked = receive(None, UNCLEAR, "m1")
    state = fold(answers.evolve, asked)
    referred = answers.refer(state, **IDS)
    assert kinds(referred) == [AnswerReferred]
    assert answers.refer(fold(answers.evolve, asked + referred), **IDS) == []
    assert answers.refer(fold(answers.evolve, asked + receive(state, SAFE, "m2")), **IDS) == []
    assert answers.refer(None, **IDS) == []


@pytest.mark.parametrize("meaning", list(Answer))
def test_settling_says_what_was_meant_and_clears_the_words(meaning):
    written = receive(None, UNCLEAR, "m1", personal=Private("ann", {"text": "?"}))
    state = fold(answers.evolve, written)
    assert state is not None
    assert (state.unclear, len(state.words)) == (True, 1)
    settled = answers.settle(state, by="officer", meaning=meaning, **IDS)
    assert settled == [AnswerSettled(node_id="milan", by="officer", meaning=meaning, **IDS)]
    after = fold(answers.evolve, written + settled)
    assert after is not None
    assert (after.unclear, after.words, after.answer, after.help_asked) == (False, (), meaning, meaning is HELP)
    assert answers.settle(after, by="officer", meaning=meaning, **IDS) == []
    other = SAFE if meaning is not SAFE else HELP
    with pytest.raises(Refused) as refused:
        answers.settle(after, by="officer", meaning=other, **IDS)
    assert refused.value.code == "answer.clear"


def test_who_has_not_answered_has_nothing_to_settle_or_to_read():
    for state in (None, fold(answers.evolve, receive(None, SAFE, "m1"))):
        with pytest.raises(Refused):
            answers.open_words(state, by="officer", **IDS)
    with pytest.raises(Refused):
        answers.settle(None, by="officer", meaning=HELP, **IDS)


@given(st.lists(st.tuples(st.sampled_from(list(Answer)), st.integers(0, 5), st.booleans()), max_size=12))
def test_nobody_is_asked_twice_and_what_stays_unclear_is_asked_or_with_a_person(said):
    events: list[Event] = []
    for answer, ref, late in said:
        events += receive(fold(answers.evolve, events), answer, f"m{ref}", late=late)
    state = fold(answers.evolve, events)

    assert sum(isinstance(event, AnswerAskedBack) for event in events) <= 1
    if state is not None and state.unclear:
        assert state.referred or state.asked_back
    if state is not None and not state.unclear:
        assert not state.referred
