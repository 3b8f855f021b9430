"""Whatever is asked of warnings, in whatever order: what has ended stays ended, and every update has a parent."""

from __future__ import annotations

import itertools
from datetime import timedelta

from given import EXPIRES, NOW, PACK, content, pack
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import warnings
from domain.errors import FenghuoError
from domain.events import Event, fold
from domain.warnings import ENDED, Status, WarningState, WarningUpdated

IDS = ("w1", "w2", "w3")
people = st.sampled_from(["ann", "bob"])
times = st.sampled_from([NOW, EXPIRES - timedelta(seconds=1), EXPIRES])
packs = st.sampled_from([PACK, pack(orange={"two_person": False})])
commands = st.one_of(
    st.tuples(st.just("draft"), people, st.sampled_from(["Flood", "Fire"]), st.none() | st.sampled_from(IDS)),
    st.tuples(st.just("revise"), people, st.sampled_from(["Flood", "Fire", "Quake"])),
    st.tuples(st.just("release"), people, times, packs, st.booleans(), st.sampled_from(["", "alone"])),
    st.tuples(st.just("cancel"), people, st.sampled_from(["", "mistake"])),
    st.tuples(st.just("expire"), times),
)
sequences = st.lists(st.tuples(st.sampled_from(IDS), commands), max_size=25)


class Warnings:
    """The streams of a few warnings, decided upon as the desk does it."""

    def __init__(self) -> None:
        self.streams: dict[str, list[Event]] = {warning_id: [] for warning_id in IDS}

    def state(self, warning_id: str) -> WarningState | None:
        return fold(warnings.evolve, self.streams[warning_id])

    def ask(self, warning_id: str, command: tuple) -> list[Event]:
        """What the command writes; nothing at all where it is refused."""
        state = self.state(warning_id)
        written = {warning_id: self._decide(state, warning_id, command)}
        if command[0] == "release" and written[warning_id] and state is not None and state.updates is not None:
            written[state.updates] = warnings.mark_updated(self.state(state.updates), by_warning=warning_id)
        for stream, events in written.items():
            self.streams[stream] += events
        return written[warning_id]

    def _decide(self, state: WarningState | None, warning_id: str, command: tuple) -> list[Event]:
        match command:
            case ("draft", actor, event, updates):
                parent = self.state(updates) if updates not in (None, warning_id) else None
                return warnings.draft(
                    state, warning_id=warning_id, content=content(event=event), actor=actor, parent=parent
                )
            case ("revise", actor, event):
                return warnings.revise(state, content=content(event=event), actor=actor)
            case ("release", actor, at, rules, glass, reason):
                return warnings.release(state, actor=actor, pack=rules, at=at, break_glass=glass, reason=reason)
            case ("cancel", actor, reason):
                return warnings.cancel(state, actor=actor, reason=reason)
            case ("expire", at):
                return warnings.expire(state, at=at)
        raise AssertionError(command)


@settings(max_examples=150, deadline=None)
@given(sequences)
def test_nothing_happens_after_the_end_and_every_prefix_folds(sequence):
    all_of_them = Warnings()
    for warning_id, command in sequence:
        ended = {i for i in IDS if (s := all_of_them.state(i)) is not None and s.status in ENDED}
        before = {i: list(events) for i, events in all_of_them.streams.items()}
        parents = {i for i in IDS if (s := all_of_them.state(i)) is not None and s.status is Status.RELEASED}
        try:
            written = all_of_them.ask(warning_id, command)
        except FenghuoError:
            assert before == all_of_them.streams
            continue
        for event in written:
            updates = getattr(event, "updates", None)
            assert updates is None or updates in parents
        assert {i: before[i] for i in ended} == {i: all_of_them.streams[i] for i in ended}
    for warning_id, events in all_of_them.streams.items():
        states = [fold(warnings.evolve, prefix) for prefix in itertools.accumulate([[e] for e in events])]
        assert len(events) == sum(state is not None and state.warning_id == warning_id for state in states)


@settings(max_examples=100, deadline=None)
@given(sequences)
def test_whoever_is_updated_is_updated_by_a_released_warning_that_names_it(sequence):
    all_of_them = Warnings()
    for warning_id, command in sequence:
        try:
            all_of_them.ask(warning_id, command)
        except FenghuoError:
            continue
    for warning_id, events in all_of_them.streams.items():
        for event in events:
            if isinstance(event, WarningUpdated):
                successor = all_of_them.state(event.updated_by_warning)
                assert (warning_id, True) == (successor.updates, successor.released_by is not None)
