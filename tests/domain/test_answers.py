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
        ("No, help!", HELP),
        ("No. Help me", HELP),
        ("no! HELP", HELP),
        ("No.\nHelp", HELP),
        ("No - help", HELP),
        ("不，需要帮助", HELP),
        ("没，受伤了", HELP),
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
        ("ok 1", SAFE),
        ("1 收到", SAFE),
        ("1️⃣", SAFE),
        ("①", SAFE),
        ("١", SAFE),
        ("👍🏽", SAFE),
        ("OK 🙏", SAFE),
        ("I’m safe, thank u", UNCLEAR),
        ("I’m SAFE, thanks!!", SAFE),
        ("We are all safe and well", SAFE),
        ("safe, no help needed", SAFE),
        ("我们全家都平安，谢谢", SAFE),
        ("已收到，一切安全", SAFE),
        ("沒事", SAFE),
        ("ｓａｆｅ", SAFE),
        ("Recibido, gracias", SAFE),
        ("Je suis en sécurité, merci", SAFE),
        ("2️⃣", HELP),
        ("二", HELP),
        ("2!!!", HELP),
        ("1/2", HELP),
        ("2 救人", HELP),
        ("please help", HELP),
        ("HEEELP", HELP),
        ("S.O.S.", HELP),
        ("I am ok but my friend needs help", HELP),
        ("🆘", HELP),
        ("我被困在地铁里", HELP),
        ("我受伤了", HELP),
        ("J'ai besoin d'aide", HELP),
        ("au secours", HELP),
        ("1.5", UNCLEAR),
        ("+1", UNCLEAR),
        ("22", UNCLEAR),
        ("are you safe", UNCLEAR),
        ("are we safe", UNCLEAR),
        ("safe?", UNCLEAR),
        ("安全吗", UNCLEAR),
        ("收到？", UNCLEAR),
        ("你好", UNCLEAR),
        ("不好", UNCLEAR),
        ("没收到", UNCLEAR),
        ("尚未收到", UNCLEAR),
        ("I'm not safe", UNCLEAR),
        ("unsafe", UNCLEAR),
        ("safe ❌", UNCLEAR),
        ("我没有受伤", UNCLEAR),
        ("见面时间是12点，二楼", UNCLEAR),
        ("thanks for your help", UNCLEAR),
        ("谢谢你们的帮助", UNCLEAR),
        ("je n'ai pas besoin d'aide", UNCLEAR),
        ("the casos of the day", UNCLEAR),
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


def _parts(*lists: str) -> list[str]:
    return [part for one in lists for part in one.split("|")]


SAFE_WORDS = _parts("1|ok|OK|safe|I'm safe|收到|安全|平安|一切平安|好的|bien|sto bene|👍|１")
HELP_WORDS = _parts("help|need help|SOS|救命|求助|需要帮助|ayuda|aiuto|secours|被困|🆘|HELP!!")
BETWEEN = st.sampled_from([" ", ", ", "。", "！", "\n", " ... ", "；", " - ", "\u3000"])
NEGATED = _parts(
    "not {}|no {}|never {}|isn't {}|{} not|no estoy {}|non {}|pas {}|un{}|not yet {}",
    "不{}|没{}|没有{}|不是{}|不太{}|尚未{}|{}不了|未{}|不再{}|怎么{}|{}吗|{}？|非{}",
)


@given(st.text())
def test_nothing_that_is_written_raises(text):
    assert interpret(text) in Answer


@given(st.lists(st.sampled_from(SAFE_WORDS + HELP_WORDS), min_size=1, max_size=6), st.data())
def test_a_word_for_help_wins_over_any_words_for_safe(words, data):
    text = "".join(word + data.draw(BETWEEN) for word in words)

    assert interpret(text) is (HELP if set(words) & set(HELP_WORDS) else SAFE)


@given(st.sampled_from(NEGATED), st.sampled_from(SAFE_WORDS), st.sampled_from(["", "!", "。", " 🙏", " 谢谢"]))
def test_safe_that_is_negated_or_asked_is_never_safe(negated, word, after):
    assert interpret(negated.format(word) + after) is not SAFE


@given(st.sampled_from(SAFE_WORDS), st.text(alphabet="qxjz不没未难危", min_size=2, max_size=9))
def test_safe_beside_a_word_that_nobody_knows_is_not_safe(word, stray):
    assert interpret(f"{word} {stray}") is not SAFE


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
