"""What may be drafted and revised: the limits on what a warning says, whoever writes it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from given import CANCELLED, DRAFTED, EXPIRED, NOW, RELEASED, UPDATED, code_of, content, warning

from domain import warnings
from domain.content import Area, ContactCard, Source, Target, Text
from domain.errors import InvalidInput, Refused
from domain.rulepacks import OFFICIAL_REMINDERS
from domain.warnings import WarningDrafted, WarningRevised


def test_a_draft_is_one_event_with_its_author():
    events = warnings.draft(None, warning_id="w1", content=content(), actor="author")

    assert [WarningDrafted(warning_id="w1", content=content(), drafted_by="author")] == events


def test_drafting_the_same_again_changes_nothing():
    assert warnings.draft(warning(DRAFTED), warning_id="w1", content=content(), actor="somebody else") == []


def test_other_content_under_a_taken_id_is_refused():
    def again() -> object:
        return warnings.draft(warning(DRAFTED), warning_id="w1", content=content(event="Fire"), actor="author")

    assert code_of(Refused, again) == "warning.exists"


def words(**changes: Any) -> tuple[Text, ...]:
    return (Text(**{"language": "zh", "headline": "洪水", **changes}),)


def card(**changes: Any) -> ContactCard:
    return ContactCard(**{"hotline": "12308", "mission": "1", "police": "112", "valid_from": NOW, **changes})


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("warning.texts", {"texts": ()}),
        ("warning.texts", {"texts": tuple(Text(language=f"x-{n}", headline="h") for n in range(41))}),
        ("warning.language_twice", {"texts": words(language="zh-CN") + words(language="zh-cn")}),
        ("warning.headline", {"texts": words(headline=" \n")}),
        ("warning.too_long", {"texts": words(headline="x" * 20_001)}),
        ("warning.too_long", {"texts": words(description="x" * 20_001)}),
        ("warning.too_long", {"texts": words(instruction="x" * 20_001)}),
        ("warning.target", {"target": Target(nodes=())}),
        *[
            ("warning.countries", {"target": Target(nodes=("n",), countries=("IT", said))})
            for said in ("it", "ITA", "")
        ],
        ("warning.validity", {"expires_at": NOW}),
        ("warning.validity", {"expires_at": NOW - timedelta(seconds=1)}),
        ("warning.contact_card", {"contact": card(hotline="")}),
        ("warning.contact_card", {"contact": card(mission="")}),
        ("warning.contact_card", {"contact": card(police="")}),
        ("warning.area", {"area": Area(description="x", polygons=(((0.0, 0.0),) * 5_000, ((0.0, 0.0),) * 5_001))}),
        ("warning.area", {"area": Area(description="x", polygons=(((0.0, 0.0), (0.0, 181.0), (1.0, 1.0)),))}),
        ("warning.area", {"area": Area(description="x", circles=((45.0, 9.0, math.inf),))}),
        ("warning.area", {"area": Area(description="x", circles=((45.0, 9.0, -1.0),))}),
        ("warning.area", {"area": Area(description="x", circles=((math.nan, 9.0, 1.0),))}),
        ("warning.time", {"expires_at": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)}),
        ("warning.time", {"effective_at": datetime(1, 1, 1, tzinfo=UTC)}),
        ("warning.time", {"contact": card(valid_from=datetime(1999, 12, 31, tzinfo=UTC))}),
        ("warning.official_reference", {"source": Source(kind="official")}),
    ],
)
def test_content_that_no_warning_may_have_is_refused(code, changes):
    wrong = content(**changes)

    assert code == code_of(InvalidInput, lambda: warnings.draft(None, warning_id="w", content=wrong, actor="a"))
    assert code == code_of(InvalidInput, lambda: warnings.revise(warning(DRAFTED), content=wrong, actor="a"))


@pytest.mark.parametrize(
    "changes",
    [
        {"texts": tuple(Text(language=f"x-{n}", headline="h") for n in range(40))},
        {"texts": words(description="x" * 20_000)},
        {"area": Area(description="x", polygons=(((0.0, 0.0),) * 10_000,))},
        {"expires_at": NOW + timedelta(microseconds=1)},
    ],
)
def test_content_at_its_limits_is_taken(changes):
    assert len(warnings.draft(None, warning_id="w", content=content(**changes), actor="a")) == 1


@pytest.mark.parametrize("word", OFFICIAL_REMINDERS)
@pytest.mark.parametrize("field", ["headline", "description", "instruction"])
def test_the_ministrys_reminder_words_are_refused_in_our_own_warnings(word, field):
    texts = (*words(), Text(**{"language": "x-other", "headline": "h", field: f"请{word}。"}))

    def draft(source: Source) -> object:
        return warnings.draft(None, warning_id="w", content=content(texts=texts, source=source), actor="a")

    assert code_of(InvalidInput, lambda: draft(Source())) == "warning.official_level"
    assert code_of(InvalidInput, lambda: draft(Source(kind="cap", reference="r"))) == "warning.official_level"


def test_an_official_reminder_is_re_issued_with_its_reference():
    source = Source(kind="official", reference="领事司 2026-07-01")
    texts = words(headline="提醒谨慎前往")

    drafted = warnings.draft(None, warning_id="w", content=content(texts=texts, source=source), actor="a")

    assert source == warning(*drafted).content.source


def test_a_revision_makes_its_author_one_of_the_authors():
    revised = content(event="Fire")
    events = warnings.revise(warning(DRAFTED), content=revised, actor="helper")

    assert [WarningRevised(content=revised, revised_by="helper")] == events
    state = warning(DRAFTED, *events)
    assert (revised, ("author", "helper")) == (state.content, state.authors)


def test_revising_by_an_author_counts_them_once():
    assert warning(DRAFTED, WarningRevised(content=content(event="x"), revised_by="author")).authors == ("author",)


def test_revising_to_the_same_words_changes_nothing():
    assert warnings.revise(warning(DRAFTED), content=content(), actor="helper") == []


@pytest.mark.parametrize("ending", [(), (UPDATED,), (CANCELLED,), (EXPIRED,)])
def test_a_released_warning_is_not_revised(ending):
    state = warning(DRAFTED, RELEASED, *ending)

    assert code_of(Refused, lambda: warnings.revise(state, content=content(event="x"), actor="a")) == "warning.released"


def test_a_warning_that_does_not_exist_is_not_revised():
    assert code_of(Refused, lambda: warnings.revise(None, content=content(), actor="a")) == "warning.unknown"


def test_an_update_names_the_warning_that_it_updates():
    parent = warning(DRAFTED, RELEASED)
    events = warnings.draft(None, warning_id="w2", content=content(event="x"), actor="a", parent=parent)

    assert warning(*events).updates == "w1"


@pytest.mark.parametrize("history", [(), (CANCELLED,), (RELEASED, EXPIRED), (RELEASED, UPDATED)])
def test_only_a_released_warning_is_updated(history):
    parent = warning(DRAFTED, *history)

    assert (
        code_of(Refused, lambda: warnings.draft(None, warning_id="w2", content=content(), actor="a", parent=parent))
        == "warning.parent_not_released"
    )
