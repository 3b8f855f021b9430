"""What waits for a plan: each warning has its turn, whatever the others have piled up."""

from __future__ import annotations

from datetime import UTC, datetime

from domain.events import Event, Metadata, Recorded
from domain.planning import PlanMade
from domain.relays import RelayPassed
from projections.follower import Views
from projections.sqlite import sqlite_views

STATIONS = 100


def recorded(position: int, stream: str, event: Event) -> Recorded:
    meta = Metadata(
        event_id=f"e{position}",
        recorded_at=datetime(2026, 11, 1, tzinfo=UTC),
        actor="officer",
        correlation_id="c",
    )
    return Recorded(stream, 1, meta, event, position)


def passed(position: int, warning_id: str) -> Recorded:
    event = RelayPassed(warning_id=warning_id, node_id=f"n{position}", by="head")
    return recorded(position, f"relay-{warning_id}-{position}", event)


def test_one_that_very_many_stations_pass_on_hides_no_other() -> None:
    log = [passed(n, "bulk") for n in range(1, STATIONS + 1)] + [passed(STATIONS + 1, "urgent")]
    views = Views(sqlite_views(None))
    try:
        views.catch_up(lambda after, limit: log[after : after + limit])
        with views.reading() as db:
            pending = views.plans.pending(db, limit=3)
        assert [t["position"] for t in pending] == [1, 2, 3, STATIONS + 1]

        made = PlanMade(trigger_event_id="e2", warning_id="bulk", as_of=2, shards=1, recipients=1, unreachable={})
        log.append(recorded(STATIONS + 2, "plan-e2", made))
        views.catch_up(lambda after, limit: log[after : after + limit])
        with views.reading() as db:
            assert [t["position"] for t in views.plans.pending(db, limit=3)] == [1, 3, 4, STATIONS + 1]
    finally:
        views.close()
