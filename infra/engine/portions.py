"""What a plan holds, portion by portion: who is meant by a trigger as of its position, and the shards that they make.

Reads the views and writes nothing; `planner.py` writes it down.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from api.audience import Asked
from api.told import Meant, at_relay, at_release, exactly, holders, left_out
from domain import planning, relays
from domain.errors import Refused
from domain.ids import plan_stream, relay_stream, shard_stream
from domain.people import STAFF, Channel
from domain.planning import PlanMade, Told
from domain.ports import Append, Vault
from domain.rulepacks import LevelRule
from domain.shards import Circle, Purpose, ShardPlanned
from domain.warnings import Status, WarningState
from infra.engine.tally import Tally
from projections.follower import Views
from projections.warnings import state_of

FIRST = 100  # recipients that go to the log at once, at first: somebody is being told while the rest is planned
PORTION = 1_000  # and from then on: what the views take in within a moment
ENDS = ("updated", "cancelled")  # triggers after which nothing more of the warning is sent
PURPOSES = {
    "cancelled": Purpose.CANCEL,
    "updated": Purpose.CANCEL,
    "escalated": Purpose.ESCALATION,
    "asked": Purpose.ASK,
}


class Portions:
    def __init__(self, views: Views, vault: Vault) -> None:
        self._views = views
        self._vault = vault

    def of(self, trigger: dict[str, Any]) -> Iterator[list[Append]]:
        """The plan, as appends for FIRST recipients and then PORTION at a time; last `plan.made`.

        Reads the audience as of the trigger page by page, so that a plan takes the same memory for any number of
        people. Each step is taken in a thread, of which it may be another one each time.
        """
        as_of, event_id = int(trigger["position"]), trigger["event_id"]
        tally = Tally()
        with self._views.reading() as db:
            row = self._views.warnings.one(db, trigger["warning_id"])
            if row is None:
                raise Refused("plan.no_warning", "The warning of this plan is not in the views.")
            pack = self._views.directory.rule_pack_by_id(db, row["rule_pack_id"])
        escalated = trigger["kind"] == "escalated"
        if row["released_at"] is not None:  # else a draft was withdrawn: it reached nobody
            if pack is None:
                raise Refused("plan.no_rules", "The rule pack of the release is not in the views.")
            warning = state_of(row)
            rule = pack.levels[warning.content.level]
            ended = warning.status is not Status.RELEASED and trigger["kind"] not in ENDS
            # Where people are is judged at the release, whenever and however often the plan is made.
            asked = Asked(self._views, self._vault, as_of, row["released_at"])
            meant = Meant() if ended else self._told(asked, trigger, warning, rule)
            purpose = self._purpose(trigger)
            told = tally.told(meant.pages, by_name=escalated)
            if purpose is Purpose.CANCEL or (warning.correction and trigger["kind"] == "released"):
                # Whom a warning reached may read otherwise after a crash: who stands in the plan already stays in it,
                # and who is missing comes into shards of their own.
                with self._views.reading() as db:
                    there, known = self._views.deliveries.planned(db, warning.warning_id, purpose)
                told = (t for t in told if (t.person_id, t.channel) not in known)
                event_id = f"{event_id}+{there}" if there else event_id
                tally.count, tally.known = there, {who for who, _ in known}
            planned = planning.planned(
                told,
                trigger_event_id=event_id,
                warning=warning,
                rule=rule,
                purpose=purpose,
                quiet=None if purpose is Purpose.ASK else pack.quiet,  # who has just answered is awake
            )
            opened = _relays(warning, meant, row["released_at"], rule)
            shards_ = (Append(shard_stream(shard.shard_id), 0, [shard]) for shard in tally.shards(planned))
            yield from _in_portions(itertools.chain(opened, shards_))
        made = PlanMade(
            trigger_event_id=trigger["event_id"],
            warning_id=trigger["warning_id"],
            as_of=as_of,
            shards=tally.count,
            recipients=tally.recipients + len(tally.known),
            unreachable=tally.unreachable,
            node_id=trigger["node_id"] if escalated else None,
            told=tuple(sorted(tally.names)),
        )
        yield [Append(plan_stream(trigger["event_id"]), 0, [made])]

    def _told(self, asked: Asked, trigger: dict[str, Any], warning: WarningState, rule: LevelRule) -> Meant:
        """Whom a trigger is about, node by node and by the ids of people, as `planning.shards_of` needs them."""
        views = self._views
        match trigger["kind"]:
            case "released":
                return at_release(asked, warning, rule)
            case "passed":
                return at_relay(asked, [trigger["node_id"]], warning.content.target, rule)
            case "escalated":
                node_id = trigger["node_id"]
                parent = asked.hierarchy.nodes[node_id].parent
                nodes = [n for n in (node_id, parent) if n]
                with views.reading() as db:
                    turns = views.roster.on_duty(db, nodes, trigger["at"], asked.as_of)
                return exactly(
                    planning.chased(
                        trigger["action"],
                        rule,
                        own=asked.at([node_id], STAFF),
                        above=asked.at([parent], STAFF) if parent and trigger["action"] == "parent" else [],
                        on_duty={turn.person_id for turn in turns.values()},
                        spared=trigger["spared"],
                    )
                )
            case "stepped":
                return exactly(self._climbing(trigger["step"]))
            case "asked":
                with views.reading() as db:
                    person = views.directory.person(db, trigger["person_id"])
                return exactly(planning.asked(person, Channel(trigger["action"])) if person else ())
            case "cancelled":
                with views.reading() as db:
                    return exactly(holders(views, db, warning.warning_id))
            case "updated" if warning.updated_by:
                with views.reading() as db:
                    after = views.warnings.state(db, warning.updated_by)
                return exactly(left_out(asked, warning.warning_id, after) if after else ())
        return Meant()

    def _climbing(self, step: dict[str, Any]) -> list[Told]:
        """Those of a shard who are taken to their next rung, at the node and in the language that they had."""
        with self._views.reading() as db:
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

    def _purpose(self, trigger: dict[str, Any]) -> Purpose:
        if trigger["kind"] == "stepped":
            with self._views.reading() as db:
                shard = self._views.ladder.shard(db, trigger["step"]["shard_id"])
            return Purpose(shard["purpose"]) if shard else Purpose.NOTICE
        return PURPOSES.get(trigger["kind"], Purpose.NOTICE)


def _relays(warning: WarningState, meant: Meant, at: datetime, rule: LevelRule) -> Iterator[Append]:
    for node_id in meant.nodes:
        opened = relays.open_relay(
            None,
            warning_id=warning.warning_id,
            node_id=node_id,
            at=at,
            rule=rule,
            staff=meant.staff.get(node_id, ()),
        )
        yield Append(relay_stream(warning.warning_id, node_id), 0, opened)


def _in_portions(appends: Iterator[Append]) -> Iterator[list[Append]]:
    portion: list[Append] = []
    recipients, most = 0, min(FIRST, PORTION)
    for append in appends:
        portion.append(append)
        recipients += sum(len(event.recipients) for event in append.events if isinstance(event, ShardPlanned))
        if recipients >= most or len(portion) >= PORTION:
            yield portion
            portion, recipients, most = [], 0, PORTION
    if portion:
        yield portion
