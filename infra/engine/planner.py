"""Turns decisions into plans: when the log calls for one, reads the audience as of that event and writes the shards.

The list of what waits is a view (projections/plans.py), so a crash at any point leaves the trigger on the list; ids of
shards are derived, so planning again writes nothing twice; `plan.made` takes the trigger off the list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection

from domain import planning, relays, shards
from domain.errors import FenghuoError, Refused, VersionConflict
from domain.events import Event
from domain.ids import plan_stream, relay_stream, shard_stream
from domain.people import Channel, Person
from domain.planning import PlanMade, Told
from domain.ports import Append, Clock, Origin
from domain.rulepacks import LevelRule
from domain.shards import Purpose, ShardPlanned
from domain.warnings import Status, WarningState
from infra.engine.follower import Follower
from infra.log.store import EventLog
from projections.follower import Views

_log = structlog.get_logger("fenghuo.planner")

APPEND_EVENTS = 200  # appends of one plan go to the log in portions of this many events
ENDS = ("updated", "cancelled")  # triggers after which nothing more of the warning is sent
PURPOSES = {"cancelled": Purpose.CANCEL, "escalated": Purpose.ESCALATION, "asked": Purpose.ASK}
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
        appends, made, position = await asyncio.to_thread(self._made, trigger)
        appends.append(Append(plan_stream(trigger["event_id"]), 0, [made]))  # last: it says that all before it is there
        for start in range(0, len(appends), APPEND_EVENTS):
            await self._append_new(appends[start : start + APPEND_EVENTS], origin)
        _log.info(
            "planned",
            trigger=trigger["kind"],
            warning_id=trigger["warning_id"],
            shards=made.shards,
            recipients=made.recipients,
            as_of=position,
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

    def _made(self, trigger: dict[str, Any]) -> tuple[list[Append], PlanMade, int]:
        """Reads the audience as of the trigger and works out the plan. In a thread of its own."""
        as_of = int(trigger["position"])
        with self._views.reading() as db:
            row = self._views.warnings.one(db, trigger["warning_id"])
            if row is None:
                raise Refused("plan.no_warning", "The warning of this plan is not in the views.")
            warning = self._views.warnings.state(db, trigger["warning_id"])
            if row["released_at"] is None:  # a draft was withdrawn: it reached nobody
                return [], _nobody(trigger, as_of), as_of
            pack = self._views.directory.rule_pack_by_id(db, row["rule_pack_id"])
            if warning is None or pack is None:
                raise Refused("plan.no_rules", "The rule pack of the release is not in the views.")
            rule = pack.levels[warning.content.level]
            ended = warning.status is not Status.RELEASED and trigger["kind"] not in ENDS
            nodes: list[str] = []
            told: list[Told] = []
            audience: list[Person] = []
            if not ended:
                nodes, audience, told = self._told(db, trigger, warning, rule, as_of)
        purpose = PURPOSES.get(trigger["kind"], Purpose.NOTICE)
        planned = planning.plan(told, trigger_event_id=trigger["event_id"], warning=warning, rule=rule, purpose=purpose)
        appends = [
            Append(
                relay_stream(warning.warning_id, node_id),
                0,
                relays.open_relay(
                    None, warning_id=warning.warning_id, node_id=node_id, at=row["released_at"], rule=rule
                ),
            )
            for node_id in nodes
        ]
        appends += [Append(shard_stream(shard.shard_id), 0, [shard]) for shard in planned]
        unreachable: dict[str, int] = {}
        for person in audience:
            if not person.channels:
                unreachable[person.node_id] = unreachable.get(person.node_id, 0) + 1
        made = PlanMade(
            trigger_event_id=trigger["event_id"],
            warning_id=warning.warning_id,
            as_of=as_of,
            shards=len(planned),
            recipients=len({t.person_id for t in told}),
            unreachable=unreachable,
        )
        return appends, made, as_of

    def _told(
        self, db: Connection, trigger: dict[str, Any], warning: WarningState, rule: LevelRule, as_of: int
    ) -> tuple[list[str], list[Person], list[Told]]:
        """(nodes to open relays for, all those who are meant, by which channels they are told)."""
        directory = self._views.directory
        hierarchy = directory.hierarchy(db)

        def at(nodes: Sequence[str]) -> list[Person]:
            return list(directory.audience(db, nodes, as_of))

        match trigger["kind"]:
            case "released":
                nodes = planning.concerned(warning.content.target, hierarchy)
                everybody = at(nodes)
                staff, people = list(planning.staff_told(everybody, rule)), list(planning.people_told(everybody, rule))
                told = staff + people if rule.direct else staff
                meant = [p for p in everybody if planning.is_staff(p) or rule.direct]
                return nodes, meant, told
            case "passed" if not rule.direct:
                everybody = [p for p in at([trigger["node_id"]]) if not planning.is_staff(p)]
                return [], everybody, list(planning.people_told(everybody, rule))
            case "escalated" if trigger["action"] == "deputy":
                return [], [], list(planning.deputies_told(at([trigger["node_id"]]), rule))
            case "escalated" if trigger["action"] == "parent":
                parent = hierarchy.nodes[trigger["node_id"]].parent
                return [], [], list(planning.staff_told(at([parent]), rule)) if parent else []
            case "asked":
                person = directory.person(db, trigger["person_id"])
                return [], [], list(planning.asked(person, Channel(trigger["action"]))) if person else []
            case "cancelled":
                return [], [], self._views.deliveries.reached(db, warning.warning_id)
        return [], [], []

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


def _nobody(trigger: dict[str, Any], as_of: int) -> PlanMade:
    return PlanMade(
        trigger_event_id=trigger["event_id"], warning_id=trigger["warning_id"], as_of=as_of, shards=0, recipients=0
    )


def _stop(state: shards.Shard | None) -> list[Event]:
    return shards.stop(state)
