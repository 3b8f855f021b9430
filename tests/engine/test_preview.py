"""What the preview promises is what the plan does: the same people, channels, languages and stations."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import msgspec
import pytest
from house import EMAIL, MILAN, NOW, SMS, actor, content, house
from hypothesis import given
from hypothesis import strategies as st

from api.preview import preview
from domain.content import Target, Text
from domain.errors import NotFound, Refused
from domain.planning import PlanMade
from domain.rulepacks import Level
from domain.shards import Purpose, ShardPlanned
from notifiers.links import Links
from notifiers.prices import Prices
from notifiers.segments import segments
from projections import differences


def ask(h, warning_id, prices=None):
    s = h.stores
    links = Links("https://warn.example", s.vault.secret("links"))
    return preview(s.views, s.vault, links, prices or Prices(), s.desk.rules(h.clock.now()), warning_id, h.clock.now())


def tally(shards):
    """What a phase says, counted from shards that were planned."""
    nodes: dict[str, dict[str, set[str]]] = {}
    languages: dict[str, set[str]] = {}
    channels = Counter()
    for s in shards:
        nodes.setdefault(s.node_id, {}).setdefault(s.circle.value, set()).update(s.recipients)
        languages.setdefault(s.language, set()).update(s.recipients)
        channels[s.channel.value] += len(s.recipients)
    return {
        "shards": len(shards),
        "messages": channels.total(),
        "people": len({who for s in shards for who in s.recipients}),
        "by_channel": dict(channels),
        "by_language": {language: len(people) for language, people in languages.items()},
        "by_node": {n: {circle: len(people) for circle, people in c.items()} for n, c in nodes.items()},
    }


def promised(phase):
    said = phase.model_dump()
    nodes = {
        n["node_id"]: {c: n[c] for c in ("staff", "people") if n[c]}
        for n in said["by_node"]
        if n["staff"] or n["people"]
    }
    return {**{k: said[k] for k in ("shards", "messages", "people", "by_channel", "by_language")}, "by_node": nodes}


@pytest.mark.parametrize("drill", [False, True])
@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize(
    "target", [Target(nodes=("office",)), Target(nodes=("north",), countries=("IT",)), Target(nodes=("milan",))]
)
async def test_the_plan_is_what_the_preview_said(tmp_path, level, target, drill):
    async with house(tmp_path) as h:
        drafted = await h.desk.draft(
            actor("officer1"), msgspec.structs.replace(content(level), target=target, drill=drill)
        )
        await h.stores.follower.reached(drafted.position)
        warning_id = drafted.id
        said = ask(h, warning_id)
        await h.desk.release(actor("officer2"), warning_id)
        await h.quiet()

        at_once = [e for e in h.events(ShardPlanned) if e.warning_id == warning_id]
        assert promised(said.phases[0]) == tally(at_once)
        assert {said.lane} == {s.lane.value for s in at_once}
        (made,) = h.events(PlanMade)
        assert said.phases[0].without_channel == sum(made.unreachable.values())
        for node in h.view(lambda v, db: v.tree.rows(db, warning_id)):
            await h.desk.acknowledge(actor("officer1"), warning_id, node)
        await h.quiet()
        later = [e for e in h.events(ShardPlanned) if e.warning_id == warning_id and e not in at_once]
        assert promised(said.phases[1]) == tally(later)
        unreachable = Counter()
        for made in h.events(PlanMade)[1:]:
            unreachable.update(made.unreachable)
        assert said.phases[1].without_channel == unreachable.total()


async def test_the_preview_of_a_correction_is_those_reached(tmp_path):
    async with house(tmp_path) as h:
        wrong = await h.told(Level.RED, target="milan")
        texts = (
            Text(language="zh", headline="洪水警报", instruction="请撤到高处。"),
            Text(language="it", headline="Alluvione"),
            Text(language="es", headline="Inundación"),
            Text(language="en", headline="Flood"),
        )
        drafted = await h.desk.draft(
            actor("officer1"), content(Level.RED, target="office", texts=texts), updates=wrong, correction=True
        )
        await h.stores.follower.reached(drafted.position)
        said = ask(h, drafted.id)
        await h.desk.release(actor("officer2"), drafted.id)
        await h.quiet()

        assert promised(said.phases[0]) == tally([e for e in h.events(ShardPlanned) if e.warning_id == drafted.id])
        assert said.phases[1].people == said.phases[1].without_channel == 0
        d = said.difference
        assert (d.newly.count, d.stays.count, d.no_longer.count) == (0, 5, 0)
        assert d.texts == {
            "zh": {"headline": [("=", "洪水"), ("+", "警报")]}, "it": {}, "es": {}, "en": {"headline": [("+", "Flood")]}
        }  # fmt: skip
        assert all("更正" in s.text for s in said.samples if s.language == "zh" and s.channel == "sms")


async def test_the_preview_of_a_correction_names_the_stations_whose_part_it_ends(tmp_path):
    async with house(tmp_path) as h:
        first = await h.told(Level.YELLOW, target="office")
        words = content(Level.YELLOW, target="office", event="Flood, corrected")

        async def left(*, correction):
            drafted = await h.desk.draft(actor("officer1"), words, updates=first, correction=correction)
            await h.stores.follower.reached(drafted.position)
            return ask(h, drafted.id).difference.left_silent

        with h.stores.views.reading() as db:
            concerned = sorted(h.stores.views.tree.nodes(db, first))
        assert "milan" in concerned
        assert await left(correction=True) == concerned
        assert await left(correction=False) == []
        await h.desk.acknowledge(actor("milan-head"), first, "milan")
        await h.desk.relay_on(actor("milan-head"), first, "milan")
        await h.quiet()
        assert await left(correction=True) == [node for node in concerned if node != "milan"]


async def test_the_difference_names_who_is_new_who_stays_and_who_is_told_that_it_is_over(tmp_path):
    async with house(tmp_path) as h:
        first = await h.told(Level.RED, target="milan")
        drafted = await h.desk.draft(actor("officer1"), content(Level.RED, target="madrid"), updates=first)
        await h.stores.follower.reached(drafted.position)
        d = ask(h, drafted.id).difference
        await h.desk.release(actor("officer2"), drafted.id)
        await h.quiet()

        over = {who for who, _ in h.planned(first, Purpose.CANCEL)}
        assert d.no_longer.person_ids == sorted(over) == sorted({who for who, _ in MILAN} | {"milan-head"})
        assert d.newly.person_ids == sorted({who for who, _ in h.planned(drafted.id)}) == ["madrid-es", "madrid-head"]
        assert d.stays.count == 0


async def test_text_messages_and_cost_are_counted_by_the_number_and_what_is_unknown_is_said(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.draft(Level.RED)
        said = ask(h, warning_id, Prices(currency="EUR", sms={"+8": Decimal(9), "+861": Decimal("0.05")}))
        messages = {(m.language, m.circle): m for m in said.text_messages}
        assert messages["zh", "people"].encoding == messages["es", "people"].encoding == "UCS-2"
        in_all = sum(m.segments * m.messages for m in said.text_messages)
        (charge,) = said.cost.charges
        assert (charge.prefix, charge.segments, charge.amount) == ("+861", in_all, in_all * Decimal("0.05"))
        assert (said.cost.total, said.cost.currency, said.cost.unknown) == (charge.amount, "EUR", 0)
        nothing = ask(h, warning_id).cost
        assert (nothing.total, nothing.unknown) == (0, said.phases[0].by_channel["sms"])
        assert [c.amount for c in nothing.charges] == [None]
        await h.desk.release(actor("officer2"), warning_id)
        await h.quiet()

        for who, delivery, rendered in h.notifiers[SMS].sent:
            sent = rendered.short.replace("{{link}}", delivery.link)
            circle = "staff" if "head" in who or "officer" in who or "county" in who or "liaison" in who else "people"
            assert segments(sent) == messages[rendered.language, circle].segments
        samples = {(s.channel, s.language, s.circle): s for s in said.samples}
        (mail,) = [r for who, _, r in h.notifiers[EMAIL].sent if who == "milan-it"]
        assert samples["email", "it", "people"].subject == mail.subject


async def test_a_preview_is_of_a_draft(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        with pytest.raises(Refused) as refused:
            ask(h, warning_id)
        assert refused.value.code == "warning.not_a_draft"
        with pytest.raises(NotFound):
            ask(h, "none")
        assert h.clock.now() == NOW


words = st.text(alphabet="ab 洪水。.\n", max_size=40)


@given(words, words)
def test_the_pieces_of_a_difference_give_back_both_texts(before, after):
    found = differences.pieces(before, after)

    assert "".join(said for what, said in found if what != "+") == before
    assert "".join(said for what, said in found if what != "-") == after


def test_a_very_long_text_is_compared_by_sentences():
    before = "洪水来了。" * 900
    found = differences.pieces(before, before.replace("洪水来了。", "大水来了。", 1))

    assert found[0] == ("-", "洪水来了。") or found[0] == ("+", "大水来了。")
    assert "".join(said for what, said in found if what != "+") == before
