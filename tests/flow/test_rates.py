"""Rates over the API and the command line: set while it runs, by whom, and still there after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

from problems import problem
from terminal import fenghuo
from town import NOW, Town, town

from domain.rates import Rate, RateSet
from infra.clock import ManualClock
from infra.config import Settings
from infra.serve import serving
from infra.stores import Stores


async def test_a_rate_is_an_event_with_its_actor_and_holds_at_once_and_after_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with town(folder) as first:
        answer = await first.ask("officer2", "PUT", "/v1/rates/sms", json={"per_s": 40, "burst": 5})
        assert answer.status_code == 200, answer.text
        again = await first.ask("officer2", "PUT", "/v1/rates/sms", json={"per_s": 40, "burst": 5})
        assert again.json()["position"] == 0
        await first.until(lambda: rate(first) == Rate(40.0, 5))
        (recorded,) = first.recorded(RateSet)
        assert (recorded.metadata.actor, recorded.metadata.grant_id is None) == ("officer2", False)
        (row,) = (await first.get("officer1", "/v1/rates")).json()
        assert (row["provider"], row["per_s"], row["set_by"]) == ("sms", 40.0, "officer2")
        (shown,) = [p for p in (await first.get("officer1", "/v1/providers")).json() if p["name"] == "sms"]
        assert shown["rates"] == [{"sender": "", "per_s": 40.0, "burst": 5}]
        problem(await first.ask("officer2", "PUT", "/v1/rates/nobody", json={"per_s": 1}), 404, "provider.unknown")
        problem(await first.ask("officer2", "PUT", "/v1/rates/sms", json={"per_s": 0}), 422, "request.invalid")

        done = await asyncio.to_thread(fenghuo, "rate", "set", "sms", "30", "--burst", "3", "--json", folder=folder)
        assert (done.status, done.json["per_s"]) == (0, 30)
        await first.until(lambda: rate(first) == Rate(30.0, 3), "what another process wrote")
        listed = await asyncio.to_thread(fenghuo, "rate", "list", folder=folder)
        assert "30/s" in listed.out and "system:operator" in listed.out
        wrong = await asyncio.to_thread(fenghuo, "rate", "set", "sms", "0", folder=folder)
        assert (wrong.status, "[rate.per_s]" in wrong.err) == (2, True)
    settings = Settings(data_dir=folder, port=0, sandbox=True)
    async with Stores(folder, ManualClock(NOW)) as stores, serving(settings, stores) as live:
        provider = live.runtime.providers.named("sms")
        assert provider is not None
        assert provider.pace.rates == {"": Rate(30.0, 3)}


def rate(of: Town) -> Rate | None:
    provider = of.live.runtime.providers.named("sms")
    assert provider is not None
    return provider.pace.rates.get("")
