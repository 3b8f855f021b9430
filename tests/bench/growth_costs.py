"""What a command and a view cost on a log as it is: each is done a few times, and the middle of the times counts."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from api.commands import Actor
from domain.answers import Answer
from domain.cases import ActionKind, Place
from domain.grants import GrantRole, TokenKind
from domain.ids import warning_stream
from domain.outcomes import Outcome, Row
from domain.people import Channel, Role
from domain.rulepacks import Level
from domain.stations import Kind
from domain.warnings import evolve
from infra.runtime import Runtime
from infra.state import measure
from projections import backlog
from tests.bench.growth_log import quiet
from tests.bench.rig import FIRST, SECOND, SETUP, content, node, person

BARE = "bare"
TIMES = 7  # each command; views three times as often
NODE, LOCALS, PAGE = "local", 20, 50
HEAD = Actor(person_id="local-head", correlation_id="growth")
T = TypeVar("T")


async def settle(runtime: Runtime) -> None:
    """A station with people of its own, to which all that is measured happens."""
    registry = runtime.stores.registry
    await registry.register_nodes([node(NODE, Kind.STATION, "county")], SETUP)
    await runtime.stores.catch_up()
    people = [person(f"local-{n:05d}", NODE, Role.CITIZEN, (Channel.SMS,)) for n in range(LOCALS)]
    head = person(HEAD.person_id, NODE, Role.HEAD, ())
    await registry.register_people([(p, {"phone": f"+39349{n:07d}"}) for n, p in enumerate(people)], SETUP)
    await registry.register_people([(head, {"name": "x"})], SETUP)
    await registry.give_grant(
        SETUP, person_id=HEAD.person_id, role=GrantRole.STATION_HEAD, node_id=NODE, bootstrap=True
    )
    await runtime.stores.catch_up()
    desk = runtime.stores.desk
    for _ in range(PAGE):  # pages are full from the first length on
        opened = await desk.open_case(HEAD, node_id=NODE, text="门窗受损。")
        await desk.task(FIRST, opened.id, node_id=NODE, instruction="核实。")
    await runtime.stores.catch_up()


def bare() -> int:
    """Work that does not know of any log: how fast the machine is just now."""
    return sum(len(msgspec.json.encode({"n": n, "text": "x" * 200})) for n in range(1000))


class Costs:
    """Milliseconds by name."""

    def __init__(self) -> None:
        self.took: defaultdict[str, list[float]] = defaultdict(list)

    async def of(self, name: str, doing: Awaitable[T]) -> T:
        began = time.perf_counter()
        done = await doing
        self.took[name].append((time.perf_counter() - began) * 1000)
        return done

    def now(self, name: str, read: Callable[[], Any]) -> None:
        began = time.perf_counter()
        read()
        self.took[name].append((time.perf_counter() - began) * 1000)

    @property
    def medians(self) -> dict[str, float]:
        return {name: statistics.median(took) for name, took in self.took.items()}


async def commands(runtime: Runtime, turn: int) -> Costs:
    """Each command TIMES times, on a warning to the station alone; `turn` makes ids of this round's own."""
    found = Costs()
    for n in range(TIMES):
        found.now(BARE, bare)
        await _warning(runtime, found, f"{turn}-{n}")
        await _registry(runtime, found, f"{turn}-{n}")
    return found


async def _warning(runtime: Runtime, found: Costs, unique: str) -> None:
    stores, desk = runtime.stores, runtime.stores.desk
    wanted = content(Level.RED, target=NODE)
    done = await found.of("command.draft", desk.draft(FIRST, wanted))
    warning_id = done.id
    await stores.follower.reached(done.position)
    done = await found.of("command.revise", desk.revise(FIRST, warning_id, wanted))
    await stores.follower.reached(done.position)
    began = time.perf_counter()
    await found.of("command.release", desk.release(SECOND, warning_id))
    await quiet(runtime, warning_id)
    found.took["release_until_all_are_sent_to"].append((time.perf_counter() - began) * 1000)
    with stores.views.reading() as db:
        sent = stores.views.deliveries.page(db, warning_id, after=("", -1), limit=3)
    for row in sent:
        receipt = Row(row["idx"], Outcome.DELIVERED, 1)
        await found.of("command.receipt", runtime.receipts.record(row["shard_id"], receipt))
    await found.of("command.acknowledge", desk.acknowledge(HEAD, warning_id, NODE))
    await found.of("command.relay", desk.relay_on(HEAD, warning_id, NODE))
    await found.of("command.assess", desk.assess(HEAD, warning_id, NODE, harm="low", text="无人受伤。"))
    for who in ("local-00001", "local-00002"):
        answer = desk.answer(warning_id=warning_id, person_id=who, answer=Answer.SAFE, channel="sms", words="1")
        await found.of("command.answer", answer)
    opened = await found.of("command.case_open", desk.open_case(HEAD, node_id=NODE, text="门窗受损。"))
    await found.of("command.case_task", desk.task(FIRST, opened.id, node_id=NODE, instruction="核实。"))
    action = desk.record_action(
        HEAD, opened.id, node_id=NODE, kind=ActionKind.VERIFIED, place=Place(country="IT"), text="已核实。"
    )
    await found.of("command.case_action", action)
    await found.of("command.case_close", desk.close_case(FIRST, opened.id, result="已修。"))
    await quiet(runtime, warning_id)
    await found.of("command.cancel", desk.cancel(FIRST, warning_id, reason="警报解除。"))
    await quiet(runtime, warning_id)


