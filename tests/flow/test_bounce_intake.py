"""Bounces through the whole program: mail goes out with an address of its own, what comes back there is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from setting import Errors
from town import Town, town
from townsfolk import mail_of

from domain.errors import InvalidInput, Unreachable
from domain.outcomes import Outcome, Reason
from domain.shards import ReceiptsRecorded
from infra.config import EmailConfig, Settings
from infra.roles import Role
from infra.serve import serving
from infra.stores import Stores
from notifiers.verp import Verp
from tests.ports import free_port

DOMAIN = "bounces.fao.example"
EMAIL = {"host": "-", "sender": "duty@fao.example", "bounce_port": 0, "bounce_domain": DOMAIN}
WHO = "madrid-head"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Town]:
    async with town(tmp_path / "data", email=EmailConfig(**EMAIL)) as made:
        yield made
        made.read_all()


class Client:
    """A mail server that hands a bounce in, one command at a time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection(*self.address)
        assert (await self.reply())[:3] == "220"
        assert await self.say("EHLO mx.people.example") == 250
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def reply(self) -> str:
        while True:
            line = (await self.reader.readline()).decode()
            if line[3:4] != "-":
                return line

    async def say(self, line: str) -> int:
        self.writer.write(line.encode() + b"\r\n")
        return int((await self.reply())[:3] or 0)

    async def hand_in(self, to: str, mail: str, sender: str = "") -> list[int]:
        """The codes of the replies to MAIL, RCPT and, where that was taken, DATA and the content."""
        codes = [await self.say(f"MAIL FROM:<{sender}>"), await self.say(f"RCPT TO:<{to}>")]
        if codes[-1] == 250:
            codes += [await self.say("DATA"), await self.say(mail.replace("\n", "\r\n") + "\r\n.")]
        else:
            await self.say("RSET")
        return codes


def report(action: str, status: str) -> str:
    return (
        "From: MAILER-DAEMON@mx.people.example\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nSorry.\n\n"
        "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\n"
        f"Final-Recipient: rfc822; x@people.example\nAction: {action}\nStatus: {status}\n\n--b--\n"
    )


async def mailed(town: Town) -> tuple[str, str]:
    """A warning went out to the staff: its id, and the envelope sender of WHO's mail."""
    warning_id = await town.release()
    await town.quiet()
    (mail,) = town.sandbox.smtp.sent_to(mail_of(WHO))
    return warning_id, mail.sender


def known(town: Town, warning_id: str) -> tuple[str, str]:
    """What the views say of WHO's mail."""
    with town.stores.views.reading() as db:
        rows = town.stores.views.deliveries.page(db, warning_id, after=("", -1), limit=1000)
    (row,) = [row for row in rows if row["person_id"] == WHO]
    return row["outcome"], row["reason"]


def learned(town: Town) -> list[tuple[Outcome, Reason]]:
    """Receipts about mail in the log."""
    rows = [row for r in town.recorded(ReceiptsRecorded) for row in r.event.rows]  # type: ignore[attr-defined]
    return [(row.outcome, row.reason) for row in rows if not row.provider_ref]


async def test_a_bounce_refuses_the_one_mail_that_it_is_about(place: Town) -> None:
    warning_id, sender = await mailed(place)
    assert sender.endswith(f"@{DOMAIN}")
    assert len({mail.sender for mail in place.sandbox.smtp.messages}) == len(place.sandbox.smtp.messages)
    async with Client(place.live.bounces) as mx:
        assert await mx.hand_in(sender, report("delayed", "4.4.1")) == [250, 250, 354, 250]
        assert learned(place) == []
        assert await mx.hand_in(sender.upper(), report("failed", "5.1.1")) == [250, 250, 354, 250]
        assert learned(place) == [(Outcome.REFUSED, Reason.BAD_ADDRESS)], "durable before 250"
        assert await mx.hand_in(sender, report("failed", "5.1.1")) == [250, 250, 354, 250]
    await place.quiet()
    assert known(place, warning_id) == ("refused", "bad_address")
    assert len(learned(place)) == 1, "the same bounce again changes nothing"


async def test_word_of_delivery_is_delivered(place: Town) -> None:
    warning_id, sender = await mailed(place)
    async with Client(place.live.bounces) as mx:
        assert await mx.hand_in(sender, report("relayed", "2.0.0")) == [250, 250, 354, 250]
        await place.quiet()
        assert known(place, warning_id) == ("accepted", ""), "delivered is never inferred"
        assert await mx.hand_in(sender, report("delivered", "2.0.0")) == [250, 250, 354, 250]
        assert await mx.hand_in(sender, report("failed", "5.1.1")) == [250, 250, 354, 250]
    await place.quiet()
    assert known(place, warning_id) == ("delivered", ""), "out of order: nothing undoes delivered"


