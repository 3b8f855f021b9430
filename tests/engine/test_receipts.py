"""Receipts: merged into the log beside the ledger, in whatever order they come and however often."""

from __future__ import annotations

import asyncio

import pytest
from house import EMAIL, SMS, actor, house

from api.receipts import Receipts
from domain.errors import NotFound
from domain.outcomes import Outcome, Reason, Row
from domain.relays import RelayDelivered
from domain.rulepacks import Level
from domain.shards import ChunkRecorded, Purpose, ReceiptsRecorded
from projections.tree import state_of

DELIVERED = (Outcome.DELIVERED, Reason.NONE)
UNDELIVERED = (Outcome.REFUSED, Reason.UNDELIVERED)


async def receipt(h, place, outcome=DELIVERED):
    shard_id, index = place
    await h.runtime.receipts.record(shard_id, Row(index, outcome[0], 1, outcome[1]))


def known(h, warning_id, who):
    row = h.delivery(warning_id, who)
    return row["outcome"], row["reason"]


async def test_delivered_is_told_apart_from_accepted(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        assert known(h, warning_id, "milan-zh") == ("accepted", "")
        await receipt(h, h.place(warning_id, "milan-zh"))
        await h.quiet()

        assert known(h, warning_id, "milan-zh") == ("delivered", "")
        totals = h.view(lambda v, db: v.tree.totals(db, warning_id))
        assert (totals["told"], totals["delivered"]) == (5, 1)


async def test_the_same_receipt_again_changes_nothing(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        place = h.place(warning_id, "milan-zh")
        await receipt(h, place)
        end = h.stores.log.last_position_now()
        await asyncio.gather(*[receipt(h, place) for _ in range(10)])
        await receipt(h, place, UNDELIVERED)  # out of order: nothing undoes "delivered"

        assert h.stores.log.last_position_now() == end
        assert [len(e.rows) for e in h.events(ReceiptsRecorded)] == [1]


async def test_a_new_process_knows_the_receipts_of_the_one_before(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await receipt(h, h.place(warning_id, "milan-zh"))
    async with house(tmp_path) as h:
        await receipt(h, h.place(warning_id, "milan-zh"))
        await receipt(h, h.place(warning_id, "milan-both", SMS))
        await h.quiet()

        assert [len(e.rows) for e in h.events(ReceiptsRecorded)] == [1, 1]
        assert known(h, warning_id, "milan-zh") == ("delivered", "")


async def test_many_receipts_at_once_are_few_appends_and_none_is_lost(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED)
        places = {h.place(warning_id, who) for who, _ in h.planned(warning_id)}
        before = h.stores.log.batches
        await asyncio.gather(*[receipt(h, place) for place in places])
        await h.quiet()

        assert h.stores.log.batches - before < len(places)
        assert h.view(lambda v, db: v.tree.totals(db, warning_id))["delivered"] == len(places) == 12


async def test_a_receipt_may_come_before_the_answer_to_the_send(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].hanging = {"milan-zh", "milan-head"}
        warning_id = await h.release(Level.RED, target="milan")
        await h.until(lambda: {("milan-zh", SMS), ("milan-head", SMS)} <= set(h.sent()))
        await receipt(h, h.place(warning_id, "milan-zh"))
        await receipt(h, h.place(warning_id, "milan-head"), UNDELIVERED)
        h.notifiers[SMS].release()
        await h.quiet()

        assert h.rows(warning_id, "milan-zh") == [(Outcome.ACCEPTED, Reason.NONE, 1)]
        assert known(h, warning_id, "milan-zh") == ("delivered", "")
        assert known(h, warning_id, "milan-head") == ("refused", "undelivered")


async def test_what_was_delivered_stays_so_whatever_a_second_attempt_comes_to(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["milan-zh"] = [
            {"outcome": Outcome.UNKNOWN, "reason": Reason.TIMEOUT},
            {"outcome": Outcome.REFUSED, "reason": Reason.BLOCKED},
        ]
        warning_id = await h.told(Level.RED, target="milan")
        await receipt(h, h.place(warning_id, "milan-zh"))
        await h.pass_time(seconds=3)
        assert len(h.rows(warning_id, "milan-zh")) == 2
        assert known(h, warning_id, "milan-zh") == ("delivered", "")

        await h.desk.cancel(actor("officer1"), warning_id, reason="mistake")
        await h.quiet()
        assert ("milan-zh", SMS) in h.planned(warning_id, Purpose.CANCEL)


async def test_the_first_receipt_of_the_staff_is_their_nodes_delivery(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)
        await receipt(h, h.place(warning_id, "county1", EMAIL))
        await receipt(h, h.place(warning_id, "county1", SMS))
        await receipt(h, h.place(warning_id, "village-liaison"), UNDELIVERED)
        await h.quiet()

        assert [(e.node_id, e.channel) for e in h.events(RelayDelivered)] == [("north", "email")]
        rows = h.view(lambda v, db: v.tree.rows(db, warning_id))
        assert (state_of(rows["north"]), state_of(rows["village"])) == ("delivered", "told")


async def test_receipts_of_the_people_and_of_cancellations_are_not_their_nodes_delivery(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await receipt(h, h.place(warning_id, "milan-zh"))
        await h.desk.cancel(actor("officer1"), warning_id, reason="mistake")
        await h.quiet()
        for shard in h.shards(warning_id, Purpose.CANCEL):
            await receipt(h, (shard, 0))

        assert h.events(RelayDelivered) == []


async def test_what_the_channel_itself_says_arrived_is_the_nodes_delivery_as_well(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers = {who: [Outcome.DELIVERED] * 9 for who in ("county1", "milan-head", "village-zh")}
        h.notifiers[EMAIL].answers = {who: [Outcome.DELIVERED] * 9 for who in ("county1", "milan-it")}
        warning_id = await h.told(Level.RED)

        told = [e.node_id for e in h.events(RelayDelivered)]
        assert sorted(told) == ["milan", "north"]
        rows = h.view(lambda v, db: v.tree.rows(db, warning_id))
        assert [state_of(rows[node]) for node in ("north", "milan", "village")] == ["delivered", "delivered", "told"]
        await receipt(h, h.place(warning_id, "county1", EMAIL))  # the provider says it once more
        await h.desk.cancel(actor("officer1"), warning_id, reason="mistake")
        await h.quiet()
        assert ("village-zh", SMS) in h.planned(warning_id, Purpose.CANCEL)
        assert len(h.events(RelayDelivered)) == 2


async def test_no_crash_can_come_between_the_channels_answer_in_the_ledger_and_its_nodes_delivery(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers = {"milan-head": [Outcome.DELIVERED]}
        warning_id = await h.told(Level.ORANGE, target="milan")

        shard_id, _ = h.place(warning_id, "milan-head")
        (ledger,) = [r.position for r in h.recorded(ChunkRecorded) if r.event.shard_id == shard_id]
        (delivered,) = [r.position for r in h.recorded(RelayDelivered)]
        assert delivered < ledger


@pytest.mark.parametrize("index", [-1, 2, 10_000])
async def test_a_receipt_for_a_message_that_does_not_exist_is_refused(tmp_path, index):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        shard_id, _ = h.place(warning_id, "milan-zh")
        end = h.stores.log.last_position_now()
        for place in ((shard_id, index), ("0" * 32, 0)):
            with pytest.raises(NotFound) as failed:
                await receipt(h, place)
            assert failed.value.code == "receipt.unknown"

        assert h.stores.log.last_position_now() == end


async def test_two_processes_may_take_receipts_for_the_same_shard(tmp_path):

    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        other = Receipts(h.stores.log)
        await receipt(h, h.place(warning_id, "milan-zh"))
        shard_id, index = h.place(warning_id, "milan-both", SMS)
        await other.record(shard_id, Row(index, Outcome.REFUSED, 1, Reason.UNDELIVERED))
        await receipt(h, (shard_id, index))
        await h.quiet()

        assert known(h, warning_id, "milan-zh") == ("delivered", "")
        assert len(h.events(ReceiptsRecorded)) == 3
