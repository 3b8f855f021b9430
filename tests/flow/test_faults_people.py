"""What goes wrong with one recipient, through the running program: the number, the name, the browser, the telephone.

Each time the others are told as if nothing had happened, and the log says of that one what became of them and why.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import Fault, Gateway
from town import Town, running, town
from townsfolk import EMAIL, PEOPLE, SETUP, SMS, WEBPUSH, _node
from wrongdoers import TAKEN, Meaning, explained, kinds, ledger, settle

from domain.errors import FenghuoError
from domain.outcomes import Outcome, Reason
from domain.people import Channel
from domain.shards import ReceiptsRecorded
from domain.stations import Kind as NodeKind
from infra.config import Settings, SmsConfig
from infra.sandbox.behaviour import Behaviour, Kind
from infra.sandboxed import sandboxed

VOICE = Channel.VOICE
NOT_ALLOWED: Meaning = (Outcome.REFUSED, Reason.NOT_ALLOWED)
TIMEOUT_S = 5.0  # for one request: real seconds, as the sockets are real; a busy machine may well take two

# Numbers --------------------------------------------------------------------------------------------------------------

PREMIUM = {
    "premium-it": "+39899123456", "premium-us": "+19002345678", "premium-gb": "+449098790000", "shared": "+80812345678",
    "premium-world": "+979123456789", "personal": "+447012345678",
}  # fmt: skip
ABROAD = {"satellite": "+881612345678", "network": "+88213123456", "caribbean": "+18765230123", "us": "+12025550123"}


@pytest.mark.parametrize("countries", [[], ["IT", "ES", "CN"]], ids=["all countries", "some countries"])
async def test_a_number_that_our_rules_do_not_allow_is_never_asked_for(tmp_path: Path, countries: list[str]) -> None:
    account = SmsConfig(account_sid="x", auth_token="x", sender="x", allowed_countries=countries)
    forbidden = PREMIUM | (ABROAD if countries else {})
    allowed = {"italian": "+393330000001", "chinese": "+8613800000000"} | ({} if countries else {"us": ABROAD["us"]})
    async with town(tmp_path / "data", sms=account) as made:
        made.guests = set(allowed.values())
        await settle(made, SMS, {who: {"phone": phone} for who, phone in {**forbidden, **allowed}.items()})
        warning_id = await made.release(level="red", target={"nodes": ["milan"]})
        await made.quiet()
        rows = ledger(made, SMS, warning_id)
        assert {who: kinds(rows[who]) for who in forbidden} == {who: [NOT_ALLOWED] for who in forbidden}
        assert {who: kinds(rows[who]) for who in (*allowed, "milan-zh")} == {
            who: [TAKEN] for who in (*allowed, "milan-zh")
        }
        assert not {m.to for m in made.sandbox.sms.messages} & set(forbidden.values())
        made.read_all()


# Names ----------------------------------------------------------------------------------------------------------------

NAMES = [
    "x\r\nBcc: thief@evil.example", "x\nDATA\n.\nMAIL FROM:<e@evil.example>", '"x" <thief@evil.example>, y',
    "\x00\x1b[2J", "\u202eevil\u2066", "<script>alert(1)</script>", "名" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=["header", "dot", "second", "control", "override", "script", "long"])
async def test_a_persons_name_adds_no_header_and_no_recipient(the_town: Town, name: str) -> None:
    town = the_town
    odd = {"name": name, "email": "odd@people.example"}
    try:
        await settle(town, EMAIL, {"odd": odd})
    except FenghuoError as refused:
        assert "evil" not in str(refused)
        town.read_all()
        return
    warning_id = await town.release(level="red", target={"nodes": ["milan"]})
    await town.quiet()
    rows = ledger(town, EMAIL, warning_id)
    assert {who: kinds(rows[who]) for who in ("odd", "milan-it")} == {"odd": [TAKEN], "milan-it": [TAKEN]}
    mails = town.sandbox.smtp.messages
    staff = {f"{p}@people.example" for p, (_, _, _, channels) in PEOPLE.items() if EMAIL in channels}
    assert {mail.to for mail in mails} <= staff | {"odd@people.example"}
    assert [mail.to for mail in mails].count("odd@people.example") == 1
    for mail in mails:
        parsed = mail.parsed()
        assert (parsed["Bcc"], parsed["Cc"]) == (None, None)
        assert "evil" not in str(parsed)
    town.sandbox.smtp.messages[:] = [mail for mail in mails if mail.to != "odd@people.example"]
    town.read_all()


@pytest.mark.parametrize("name", NAMES[:3], ids=["header", "dot", "second"])
async def test_a_stations_name_adds_no_header_and_no_recipient(the_town: Town, name: str) -> None:
    town = the_town
    node = _node("odd", NodeKind.STATION, "north", "IT")
    try:
        await town.stores.registry.register_nodes([msgspec.structs.replace(node, name_zh=name, name_en=name)], SETUP)
    except FenghuoError:
        return  # no station has such a name
    await town.stores.follower.reached(await town.stores.log.last_position())
    await town.release(target={"nodes": ["odd", "milan"]})
    await town.quiet()
    await town.pass_time(minutes=40)  # silence is escalated, in words that name the station
    known = {f"{p}@people.example" for p, (_, _, _, channels) in PEOPLE.items() if EMAIL in channels}
    assert {mail.to for mail in town.sandbox.smtp.messages} <= known
    for mail in town.sandbox.smtp.messages:
        parsed = mail.parsed()
        assert (parsed["Bcc"], parsed["Cc"]) == (None, None)
        assert "\n" not in parsed["Subject"]
    town.read_all()


# Browsers -------------------------------------------------------------------------------------------------------------


async def test_a_subscription_that_cannot_be_used_holds_up_nobody_else(the_town: Town) -> None:
    good = the_town.sandbox.push.subscribe()
    keys = good["keys"]
    poison: dict[str, Any] = {
        "no-keys": {"endpoint": good["endpoint"]},
        "short-key": {**good, "keys": {**keys, "p256dh": "AAAA"}},
        "no-point": {**good, "keys": {**keys, "p256dh": "B" + "A" * 86}},
        "no-secret": {**good, "keys": {**keys, "auth": ""}},
        "words": "https://push.example/x",
        "list": [good],
        "long": {**good, "endpoint": good["endpoint"] + "x" * 5000},
    }
    await settle(the_town, WEBPUSH, {who: {"push": push} for who, push in poison.items()})
    warning_id = await the_town.release(level="red", target={"nodes": ["milan"]})
    await the_town.quiet()
    rows = ledger(the_town, WEBPUSH, warning_id)
    assert {who: kinds(rows[who]) for who in poison} == {who: [(Outcome.REFUSED, Reason.BAD_ADDRESS)] for who in poison}
    assert kinds(rows["milan-en"]) == kinds(rows["milan-liaison"]) == [TAKEN]
    the_town.read_all()


# Telephones -----------------------------------------------------------------------------------------------------------

CALLED = {f"caller{n}": {"phone": f"+39011000000{n}"} for n in range(4)}


@asynccontextmanager
async def telephoned(folder: Path) -> AsyncIterator[tuple[Town, Gateway]]:
    """A town whose voice provider is reached through a gateway, with four people who have only a telephone."""
    async with sandboxed(Settings(data_dir=folder, port=0, sandbox=True)) as (pointed, sandbox):
        assert sandbox is not None and pointed.voice is not None
        async with Gateway(int(sandbox.voice.url.rpartition(":")[2])) as gateway:
            voice = pointed.voice.model_copy(update={"base_url": gateway.url, "timeout_s": TIMEOUT_S})
            settings = pointed.model_copy(update={"sandbox": False, "voice": voice})
            async with running(folder, settings, sandbox) as made:
                await settle(made, VOICE, CALLED)
                yield made, gateway


async def rung(town: Town) -> str:
    """A red warning for Milan; returns once each of the four was tried."""
    warning_id = await town.release(level="red", target={"nodes": ["milan"]})
    await town.until(lambda: CALLED.keys() <= ledger(town, VOICE, warning_id).keys(), "the first attempts")
    return warning_id


def calls(town: Town, who: str) -> int:
    return len(town.sandbox.voice.calls_to(CALLED[who]["phone"]))


@pytest.mark.parametrize(
    ("fault", "meaning"),
    [
        (Fault.DRIP, (Outcome.UNKNOWN, Reason.TIMEOUT)),
        (Fault.SILENT, (Outcome.UNKNOWN, Reason.TIMEOUT)),
        (Fault.RESET, (Outcome.UNKNOWN, Reason.CONNECTION_LOST)),
        (Fault.DROP, (Outcome.UNKNOWN, Reason.CONNECTION_LOST)),
    ],
)
async def test_a_connection_to_the_voice_provider_that_breaks(tmp_path: Path, fault: Fault, meaning: Meaning) -> None:
    async with telephoned(tmp_path / "data") as (town, gateway):
        gateway.fault = fault
        warning_id = await rung(town)
        gateway.fault = None
        for _ in range(4):
            await town.pass_time(seconds=40)
        rows = ledger(town, VOICE, warning_id)
        for who in CALLED:
            assert kinds(rows[who])[0] == meaning
            assert kinds(rows[who])[-1] == TAKEN
            explained(rows[who], calls(town, who))
        town.read_all()


@pytest.mark.parametrize(
    ("behaviour", "meaning"),
    [
        (Behaviour(Kind.DEFER, retry_after_s=90, times=1), (Outcome.DEFERRED, Reason.RATE_LIMITED)),
        (Behaviour(Kind.DEFER, times=1), (Outcome.DEFERRED, Reason.RATE_LIMITED)),
        (Behaviour(Kind.ERROR, code=500, times=1), (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (Behaviour(Kind.ERROR, code=503, times=1), (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (Behaviour(Kind.HANG, times=1), (Outcome.UNKNOWN, Reason.TIMEOUT)),
        (Behaviour(Kind.RESET, times=1), (Outcome.UNKNOWN, Reason.CONNECTION_LOST)),
    ],
    ids=lambda value: f"{value.kind}-{value.code}-{value.retry_after_s}" if isinstance(value, Behaviour) else "",
)
async def test_a_voice_provider_that_misbehaves(tmp_path: Path, behaviour: Behaviour, meaning: Meaning) -> None:
    async with telephoned(tmp_path / "data") as (town, _):
        town.sandbox.voice.behave(CALLED["caller2"]["phone"], behaviour)
        warning_id = await rung(town)
        await town.pass_time(seconds=20)
        if behaviour.retry_after_s:
            assert len(ledger(town, VOICE, warning_id)["caller2"]) == 1, "it asked for more time than this"
        for _ in range(3):
            await town.pass_time(seconds=40)
        rows = ledger(town, VOICE, warning_id)
        assert kinds(rows["caller2"]) == [meaning, TAKEN]
        explained(rows["caller2"], calls(town, "caller2"))
        others = [who for who in CALLED if who != "caller2"]
        assert {who: kinds(rows[who]) for who in others} == {who: [TAKEN] for who in others}
        assert {calls(town, who) for who in others} == {1}
        town.read_all()


async def test_a_call_whose_ending_is_never_reported_stays_accepted(tmp_path: Path) -> None:
    async with telephoned(tmp_path / "data") as (town, _):
        town.sandbox.voice.behave(CALLED["caller1"]["phone"], Behaviour(Kind.NEVER_DELIVERED))
        warning_id = await rung(town)
        await town.quiet()
        await town.pass_time(minutes=30)
        assert kinds(ledger(town, VOICE, warning_id)["caller1"]) == [TAKEN]
        with town.stores.views.reading() as db:
            page = town.stores.views.deliveries.page(db, warning_id, after=("", -1), limit=1000)
        became = {row["person_id"]: row["outcome"] for row in page if row["person_id"] in CALLED}
        assert became == {who: "accepted" if who == "caller1" else "delivered" for who in CALLED}
        received = sum(len(r.event.rows) for r in town.recorded(ReceiptsRecorded))
        assert received > 0
        town.read_all()
