"""How a warning ends: cancelled, updated by a later one, or expired; after that nothing happens to it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from given import CANCELLED, DRAFTED, EXPIRED, EXPIRES, RELEASED, UPDATED, WORDS, code_of, warning

from domain import warnings
from domain.errors import Refused
from domain.warnings import Status, WarningCancelled, WarningExpired, WarningUpdated


@pytest.mark.parametrize("history", [(DRAFTED,), (DRAFTED, RELEASED)])
def test_a_draft_and_a_released_warning_are_cancelled_with_a_reason(history):
    events = warnings.cancel(warning(*history), actor="a", reason=" mistake ", texts=(WORDS,))

    assert [WarningCancelled(warning_id="w1", cancelled_by="a", reason="mistake", texts=(WORDS,))] == events
    assert warning(*history, *events).status == Status.CANCELLED


def test_cancelling_twice_changes_nothing_even_without_a_reason():
    assert warnings.cancel(warning(DRAFTED, RELEASED, CANCELLED), actor="b", reason="") == []


@pytest.mark.parametrize("reason", ["", " "])
def test_cancelling_without_a_reason_is_refused(reason):
    assert (
        code_of(Refused, lambda: warnings.cancel(warning(DRAFTED, RELEASED), actor="a", reason=reason))
        == "warning.reason_missing"
    )


@pytest.mark.parametrize(("ending", "code"), [(UPDATED, "warning.updated"), (EXPIRED, "warning.expired")])
def test_what_ended_otherwise_is_not_cancelled(ending, code):
    assert code == code_of(Refused, lambda: warnings.cancel(warning(DRAFTED, RELEASED, ending), actor="a", reason="r"))


def test_a_warning_that_does_not_exist_is_not_cancelled():
    assert code_of(Refused, lambda: warnings.cancel(None, actor="a", reason="r")) == "warning.unknown"


def test_the_release_of_an_update_ends_the_warning_that_it_updates():
    events = warnings.mark_updated(warning(DRAFTED, RELEASED), by_warning="w2")

    assert [WarningUpdated(updated_by_warning="w2")] == events
    assert warning(DRAFTED, RELEASED, *events).status == Status.UPDATED


def test_marking_as_updated_again_changes_nothing():
    assert warnings.mark_updated(warning(DRAFTED, RELEASED, UPDATED), by_warning="w2") == []


@pytest.mark.parametrize(("ending", "code"), [(CANCELLED, "warning.cancelled"), (EXPIRED, "warning.expired")])
def test_what_ended_meanwhile_is_not_updated(ending, code):
    state = warning(DRAFTED, RELEASED, ending)

    assert code == code_of(Refused, lambda: warnings.mark_updated(state, by_warning="w2"))


def test_a_released_warning_expires_at_its_hour_and_not_before():
    state = warning(DRAFTED, RELEASED)

    assert warnings.expire(state, at=EXPIRES - timedelta(microseconds=1)) == []
    assert [WarningExpired(warning_id="w1")] == warnings.expire(state, at=EXPIRES)
    assert warning(DRAFTED, RELEASED, EXPIRED).status == Status.EXPIRED


@pytest.mark.parametrize(
    "history", [(DRAFTED,), (DRAFTED, CANCELLED), (DRAFTED, RELEASED, UPDATED), (DRAFTED, RELEASED, EXPIRED)]
)
def test_only_a_released_warning_expires(history):
    assert warnings.expire(warning(*history), at=EXPIRES) == []


def test_nothing_does_not_expire():
    assert warnings.expire(None, at=EXPIRES) == []


def test_only_one_update_takes_a_warnings_place():
    updated = warning(DRAFTED, RELEASED, UPDATED)

    assert code_of(Refused, lambda: warnings.mark_updated(updated, by_warning="w3")) == "warning.updated"