async def test_free_text_counts_from_the_null_sender(place: Town) -> None:
    warning_id, sender = await mailed(place)
    async with Client(place.live.bounces) as mx:
        assert await mx.hand_in(sender, "Subject: x\n\n550 5.1.1 unknown", "somebody@evil.example") == [
            250,
            250,
            354,
            250,
        ]
        assert learned(place) == []
        assert await mx.hand_in(sender, "Subject: x\n\n550 5.1.1 unknown") == [250, 250, 354, 250]
    await place.quiet()
    assert known(place, warning_id) == ("refused", "bad_address")


async def test_forged_addresses_are_refused_before_any_mail(place: Town) -> None:
    _, sender = await mailed(place)
    before = place.stores.log.last_position_now()
    made_up = Verp(DOMAIN, b"x" * 32).address(f"{'0' * 32}.0")
    changed = sender[:5] + ("a" if sender[5] != "a" else "b") + sender[6:]
    async with Client(place.live.bounces) as mx:
        for to in (made_up, changed, f"postmaster@{DOMAIN}", sender.partition("@")[0] + "@evil.example", "x"):
            assert (await mx.hand_in(to, report("failed", "5.1.1")))[:2] == [250, 550], to
        ours = Verp(DOMAIN, place.stores.vault.secret("bounces"))
        assert await mx.hand_in(ours.address(f"{'0' * 32}.0"), report("failed", "5.1.1")) == [250, 250, 354, 550]
    assert place.stores.log.last_position_now() == before


async def test_a_bounce_that_is_too_large_is_refused(place: Town) -> None:
    _, sender = await mailed(place)
    async with Client(place.live.bounces) as mx:
        large = report("failed", "5.1.1") + ("x" * 70 + "\n") * 40_000
        assert (await mx.hand_in(sender, large))[-1] == 552
    assert learned(place) == []


async def test_what_cannot_be_written_down_is_not_answered_for(
    place: Town, monkeypatch: pytest.MonkeyPatch, errors: Errors
) -> None:
    _, sender = await mailed(place)
    errors.expect("bounce_waits")

    async def full(*_: Any) -> None:
        raise Unreachable("log.full", "The log cannot be written.")

    with monkeypatch.context() as patch:
        patch.setattr(place.live.runtime.receipts, "record", full)
        async with Client(place.live.bounces) as mx:
            assert await mx.hand_in(sender, report("failed", "5.1.1")) == [250, 250, 354, 451]
    async with Client(place.live.bounces) as mx:
        assert await mx.hand_in(sender, report("failed", "5.1.1")) == [250, 250, 354, 250]
    assert len(learned(place)) == 1


async def test_many_clients_cannot_take_the_intake_away_for_ever(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.bounces.MOST_CONNECTIONS", 2)
    _, sender = await mailed(place)
    async with Client(place.live.bounces), Client(place.live.bounces):
        reader, writer = await asyncio.open_connection(*place.live.bounces)
        assert (await reader.read())[:3] == b"421"
        writer.close()
    await place.until(lambda: refused_no_more(place.live.bounces), "a place to be free")
    async with Client(place.live.bounces) as mx:
        assert (await mx.hand_in(sender, report("failed", "5.1.1")))[-1] == 250


async def test_of_several_processes_on_a_machine_the_one_that_serves_takes_them(tmp_path: Path) -> None:
    email = EmailConfig(**{**EMAIL, "bounce_port": free_port()})
    settings = Settings(data_dir=tmp_path, port=0, sandbox=True, email=email, public_url="http://127.0.0.1:1")
    taken = {}
    async with contextlib.AsyncExitStack() as running:
        for role in (Role.SERVE, Role.PROJECT, Role.RELAY, Role.WORK):
            stores = await running.enter_async_context(Stores(tmp_path))
            taken[role] = (await running.enter_async_context(serving(settings, stores, role))).bounces
        async with Client(("127.0.0.1", email.bounce_port or 0)) as client:
            assert await client.say("NOOP") == 250
    nobody = dict.fromkeys((Role.PROJECT, Role.RELAY, Role.WORK))
    assert taken == {Role.SERVE: ("127.0.0.1", email.bounce_port), **nobody}


def refused_no_more(address: tuple[str, int]) -> bool:
    with socket.create_connection(address) as client:
        return client.recv(3) == b"220"


async def test_it_is_off_unless_it_is_asked_for(the_town: Town) -> None:
    assert the_town.live.bounces is None
    await the_town.release()
    await the_town.quiet()
    assert {mail.sender for mail in the_town.sandbox.smtp.messages} == {"duty@fao.example"}
    the_town.read_all()


async def test_a_domain_that_is_none_is_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, port=0, sandbox=True, email=EmailConfig(**{**EMAIL, "bounce_domain": ""}))
    async with Stores(tmp_path) as stores:
        with pytest.raises(InvalidInput, match="domain for bounces"):
            async with serving(settings, stores):
                pass
