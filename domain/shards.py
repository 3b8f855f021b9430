"""Shards: the unit of sending, and its ledger.

A shard is at most 500 people of one node, told in one language over one channel. Its stream is a ledger: planned,
leased by a worker, then for each chunk the intent before anything is sent and the outcomes after. An intent without
outcomes after a crash is `unknown`, written down as such, and tried again: never silence, never an unexplained repeat.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.errors import Refused
from domain.events import Event, topic
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.rulepacks import Lane

SHARD_SIZE = 500
FIRST_SIZE = 100  # of the first of its kind: it is on its way while the others are planned


class Purpose(StrEnum):
    """Why people are told: the warning itself, silence below them, its withdrawal, an answer of theirs that was not
    clear, or to see whether it arrives.
    """

    NOTICE = "notice"
    ESCALATION = "escalation"
    CANCEL = "cancel"
    ASK = "ask"
    TEST = "test"  # whether a contact point works; about no warning


TELLING = frozenset({Purpose.NOTICE, Purpose.ESCALATION})
"""What tells of a warning, and counts as telling of it."""


class Circle(StrEnum):
    """`staff` act for their node, `people` are warned."""

    STAFF = "staff"
    PEOPLE = "people"


@topic("shard.planned")
class ShardPlanned(Event, frozen=True, kw_only=True):
    """`quiet` are the hours (from, to), by each recipient's own clock, in which they are not to be woken; with `wakes`
    they are told all the same, and the message says why.

    `rung` of the recipients' ladders, from 0; `receipt_limit_s`: after so many seconds without a receipt the next one
    is tried (0: there is none). A test names the test in `warning_id`.
    `sandboxed`: of a drill, whose messages stay in this program.
    """

    shard_id: str
    warning_id: str
    node_id: str
    circle: Circle
    purpose: Purpose
    channel: Channel
    language: str
    lane: Lane
    recipients: tuple[str, ...]
    valid_until: datetime
    quiet: tuple[int, int] | None = None
    wakes: bool = False
    rung: int = 0
    receipt_limit_s: int = 0
    sandboxed: bool = False


@topic("shard.leased")
class ShardLeased(Event, frozen=True, kw_only=True):
    shard_id: str
    worker: str
    until: datetime


@topic("shard.chunk_intended")
class ChunkIntended(Event, frozen=True, kw_only=True):
    """These recipients are about to be sent to."""

    shard_id: str
    indices: tuple[int, ...]


class Spent(msgspec.Struct, frozen=True, array_like=True):
    """What one provider charges for a chunk: segments (or calls), and millionths of its currency."""

    provider: str
    segments: int
    cost: int


@topic("shard.chunk_recorded")
class ChunkRecorded(Event, frozen=True, kw_only=True):
    shard_id: str
    rows: tuple[Row, ...]
    spent: tuple[Spent, ...] = ()


@topic("shard.held")
class ShardHeld(Event, frozen=True, kw_only=True):
    """It is night where these recipients are: nothing was sent to them, and `retry_at` is when their night ends."""

    shard_id: str
    rows: tuple[Row, ...]


@topic("shard.stopped")
class ShardStopped(Event, frozen=True, kw_only=True):
    """No further intent: the warning was withdrawn."""

    shard_id: str
    reason: Reason


@topic("shard.receipts_recorded")
class ReceiptsRecorded(Event, frozen=True, kw_only=True):
    """What the provider said later of messages that it had accepted; in a stream of its own beside the ledger."""

    shard_id: str
    rows: tuple[Row, ...]


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A shard's ledger, folded. `attempts` and `due` are by recipient index; `open` were intended and not recorded."""

    plan: ShardPlanned
    worker: str = ""
    leased_until: datetime | None = None
    attempts: dict[int, int] = msgspec.field(default_factory=dict)
    due: dict[int, datetime | None] = msgspec.field(default_factory=dict)
    open: frozenset[int] = frozenset()
    stopped: bool = False

    @property
    def finished(self) -> bool:
        return not self.open and (self.stopped or not self.due)

    def ready(self, now: datetime) -> list[int]:
        """Recipients to be sent to now, first attempts first."""
        if self.stopped:
            return []
        return [i for i, at in self.due.items() if i not in self.open and (at is None or at <= now)]

    def hurried(self, now: datetime) -> Shard:
        """With everything due now that is to be tried again: when it was said to be is by a clock that was set back."""
        due = {i: None if at is None else min(at, now) for i, at in self.due.items()}
        return msgspec.structs.replace(self, due=due)

    def next_due(self) -> datetime | None:
        """When the next retry is due, where only retries are left."""
        return min((at for i, at in self.due.items() if at is not None and i not in self.open), default=None)


