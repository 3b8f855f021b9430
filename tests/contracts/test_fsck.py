"""Verification knows every kind of stream that there is: a log in which nothing was altered is never called broken."""

from __future__ import annotations

import inspect

from views_rig import lived

from domain import ids
from infra.fsck import EVOLVE, _folded


def test_every_kind_of_stream_is_folded() -> None:
    streams = [made for name, made in vars(ids).items() if name.endswith("_stream")]
    kinds = {ids.category(made(*("x" for _ in inspect.signature(made).parameters))) for made in streams}
    assert kinds == set(EVOLVE)


def test_every_stream_of_a_log_with_a_bit_of_everything_folds() -> None:
    states: dict[str, object] = {}
    for recorded in lived().events:
        states[recorded.stream] = _folded(states.get(recorded.stream), recorded)
    assert {ids.category(stream) for stream in states} >= {"feed", "ladder", "rate", "reachtest", "relay", "shard"}
