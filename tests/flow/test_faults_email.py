"""Everything that goes wrong between us and a mail server, through the whole engine and on real sockets.

Each time: nobody is lost, whoever got a mail twice has a line in the log that says why, and the reason is right.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email import message_from_string
from email.policy import default as modern
from pathlib import Path
from typing import Any

import pytest

from domain.content import Text
from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from domain.people import Channel, Person, Role
from domain.rulepacks import Level
from domain.warnings import WarningDrafted
from infra.sandbox.smtp import SandboxSmtp
from notifiers.email import EmailNotifier, EmailSettings
from tests.contracts.authority import Authority
from tests.contracts.smtp_server import Server, Wire, scripted
from tests.engine.house import House, actor, house

TAKEN = (Outcome.ACCEPTED, Reason.NONE)
MANY = [f"extra{n:02d}" for n in range(20)]
EMAIL = Channel.EMAIL
Talk = Callable[[Wire], Awaitable[None]]


class Post:
    """A house whose people `MANY` have mail, a mail server, and what both know of each of them."""

    def __init__(self, h: House, server: Server | None) -> None:
        self.house, self._server = h, server

    async def told(self, **more: Any) -> str:
        warning_id = await self.house.release(Level.RED, target="milan", **more)
        await self.house.quiet()
        return warning_id

    def rows(self, warning_id: str) -> dict[str, list[tuple[Outcome, Reason]]]:
        return {
            who: [row[:2] for row in self.house.rows(warning_id, who, channel=EMAIL)]
            for who in (*MANY, "milan-it", "milan-both")
        }

    def nobody_lost(self, warning_id: str) -> Counter[tuple[Outcome, Reason]]:
        """Everybody has the mail, as often as the log says; how often each line is there that is not `accepted`."""
        assert self._server is not None
        got = Counter(to.partition("@")[0] for to in self._server.taken)
        odd: Counter[tuple[Outcome, Reason]] = Counter()
        for who, rows in self.rows(warning_id).items():
            assert rows[-1] == TAKEN, (who, rows)
            assert 1 <= got[who] <= 1 + sum(outcome is Outcome.UNKNOWN for outcome, _ in rows), (who, rows, got[who])
            odd.update(rows[:-1])
        return odd


@asynccontextmanager
async def post(folder: Path, talk: Talk, **settings: Any) -> AsyncIterator[Post]:
    async with scripted(talk) as server:
        notifier = server.notifier(**{"connections": 2, "timeout_s": 1.0, "connect_timeout_s": 1.0, **settings})
        async with peopled(folder, notifier) as h:
            yield Post(h, server)


@asynccontextmanager
async def peopled(folder: Path, notifier: EmailNotifier, **addresses: str) -> AsyncIterator[House]:
    """A house with MANY in it; `addresses` are those that are not as usual."""
    async with house(folder, real={EMAIL: notifier}) as h:
        people = [
            Person(person_id=who, node_id="milan", role=Role.CITIZEN, language="zh", channels=(EMAIL,)) for who in MANY
        ]
        personal = [{"name": who, "email": addresses.get(who, f"{who}@people.example")} for who in MANY]
        await h.registry.register_people(list(zip(people, personal, strict=True)), actor("admin"))
        await h.stores.follower.reached(h.stores.log.last_position_now())
        yield h


async def good(wire: Wire) -> None:
    await wire.greet("PIPELINING", "8BITMIME")
    await wire.mails()


async def test_accepted_then_dropped_before_the_reply(tmp_path: Path) -> None:
    async def talk(wire: Wire) -> None:
        if wire.number > 1:
            await good(wire)
        await wire.greet("PIPELINING")
        await wire.mail()
        await wire.mail()
        await wire.mail(end="")
        wire.reset()

    async with post(tmp_path, talk) as p:
        warning_id = await p.told()
        await p.house.pass_time(minutes=1)
        assert p.nobody_lost(warning_id) == {(Outcome.UNKNOWN, Reason.CONNECTION_LOST): 2}


async def test_reset_in_the_middle_of_a_message(tmp_path: Path) -> None:
    async def talk(wire: Wire) -> None:
        if wire.number > 1:
            await good(wire)
        await wire.greet("PIPELINING")
        await wire.mail()
        for word in ("MAIL", "RCPT", "DATA"):
            await wire.expect(word)
        await wire.say("250 OK", "250 OK", "354 go on")
        await wire.hear()
        await wire.hear()
        wire.reset()

    async with post(tmp_path, talk) as p:
        warning_id = await p.told()
        await p.house.pass_time(minutes=1)
        assert p.nobody_lost(warning_id) == {(Outcome.UNKNOWN, Reason.CONNECTION_LOST): 2}


async def test_a_goodbye_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    async def talk(wire: Wire) -> None:
        await wire.greet("PIPELINING")
        for _ in range(3):
            await wire.mail()
        await wire.expect("MAIL")
        await wire.say("421 4.7.0 enough for one connection")
        wire.writer.close()

    async with post(tmp_path, talk) as p:
        warning_id = await p.told()
        await p.house.pass_time(minutes=1)
        assert p.nobody_lost(warning_id) == {}, "no mail waited for its retry, and none came twice"


@pytest.mark.parametrize("offers", [("PIPELINING",), ()])
async def test_one_byte_at_a_time(tmp_path: Path, offers: tuple[str, ...]) -> None:
    async def talk(wire: Wire) -> None:
        if wire.number > 1:
            await good(wire)
        await wire.greet(*offers)
        await wire.expect("MAIL")
        while True:
            wire.writer.write(b"2")
            await asyncio.sleep(0.1)

    async with post(tmp_path, talk) as p:
        warning_id = await p.told()
        await p.house.pass_time(minutes=1)
        assert p.nobody_lost(warning_id) == {(Outcome.DEFERRED, Reason.UNREACHABLE): 2}


async def test_half_open_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifiers.lines.DOWN_S", 0.0)  # the clock is moved, and the wall's does not follow

    async def talk(wire: Wire) -> None:
        if wire.number < 2:
            await wire.reader.read()  # connected, and not a word
        elif wire.number < 4:
            await wire.greet("PIPELINING")
            await wire.mail()
            await wire.reader.read()  # and not a word from here on
        await good(wire)

    async with post(tmp_path, talk) as p:
        warning_id = await p.told()
        await p.house.pass_time(minutes=1)
        await p.house.pass_time(minutes=1)
        odd = p.nobody_lost(warning_id)
        assert set(odd) <= {(Outcome.DEFERRED, Reason.UNREACHABLE), (Outcome.UNKNOWN, Reason.TIMEOUT)}
        assert odd[Outcome.DEFERRED, Reason.UNREACHABLE] >= len(MANY)


async def test_a_refused_recipient_among_good_ones(tmp_path: Path) -> None:
    async def talk(wire: Wire) -> None:
        await wire.greet("PIPELINING")
        while True:
            if await wire.hear() == "RSET":
                await wire.say("250 reset")
                continue
            to = (await wire.expect("RCPT TO:<")).partition("<")[2].partition(">")[0]
            await wire.expect("DATA")
            if to.startswith("extra07"):
                await wire.say("250 OK", "550 5.1.1 unknown", "503 5.5.1 RCPT first")
                continue
            if to.startswith("extra08"):
                await wire.say("250 OK", "450 4.2.1 greylisted", "354 go on")
                assert await wire.content() == ""
                await wire.say("554 5.5.1 no valid recipients")
                continue
            await wire.say("250 OK", "250 OK", "354 go on")
            await wire.content()
            wire.server.taken.append(to)
            await wire.say("250 OK")

    async with post(tmp_path, talk) as p:
        warning_id = await p.told()
        rows = p.rows(warning_id)
        assert rows.pop("extra07") == [(Outcome.REFUSED, Reason.BAD_ADDRESS)]
        assert rows.pop("extra08") == [(Outcome.DEFERRED, Reason.PROVIDER_BUSY)]
        assert set(map(tuple, rows.values())) == {(TAKEN,)}
        assert p.house.retry_at(warning_id, "extra08") is not None


async def test_a_poisoned_address_among_good_ones(tmp_path: Path) -> None:
    poison = {"extra03": "a@people.example>,<evil", "extra04": "a\u202e@people.example"}  # as far as the registry looks
    sandbox = SandboxSmtp()
    await sandbox.start()
    settings = EmailSettings(host="127.0.0.1", port=sandbox.port, sender="duty@fao.example", tls="none")
    async with peopled(tmp_path, EmailNotifier(settings), **poison) as h:
        p = Post(h, None)
        rows = p.rows(await p.told())
    await sandbox.stop()
    for who in poison:
        assert rows.pop(who) == [(Outcome.REFUSED, Reason.BAD_ADDRESS)]
    assert set(map(tuple, rows.values())) == {(TAKEN,)}
    assert len(sandbox.messages) == len(rows)


async def test_no_name_for_the_server_until_the_warning_is_over(tmp_path: Path) -> None:
    settings = EmailSettings(host="nowhere.invalid", sender="duty@fao.example", tls="none", connect_timeout_s=5.0)
    async with peopled(tmp_path, EmailNotifier(settings)) as h:
        p = Post(h, None)
        warning_id = await p.told()
        assert set(map(tuple, p.rows(warning_id).values())) == {((Outcome.DEFERRED, Reason.UNREACHABLE),)}
        await h.pass_time(hours=7)
        ends = {rows[-1] for rows in p.rows(warning_id).values()}
    assert ends == {(Outcome.EXPIRED, Reason.VALIDITY_OVER)}, "it ends with a word, not in silence"


async def test_a_certificate_that_is_wrong_until_somebody_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifiers.lines.DOWN_S", 0.0)
    (tmp_path / "tls").mkdir()
    ours, other = Authority(tmp_path / "tls", "ours"), Authority(tmp_path / "tls", "other")

    async def serving(context: ssl.SSLContext, port: int = 0) -> SandboxSmtp:
        sandbox = SandboxSmtp(tls=context, port=port)
        await sandbox.start()
        return sandbox

    wrong = await serving(other.server())
    settings = EmailSettings(host="127.0.0.1", port=wrong.port, sender="duty@fao.example", ca_file=str(ours.file))
    async with peopled(tmp_path / "data", EmailNotifier(settings)) as h:
        p = Post(h, None)
        warning_id = await p.told()
        assert set(map(tuple, p.rows(warning_id).values())) == {((Outcome.DEFERRED, Reason.UNREACHABLE),)}
        await wrong.stop()
        right = await serving(ours.server(), wrong.port)
        await h.pass_time(minutes=1)
        rows = p.rows(warning_id)
    await right.stop()
    assert wrong.messages == []
    assert {row[-1] for row in rows.values()} == {TAKEN}
    assert len(right.messages) == len(rows)


async def test_a_megabyte_of_text_is_refused_at_the_door(tmp_path: Path) -> None:
    async with post(tmp_path, good) as p:
        with pytest.raises(InvalidInput, match="20000 characters"):
            await p.told(texts=(Text(language="zh", headline="洪水", instruction="长" * 1_000_000),))
        assert p.house.events(WarningDrafted) == []


@pytest.mark.parametrize(
    ("headline", "instruction"),
    [
        ("洪水\r\nBcc: evil@evil.example\r\n\r\nbody", "请撤到高处。"),
        ("洪水\u2066", "左\u2066右\r\n.\r\nMAIL FROM:<evil@evil.example>\r\n"),
        ("洪水", "长" * 20_000),
        ("洪" * 20_000, "a" * 20_000),
    ],
    ids=["header", "control", "long", "line"],
)  # fmt: skip
async def test_texts_that_do_not_behave(tmp_path: Path, headline: str, instruction: str) -> None:
    mails: list[str] = []

    async def talk(wire: Wire) -> None:
        await wire.greet("PIPELINING", "8BITMIME")
        while True:
            for word in ("MAIL FROM:<duty@fao.example>", "RCPT", "DATA"):
                line = await wire.expect(word)
                if word == "RCPT":
                    wire.server.taken.append(line.partition("<")[2].partition(">")[0])
            await wire.say("250 OK", "250 OK", "354 go on")
            mails.append(await wire.content())
            await wire.say("250 OK")

    texts = (Text(language="zh", headline=headline, instruction=instruction),)
    async with post(tmp_path, talk, sender_name="烽火\r\nBcc: evil@evil.example", timeout_s=20.0) as p:
        warning_id = await p.told(texts=texts)
        assert p.nobody_lost(warning_id) == {}
    for said in mails:
        mail = message_from_string(said, policy=modern)
        assert mail["Bcc"] is None
        assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
        assert max(map(len, said.encode().split(b"\n"))) <= 998
