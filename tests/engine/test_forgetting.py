"""Somebody who asked to be forgotten is told nothing more, found by no address, read by nobody; the log stays whole."""

from __future__ import annotations

import pytest
from house import EMAIL, SMS, actor, house, personal, phone_of, stores

from domain.answers import Answer, AnswerReceived
from domain.errors import NotFound, NotPermitted, Refused
from domain.outcomes import Outcome, Reason
from domain.people import Channel, Person, PersonRegistered, Role
from domain.rulepacks import Level
from domain.shards import Purpose

ZH = Person(person_id="milan-zh", node_id="milan", role=Role.CITIZEN, language="zh", channels=(Channel.SMS,))


def sealed_of(recorded, who):
    return next(
        r.event.personal for r in recorded if isinstance(r.event, PersonRegistered) and r.event.person_id == who
    )


async def test_the_forgotten_are_told_nothing_more(tmp_path):
    async with house(tmp_path) as h:
        await h.registry.forget_person("milan-zh", actor("admin"))
        await h.quiet()
        warning_id = await h.told(Level.RED, target="milan")

        assert "milan-zh" not in {who for who, _ in h.sent() + h.planned(warning_id)}


async def test_what_waits_for_the_forgotten_is_refused_for_want_of_an_address(tmp_path):
    async with house(tmp_path) as h:
        h.notifiers[SMS].answers["milan-zh"] = [{"outcome": Outcome.DEFERRED, "reason": Reason.PROVIDER_BUSY}]
        warning_id = await h.told(Level.RED, target="milan")
        await h.registry.forget_person("milan-zh", actor("admin"))
        await h.quiet()
        h.forget_sent()
        await h.pass_time(seconds=3)

        assert h.rows(warning_id, "milan-zh")[-1] == (Outcome.REFUSED, Reason.NO_ADDRESS, 2)
        assert h.sent() == []


async def test_a_cancellation_does_not_reach_the_forgotten_and_does_not_fail(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await h.registry.forget_person("milan-it", actor("admin"))
        await h.quiet()
        h.forget_sent()
        await h.desk.cancel(actor("officer1"), warning_id, reason="mistake")
        await h.quiet()

        assert h.rows(warning_id, "milan-it", Purpose.CANCEL) == [(Outcome.REFUSED, Reason.NO_ADDRESS, 1)]
        assert h.sent().count(("milan-both", EMAIL)) == 1


async def test_nothing_of_the_forgotten_opens_and_their_address_is_nobodys(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await h.desk.reply(phone=phone_of("milan-zh"), text="救命", provider_ref="m1")
        words = h.events(AnswerReceived)[0].personal
        contact = sealed_of(h.recorded(), "milan-zh")
        assert (h.stores.vault.open(words), h.stores.vault.open(contact)["phone"]) == (
            {"text": "救命"},
            phone_of("milan-zh"),
        )
        await h.registry.forget_person("milan-zh", actor("admin"))
        await h.quiet()

        assert (h.stores.vault.open(words), h.stores.vault.open(contact)) == (None, None)
        assert h.stores.vault.whose("phone", phone_of("milan-zh")) is None
        assert await h.desk.reply(phone=phone_of("milan-zh"), text="1", provider_ref="m2") is None
        with pytest.raises(NotFound):
            await h.desk.answer(warning_id=warning_id, person_id="milan-zh", answer=Answer.SAFE, channel="link")
        assert h.view(lambda v, db: v.directory.sealed(db, ["milan-zh", "milan-it"])).keys() == {"milan-it"}
        h.stores.prover.extend()
        assert h.stores.prover.verify() == h.stores.log.last_position_now()


async def test_forgetting_twice_is_forgetting_once(tmp_path):
    async with stores(tmp_path) as s:
        first = await s.registry.forget_person("milan-zh", actor("admin"))
        second = await s.registry.forget_person("milan-zh", actor("admin"))
        await s.catch_up()
        third = await s.registry.forget_person("milan-zh", actor("admin"))

        assert (first.position > 0, second.position, third.position) == (True, 0, 0)


async def test_forgetting_that_was_cut_off_is_completed_by_asking_again(tmp_path, monkeypatch):
    async with stores(tmp_path) as s:
        contact = sealed_of(s.log.read_now(0, 999), "milan-zh")

        def cut(key_id):
            raise OSError("the machine stopped here")

        with monkeypatch.context() as patch, pytest.raises(OSError, match="stopped here"):
            patch.setattr(s.vault, "forget", cut)
            await s.registry.forget_person("milan-zh", actor("admin"))
        await s.catch_up()
        assert s.vault.open(contact) is not None
        await s.registry.forget_person("milan-zh", actor("admin"))

        assert s.vault.open(contact) is None


async def test_the_forgotten_are_not_registered_again_under_their_old_name(tmp_path):
    async with stores(tmp_path) as s:
        await s.registry.forget_person("milan-zh", actor("admin"))
        await s.catch_up()
        end = await s.log.last_position()
        with pytest.raises(Refused) as refused:
            await s.registry.register_people([(ZH, personal("milan-zh"))], actor("admin"))

        assert (refused.value.code, await s.log.last_position()) == ("person.forgotten", end)
        assert s.vault.whose("phone", phone_of("milan-zh")) is None


@pytest.mark.parametrize("key_id", ["nobody", "case:c1"])
async def test_only_a_person_can_be_forgotten_and_only_by_who_may(tmp_path, key_id):
    async with stores(tmp_path) as s:
        box = s.vault.seal(key_id, "case-c1/1", {"text": "kept"})
        with pytest.raises(NotPermitted):
            await s.registry.forget_person(key_id, actor("village-liaison"))
        with pytest.raises(NotFound) as failed:
            await s.registry.forget_person(key_id, actor("admin"))

        assert (failed.value.code, s.vault.open(box)) == ("person.unknown", {"text": "kept"})
