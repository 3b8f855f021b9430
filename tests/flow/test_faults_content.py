"""Texts and addresses that could do harm, through the running program: refused in so many words, or carried safely."""

from __future__ import annotations

from typing import Any

import pytest
from problems import problem
from setting import Errors
from sqlalchemy import update
from town import Town
from townsfolk import EMAIL, PEOPLE, SETUP, SMS, mail_of, phone_of

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from domain.people import Channel, Person, Role
from domain.shards import ChunkRecorded, ShardPlanned


def said(headline: str, **more: str) -> dict[str, Any]:
    return {"texts": [{"language": "zh-CN", "headline": headline, **more}], "level": "red"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (said("洪", description="水" * 1_000_000), "request.invalid"),
        (said("洪水" * 500_000), "request.invalid"),
        (said("flood\x00now"), "warning.control_character"),
        (said("flood", instruction="call \u202e011"), "warning.control_character"),
        (said("flood", description="\x1b[2J"), "warning.control_character"),
    ],
    ids=["1 MB text", "1 MB headline", "zero byte", "override", "escape"],
)
async def test_a_text_that_no_warning_may_have_leaves_no_trace(
    the_town: Town, words: dict[str, Any], code: str
) -> None:
    before = the_town.stores.log.last_position_now()
    answer = await the_town.post("officer1", "/v1/warnings", the_town.body(**words))
    problem(answer, answer.status_code, code)
    assert answer.status_code in {400, 422}
    # one event more: the token with which the test asked
    assert the_town.stores.log.last_position_now() <= before + 1


async def test_a_long_text_reaches_everybody_as_far_as_their_channel_carries_it(the_town: Town) -> None:
    words = said("洪水将至", description="水" * 19_000, instruction="请撤到高处。" * 100)
    await the_town.release(**words)
    await the_town.quiet()
    assert 100 < len(await the_town.device("milan-zh").expect_sms("洪水将至")) < 700
    assert "水" * 19_000 in (await the_town.device("rome-zh").expect_mail("洪水将至")).replace("\n", "")
    assert len(await the_town.device("rome-push").expect_push("洪水将至")) < 4_000
    the_town.read_all()


async def test_writing_from_right_to_left_arrives_as_it_was_written(the_town: Town) -> None:
    words = "تحذير: فيضان 12308"
    await the_town.release(texts=[{"language": "ar", "headline": words, "instruction": "اصعدوا"}], level="red")
    await the_town.quiet()
    await the_town.device("milan-zh").expect_sms(words)
    await the_town.device("rome-zh").expect_mail(words)
    await the_town.device("rome-push").expect_push(words)
    the_town.read_all()


async def test_a_headline_cannot_add_a_header_or_a_recipient(the_town: Town) -> None:
    await the_town.release(**said("Flood\r\nBcc: thief@evil.example\r\n\r\n<script>alert(1)</script>"))
    await the_town.quiet()
    known = {mail_of(p) for p, (_, _, _, channels) in PEOPLE.items() if EMAIL in channels}
    for mail in the_town.sandbox.smtp.messages:
        parsed = mail.parsed()
        assert mail.to in known
        assert parsed["Bcc"] is None
        assert "\n" not in parsed["Subject"]
        assert "<script>" not in parsed.get_body(("html",)).get_content()
    the_town.read_all()


@pytest.mark.parametrize(
    "fields",
    [
        {"email": '"x\r\nRCPT TO:<e@evil.example>" <a@b.example>'},
        {"email": "a@b.example\r\nBcc: e@evil.example"},
        {"phone": "+8613800000000\r\n+8613900000000"},
        {"phone": "not a number"},
    ],
    ids=["quoted", "line", "phone", "words"],
)
async def test_an_address_that_is_more_than_one_is_not_registered(the_town: Town, fields: dict[str, str]) -> None:
    channel = Channel.EMAIL if "email" in fields else Channel.SMS
    person = Person(person_id="odd", node_id="milan", role=Role.CITIZEN, language="zh", channels=(channel,))
    with pytest.raises(InvalidInput):
        await the_town.stores.registry.register_people([(person, {"name": "x\r\nBcc: e@e", **fields})], SETUP)


async def test_a_recipient_whose_sealed_address_was_altered_holds_up_nobody_else(
    the_town: Town, errors: Errors
) -> None:
    errors.expect("contact_unreadable")
    stores = the_town.stores
    people = stores.views.directory.people
    with stores.views.engine.begin() as db:
        sealed = stores.views.directory.sealed(db, ["milan-zh"])["milan-zh"]
        broken = {"key_id": sealed.key_id, "bound_to": sealed.bound_to, "box": sealed.box[::-1]}
        db.execute(update(people).where(people.c.person_id == "milan-zh").values(sealed=broken))
    warning_id = await the_town.release(level="red")
    await the_town.device("milan-both").expect_sms("洪水将至")
    await the_town.quiet()

    plans = {r.event.shard_id: r.event for r in the_town.recorded(ShardPlanned)}  # type: ignore[attr-defined]
    rows = [
        (row.outcome, row.reason, row.retry_at is None)
        for r in the_town.recorded(ChunkRecorded)
        for row in r.event.rows  # type: ignore[attr-defined]
        if plans[r.event.shard_id].recipients[row.index] == "milan-zh"  # type: ignore[attr-defined]
    ]
    assert rows == [(Outcome.DEFERRED, Reason.UNREADABLE, False)]
    assert not the_town.sandbox.sms.sent_to(phone_of("milan-zh"))
    the_town.read_all()

    changed = Person(person_id="milan-zh", node_id="milan", role=Role.CITIZEN, language="zh", channels=(SMS,))
    await stores.registry.register_people([(changed, {"name": "n", "phone": phone_of("milan-zh")})], SETUP)
    await the_town.quiet()
    await the_town.pass_time(seconds=10)
    await the_town.device("milan-zh").expect_sms("洪水将至")
    assert warning_id
