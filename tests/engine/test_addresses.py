"""Whose a number is: the person's who has it now, through changes, crashes and numbers that several people share."""

from __future__ import annotations

import asyncio

import pytest
from house import PEOPLE, SMS, actor, house, personal, phone_of

from domain.answers import AnswerReceived
from domain.errors import Unreachable
from domain.people import Channel, Person, Role
from domain.relays import RelayAcknowledged, RelayEscalated
from domain.rulepacks import Level

NEW = "+8613700000001"


async def change(h, who, phone, channels=(SMS,)):
    node, role, language, _ = PEOPLE[who]
    person = Person(person_id=who, node_id=node, role=role, language=language, channels=channels)
    await h.registry.register_people([(person, {**personal(who), "phone": phone})], actor("admin"))
    await h.quiet()


async def says(h, phone, ref):
    """Whom a reply from this number counts for."""
    before = len(h.events(AnswerReceived))
    await h.desk.reply(phone=phone, text="1", provider_ref=ref)
    return [e.person_id for e in h.events(AnswerReceived)[before:]]


async def test_a_number_that_was_given_up_is_nobodys_and_the_new_one_is_theirs(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.RED, target="milan")
        await change(h, "milan-zh", NEW)

        assert h.stores.vault.all_with("phone", phone_of("milan-zh")) == []
        assert await says(h, phone_of("milan-zh"), "m1") == []
        assert await says(h, NEW, "m2") == ["milan-zh"]


async def test_a_number_goes_on_to_its_next_owner_and_back(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.RED, target="milan")
        old = phone_of("milan-zh")
        await change(h, "milan-zh", NEW)
        await change(h, "milan-both", old)
        assert [await says(h, old, "m1"), await says(h, NEW, "m2")] == [["milan-both"], ["milan-zh"]]
        await change(h, "milan-both", phone_of("milan-both"))
        await change(h, "milan-zh", old)

        assert [await says(h, old, "m3"), await says(h, NEW, "m4")] == [["milan-zh"], []]


async def test_a_crash_between_the_log_and_the_index_loses_neither_number(tmp_path, monkeypatch):
    async with house(tmp_path) as h:
        await h.told(Level.RED, target="milan")

        def killed(*_):
            raise Unreachable("test.killed", "Killed here.")

        with monkeypatch.context() as patched:
            patched.setattr(h.stores.vault, "forget_addresses", killed)
            with pytest.raises(Unreachable):
                await change(h, "milan-zh", NEW)
        await h.quiet()
        assert h.stores.vault.whose("phone", phone_of("milan-zh")) == "milan-zh"  # the index is behind
        assert await says(h, phone_of("milan-zh"), "m1") == []  # and believed no more
        assert await says(h, NEW, "m2") == ["milan-zh"]
        await change(h, "milan-zh", NEW)  # done again, it is in order
        assert h.stores.vault.all_with("phone", phone_of("milan-zh")) == []


async def test_a_change_that_was_not_written_takes_nothing_away(tmp_path, monkeypatch):
    async with house(tmp_path) as h:
        await h.told(Level.RED, target="milan")

        async def full(*_):
            raise Unreachable("test.full", "The disk is full.")

        with monkeypatch.context() as patched:
            patched.setattr(h.registry.log, "append", full)
            with pytest.raises(Unreachable):
                await change(h, "milan-zh", NEW)

        assert await says(h, phone_of("milan-zh"), "m1") == ["milan-zh"]
        assert await says(h, NEW, "m2") == []


async def test_a_shared_number_is_told_for_each_and_replies_count_for_the_later_one(tmp_path):
    async with house(tmp_path) as h:
        shared = phone_of("milan-zh")
        await change(h, "milan-both", shared)
        await h.told(Level.RED, target="milan")
        to = [d.address for _, d, _ in h.notifiers[SMS].sent]
        assert to.count(shared) == 2
        assert await says(h, shared, "m1") == ["milan-both"]
        await change(h, "milan-both", NEW)  # the later one leaves: the number is the other's alone

        assert await says(h, shared, "m2") == ["milan-zh"]


async def test_a_shared_number_of_which_only_one_was_told_is_that_ones(tmp_path):
    async with house(tmp_path) as h:
        shared = phone_of("milan-zh")
        await change(h, "village-zh", shared)  # the later one, whom the warning does not concern
        await h.told(Level.RED, target="milan")

        assert await says(h, shared, "m1") == ["milan-zh"]
        await h.registry.forget_person("village-zh", actor("admin"))
        assert await says(h, shared, "m2") == ["milan-zh"]


async def test_a_reply_from_a_shared_number_is_about_what_the_number_was_sent_last(tmp_path):
    async with house(tmp_path) as h:
        shared = phone_of("milan-zh")
        await change(h, "village-zh", shared)
        await h.told(Level.RED, target="village")
        new = await h.told(Level.RED, target="milan")
        await h.desk.reply(phone=shared, text="2", provider_ref="m1")

        assert [(e.person_id, e.warning_id) for e in h.events(AnswerReceived)] == [("milan-zh", new)]


async def test_the_telephone_of_a_station_acknowledges_what_it_was_sent_last(tmp_path):
    async with house(tmp_path) as h:
        await change(h, "milan-deputy", phone_of("milan-head"))
        old = await h.told(Level.ORANGE, target="milan")
        await h.pass_time(seconds=901)  # the deputy is told of the silence
        await h.desk.cancel(actor("officer2"), old, reason="over")
        await h.quiet()
        new = await h.told(Level.ORANGE, target="milan")
        await h.desk.reply(phone=phone_of("milan-head"), text="1", provider_ref="m9")
        await h.quiet()

        assert (new, "milan-head") in [(e.warning_id, e.by) for e in h.events(RelayAcknowledged)]
        await h.pass_time(seconds=901)
        assert not [e for e in h.events(RelayEscalated) if e.warning_id == new]


async def test_changes_at_the_same_time_leave_the_number_that_stands_in_the_log(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.RED, target="milan")
        numbers = [f"+861370000010{n}" for n in range(6)]
        await asyncio.gather(*[change(h, "milan-zh", n) for n in numbers], return_exceptions=True)
        await h.quiet()
        sealed = h.view(lambda v, db: v.directory.sealed(db, ["milan-zh"]))["milan-zh"]
        stands = h.stores.vault.open(sealed)["phone"]

        found = [n for k, n in enumerate([*numbers, phone_of("milan-zh")]) if await says(h, n, f"m{k}")]
        assert found == [stands]


async def test_somebody_new_is_found_by_their_number(tmp_path):
    async with house(tmp_path) as h:
        person = Person(
            person_id="milan-new", node_id="milan", role=Role.CITIZEN, language="zh", channels=(Channel.SMS,)
        )
        await h.registry.register_people([(person, {"phone": phone_of("milan-zh")})], actor("admin"))
        assert h.stores.vault.all_with("phone", phone_of("milan-zh")) == ["milan-new", "milan-zh"]
