"""Derives everything again and compares: the proofs, every event, every stream, every view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from domain import (
    answers,
    cases,
    commands,
    feeds,
    grants,
    ladder,
    people,
    rates,
    reach,
    relays,
    roster,
    rulepacks,
    shards,
    stations,
    warnings,
)
from domain.errors import VerificationFailed
from domain.events import Event, Recorded
from domain.ids import category
from infra.log.recorders import check_sqlite
from infra.stores import Stores
from projections.follower import BATCH, Views
from projections.sqlite import sqlite_views

EVOLVE: dict[str, Callable[[Any, Event], Any]] = {
    "answer": answers.evolve,
    "case": cases.evolve,
    "command": commands.evolve,
    "feed": feeds.evolve,
    "grant": grants.evolve,
    "ladder": ladder.evolve,
    "node": stations.evolve,
    "person": people.evolve,
    "plan": lambda _, event: event,
    "rate": rates.evolve,
    "reachtest": reach.evolve,
    "receipts": lambda _, event: event,
    "relay": relays.evolve,
    "roster": roster.evolve,
    "rulepack": rulepacks.evolve,
    "shard": shards.evolve,
    "token": grants.evolve_token,
    "warning": warnings.evolve,
}
"""How the streams of each category fold."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked. `signed` is the size of the last signed checkpoint."""

    events: int
    streams: int
    signed: int
    views: dict[str, str]


def verify(stores: Stores, on_event: Callable[[int], None] | None = None) -> Verified:
    """Derives everything again from the log. Raises VerificationFailed with the first thing that does not fit."""
    if not stores.shared:
        check_file(stores.folder)
    stores.prover.verify(on_event)
    signed = stores.prover.signed()
    events, streams = _fold_all(stores)
    stores.views.catch_up(stores.log.read_now)
    position, stored = stores.views.snapshot()
    fresh = rebuilt(stores, position)
    try:
        wrong = [name for name, digest in fresh.fingerprints().items() if stored.get(name) != digest]
    finally:
        fresh.close()
    if wrong:
        raise VerificationFailed(
            "views.differ",
            f"These views are not what the log gives: {', '.join(wrong)}.",
            "Rebuild them: fenghuo views rebuild.",
        )
    return Verified(events=events, streams=streams, signed=signed, views=stored)


def check_file(folder: Path) -> None:
    """Raises VerificationFailed where SQLite finds the log's file damaged. To be asked before the log is opened."""
    broken = check_sqlite(folder / "log.sqlite")
    if broken:
        raise VerificationFailed("log.damaged", f"The log's file is damaged: {broken[0]}.", "Restore a backup.")


def rebuilt(stores: Stores, upto: int | None, on_batch: Callable[[int], None] | None = None) -> Views:
    """All views folded afresh in memory, to a position: what replay shows and what verification compares with."""
    views = Views(sqlite_views(None))
    views.catch_up(stores.log.read_now, upto, on_batch)
    return views


def _fold_all(stores: Stores) -> tuple[int, int]:
    """Reads every event, and folds every stream in the order of its versions."""
    states: dict[str, tuple[int, Any]] = {}
    after = count = 0
    while batch := stores.log.read_now(after, BATCH):
        for r in batch:
            version, state = states.get(r.stream, (0, None))
            if r.version != version + 1:
                raise VerificationFailed(
                    "log.version_gap",
                    f"{r.stream} goes from version {version} to {r.version} at position {r.position}.",
                )
            states[r.stream] = (r.version, _folded(state, r))
        count += len(batch)
        after = batch[-1].position
    return count, len(states)


def _folded(state: Any, r: Recorded) -> Any:
    evolve = EVOLVE.get(category(r.stream))
    if evolve is None:
        raise VerificationFailed("log.unknown_stream", f"Nothing is known of the stream {r.stream}.")
    return evolve(state, r.event)
