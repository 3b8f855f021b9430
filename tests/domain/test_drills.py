"""Drills and corrections: no drill turns real and nothing real a drill; a correction names what it puts right."""

from __future__ import annotations

import contextlib

import pytest
from given import CANCELLED, DRAFTED, NOW, PACK, RELEASED, UPDATED, WORDS, code_of, content, person, warning
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import cases, planning, warnings
from domain.cases import Source
from domain.content import Text
from domain.errors import FenghuoError, InvalidInput, Refused
from domain.events import Event, fold
from domain.people import Role
from domain.planning import staff_told
from domain.rulepacks import Lane, Level
from domain.shards import Purpose
from domain.warnings import Release, Status, WarningDrafted, WarningState

DRILL = WarningDrafted(warning_id="w1", content=content(drill=True), drafted_by="author")


def release(state: WarningState, actor: str = "author", **more):
    return warnings.release(state, actor=actor, pack=PACK, at=NOW, **more)


@pytest.mark.parametrize("level", list(Level))
def test_a_drill_needs_one_person_whatever_its_level(level):
    drill = warning(WarningDrafted(warning_id="w1", content=content(drill=True, level=level), drafted_by="author"))

    (released,) = release(drill)
    assert (released.release, released.real_channels) == (Release.SINGLE, False)
    assert warning(DRILL, released).sandboxed


def test_a_real_warning_is_never_sandboxed_and_still_needs_two():
    assert not warning(DRAFTED, RELEASED).sandboxed
    assert code_of(Refused, lambda: release(warning(DRAFTED))) == "warning.second_person"


def test_a_drill_over_the_real_channels_says_why():
    drill = warning(DRILL)

    assert code_of(Refused, lambda: release(drill, real_channels=True, reason="  ")) == "warning.reason_missing"
    (released,) = release(drill, real_channels=True, reason="quarterly")
    assert (released.real_channels, released.reason) == (True, "quarterly")
    assert not warning(DRILL, released).sandboxed


def test_only_of_a_drill_is_it_said_that_it_goes_over_the_real_channels():
    state = warning(DRAFTED)

    assert code_of(InvalidInput, lambda: release(state, "second", real_channels=True, reason="x")) == (
        "warning.not_a_drill"
    )


@pytest.mark.parametrize("drill", [True, False])
def test_no_revision_turns_one_into_the_other(drill):
    state = warning(DRILL if drill else DRAFTED)
    other = content(drill=not drill, event="Fire")

    assert code_of(Refused, lambda: warnings.revise(state, content=other, actor="a")) == "warning.drill_kind"
    assert warnings.revise(state, content=content(drill=drill, event="Fire"), actor="a")


@pytest.mark.parametrize("correction", [True, False])
@pytest.mark.parametrize("drill", [True, False])
def test_no_update_turns_one_into_the_other(drill, correction):
    parent = warning(DRILL if drill else DRAFTED, RELEASED)

    def update(kind: bool) -> list[Event]:
        return warnings.draft(
            None, warning_id="w2", content=content(drill=kind), actor="a", parent=parent, correction=correction
        )

    assert code_of(Refused, lambda: update(not drill)) == "warning.drill_kind"
    (drafted,) = update(drill)
    assert (drafted.updates, drafted.correction, drafted.content.drill) == ("w1", correction, drill)


@pytest.mark.parametrize("level", list(Level))
def test_the_shards_of_a_drill_are_in_its_own_lane_and_say_where_they_go(level):
    drafted = WarningDrafted(warning_id="w1", content=content(drill=True, level=level), drafted_by="author")
    rule = PACK.levels[level]
    told = list(staff_told([person("ann", role=Role.HEAD)], rule))
    for more in ({}, {"real_channels": True, "reason": "quarterly"}):
        state = warning(drafted, *release(warning(drafted), **more))
        (shard,) = planning.plan(told, trigger_event_id="e", warning=state, rule=rule, purpose=Purpose.NOTICE)
        assert (shard.lane, shard.sandboxed) == (Lane.DRILL, not more)


def test_a_case_from_a_drill_is_marked():
    fields = {"node_id": "milan", "opened_by": "ann", "warning_id": "w1", "person_id": "ann", "personal": None}
    (opened,) = cases.open_case(None, case_id="c", source=Source.HELP_ANSWER, drill=True, **fields)

    assert opened.drill


# Corrections ----------------------------------------------------------------------------------------------------------


def correct(parent: WarningState | None, **changes):
    return warnings.draft(None, warning_id="w2", content=content(**changes), actor="a", parent=parent, correction=True)


