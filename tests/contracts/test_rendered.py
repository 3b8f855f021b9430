"""What people read: each channel's words ask only for what that channel can do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from domain.content import Area, ContactCard, Content, Target, Text
from domain.rulepacks import Level
from domain.shards import Circle, Purpose
from domain.warnings import Status, WarningState
from notifiers import spoken
from notifiers.channel import LINK
from notifiers.render import WORDS, render, text_for

NOW = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
TEXTS = (
    Text(language="zh-CN", headline="洪水", description="河水上涨", instruction="上二楼"),
    Text(language="en-US", headline="Flood", description="The river rises", instruction="Go upstairs"),
)
WARNING = WarningState(
    warning_id="w1",
    status=Status.RELEASED,
    authors=("a",),
    content=Content(
        event="flood",
        level=Level.RED,
        texts=TEXTS,
        area=Area(description="Prato"),
        target=Target(nodes=("top",)),
        contact=ContactCard(hotline="12308", mission="+39 055", police="112", valid_from=NOW),
        effective_at=NOW,
        expires_at=NOW + timedelta(hours=6),
    ),
)


def rendered(language: str, purpose: Purpose = Purpose.NOTICE):
    return render(WARNING, purpose=purpose, circle=Circle.PEOPLE, language=language, now=NOW, cancel_reason="over")


@pytest.mark.parametrize("language", ["zh", "en", "es", "it", "fr"])
def test_hotline_mission_and_police_stand_on_every_mail(language):
    said = rendered(language)

    assert all(number in said.text and number in said.html for number in ("12308", "+39 055", "112"))
    assert said.text.count(LINK) == 1


@pytest.mark.parametrize("language", ["zh", "en", "es", "it", "fr"])
def test_a_text_message_asks_for_a_reply_and_a_notification_does_not(language):
    said = rendered(language)

    assert "1" in said.short
    assert LINK in said.short
    assert said.push in ("上二楼", "Go upstairs")


@pytest.mark.parametrize(
    ("purpose", "minutes", "at_least", "at_most"),
    [
        (Purpose.NOTICE, 0, 6 * 3600, 6 * 3600),
        (Purpose.NOTICE, 400, 60, 60),
        (Purpose.CANCEL, 0, 6 * 3600, 30 * 3600),
        (Purpose.CANCEL, 400, 6 * 3600, 24 * 3600),
        (Purpose.CANCEL, 9000, 6 * 3600, 24 * 3600),
    ],
)
def test_a_withdrawal_is_of_use_though_the_warning_is_over(purpose, minutes, at_least, at_most):
    now = NOW + timedelta(minutes=minutes)
    said = render(WARNING, purpose=purpose, circle=Circle.PEOPLE, language="en", now=now)
    assert at_least <= said.ttl_s <= at_most


MARKS = {"zh": "【演习】", "en": "[DRILL]", "es": "[SIMULACRO]", "it": "[ESERCITAZIONE]", "fr": "[EXERCICE]"}


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("language", list(MARKS))
def test_whatever_is_said_of_a_drill_begins_and_ends_with_its_mark(language, purpose):
    long = Text(language=language, headline="洪水" * 200, description="x" * 4000, instruction="y" * 900)
    drill = msgspec.structs.replace(
        WARNING, content=msgspec.structs.replace(WARNING.content, drill=True, texts=(long,))
    )
    said = render(drill, purpose=purpose, circle=Circle.STAFF, language=language, now=NOW, cancel_reason="over")

    for part in (said.subject, said.text, said.short, said.push):
        assert part.startswith(MARKS[language])
        assert part.endswith(MARKS[language])
    assert said.html.count(f"<p>{MARKS[language]}</p>") == 2
    assert (said.drill, said.sandboxed) == (True, True)
    assert MARKS[language] not in rendered(language, purpose).text + rendered(language, purpose).html


@pytest.mark.parametrize("language", list(MARKS))
def test_what_is_spoken_in_a_drill_says_so_first_and_last(language):
    texts = (Text(language=language, headline="X"),)
    drill = msgspec.structs.replace(WARNING, content=msgspec.structs.replace(WARNING.content, drill=True, texts=texts))
    said = render(drill, purpose=Purpose.NOTICE, circle=Circle.PEOPLE, language=language, now=NOW).voice

    assert spoken.words(language).drill in said[:150]
    assert said.endswith(spoken.words(language).drill)


def test_a_drill_in_a_language_that_has_no_words_is_marked_in_that_of_its_text():
    drill = msgspec.structs.replace(WARNING, content=msgspec.structs.replace(WARNING.content, drill=True))
    said = render(drill, purpose=Purpose.NOTICE, circle=Circle.PEOPLE, language="pt", now=NOW)

    assert said.subject.startswith("【演习】")


@pytest.mark.parametrize(
    ("language", "mark"),
    [
        ("zh", "【更正】"),
        ("en", "[CORRECTION]"),
        ("es", "[CORRECCIÓN]"),
        ("it", "[RETTIFICA]"),
        ("fr", "[RECTIFICATIF]"),
    ],
)
def test_a_correction_says_so_in_every_language(language, mark):
    corrected = msgspec.structs.replace(WARNING, correction=True, updates="w0")
    said = render(corrected, purpose=Purpose.NOTICE, circle=Circle.PEOPLE, language=language, now=NOW)

    assert said.subject.startswith(mark)
    assert said.short.startswith(mark)
    assert said.text.startswith(mark)


@pytest.mark.parametrize("language", ["zh", "en", "es", "it", "fr"])
def test_whom_an_update_no_longer_concerns_is_told_that_it_is_over_for_them(language):
    updated = msgspec.structs.replace(WARNING, status=Status.UPDATED, updated_by="w2")
    said = render(updated, purpose=Purpose.CANCEL, circle=Circle.PEOPLE, language=language, now=NOW)

    assert said.push.endswith(WORDS[language].over)
    assert WORDS[language].over in said.text


def test_a_cancellation_says_so_and_why_and_asks_for_nothing():
    said = rendered("en", Purpose.CANCEL)

    assert "CANCELLED" in said.subject
    assert "over" in said.push
    assert LINK not in said.short + said.text + said.html


@pytest.mark.parametrize(
    ("language", "expected"), [("zh", "洪水"), ("en-GB", "Flood"), ("de", "洪水"), ("EN", "Flood"), ("zh-TW", "洪水")]
)
def test_the_text_nearest_to_the_persons_language_is_chosen(language, expected):
    assert text_for(TEXTS, language).headline == expected


@pytest.mark.parametrize("language", ["zh", "en", "es", "it", "fr"])
def test_asking_again_says_that_we_did_not_understand_and_asks_both_questions(language):
    said, notice = rendered(language, Purpose.ASK), rendered(language)
    unclear = WORDS[language].unclear.strip()

    assert all(unclear in text for text in (said.short, said.subject, said.text))
    assert unclear not in notice.short + notice.subject + notice.text
    assert WORDS[language].answer_people in said.short
    assert LINK in said.short
    assert len({words.unclear for words in WORDS.values()}) == len(WORDS)
