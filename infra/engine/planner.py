"""Turns decisions into plans: when the log calls for one, writes down the shards of its audience as of that event.

The list of what waits is a view (projections/plans.py), so a crash at any point leaves the trigger on the list; ids of
shards are derived, so planning again writes nothing twice; `plan.made` takes the trigger off the list. What a plan
holds is read in portions.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import structlog

from domain import planning, shards
from domain.errors import FenghuoError, UnknownEvent, VersionConflict
from domain.events import Event, Recorded
from domain.ids import derived, shard_stream
from domain.planning import PlanMade
from domain.ports import Append, Clock, Origin, Vault
from domain.rulepacks import LANES, Lane
from domain.shards import ShardPlanned
from infra.engine.follower import Follower
from infra.engine.left import Left
from infra.engine.portions import ENDS, Portions
from infra.log.store import EventLog
from infra.traces import span
from notifiers.head_start import HeadStart
from notifiers.pause import ended, first_of
from projections.follower import Views
from projections.warnings import state_of

_log = structlog.get_logger("fenghuo.planner")

SETTLE_S = 120.0  # how long those who were reached wait for the answers to what was being sent to others


class Planner:
    """`offer` hears of shards as soon as they are durable, before the views do."""

    def __init__(
        self,
        log: EventLog,
        views: Views,
        follower: Follower,
        clock: Clock,
        vault: Vault,
        offer: Callable[[Sequence[Recorded]], None] = lambda _: None,
        left: Left | None = None,
        head_start: HeadStart | None = None,
    ) -> None:
        self._head_start = head_start or HeadStart()
        self._log = log
        self._offer = offer
        self._left = left if left is not None else Left()
        self._views = views
        self._follower = follower
        self._clock = clock
        self._portions = Portions(views, vault)
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._failed = asyncio.Event()
        self._turns = {lane: asyncio.Lock() for lane in LANES}

    async def run(self) -> None:
        try:
            while True:
                self._failed.clear()
                position = self._views.position
                for trigger in await asyncio.to_thread(self._pending):
                    self._start(trigger)
                await self._wait(position)
        finally:
            await ended(self._busy.values())

    async def _wait(self, position: int) -> None:
        """Until the views moved, or a plan that failed is to be taken up again."""
        await first_of(self._follower.moved(position), self._failed.wait())

    def _pending(self) -> list[dict[str, Any]]:
        """What waits for a plan, is not being planned, and was not left to a newer program."""
        plans = self._views.plans
        with self._views.reading() as db:
            waiting = [one for one in plans.waiting(db) if one not in self._busy and ("plan", one) not in self._left]
            return plans.named(db, waiting)

    def _start(self, trigger: dict[str, Any]) -> None:
        task = asyncio.create_task(self._guarded(trigger), name=f"plan-{trigger['event_id']}")
        self._busy[trigger["event_id"]] = task
        task.add_done_callback(lambda _: self._busy.pop(trigger["event_id"], None))

    async def _guarded(self, trigger: dict[str, Any]) -> None:
        structlog.contextvars.bind_contextvars(correlation_id=trigger["correlation_id"])  # of this task alone
        try:
            with span("plan", trigger=trigger["kind"], correlation_id=trigger["correlation_id"]):
                await self.plan(trigger)
            return
        except UnknownEvent:  # logged when it was met
            self._left.add("plan", trigger["event_id"])
            return
        except FenghuoError as error:
            _log.error("plan_failed", trigger=trigger["kind"], warning_id=trigger["warning_id"], code=error.code)
        except Exception:  # a fault of ours must not end the plan in silence
            _log.exception("plan_failed", trigger=trigger["kind"], warning_id=trigger["warning_id"])
        await asyncio.sleep(1)
        self._failed.set()  # it stays on the list and is taken up again

    async def plan(self, trigger: dict[str, Any]) -> None:
        """Plans one trigger to its end; planning it again changes nothing."""
        rule_pack_id, lane, corrected = await asyncio.to_thread(self._terms, trigger)
        origin = Origin(
            actor="system:planner",
            correlation_id=trigger["correlation_id"],
            causation_id=trigger["event_id"],
            rule_pack_id=rule_pack_id,
        )
        ended = trigger["warning_id"] if trigger["kind"] in ENDS else corrected
        with self._head_start.running(lane):
            settled = await self._round(trigger, origin, lane, ended)
        while not settled:  # without a head start: nobody is to hold still for what waits for answers
            await self._follower.moved(await self._log.last_position() - 1)  # or somebody could be planned twice
            settled = await self._round(trigger, origin, lane, ended)

    async def _round(self, trigger: dict[str, Any], origin: Origin, lane: Lane, ended: str | None) -> bool:
        """Plans it whole once nothing of the warning `ended` is being sent any more, and says so by True.

        Where that takes long, those whom it is known to have reached are told at once. The others are not known yet:
        the trigger stays on the list, and they have another round.
        """
        settled = ended is None or await self._stop_sending(ended, origin)
        await self._plan(trigger, origin, lane, whole=settled)
        return settled

    async def _plan(self, trigger: dict[str, Any], origin: Origin, lane: Lane, *, whole: bool) -> None:
        portions = self._portions.of(trigger)
        made: PlanMade | None = None
        first, cut_off = lane is Lane.EXTREME, False
        while made is None:
            async with self._turn(lane):
                appends: list[Append] = await asyncio.to_thread(next, portions)
                last = appends[-1].events[-1]
                if isinstance(last, PlanMade):  # it says that all before it is there
                    made = last
                    if cut_off:
                        await self._append_new(await self._left_out(trigger), origin)
                    if not whole:
                        return
                    await self._append_new(appends, origin)
                else:
                    cut_off |= not await self._append_new(appends, origin)
            if first and made is None:
                first = False
                await self._head_start.sent()  # to plan the rest would take the processor from who tells the first
        _log.info(
            "planned",
            trigger=trigger["kind"],
            warning_id=trigger["warning_id"],
            shards=made.shards,
            recipients=made.recipients,
            as_of=made.as_of,
        )

    def _terms(self, trigger: dict[str, Any]) -> tuple[str | None, Lane, str | None]:
        """(the rules of a release, the lane in which they have it sent, the warning whose words it corrects).

        Who has the words that are corrected must be known before they are told.
        """
        with self._views.reading() as db:
            row = self._views.warnings.one(db, trigger["warning_id"])
            if row is None:
                return None, Lane.NORMAL, None
            pack = self._views.directory.rule_pack_by_id(db, row["rule_pack_id"]) if row["rule_pack_id"] else None
        corrects = row["correction"] and trigger["kind"] == "released"
        warning = state_of(row)
        lane = planning.lane_of(warning, pack.levels[warning.content.level]) if pack else Lane.NORMAL
        return row["rule_pack_id"], lane, row["updates"] if corrects else None

    @contextlib.asynccontextmanager
    async def _turn(self, lane: Lane) -> AsyncIterator[None]:
        """The turn to plan a portion. Below the extreme lane there is one at a time, and the next begins once the views
        have it: what they are behind is what an extreme warning, which is planned by them, would wait for."""
        if lane is Lane.EXTREME:
            yield
            return
        async with self._turns[lane]:
            await self._head_start.past(lane)
            yield
            await self._follower.eased(await self._log.last_position())

    async def _append_new(self, appends: Sequence[Append], origin: Origin) -> bool:
        """Appends what is not there yet; False where some of it was."""
        if not appends:
            return True
        try:
            recorded = await self._log.append(appends, origin)
            self._offer([r for r in recorded if isinstance(r.event, ShardPlanned)])
            return True
        except VersionConflict:
            for one in appends:  # a plan that was cut off: write what is missing
                try:
                    await self._log.append([one], origin)
                except VersionConflict:
                    continue
            return False

    async def _left_out(self, trigger: dict[str, Any]) -> list[Append]:
        """Shards for those whom a plan that was cut off has in no shard: none, unless somebody was forgotten since.

        Who is forgotten drops out of an audience that asks where people are. The others then stand in shards whose
        places were taken before.
        """

        def again() -> list[ShardPlanned]:
            appends = (append for portion in self._portions.of(trigger) for append in portion)
            return [event for append in appends for event in append.events if isinstance(event, ShardPlanned)]

        wanted = await asyncio.to_thread(again)
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

    async def _stop_sending(self, warning_id: str, origin: Origin) -> bool:
        """Ends what is still being sent, so that "those reached" is a fact before they are told; False where some of
        it has no outcome after SETTLE_S."""
        stopped: set[str] = set()
        try:
            async with asyncio.timeout(SETTLE_S):
                while True:
                    await self._follower.reached(await self._log.last_position())
                    position = self._views.position
                    plans_wait, left = await asyncio.to_thread(self._still_sending, warning_id)
                    if not plans_wait and not left:
                        return True
                    fresh = [shard_id for shard_id in left if shard_id not in stopped]
                    for shard_id in fresh:
                        await self._log.execute(shard_stream(shard_id), shards.evolve, _stop, origin)
                    stopped.update(fresh)
                    if not fresh:
                        await self._follower.moved(position)
        except TimeoutError:
            _log.warning("cancel_unsettled", warning_id=warning_id)
            return False

    def _still_sending(self, warning_id: str) -> tuple[bool, list[str]]:
        with self._views.reading() as db:
            plans = self._views.plans.pending(db)
            wait = any(t["warning_id"] == warning_id and t["kind"] not in ENDS for t in plans)
            return wait, self._views.deliveries.unfinished(db, warning_id)


def _stop(state: shards.Shard | None) -> list[Event]:
    return shards.stop(state)
