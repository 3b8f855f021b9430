"""What may be killed, stopped or cut off of an installation on many machines, in the middle of a fan-out.

After each: everybody was sent to, nobody twice without an `unknown` in the log, the views are those of a fresh replay,
the log verifies (`Crew.held`). `FENGHUO_TEST_SEED` repeats a run's moments; `FENGHUO_SOAK` makes all of it longer.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from random import Random

import pytest

from tests.ops.fan_out import crashed
from tests.scale.conftest import SOAK
from tests.scale.crew import PEOPLE, ROLES, SESSION_S, Crew
from tests.scale.network import Cut

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(3600 if SOAK else 300)]

KILLS = 100 if SOAK else 10
A_FAN_OUT = 10  # kills in each
PARTITION_S = 15.0 if SOAK else 5.0
DOWN_S = 60.0 if SOAK else SESSION_S * 2
CUTS = [("one", "brokers"), ("one", "database"), ("relay", "brokers")]


@pytest.fixture
def dice() -> Random:
    seed = int(os.environ.get("FENGHUO_TEST_SEED") or secrets.randbelow(2**32))
    print(f"FENGHUO_TEST_SEED={seed}")
    return Random(seed)


async def test_every_role_is_killed_at_random_moments(crew: Crew, dice: Random) -> None:
    roles = [dice.choice(list(ROLES)) for _ in range(KILLS)]
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


async def test_all_brokers_are_down_for_longer_than_a_session(crew: Crew) -> None:
    await crew.in_fan_out()
    for broker in crew.brokers.brokers:
        broker.kill()
    await crew.warn()
    await asyncio.sleep(DOWN_S)
    for broker in crew.brokers.brokers:
        broker.start()
    await crew.held()


async def test_the_database_is_killed_under_all_roles(crew: Crew, dice: Random) -> None:
    await crew.in_fan_out(dice.uniform(0.1, 0.7))
    await asyncio.to_thread(crew.database.kill)
    await asyncio.sleep(dice.uniform(0, 2))
    await asyncio.to_thread(crew.database.start)
    await crew.works_again("one")
    await crew.held()


async def test_each_role_ends_well_after_all_of_this(crew: Crew) -> None:
    assert await crew.stop() == [0] * len(ROLES), "\n".join(crew.running["one"].said[-20:])
