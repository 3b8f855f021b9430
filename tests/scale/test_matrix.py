"""What may be killed, stopped or cut off of an installation on many machines, in the middle of a fan-out.

After each: everybody was sent to, nobody twice without an `unknown` in the log, the views are those of a fresh replay,
the log verifies (`Crew.held`). `FENGHUO_TEST_SEED` repeats a run's moments; `FENGHUO_SOAK` makes all of it longer.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from random import Random

import psycopg
import pytest
from psycopg import sql

from infra.postgres import conninfo
from tests.ops.fan_out import crashed
from tests.scale.conftest import SOAK
from tests.scale.crew import PEOPLE, ROLES, SESSION_S, Crew
from tests.scale.network import Cut

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(3600 if SOAK else 300)]

KILLS = 100 if SOAK else 10
A_FAN_OUT = 10  # kills in each
PARTITION_S = 15.0 if SOAK else SESSION_S + 1.5
DOWN_S = 60.0 if SOAK else SESSION_S * 2
LOCKS = ("project", "relay", "work-one", "work-two")
CUTS = [("one", "brokers"), ("one", "database"), ("relay", "brokers")]


@pytest.fixture
def dice() -> Random:
    seed = int(os.environ.get("FENGHUO_TEST_SEED") or secrets.randbelow(2**32))
    print(f"FENGHUO_TEST_SEED={seed}")
    return Random(seed)


async def test_every_role_is_killed_at_random_moments(crew: Crew, dice: Random) -> None:
    roles = dice.sample(list(ROLES) * (KILLS // len(ROLES)), KILLS)
    for first in range(0, KILLS, A_FAN_OUT):
        before = await crew.total()
        await crew.warn()
        moments = sorted(dice.uniform(1, PEOPLE * 0.9) for _ in range(A_FAN_OUT))
        for role, moment in zip(roles[first : first + A_FAN_OUT], moments, strict=True):
            await crew.sent(before + moment)
            await crew.kill(role)
            await crew.start(role)
        await crew.settled()
    await crew.up()
    print("killed:", *roles)
    events = await crew.held()
    assert crashed(events), "no kill hit the sending: this run shows nothing"


@pytest.mark.usefixtures("cuttable")
@pytest.mark.parametrize("how", Cut)
@pytest.mark.parametrize(("role", "service"), CUTS)
async def test_a_role_loses_a_service_and_goes_on_by_itself(crew: Crew, role: str, service: str, how: Cut) -> None:
    await crew.in_fan_out()
    with crew.cut(role, service, how):
        await asyncio.sleep(PARTITION_S)
    if role == "relay":
        await crew.warn()
    else:
        await crew.works_again(role)
    await crew.held()


async def test_a_broker_is_killed_and_started_again(crew: Crew, dice: Random) -> None:
    """The only one, or under soak one of three, which then is away for as long as the fan-out lasts."""
    await crew.in_fan_out()
    broker = dice.choice(crew.brokers.brokers)
    broker.kill()
    if len(crew.brokers.brokers) > 1:
        await crew.settled()
    broker.start()
    await crew.warn()
    await crew.held()


async def test_all_brokers_are_down_for_longer_than_a_session(crew: Crew) -> None:
    await crew.in_fan_out()
    for broker in crew.brokers.brokers:
        broker.kill()
    await crew.warn()
    await asyncio.gather(asyncio.sleep(DOWN_S), crew.settled())  # by way of the database
    for broker in crew.brokers.brokers:
        broker.start()
    await crew.held()


async def test_the_database_is_killed_under_all_roles(crew: Crew, dice: Random) -> None:
    await crew.in_fan_out(dice.uniform(0.1, 0.7))
    crew.database.kill()
    await asyncio.sleep(dice.uniform(0, 2))
    crew.database.start()
    await crew.works_again("one")
    await crew.held()
    for name in LOCKS:
        await crew.has_again(name)


async def test_who_vanishes_in_a_transaction_holds_up_the_log_for_a_moment_only(crew: Crew) -> None:
    """The server's own limits, which it has by default for hours: 5 s of silence, then 3 questions in 3 s each."""
    with psycopg.connect(conninfo(crew.database.remote_url())) as db:
        found = [
            db.execute(sql.SQL("SHOW {}").format(sql.Identifier(name))).fetchone()
            for name in ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
        ]
    assert found == [("5",), ("3",), ("3",), ("15000",)]


async def test_a_worker_whose_name_another_has_by_now_ends(crew: Crew) -> None:
    name = "work-two"
    theirs = crew.lock(name)
    async with asyncio.timeout(30):
        while not theirs.take():
            crew.cut_session(name)
            await asyncio.sleep(0.01)
    try:
        assert await crew.running["two"].wait() == 4
        assert "runtime.running" in crew.running["two"].said[-1]
    finally:
        theirs.give_back()


async def test_the_others_end_well_after_all_of_this(crew: Crew) -> None:
    ended = await crew.stop()
    assert ended == dict.fromkeys(ended, 0)
    assert {"serve", "project", "relay", "one"} <= ended.keys()
    status, out, err = await crew.fenghuo("log", "verify", "--json")
    assert status == 0, out + err
