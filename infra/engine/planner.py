"""Turns decisions into plans: when the log calls for one, reads the audience as of that event and writes the shards.

The list of what waits is a view (projections/plans.py), so a crash at any point leaves the trigger on the list; ids of
shards are derived, so planning again writes nothing twice; `plan.made` takes the trigger off the list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import structlog

from domain import planning, relays, shards
from domain.errors import FenghuoError, Refused, VersionConflict
from domain.events import Event
from domain.ids import plan_stream, relay_stream, shard_stream
from domain.people import Person
from domain.planning import PlanMade, Told
from domain.ports import Append, Clock, Origin
from domain.rulepacks import LevelRule
from domain.shards import Purpose, ShardPlanned
from domain.stations import Hierarchy
from domain.warnings import Status, WarningState
from infra.engine.follower import Follower
from infra.log.store import EventLog
from projections.follower import Views

_log = structlog.get_logger("fenghuo.planner")

APPEND_EVENTS = 100  # appends of one plan go to the log in portions of this many events
PAGE = 2_000  # people read at a time
ENDS = ("updated", "cancelled")  # triggers after which nothing more of the warning is sent
SETTLE_S = 120.0  # how long a cancellation waits for the answers to what was being sent


class Planner:
    """`offer` hears of shards as soon as they are durable, before the views do."""

    def __init__(
        self,
        log: EventLog,
        views: Views,
        follower: Follower,
        clock: Clock,
        offer: Callable[[Sequence[ShardPlanned]], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._offer = offer
        self._views = views
        self._follower = follower
        self._clock = clock
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._failed = asyncio.Event()

    async def run(self) -> None:
        try:
            while True:
                self._failed.clear()
                position = self._views.position
                for trigger in await asyncio.to_thread(self._pending):
                    if trigger["event_id"] not in self._busy:
                        self._start(trigger)
                await self._wait(position)
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def _wait(self, position: int) -> None:
        """Until the views moved, or a plan that failed is to be taken up again."""
        waits: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._follower.moved(position)),
            asyncio.create_task(self._failed.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _pending(self) -> list[dict[str, Any]]:
        with self._views.reading() as db:
            return self._views.plans.pending(db)

    def _start(self, trigger: dict[str, Any]) -> None:
        task = asyncio.create_task(self._guarded(trigger), name=f"plan-{trigger['event_id']}")
        self._busy[trigger["event_id"]] = task
        task.add_done_callback(lambda _: self._busy.pop(trigger["event_id"], None))

    async def _guarded(self, trigger: dict[str, Any]) -> None:
        try:
            await self.plan(trigger)
            return
        except FenghuoError as error:
            _log.error("plan_failed", trigger=trigger["kind"], warning_id=trigger["warning_id"], code=error.code)
        except Exception:  # a fault of ours must not end the plan in silence
            _log.exception("plan_failed", trigger=trigger["kind"], warning_id=trigger["warning_id"])
        await asyncio.sleep(1)
        self._failed.set()  # it stays on the list and is taken up again

    async def plan(self, trigger: dict[str, Any]) -> None:
        """Plans one trigger to its end; planning it again changes nothing."""
        origin = Origin(
            actor="system:planner",
            correlation_id=trigger["correlation_id"],
            causation_id=trigger["event_id"],
            rule_pack_id=await asyncio.to_thread(self._rules, trigger["warning_id"]),
        )
        if trigger["kind"] in ENDS:
            await self._stop_sending(trigger["warning_id"], origin)
        portions = self._portions(trigger)
        made: PlanMade | None = None
        while appends := await asyncio.to_thread(next, portions, None):
            await self._append_new(appends, origin)
            made = appends[-1].events[-1] if isinstance(appends[-1].events[-1], PlanMade) else None
        assert made is not None
        _log.info(
            "planned",
            trigger=trigger["kind"],
            warning_id=trigger["warning_id"],
            shards=made.shards,
            recipients=made.recipients,
            as_of=made.as_of,
        )

    def _rules(self, warning_id: str) -> str | None:
        with self._views.reading() as db:
            row = self._views.warnings.one(db, warning_id)
        return row["rule_pack_id"] if row else None

    async def _append_new(self, appends: Sequence[Append], origin: Origin) -> None:
        try:
            await self._log.append(appends, origin)
            self._offer([event for append in appends for event in append.events if isinstance(event, ShardPlanned)])
        except VersionConflict:
            for one in appends:  # a plan that was cut off: write what is missing
                try:
                    await self._log.append([one], origin)
                except VersionConflict:
                    continue

    def _portions(self, trigger: dict[str, Any]) -> Iterator[list[Append]]:
        """The plan, as appends of at most APPEND_EVENTS events; last `plan.made`, which says that all before is there.

        Reads the audience as of the trigger page by page, so that a plan takes the same memory for any number of
        people. Each step is taken in a thread, of which it may be another one each time.
        """
        as_of = int(trigger["position"])
        tally = _Tally()
        with self._views.reading() as db:
            row = self._views.warnings.one(db, trigger["warning_id"])
            if row is None:
                raise Refused("plan.no_warning", "The warning of this plan is not in the views.")
            warning = self._views.warnings.state(db, trigger["warning_id"])
            pack = self._views.directory.rule_pack_by_id(db, row["rule_pack_id"])
            hierarchy = self._views.directory.hierarchy(db)
        if row["released_at"] is not None:  # else a draft was withdrawn: it reached nobody
            if warning is None or pack is None:
                raise Refused("plan.no_rules", "The rule pack of the release is not in the views.")
            rule = pack.levels[warning.content.level]
            ended = warning.status is not Status.RELEASED and trigger["kind"] not in ENDS
            nodes, pages = ([], ()) if ended else self._told(hierarchy, trigger, warning, rule, as_of)
            yield from _in_portions(_relays(warning, nodes, row["released_at"], rule))
            purpose = {"cancelled": Purpose.CANCEL, "escalated": Purpose.ESCALATION}.get(
                trigger["kind"], Purpose.NOTICE
            )
            planned = planning.shards_of(
                tally.told(pages), trigger_event_id=trigger["event_id"], warning=warning, rule=rule, purpose=purpose
            )
            yield from _in_portions(Append(shard_stream(shard.shard_id), 0, [shard]) for shard in tally.shards(planned))
        made = PlanMade(
            trigger_event_id=trigger["event_id"],
            warning_id=trigger["warning_id"],
            as_of=as_of,
            shards=tally.count,
            recipients=tally.recipients,
            unreachable=tally.unreachable,
        )
        yield [Append(plan_stream(trigger["event_id"]), 0, [made])]

    def _told(
        self, hierarchy: Hierarchy, trigger: dict[str, Any], warning: WarningState, rule: LevelRule, as_of: int
    ) -> tuple[list[str], Iterable[tuple[list[Person], list[Told]]]]:
        """(nodes to open relays for, pages of those who are meant and of by which channels they are told).

        Pages come node by node and by the ids of people, as `planning.shards_of` needs them.
        """
        match trigger["kind"]:
            case "released":
                nodes = planning.concerned(warning.content.target, hierarchy)
                return nodes, self._released(nodes, rule, as_of)
            case "passed" if not rule.direct:
                return [], self._passed(trigger["node_id"], rule, as_of)
            case "escalated" if trigger["action"] == "deputy":
                page = [p for people in self._at([trigger["node_id"]], as_of) for p in people]
                return [], [([], planning.in_order(planning.deputies_told(page, rule)))]
            case "escalated" if trigger["action"] == "parent":
                parent = hierarchy.nodes[trigger["node_id"]].parent
                page = [p for people in self._at([parent] if parent else [], as_of) for p in people]
                return [], [([], planning.in_order(planning.staff_told(page, rule)))]
            case "cancelled":
                with self._views.reading() as db:
                    return [], [([], planning.in_order(self._views.deliveries.reached(db, warning.warning_id)))]
        return [], ()

    def _released(self, nodes: Sequence[str], rule: LevelRule, as_of: int) -> Iterator[tuple[list[Person], list[Told]]]:
        for page in self._at(nodes, as_of):
            told = list(planning.staff_told(page, rule))
            if rule.direct:
                told += planning.people_told(page, rule)
            yield [p for p in page if planning.is_staff(p) or rule.direct], told

    def _passed(self, node_id: str, rule: LevelRule, as_of: int) -> Iterator[tuple[list[Person], list[Told]]]:
        for page in self._at([node_id], as_of):
            people = [p for p in page if not planning.is_staff(p)]
            yield people, list(planning.people_told(people, rule))

    def _at(self, nodes: Sequence[str], as_of: int) -> Iterator[list[Person]]:
        """Who is at these nodes as of a position, in pages that are never of two nodes."""
        for node_id in nodes:
            after = ""
            while True:
                with self._views.reading() as db:
                    page = self._views.directory.audience_page(db, node_id, as_of, after=after, limit=PAGE)
                if page:
                    yield page
                    after = page[-1].person_id
                if len(page) < PAGE:
                    break

    async def _stop_sending(self, warning_id: str, origin: Origin) -> None:
        """Ends what is still being sent, so that "those reached" is a fact before they are told."""
        stopped: set[str] = set()
        try:
            async with asyncio.timeout(SETTLE_S):
                while True:
                    await self._follower.reached(await self._log.last_position())
                    position = self._views.position
                    plans_wait, left = await asyncio.to_thread(self._still_sending, warning_id)
                    if not plans_wait and not left:
                        return
                    fresh = [shard_id for shard_id in left if shard_id not in stopped]
                    for shard_id in fresh:
                        await self._log.execute(shard_stream(shard_id), shards.evolve, _stop, origin)
                    stopped.update(fresh)
                    if not fresh:
                        await self._follower.moved(position)
        except TimeoutError:
            _log.warning("cancel_unsettled", warning_id=warning_id)

    def _still_sending(self, warning_id: str) -> tuple[bool, list[str]]:
        with self._views.reading() as db:
            plans = self._views.plans.pending(db)
            wait = any(t["warning_id"] == warning_id and t["kind"] not in ENDS for t in plans)
            return wait, self._views.deliveries.unfinished(db, warning_id)


class _Tally:
    """Counts what goes by while a plan is made."""

    def __init__(self) -> None:
        self.count = self.recipients = 0
        self.unreachable: dict[str, int] = {}

    def told(self, pages: Iterable[tuple[list[Person], list[Told]]]) -> Iterator[Told]:
        for meant, told in pages:
            for person in meant:
                if not person.channels:
                    self.unreachable[person.node_id] = self.unreachable.get(person.node_id, 0) + 1
            self.recipients += len({t.person_id for t in told})
            yield from told

    def shards(self, planned: Iterable[ShardPlanned]) -> Iterator[ShardPlanned]:
        for shard in planned:
            self.count += 1
            yield shard


def _relays(warning: WarningState, nodes: Sequence[str], at: datetime, rule: LevelRule) -> Iterator[Append]:
    for node_id in nodes:
        opened = relays.open_relay(None, warning_id=warning.warning_id, node_id=node_id, at=at, rule=rule)
        yield Append(relay_stream(warning.warning_id, node_id), 0, opened)


def _in_portions(appends: Iterator[Append]) -> Iterator[list[Append]]:
    while portion := list(islice(appends, APPEND_EVENTS)):
        yield portion


def _stop(state: shards.Shard | None) -> list[Event]:
    return shards.stop(state)
