"""A warning goes out by a second person, by one where the rules say so, or by breaking the glass with a reason."""

from __future__ import annotations

from datetime import timedelta

import pytest
from given import CANCELLED, DRAFTED, EXPIRED, EXPIRES, NOW, PACK, RELEASED, UPDATED, code_of, content, pack, warning

from domain import warnings
from domain.errors import Refused
from domain.rulepacks import Level
from domain.warnings import Release, Status, WarningDrafted, WarningReleased, WarningRevised

SINGLE = pack(orange={"two_person": False})


def test_a_second_person_releases():
    events = warnings.release(warning(DRAFTED), actor="second", pack=PACK, at=NOW)

    assert [WarningReleased(warning_id="w1", release=Release.TWO_PERSON, released_by="second", reason="")] == events
    state = warning(DRAFTED, *events)
    assert (state.status, state.released_by) == (Status.RELEASED, "second")


def test_the_author_alone_is_refused():
    assert (
        code_of(Refused, lambda: warnings.release(warning(DRAFTED), actor="author", pack=PACK, at=NOW))
        == "warning.second_person"
    )


def test_whoever_revised_it_is_no_second_person():
    state = warning(DRAFTED, WarningRevised(content=content(event="x"), revised_by="second"))

    assert (
        code_of(Refused, lambda: warnings.release(state, actor="second", pack=PACK, at=NOW)) == "warning.second_person"
    )
    assert len(warnings.release(state, actor="third", pack=PACK, at=NOW)) == 1


@pytest.mark.parametrize("level", list(Level))
def test_the_standard_rules_ask_for_two_persons_at_every_level(level):
    state = warning(WarningDrafted(warning_id="w1", content=content(level=level), drafted_by="author"))

    assert (
        code_of(Refused, lambda: warnings.release(state, actor="author", pack=PACK, at=NOW)) == "warning.second_person"
    )


def test_where_the_rules_ask_for_one_person_the_author_releases():
    (event,) = warnings.release(warning(DRAFTED), actor="author", pack=SINGLE, at=NOW)

    assert event.release == Release.SINGLE


def test_the_rule_of_the_warnings_own_level_counts():
    red = warning(WarningDrafted(warning_id="w1", content=content(level=Level.RED), drafted_by="author"))

    assert (
        code_of(Refused, lambda: warnings.release(red, actor="author", pack=SINGLE, at=NOW)) == "warning.second_person"
    )


def test_the_author_breaks_the_glass_with_a_reason():
    (event,) = warnings.release(
        warning(DRAFTED), actor="author", pack=PACK, at=NOW, break_glass=True, reason=" alone at night "
    )

    assert (
        WarningReleased(warning_id="w1", release=Release.BREAK_GLASS, released_by="author", reason="alone at night")
        == event
    )


@pytest.mark.parametrize("reason", ["", "  ", "\n\t"])
def test_breaking_the_glass_without_a_reason_is_refused(reason):
    assert (
        code_of(
            Refused,
            lambda: warnings.release(
                warning(DRAFTED), actor="author", pack=PACK, at=NOW, break_glass=True, reason=reason
            ),
        )
        == "warning.reason_missing"
    )


def test_releasing_twice_changes_nothing():
    assert warnings.release(warning(DRAFTED, RELEASED), actor="third", pack=PACK, at=NOW) == []


@pytest.mark.parametrize(
    ("history", "code"),
    [
        ((CANCELLED,), "warning.cancelled"),
        ((RELEASED, CANCELLED), "warning.cancelled"),
        ((RELEASED, UPDATED), "warning.updated"),
        ((RELEASED, EXPIRED), "warning.expired"),
    ],
)
def test_an_ended_warning_is_not_released(history, code):
    state = warning(DRAFTED, *history)

    assert code == code_of(Refused, lambda: warnings.release(state, actor="second", pack=PACK, at=NOW))
    assert code == code_of(
        Refused, lambda: warnings.release(state, actor="second", pack=PACK, at=NOW, break_glass=True, reason="r")
    )


def test_a_draft_whose_validity_is_over_is_not_released():
    def release(at):
        return warnings.release(warning(DRAFTED), actor="second", pack=PACK, at=at)

    assert code_of(Refused, lambda: release(EXPIRES)) == "warning.expired"
    assert len(release(EXPIRES - timedelta(microseconds=1))) == 1


def test_a_warning_that_does_not_exist_is_not_released():
    assert code_of(Refused, lambda: warnings.release(None, actor="a", pack=PACK, at=NOW)) == "warning.unknown"
