"""What views make of a log does not depend on where batches end, whatever comes after whatever, on either database."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from views_rig import content

from domain.answers import Answer, AnswerAskedBack, AnswerReceived, AnswerSettled
from domain.cases import ActionKind, CaseActionRecorded, CaseClosed, CaseTasked, Place
from domain.events import Event, Metadata, Recorded
from domain.outcomes import Outcome, Row
from domain.people import Channel
from domain.private import Sealed
from domain.relays import RelayAcknowledged, RelayAssessed, RelayDelivered, RelayEscalated, RelayOpened, RelayPassed
from domain.rulepacks import Lane, Level, standard
from domain.shards import ChunkRecorded, Circle, Purpose, ReceiptsRecorded, ShardPlanned
from domain.warnings import Release, WarningDrafted, WarningExpired, WarningReleased
from projections.inbox import Inbox
from projections.projection import Projection
from projections.timers import Timers
from projections.tree import Tree

NOW = datetime(2026, 7, 1, tzinfo=UTC)
WARNINGS, NODES, PEOPLE = ("w1", "w2"), ("rome", "milan"), ("ann", "ben", "cho")
SEALED = Sealed("ann", "case-c1@1", "box")
STEPS = standard().levels[Level.RED].escalation

warnings, nodes, people = (st.sampled_from(words) for words in (WARNINGS, NODES, PEOPLE))
shards = st.sampled_from([(f"{w}.{n}", w, n) for w in WARNINGS for n in NODES])
lines = st.builds(Row, st.integers(0, 2), st.sampled_from([Outcome.ACCEPTED, Outcome.REFUSED]), st.just(1))
answers = st.sampled_from(list(Answer))


@st.composite
def _planned(draw: st.DrawFn) -> ShardPlanned:
    shard_id, warning_id, node_id = draw(shards)
    return ShardPlanned(
        shard_id=shard_id,
        warning_id=warning_id,
        node_id=node_id,
        circle=Circle.PEOPLE,
        purpose=Purpose.NOTICE,
        channel=Channel.SMS,
        language="zh-CN",
        lane=Lane.NORMAL,
        recipients=PEOPLE,
        valid_until=NOW,
    )


relays: dict[str, Any] = {"warning_id": warnings, "node_id": nodes, "by": st.just("head")}
cases: dict[str, Any] = {"case_id": st.sampled_from(["c1", "c2"])}
acts = st.one_of(
    _planned(),
    st.builds(ChunkRecorded, shard_id=shards.map(lambda s: s[0]), rows=st.lists(lines, max_size=3).map(tuple)),
    st.builds(ReceiptsRecorded, shard_id=shards.map(lambda s: s[0]), rows=st.lists(lines, max_size=3).map(tuple)),
    st.builds(
        AnswerReceived,
        warning_id=warnings,
        person_id=people,
        node_id=nodes,
        answer=answers,
        channel=st.just("sms"),
        late=st.booleans(),
        personal=st.none(),
        provider_ref=st.just(""),
    ),
    st.builds(AnswerSettled, warning_id=warnings, person_id=people, node_id=nodes, by=st.just("x"), meaning=answers),
    st.builds(
        RelayOpened,
        warning_id=warnings,
        node_id=nodes,
        opened_at=st.just(NOW),
        steps=st.sampled_from([(), STEPS]),
        relay_on_acknowledge=st.booleans(),
        direct=st.booleans(),
        quota=st.integers(0, 3),
        staff=st.just(("head", "deputy", "clerk")),
    ),
    st.builds(RelayAcknowledged, **relays, channel=st.just("sms"), missing=st.integers(0, 2)),
    st.builds(RelayPassed, **relays, automatic=st.booleans()),
    st.builds(AnswerAskedBack, warning_id=warnings, person_id=people, node_id=nodes, channel=st.just(Channel.SMS)),
    st.builds(RelayDelivered, warning_id=warnings, node_id=nodes, channel=st.just("sms")),
    st.builds(RelayAssessed, **relays, harm=st.just("minor"), personal=st.just(SEALED)),
    st.builds(
        RelayEscalated,
        warning_id=warnings,
        node_id=nodes,
        step=st.integers(1, 3),
        action=st.just("deputy"),
        after_s=st.just(60),
    ),
    st.builds(WarningDrafted, warning_id=warnings, content=st.just(content(Level.RED)), drafted_by=st.just("officer1")),
    st.builds(
        WarningReleased,
        warning_id=warnings,
        release=st.just(Release.TWO_PERSON),
        released_by=st.just("officer2"),
    ),
    st.builds(WarningExpired, warning_id=warnings),
    st.builds(CaseTasked, **cases, node_id=nodes, tasked_by=st.just("x"), instruction=st.just("go")),
    st.builds(
        CaseActionRecorded,
        **cases,
        node_id=nodes,
        actor=st.just("x"),
        kind=st.sampled_from(list(ActionKind)),
        place=st.just(Place(country="IT")),
        personal=st.just(SEALED),
    ),
    st.builds(CaseClosed, **cases, closed_by=st.just("x"), result=st.just("done")),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(acts, max_size=30), st.sets(st.integers(1, 29)))
def test_wherever_batches_end_the_rows_are_the_same(engine: Engine, events: list[Event], cuts: set[int]) -> None:
    log = [_recorded(event, n) for n, event in enumerate(_planned_once(events), 1)]
    one_by_one = _rows(engine, [[r] for r in log])
    assert _rows(engine, _cut(log, cuts)) == one_by_one
    assert _rows(engine, [log]) == one_by_one


def _planned_once(events: list[Event]) -> list[Event]:
    first = {e.shard_id: n for n, e in reversed(list(enumerate(events))) if isinstance(e, ShardPlanned)}
    return [e for n, e in enumerate(events) if not isinstance(e, ShardPlanned) or first[e.shard_id] == n]


def _cut(log: list[Recorded], cuts: set[int]) -> list[list[Recorded]]:
    ends = [0, *sorted(cut for cut in cuts if cut < len(log)), len(log)]
    return [log[begin:end] for begin, end in itertools.pairwise(ends)]


def _rows(engine: Engine, batches: list[list[Recorded]]) -> list[Any]:
    views: tuple[Projection, ...] = (Tree(), Inbox(), Timers())
    with engine.begin() as db:
        for view in views:
            view.metadata.create_all(db)
            for batch in batches:
                view.apply(batch, db)
        found = [row for view in views for row in view.dump(db)]
        db.rollback()
    return found


def _recorded(event: Event, position: int) -> Recorded:
    at = NOW + timedelta(minutes=position)
    meta = Metadata(event_id=f"e{position}", recorded_at=at, actor="x", correlation_id="c")
    return Recorded(f"warning-{getattr(event, 'warning_id', 'w1')}", position, meta, event, position)
