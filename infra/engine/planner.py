"""Turns decisions into plans: when the log calls for one, reads the audience as of that event and writes the shards.

The list of what waits is a view (projections/plans.py), so a crash at any point leaves the trigger on the list; ids of
shards are derived, so planning again writes nothing twice; `plan.made` takes the trigger off the list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from api.audience import Asked
from api.told import at_relay, at_release, holders, left_out
from domain import planning, relays, shards
from domain.errors import FenghuoError, Refused, VersionConflict
from domain.events import Event
from domain.ids import derived, plan_stream, relay_stream, shard_stream
from domain.people import Channel, Person
from domain.planning import PlanMade, Told
from domain.ports import Append, Clock, Origin, Vault
from domain.rulepacks import LevelRule
from domain.shards import Circle, Purpose, ShardPlanned
from domain.warnings import Status, WarningState
from infra.engine.follower import Follower
from infra.log.store import EventLog
from projections.follower import Views

_log = structlog.get_logger("fenghuo.planner")

APPEND_EVENTS = 200  # appends of one plan go to the log in portions of this many events
ENDS = ("updated", "cancelled")  # triggers after which nothing more of the warning is sent
PURPOSES = {
    "cancelled": Purpose.CANCEL,
    "updated": Purpose.CANCEL,
    "escalated": Purpose.ESCALATION,
    "asked": Purpose.ASK,
}
SETTLE_S = 120.0  # how long a cancellation waits for the answers to what was being sent


class Planner:
    """`offer` hears of shards as soon as they are durable, before the views do."""

    def __init__(
        self,
        log: EventLog,
        views: Views,
        follower: Follower,
        clock: Clock,
        vault: Vault,
        offer: Callable[[Sequence[ShardPlanned]], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._offer = offer
        self._views = views
        self._follower = follower
        self._clock = clock
        self._vault = vault
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
        elif corrected := await asyncio.to_thread(self._corrected, trigger):
            await self._stop_sending(corrected, origin)
        appends, made, position = await asyncio.to_thread(self._made, trigger)
        last = Append(plan_stream(trigger["event_id"]), 0, [made])  # it says that all before it is there
        cut_off = False
        for start in range(0, len(appends), APPEND_EVENTS):
            cut_off |= not await self._append_new(appends[start : start + APPEND_EVENTS], origin)
        if cut_off:
            await self._append_new(await self._left_out(appends), origin)
        await self._append_new([last], origin)
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

    def _corrected(self, trigger: dict[str, Any]) -> str | None:
        """The warning whose words a release corrects: who has them must be known before they are told."""
        with self._views.reading() as db:
            row = self._views.warnings.one(db, trigger["warning_id"])
        return row["updates"] if row and row["correction"] and trigger["kind"] == "released" else None

    async def _append_new(self, appends: Sequence[Append], origin: Origin) -> bool:
        """Appends what is not there yet; False where some of it was."""
        if not appends:
            return True
        try:
            await self._log.append(appends, origin)
            self._offer([event for append in appends for event in append.events if isinstance(event, ShardPlanned)])
            return True
        except VersionConflict:
            for one in appends:  # a plan that was cut off: write what is missing
                try:
                    await self._log.append([one], origin)
                except VersionConflict:
                    continue
            return False

    async def _left_out(self, appends: Sequence[Append]) -> list[Append]:
        """Shards for those whom a plan that was cut off has in no shard: none, unless somebody was forgotten since.

        Who is forgotten drops out of an audience that asks where people are. The others then stand in shards whose
        places were taken before.
        """
        wanted = [event for append in appends for event in append.events if isinstance(event, ShardPlanned)]
        there: set[tuple[str, str]] = set()
        for plan in wanted:
            state, _ = await self._log.load(shard_stream(plan.shard_id), shards.evolve)
            if state is not None:
                there.update((person_id, state.plan.channel) for person_id in state.plan.recipients)
        rest = [
            msgspec.structs.replace(plan, shard_id=derived("rest", plan.shard_id), recipients=left)
            for plan in wanted
            if (left := tuple(who for who in plan.recipients if (who, plan.channel) not in there))
        ]
        return [Append(shard_stream(plan.shard_id), 0, [plan]) for plan in rest]

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
            meant: list[Person] = []
            if not ended:
                nodes, meant, told = self._told(db, trigger, warning, rule, as_of, row["released_at"])
            purpose = self._purpose(db, trigger)
            event_id, there = trigger["event_id"], 0
            known: set[tuple[str, Channel]] = set()
            if purpose is Purpose.CANCEL or (warning.correction and trigger["kind"] == "released"):
                # Whom a warning reached may read otherwise after a crash: who stands in the plan already stays in it,
                # and who is missing comes into shards of their own.
                there, known = self._views.deliveries.planned(db, warning.warning_id, purpose)
                told = [t for t in told if (t.person_id, t.channel) not in known]
                event_id = f"{event_id}+{there}" if there else event_id
        staff: dict[str, set[str]] = {}
        for one in told:
            if one.circle is Circle.STAFF:
                staff.setdefault(one.node_id, set()).add(one.person_id)
        escalated = trigger["kind"] == "escalated"
        planned = planning.plan(
            told,
            trigger_event_id=event_id,
            warning=warning,
            rule=rule,
            purpose=purpose,
            quiet=None if purpose is Purpose.ASK else pack.quiet,  # who has just answered is awake
        )
        appends = [
            Append(
                relay_stream(warning.warning_id, node_id),
                0,
                relays.open_relay(
                    None,
                    warning_id=warning.warning_id,
                    node_id=node_id,
                    at=row["released_at"],
                    rule=rule,
                    staff=staff.get(node_id, ()),
                ),
            )
            for node_id in nodes
        ]
        appends += [Append(shard_stream(shard.shard_id), 0, [shard]) for shard in planned]
        unreachable: dict[str, int] = {}
        for person in meant:
            if not person.channels:
                unreachable[person.node_id] = unreachable.get(person.node_id, 0) + 1
        made = PlanMade(
            trigger_event_id=trigger["event_id"],
            warning_id=warning.warning_id,
            as_of=as_of,
            shards=len(planned) + there,
            recipients=len({t.person_id for t in told} | {who for who, _ in known}),
            unreachable=unreachable,
            node_id=trigger["node_id"] if escalated else None,
            told=tuple(sorted({t.person_id for t in told})) if escalated else (),
        )
        return appends, made, as_of

    def _told(
        self,
        db: Connection,
        trigger: dict[str, Any],
        warning: WarningState,
        rule: LevelRule,
        as_of: int,
        released_at: datetime,
    ) -> tuple[list[str], list[Person], list[Told]]:
        """(nodes to open relays for, all those who are meant, by which channels they are told).

        Where people are is judged at the release, whenever and however often the plan is made.
        """
        asked = Asked(self._views, db, self._vault, as_of, released_at)
        hierarchy = asked.hierarchy

        match trigger["kind"]:
            case "released":
                meant = at_release(asked, warning, rule)
                return list(meant.nodes), list(meant.people), list(meant.told)
            case "passed":
                meant = at_relay(asked, [trigger["node_id"]], warning.content.target, rule)
                return [], list(meant.people), list(meant.told)
            case "escalated":
                node_id = trigger["node_id"]
                parent = hierarchy.nodes[node_id].parent
                turns = self._views.roster.on_duty(db, [n for n in (node_id, parent) if n], trigger["at"], as_of)
                chased = planning.chased(
                    trigger["action"],
                    rule,
                    own=asked.at([node_id]),
                    above=asked.at([parent]) if parent and trigger["action"] == "parent" else [],
                    on_duty={turn.person_id for turn in turns.values()},
                    spared=trigger["spared"],
                )
                return [], [], chased
            case "stepped":
                return [], [], self._climbing(db, trigger["step"])
            case "asked":
                person = self._views.directory.person(db, trigger["person_id"])
                return [], [], list(planning.asked(person, Channel(trigger["action"]))) if person else []
            case "cancelled":
                return [], [], holders(self._views, db, warning.warning_id)
            case "updated":
                after = self._views.warnings.state(db, warning.updated_by) if warning.updated_by else None
                left = left_out(asked, warning.warning_id, after) if after else []
                return [], [], left
        return [], [], []

    def _climbing(self, db: Connection, step: dict[str, Any]) -> list[Told]:
        """Those of a shard who are taken to their next rung, at the node and in the language that they had."""
        shard = self._views.ladder.shard(db, step["shard_id"])
        if shard is None:
            raise Refused("plan.no_shard", "The shard of this step is not in the views.")
        return [
            Told(
                shard["node_id"],
                Circle(shard["circle"]),
                Channel(channel),
                shard["language"],
                shard["recipients"][index],
                rung=step["rung"],
                climbs=True,
            )
            for channel, indices in step["to"].items()
            for index in indices
        ]

    def _purpose(self, db: Connection, trigger: dict[str, Any]) -> Purpose:
        if trigger["kind"] == "stepped":
            shard = self._views.ladder.shard(db, trigger["step"]["shard_id"])
            return Purpose(shard["purpose"]) if shard else Purpose.NOTICE
        return PURPOSES.get(trigger["kind"], Purpose.NOTICE)

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
