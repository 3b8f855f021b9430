"""The whole program on PostgreSQL: a warning goes its way, and everything about it lies in the one schema."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

from terminal import process
from town import signed_in, town

from domain.outcomes import Outcome
from domain.relays import RelayAcknowledged
from domain.shards import ChunkRecorded, ReceiptsRecorded
from domain.warnings import WarningCancelled
from infra.fsck import rebuilt
from tests.postgres_part import Postgres, environment


async def test_a_warning_goes_its_whole_way(postgres: Postgres, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with postgres.schema() as config:
        async with town(folder, database_url=config.url, database_schema=config.db_schema) as t:
            warning_id = await t.release()
            await t.quiet()
            answer = await t.post("milan-head", f"/v1/warnings/{warning_id}/nodes/milan/acknowledge")
            assert answer.status_code == 200, answer.text
            await t.device("rome-head").reply("收到")
            await t.device("milan-zh").reply("救命")
            await t.pass_time(minutes=20)
            await t.post("officer1", f"/v1/warnings/{warning_id}/cancel", {"reason": "解除"})
            await t.quiet()
            t.read_all()

            outcomes = {row.outcome for r in t.recorded(ChunkRecorded) for row in r.event.rows}
            assert outcomes == {Outcome.ACCEPTED}
            assert t.recorded(ReceiptsRecorded)
            assert {r.event.node_id for r in t.recorded(RelayAcknowledged)} == {"milan", "rome"}
            assert len(t.recorded(WarningCancelled)) == 1
            shown = (await t.get("officer1", f"/v1/warnings/{warning_id}")).json()
            assert shown["status"] == "cancelled", shown
            for who, helped in (("county1", True), ("county2", False)):
                async with aclosing(await signed_in(t, who)) as browser:
                    assert warning_id in (await browser.get("/console")).text
                    page = (await browser.get(f"/console/warnings/{warning_id}")).text
                assert ('<li id="case-' in page, "help-none" in page) == (helped, not helped)
                assert f'data-value="{int(helped)}"' in page.partition("tile-help")[2].partition("</dd>")[0]
            position, stored = t.stores.views.snapshot()
            assert position == t.stores.log.last_position_now()
            fresh = rebuilt(t.stores, position)
            assert fresh.fingerprints() == stored
            fresh.close()
            events = len(t.recorded())

        assert {file.name for file in folder.iterdir()} == {"master.key"}
        done = await asyncio.to_thread(process, "log", "verify", "--json", folder=folder, **environment(config))
    assert done.status == 0, done.err
    assert (done.json["ok"], done.json["events"], done.json["signed"]) == (True, events, events)
