"""`fenghuo init`: which rules are in force afterwards, however often it is run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from terminal import fenghuo
from townsfolk import SETUP

from domain.rulepacks import standard
from infra.stores import Stores


def test_init_puts_the_limits_of_the_settings_in_force_also_those_of_before(tmp_path: Path) -> None:
    def init(limit_s: int) -> str:
        ran = fenghuo("init", "--json", folder=tmp_path, env={"FENGHUO_ACK_LIMIT_S": str(limit_s)})
        assert ran.status == 0, ran.err
        assert ran.json["rule_pack"] == _in_force(tmp_path)
        return str(ran.json["rule_pack"])

    assert [init(s) for s in (900, 600, 600, 900)] == [f"standard-3-{s}-{s}" for s in (900, 600, 600, 900)]
    packs = fenghuo("log", "show", "--json", folder=tmp_path).json
    assert len(packs) == 3, "who changes nothing writes nothing"
    assert fenghuo("log", "verify", folder=tmp_path).status == 0


def test_init_leaves_the_rules_of_a_city_in_force_and_says_so(tmp_path: Path) -> None:
    assert fenghuo("init", folder=tmp_path).status == 0
    own = msgspec.structs.replace(standard(300), rule_pack_id="wenzhou-2026")

    async def adopt() -> None:
        async with Stores(tmp_path) as stores:
            await stores.registry.adopt_rules(own, SETUP)

    asyncio.run(adopt())
    for limit_s in ("900", "600"):
        ran = fenghuo("init", folder=tmp_path, env={"FENGHUO_ACK_LIMIT_S": limit_s})
        assert (ran.status, ran.out) == (0, "Ready; the rules in force are wenzhou-2026.\n")
    assert _in_force(tmp_path) == "wenzhou-2026"


def _in_force(folder: Path) -> str:
    """The rules by which the next warning would be decided."""

    async def read() -> str:
        async with Stores(folder) as stores:
            await stores.catch_up()
            return stores.desk.rules(stores.clock.now()).rule_pack_id

    return asyncio.run(read())
