"""Encryption on the way to the mail server: a test authority signs, everything else is refused, and nothing leaks."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from conftest import EmailRig, deliveries, rendered
from smtp_server import Wire, scripted

from domain.outcomes import Outcome, Reason
from infra.sandbox.smtp import SandboxSmtp
from notifiers.email import EmailNotifier

TAKEN = (Outcome.ACCEPTED, Reason.NONE)
UNREACHABLE = (Outcome.DEFERRED, Reason.UNREACHABLE)
CREDENTIALS = (Outcome.DEFERRED, Reason.CREDENTIALS)
LOGIN = {"username": "duty", "password": "beacon"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


async def sent(
    context: ssl.SSLContext, how: str, pipelining: bool = True, **settings: Any
) -> tuple[list[tuple[Outcome, Reason]], SandboxSmtp]:
    """Three mails to a server that speaks TLS in this way."""
    mail = EmailRig()
    tls = {"tls": context} if how == "starttls" else {"greeting_tls": context}
    mail.sandbox = SandboxSmtp(pipelining=pipelining, login=("duty", "beacon") if how == "starttls" else None, **tls)
    await mail.start()
    try:
        notifier = EmailNotifier(mail.settings(tls=how, connections=1, connect_timeout_s=5.0, **settings))
        results = await notifier.send(rendered(), deliveries([f"p{n}@people.example" for n in range(3)]))
        await notifier.close()
    finally:
        await mail.stop()
    return [(r.outcome, r.reason) for r in results], mail.sandbox


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("how", ["starttls", "implicit"])
async def test_mail_goes_through_tls_and_the_connection_is_kept(
    authority: Authority, how: str, pipelining: bool
) -> None:
    login = LOGIN if how == "starttls" else {}
    results, server = await sent(authority.server(), how, pipelining, ca_file=str(authority.file), **login)
    assert results == [TAKEN] * 3
    assert (len(server.messages), server.connections) == (3, 1)


@pytest.mark.parametrize("how", ["starttls", "implicit"])
@pytest.mark.parametrize("wrong", ["authority", "name", "time", "nobody"])
async def test_a_certificate_that_is_wrong_gets_no_mail_and_no_password(
    authority: Authority, tmp_path: Path, how: str, wrong: str
) -> None:
    trusted, context = str(authority.file), authority.server()
    match wrong:
        case "authority":
            context = Authority(tmp_path, "somebody-else").server()
        case "name":
            context = authority.server("127.0.0.9")
        case "time":
            context = authority.server(lasts=timedelta(hours=-1))
        case "nobody":
            trusted = ""
    results, server = await sent(context, how, ca_file=trusted, **LOGIN)
    assert results == [UNREACHABLE] * 3
    assert server.messages == []


async def test_a_wrong_password_settles_nobody(authority: Authority) -> None:
    results, _ = await sent(
        authority.server(), "starttls", ca_file=str(authority.file), username="duty", password="wrong"
    )
    assert results == [CREDENTIALS] * 3


@pytest.mark.parametrize(
    ("offers", "reply", "meaning"),
    [
        (("PIPELINING", "AUTH PLAIN LOGIN"), "", CREDENTIALS),  # somebody took the offer out, or there never was one
        (("STARTTLS", "AUTH PLAIN"), "454 4.7.0 not now", (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (("STARTTLS", "AUTH PLAIN"), "501 5.5.4 no", CREDENTIALS),
        (("STARTTLS", "AUTH PLAIN"), "220 go on\r\n250 injected", UNREACHABLE),
        (("STARTTLS", "AUTH PLAIN"), "close", UNREACHABLE),
    ],
)
async def test_nothing_is_sent_in_clear_where_tls_is_asked_for(
    offers: tuple[str, ...], reply: str, meaning: tuple[Outcome, Reason]
) -> None:
    heard: list[str] = []

    async def talk(wire: Wire) -> None:
        try:
            await wire.greet(*offers)
            while (await wire.reader.read(1)) != b"":
                line = (await wire.reader.readline()).decode("latin-1")
                heard.append(line.strip())
                if reply == "close":
                    wire.writer.close()
                elif line.startswith("TARTTLS"):
                    await wire.say(reply)
        finally:
            heard.extend(wire.heard)

    async with scripted(talk) as server:
        notifier = server.notifier(tls="starttls", connect_timeout_s=1.0, **LOGIN)
        results = await notifier.send(rendered(), deliveries(["p@people.example"]))
        await notifier.close()
    assert [(r.outcome, r.reason) for r in results] == [meaning]
    assert not [line for line in heard if line.startswith(("AUTH", "UTH", "MAIL", "AIL"))], "no word before TLS"


async def test_tls_from_the_first_byte_with_a_server_that_has_none() -> None:
    async def talk(wire: Wire) -> None:
        await wire.say("220 scripted.example")
        await wire.reader.read()

    async with scripted(talk) as server:
        notifier = server.notifier(tls="implicit", connect_timeout_s=1.0)
        results = await notifier.send(rendered(), deliveries(["p@people.example"]))
        await notifier.close()
    assert [(r.outcome, r.reason) for r in results] == [UNREACHABLE]


async def test_a_name_that_nobody_knows() -> None:
    async def talk(wire: Wire) -> None:
        await wire.greet()

    async with scripted(talk) as server:
        notifier = server.notifier(host="nowhere.invalid")
        results = await notifier.send(rendered(), deliveries(["p@people.example", "q@people.example"]))
        await notifier.close()
    assert [(r.outcome, r.reason) for r in results] == [UNREACHABLE] * 2
    assert server.connections == 0


async def test_a_server_that_takes_connections_and_says_nothing() -> None:
    async def talk(wire: Wire) -> None:
        await wire.reader.read()

    async with scripted(talk) as server:
        notifier = server.notifier(connect_timeout_s=0.2)
        results = await notifier.send(rendered(), deliveries(["p@people.example", "q@people.example"]))
        await notifier.close()
    assert [(r.outcome, r.reason) for r in results] == [UNREACHABLE] * 2