def test_a_correction_names_what_it_corrects():
    assert code_of(InvalidInput, lambda: correct(None)) == "warning.correction_of_nothing"
    (drafted,) = correct(warning(DRAFTED, RELEASED), event="Fire")
    assert (drafted.updates, drafted.correction) == ("w1", True)


@pytest.mark.parametrize("ended", [UPDATED, CANCELLED])
def test_what_has_ended_is_not_corrected(ended):
    parent = warning(DRAFTED, RELEASED, ended)

    assert code_of(Refused, lambda: correct(parent)) == "warning.parent_not_released"


def test_a_correction_is_in_every_language_that_the_warning_went_out_in():
    both = content(texts=(WORDS, Text(language="it", headline="Alluvione")))
    parent = warning(WarningDrafted(warning_id="w1", content=both, drafted_by="a"), RELEASED)

    assert code_of(Refused, lambda: correct(parent)) == "warning.correction_language"
    (drafted,) = correct(parent, texts=both.texts)
    state = fold(
        warnings.evolve, [drafted, *warnings.revise(fold(warnings.evolve, [drafted]), content=content(), actor="a")]
    )
    assert code_of(Refused, lambda: release(state, "second", parent=parent)) == "warning.correction_language"


def test_drafting_a_correction_again_changes_nothing_and_drafting_it_as_an_update_is_refused():
    parent = warning(DRAFTED, RELEASED)
    state = fold(warnings.evolve, correct(parent))

    def again(correction: bool) -> list[Event]:
        return warnings.draft(
            state, warning_id="w2", content=content(), actor="a", parent=parent, correction=correction
        )

    assert again(True) == []
    assert code_of(Refused, lambda: again(False)) == "warning.exists"


def test_a_correction_of_a_drill_goes_where_the_drill_went():
    for real in (True, False):
        parent = warning(DRILL, *release(warning(DRILL), real_channels=real, reason="quarterly"))
        state = fold(warnings.evolve, correct(parent, drill=True))
        (released,) = release(state, parent=parent)
        assert released.real_channels is real


# Whatever is asked for ------------------------------------------------------------------------------------------------

IDS = ("w1", "w2", "w3")
flags = st.booleans()
commands = st.one_of(
    st.tuples(st.just("draft"), flags, flags, st.none() | st.sampled_from(IDS)),
    st.tuples(st.just("revise"), flags, st.sampled_from(["Flood", "Fire"])),
    st.tuples(st.just("release"), st.sampled_from(["a", "b"]), flags, flags, st.sampled_from(["", "why"])),
    st.tuples(st.just("cancel"), st.sampled_from(["", "why"])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(IDS), commands), max_size=25))
def test_no_sequence_of_commands_turns_a_drill_into_the_real_or_the_real_into_a_drill(sequence):
    streams: dict[str, list[Event]] = {warning_id: [] for warning_id in IDS}

    def state(warning_id: str | None) -> WarningState | None:
        return fold(warnings.evolve, streams[warning_id]) if warning_id else None

    def decide(warning_id: str, command: tuple) -> list[Event]:
        now = state(warning_id)
        match command:
            case ("draft", drill, correction, updates):
                parent = state(updates) if updates != warning_id else None
                return warnings.draft(
                    now,
                    warning_id=warning_id,
                    content=content(drill=drill),
                    actor="a",
                    parent=parent,
                    correction=correction,
                )
            case ("revise", drill, event):
                return warnings.revise(now, content=content(drill=drill, event=event), actor="a")
            case ("release", actor, glass, real, reason):
                return warnings.release(
                    now,
                    actor=actor,
                    pack=PACK,
                    at=NOW,
                    break_glass=glass,
                    reason=reason,
                    real_channels=real,
                    parent=state(now.updates) if now else None,
                )
            case ("cancel", reason):
                return warnings.cancel(now, actor="a", reason=reason)
        raise AssertionError(command)

    first: dict[str, bool] = {}
    for warning_id, command in sequence:
        with contextlib.suppress(FenghuoError):
            streams[warning_id] += decide(warning_id, command)
        for known in IDS:
            now = state(known)
            if now is None:
                continue
            assert now.content.drill is first.setdefault(known, now.content.drill)
            assert now.content.drill or not (now.sandboxed or now.real_channels)
            if now.updates is not None:
                assert first[now.updates] is now.content.drill
            if now.real_channels:
                assert now.status is not Status.DRAFT