async def _registry(runtime: Runtime, found: Costs, unique: str) -> None:
    stores = runtime.stores
    who = person(f"new-{unique}", NODE, Role.CITIZEN, (Channel.SMS,))
    await found.of("command.person", stores.registry.register_people([(who, {"phone": "+393470000000"})], SETUP))
    given = await found.of(
        "command.grant",
        stores.registry.give_grant(SETUP, person_id=who.person_id, role=GrantRole.LIAISON, node_id=NODE),
    )
    lasts = timedelta(hours=1)
    token = stores.registry.issue_token(who.person_id, TokenKind.BEARER, f"secret-{unique}", lasts, SETUP)
    await found.of("command.token", token)
    await found.of("command.revoke", stores.registry.revoke_grant(SETUP, given.id, reason="end"))
    await stores.catch_up()


async def views(runtime: Runtime) -> Costs:
    """Each view as a page or a part of the program asks it, about the newest that there is and about the station."""
    stores, found = runtime.stores, Costs()
    with stores.views.reading() as db:
        newest = stores.views.warnings.page(db, before=None, limit=1)[0]["warning_id"]
    asked = _asked(runtime, newest)

    def all_of_them() -> None:
        for _ in range(TIMES * 3):
            for name, read in asked.items():
                with stores.views.reading() as db:
                    found.now(name, lambda read=read, db=db: read(db))  # type: ignore[misc]
            found.now(BARE, bare)
            found.now("status", lambda: measure(stores))
            found.now("log.last_500", lambda: stores.log.read_now(stores.log.last_position_now() - 500, 500))
            found.now("log.stream", lambda: stores.log.load_now(warning_stream(newest), evolve))

    await asyncio.to_thread(all_of_them)
    return found


def _asked(runtime: Runtime, newest: str) -> dict[str, Callable[[Connection], Any]]:
    stores = runtime.stores
    v, now = stores.views, stores.clock.now()
    locals_ = [f"local-{n:05d}" for n in range(LOCALS)]
    end = stores.log.last_position_now()
    soon: datetime = now + timedelta(hours=1)
    return {
        "warnings.page": lambda db: v.warnings.page(db, before=None, limit=PAGE),
        "warnings.one": lambda db: v.warnings.one(db, newest),
        "inbox.page": lambda db: v.inbox.page(db, NODE, before=None, limit=PAGE),
        "tree.rows": lambda db: v.tree.rows(db, newest),
        "tree.totals": lambda db: v.tree.totals(db, newest),
        "plans.pending": v.plans.pending,
        "deliveries.queue": lambda db: v.deliveries.queue(db, now, "embedded", 32),
        "deliveries.next_due": lambda db: v.deliveries.next_due(db, now),
        "deliveries.counts": lambda db: v.deliveries.counts(db, newest),
        "deliveries.page": lambda db: v.deliveries.page(db, newest, after=("", -1), limit=200),
        "deliveries.of": lambda db: v.deliveries.of(db, newest),
        "deliveries.reached": lambda db: v.deliveries.reached(db, newest),
        "deliveries.latest_warning_of": lambda db: v.deliveries.latest_warning_of(db, locals_[0], Channel.SMS),
        "timers.due": lambda db: v.timers.due(db, now),
        "timers.next_due": v.timers.next_due,
        "cases.page": lambda db: v.cases.page(db, before=None, limit=PAGE),
        "cases.of_warning": lambda db: v.cases.of_warning(db, newest, [NODE], PAGE),
        "unclear.page": lambda db: v.unclear.page(db, limit=PAGE),
        "ladder.due": lambda db: v.ladder.due(db, soon),
        "contact_points.known": lambda db: v.contact_points.known(db, locals_),
        "contact_points.unreachable": lambda db: v.contact_points.unreachable(db, locals_, end),
        "whereabouts.of": lambda db: v.whereabouts.of(db, locals_),
        "directory.hierarchy": v.directory.hierarchy,
        "directory.grants": lambda db: v.directory.grants_of(db, FIRST.person_id),
        "directory.audience": lambda db: v.directory.audience_page(db, [NODE], end),
        "directory.people": lambda db: v.directory.people_by_id(db, locals_),
        "roster.on_duty": lambda db: v.roster.on_duty(db, [NODE], now),
        "feeds.rows": v.feeds.rows,
        "rates.all": v.rates.all,
        "backlog.lanes": lambda db: backlog.lanes(v, db, now),
        "backlog.silence": lambda db: backlog.silence(v, db),
        "backlog.timers": lambda db: backlog.timers(v, db, now),
    }