def lease(state: Shard | None, *, worker: str, now: datetime, until: datetime) -> list[Event]:
    """Takes the shard for `worker`. Refused when nothing is left to do, or while another worker's lease runs and
    something of it is under way: who leaves nothing open is done with it, and a retry is for whoever comes first.
    """
    shard = _existing(state)
    if shard.finished:
        raise Refused("shard.finished", "Nothing is left to do.")
    held = shard.open and shard.leased_until is not None and now < shard.leased_until
    if held and shard.worker != worker:
        raise Refused("shard.leased", "Another worker holds this shard.")
    return [ShardLeased(shard_id=shard.plan.shard_id, worker=worker, until=until)]


def in_doubt(state: Shard, *, retry_at: datetime | None) -> list[Event]:
    """What a new holder writes first: whatever was intended and never recorded is unknown."""
    if not state.open:
        return []
    rows = tuple(
        Row(i, Outcome.UNKNOWN, state.attempts.get(i, 0) + 1, Reason.CRASH, "", retry_at) for i in sorted(state.open)
    )
    return [ChunkRecorded(shard_id=state.plan.shard_id, rows=rows)]


def intend(state: Shard, indices: tuple[int, ...]) -> list[Event]:
    if state.stopped:
        raise Refused("shard.stopped", "The warning was withdrawn.")
    return [ChunkIntended(shard_id=state.plan.shard_id, indices=indices)]


def hold(state: Shard, until: dict[int, datetime]) -> list[Event]:
    """Lets recipients sleep, each until their moment. It is no attempt: nothing was sent, and nothing is in doubt."""
    if not until:  # of a stopped shard, too: its holder may have come for what is in doubt
        return []
    if state.stopped:
        raise Refused("shard.stopped", "The warning was withdrawn.")
    stray = [index for index in until if index in state.open or index not in state.due]
    if stray:
        raise Refused("shard.not_waiting", f"Recipients {stray} are not waiting to be sent to.")
    rows = tuple(
        Row(i, Outcome.DEFERRED, state.attempts.get(i, 0), Reason.QUIET_HOURS, "", at) for i, at in until.items()
    )
    return [ShardHeld(shard_id=state.plan.shard_id, rows=rows)]


def record(state: Shard, rows: tuple[Row, ...], spent: tuple[Spent, ...] = ()) -> list[Event]:
    stray = [row.index for row in rows if row.index not in state.open]
    if stray:
        raise Refused("shard.not_intended", f"Recipients {stray} were not intended.")
    return [ChunkRecorded(shard_id=state.plan.shard_id, rows=rows, spent=spent)]


def stop(state: Shard | None) -> list[Event]:
    shard = _existing(state)
    if shard.stopped or not (shard.due or shard.open):
        return []
    return [ShardStopped(shard_id=shard.plan.shard_id, reason=Reason.STOPPED)]


def evolve(state: Shard | None, event: Event) -> Shard | None:
    match event:
        case ShardPlanned():
            return Shard(plan=event, due=dict.fromkeys(range(len(event.recipients))))
        case ShardLeased() if state:
            return msgspec.structs.replace(state, worker=event.worker, leased_until=event.until)
        case ChunkIntended() if state:
            return msgspec.structs.replace(state, open=state.open | frozenset(event.indices))
        case ChunkRecorded() if state:
            attempts, due = dict(state.attempts), dict(state.due)
            for row in event.rows:
                attempts[row.index] = row.attempt
                if row.retry_at is None:
                    due.pop(row.index, None)
                else:
                    due[row.index] = row.retry_at
            return msgspec.structs.replace(
                state, attempts=attempts, due=due, open=state.open - {row.index for row in event.rows}
            )
        case ShardHeld() if state:
            return msgspec.structs.replace(state, due={**state.due, **{row.index: row.retry_at for row in event.rows}})
        case ShardStopped() if state:
            return msgspec.structs.replace(state, stopped=True)
    return state


def _existing(state: Shard | None) -> Shard:
    if state is None:
        raise Refused("shard.unknown", "There is no such shard.")
    return state
