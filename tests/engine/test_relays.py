"""Station by station: the people of a node are told when it relays; silence wakes the deputy, the parent, then all."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import msgspec
import pytest
from house import EMAIL, MILAN, NOW, OTHERS, SMS, STAFF, actor, house

from domain.answers import Answer
from domain.errors import Refused
from domain.outcomes import Outcome, Reason
from domain.relays import RelayAcknowledged, RelayEscalated, RelayPassed
from domain.rulepacks import Level, standard
from domain.shards import Purpose
from infra.clock import ManualClock
from projections.tree import state_of

COUNTY = [("county1", EMAIL), ("county1", SMS)]
OFFICE = [("officer1", SMS), ("officer2", EMAIL)]


def states(h, warning_id):
    return {node: state_of(row) for node, row in h.view(lambda v, db: v.tree.rows(db, warning_id)).items()}


async def everybody_answers(h, warning_id, but=()):
    for who, node in [
        ("officer1", "office"),
        ("county1", "north"),
        ("milan-head", "milan"),
        ("madrid-head", "madrid"),
        ("village-liaison", "village"),
    ]:
        if node not in but:
            await h.desk.answer(warning_id=warning_id, person_id=who, answer=Answer.SAFE, channel="link")
    await h.desk.acknowledge(actor("officer1"), warning_id, "south")
    await h.quiet()


async def test_the_people_of_a_station_are_told_only_when_it_relays(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)
        assert h.sent() == sorted(STAFF)
        h.forget_sent()
        await h.desk.acknowledge(actor("milan-head"), warning_id, "milan")
        await h.quiet()

        assert h.sent() == sorted(MILAN)
        assert states(h, warning_id) == {
            "milan": "relayed",
            **dict.fromkeys(["office", "north", "south", "madrid", "village"], "told"),
        }
        await h.desk.relay_on(actor("milan-head"), warning_id, "milan")
        await h.quiet()
        assert h.sent() == sorted(MILAN)


async def test_the_answer_of_a_liaison_by_link_or_message_is_the_acknowledgement_of_the_station(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.ORANGE)
        h.forget_sent()
        await h.desk.reply(phone="+8613800000012", text="收到", provider_ref="m1")
        await h.quiet()

        assert h.sent() == [("village-zh", SMS)]
        assert [(e.node_id, e.by, e.channel) for e in h.events(RelayAcknowledged)] == [
            ("village", "village-liaison", "sms")
        ]


async def test_silence_is_escalated_step_by_step(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)
        await everybody_answers(h, warning_id, but=("milan", "madrid"))
        h.forget_sent()

        await h.pass_time(seconds=899)
        assert h.sent() == []
        await h.pass_time(seconds=1)
        assert h.sent() == [("milan-deputy", EMAIL)]
        h.forget_sent()
        await h.pass_time(seconds=899)
        assert h.sent() == []
        await h.pass_time(seconds=1)
        assert h.sent() == sorted(COUNTY * 2)  # for Milan and for Madrid
        assert {r.subject for n in h.notifiers.values() for _, _, r in n.sent} == {
            "【催办：尚无足够回应】橙色预警: 洪水"
        }
        assert states(h, warning_id)["milan"] == "escalated"
        h.forget_sent()
        await h.pass_time(seconds=900)
        assert h.sent() == sorted(MILAN | {("madrid-es", SMS)})
        assert [states(h, warning_id)[node] for node in ("milan", "madrid", "village")] == [
            "asleep",
            "asleep",
            "relayed",
        ]
        assert [e.node_id for e in h.events(RelayPassed) if e.automatic] == ["madrid", "milan"]
        h.forget_sent()
        await h.pass_time(hours=1)
        assert h.sent() == []


async def test_all_steps_are_taken_when_the_clock_jumps(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)
        await everybody_answers(h, warning_id, but=("milan",))
        h.forget_sent()
        await h.pass_time(hours=2)

        assert [(e.node_id, e.step) for e in h.events(RelayEscalated)] == [("milan", n) for n in (1, 2, 3, 4)]
        assert h.sent() == sorted([*MILAN, *COUNTY, ("milan-deputy", EMAIL)])


async def test_the_office_and_the_counties_are_escalated_to_whoever_is_above_them(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.ORANGE)
        h.forget_sent()
        await h.pass_time(seconds=1800)

        expected = [("milan-deputy", EMAIL), *COUNTY * 2, *OFFICE * 2]  # the village's county has nobody
        assert Counter(h.sent()) == Counter(expected)


@pytest.mark.parametrize("seconds", [0, 900, 1800])
async def test_an_acknowledgement_ends_the_escalation(tmp_path, seconds):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)
        await everybody_answers(h, warning_id, but=("milan",))
        await h.pass_time(seconds=seconds)
        taken = len(h.events(RelayEscalated))
        await h.desk.acknowledge(actor("milan-head"), warning_id, "milan")
        await h.pass_time(hours=3)

        assert (taken, len(h.events(RelayEscalated))) == (seconds // 900, seconds // 900)
        assert states(h, warning_id)["milan"] == "relayed"


async def test_the_deputys_answer_counts_for_the_station(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)
        await h.pass_time(seconds=900)
        h.forget_sent()
        await h.desk.answer(warning_id=warning_id, person_id="milan-deputy", answer=Answer.SAFE, channel="link")
        await h.quiet()

        assert h.sent() == sorted(MILAN)


async def test_a_late_acknowledgement_counts_and_is_marked_late(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)
        await h.pass_time(hours=1)
        assert states(h, warning_id)["milan"] == "asleep"
        h.forget_sent()
        await h.desk.acknowledge(actor("milan-head"), warning_id, "milan")
        await h.quiet()

        row = h.view(lambda v, db: v.tree.rows(db, warning_id))["milan"]
        assert (state_of(row), row["acknowledged_by"], row["late"]) == ("acknowledged", "milan-head", True)
        assert h.sent() == []  # the people were told already


async def test_an_acknowledgement_in_time_is_not_late(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)
        await h.desk.acknowledge(actor("milan-head"), warning_id, "milan")
        await h.quiet()

        assert h.view(lambda v, db: v.tree.rows(db, warning_id))["milan"]["late"] is False


async def test_a_red_warning_tells_nobody_twice_when_stations_relay(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED)
        await h.desk.acknowledge(actor("milan-head"), warning_id, "milan")
        await h.pass_time(hours=1)

        assert Counter(h.planned(warning_id)) == Counter(STAFF | MILAN | OTHERS)
        assert Counter(h.planned(warning_id, Purpose.ESCALATION))[("milan-deputy", EMAIL)] == 0


async def test_no_escalation_after_the_validity(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE, lasts=timedelta(minutes=10))
        h.forget_sent()
        await h.pass_time(minutes=10)
        await h.pass_time(hours=2)

        assert (h.sent(), h.events(RelayEscalated)) == ([], [])
        assert h.view(lambda v, db: v.warnings.one(db, warning_id))["status"] == "expired"


async def test_timers_survive_a_restart(tmp_path):
    clock = ManualClock(NOW)
    async with house(tmp_path, clock) as h:
        warning_id = await h.told(Level.ORANGE, target="milan")
    clock.move(timedelta(seconds=900))
    async with house(tmp_path, clock) as h:
        await h.quiet()
        assert h.sent() == [("milan-deputy", EMAIL)]
        await h.pass_time(seconds=900)
        assert h.sent() == sorted([("milan-deputy", EMAIL), *COUNTY])
    clock.move(timedelta(hours=6))
    async with house(tmp_path, clock) as h:
        await h.quiet()
        assert h.sent() == []  # the last step falls after the validity: the people are not told any more
        assert h.view(lambda v, db: v.warnings.one(db, warning_id))["status"] == "expired"


async def test_a_warning_is_carried_to_its_end_under_the_rules_of_its_release(tmp_path):
    everything_direct = standard()
    everything_direct = msgspec.structs.replace(
        everything_direct,
        rule_pack_id="direct",
        issued_on=date(2026, 1, 1),
        levels={k: msgspec.structs.replace(v, direct=True) for k, v in everything_direct.levels.items()},
    )
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)
        await h.registry.adopt_rules(everything_direct, actor("system:setup"))
        await h.quiet()
        h.forget_sent()
        await h.desk.acknowledge(actor("milan-head"), warning_id, "milan")
        await h.quiet()
        assert h.sent() == sorted(MILAN)

        h.forget_sent()
        await h.told(Level.ORANGE, target="madrid", event="Fire")
        assert h.sent() == sorted({("madrid-es", SMS), ("madrid-head", EMAIL)})


async def test_a_node_that_is_not_concerned_has_nothing_to_acknowledge(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE, target="milan")
        with pytest.raises(Refused) as refused:
            await h.desk.acknowledge(actor("village-liaison"), warning_id, "village")

        assert refused.value.code == "relay.unknown"


async def test_an_assessment_is_kept_sealed_and_shows_in_the_tree(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE)
        await h.desk.assess(actor("milan-head"), warning_id, "milan", harm="high", text="Familie Rossi im Keller")
        await h.quiet()

        assert h.view(lambda v, db: v.tree.rows(db, warning_id))["milan"]["harm"] == "high"
        assert [b"Rossi" in file.read_bytes() for file in tmp_path.iterdir() if file.is_file()].count(True) == 0


async def test_the_people_are_told_as_they_are_when_the_station_relays(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["milan-zh"] = [{"outcome": Outcome.REFUSED, "reason": Reason.BAD_ADDRESS}]
        warning_id = await h.told(Level.ORANGE)
        await h.registry.forget_person("milan-both", actor("admin"))
        await h.quiet()
        h.forget_sent()
        await h.desk.acknowledge(actor("milan-head"), warning_id, "milan")
        await h.quiet()

        assert h.sent() == sorted(told for told in MILAN if told[0] != "milan-both")
