"""Offsets under any order in which messages end: never past one that is not finished, and in the end past all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.kafka.clients import Part
from infra.kafka.offsets import Offsets

A, B = Part("t", 0), Part("t", 1)
reads = st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 3)), max_size=30)


@given(reads, st.randoms(use_true_random=False))
def test_only_what_all_before_it_are_finished_is_committed(steps, random):
    offsets, following = Offsets(), {A: 5, B: 0}
    begun, open_ = dict(following), set()
    told: dict[Part, int] = {}
    for part, gap in steps:
        offset = following[part] + gap - 1  # a partition has gaps: what was compacted, say
        following[part] = offset + 1
        offsets.read(part, offset)
        open_.add((part, offset))
        if open_ and random.random() < 0.6:
            done = random.choice(sorted(open_))
            open_.discard(done)
            offsets.finished(*done)
        now = offsets.to_commit()
        for of, safe in now.items():
            assert safe > told.get(of, begun[of] - 1)
            assert all(offset >= safe for where, offset in open_ if where == of)
        offsets.committed(now)
        told |= now
        assert offsets.to_commit() == {}
    for done in sorted(open_):
        offsets.finished(*done)
    told |= offsets.to_commit()
    assert told == {part: end for part, end in following.items() if end != begun[part]}


def test_what_is_somebody_elses_by_now_is_not_committed():
    offsets = Offsets()
    offsets.read(A, 3)
    offsets.forget([A])
    offsets.finished(A, 3)
    offsets.committed({A: 9})
    assert offsets.to_commit() == {}
