"""The dialogue with a mail server: what is written together, which reply belongs to which mail, what a loss means."""

from __future__ import annotations

import asyncio

import pytest
from conftest import deliveries, rendered
from smtp_server import Server, Wire, scripted

from domain.outcomes import Outcome, Reason
from domain.rulepacks import Lane
from notifiers.channel import Result

TAKEN = (Outcome.ACCEPTED, Reason.NONE)
PEOPLE = [f"p{n}@people.example" for n in range(6)]


async def send(server: Server, people: list[str] = PEOPLE, **changes: object) -> list[tuple[Outcome, Reason]]:
    notifier = server.notifier(**changes)
    results = await notifier.send(rendered(), deliveries(people))
    await notifier.close()
    return said(results)


def said(results: list[Result]) -> list[tuple[Outcome, Reason]]:
    ordered = sorted(results, key=lambda result: result.index)
    assert [result.index for result in ordered] == list(range(len(ordered)))
    return [(result.outcome, result.reason) for result in ordered]


async def test_an_envelope_is_one_piece_and_follows_right_behind_the_content_before() -> None:
    async def talk(wire: Wire) -> None:
        await wire.greet("PIPELINING", "8BITMIME")
        for n in range(3):
            await wire.expect("MAIL FROM:<duty@fao.example> BODY=8BITMIME")
            await wire.expect(f"RCPT TO:<p{n}@people.example>")
            await wire.expect("DATA")  # and not one of them answered so far, nor the content before
            if n:
                await wire.say("250 2.0.0 OK queued as A7")
            assert await wire.silent(), "no content before 354: a server that refuses would read it as commands"
            await wire.say("250 2.1.0 OK", "250 2.1.5 OK", "354 go on")
            assert f"To: p{n}@people.example" in await wire.content()
        await wire.say("250 2.0.0 OK queued as A7")
        await wire.hear()

    async with scripted(talk) as server:
        notifier = server.notifier()
        results = await notifier.send(rendered(), deliveries(PEOPLE[:3]))
        await notifier.close()
    assert said(results) == [TAKEN] * 3
    assert {result.provider_ref for result in results} == {"A7"}
    assert server.connections == 1


async def test_without_the_offer_each_command_waits_for_its_reply() -> None:
    async def talk(wire: Wire) -> None:
        await wire.greet("8BITMIME")
        for _ in range(3):
            for word, reply in (("MAIL", "250 OK"), ("RCPT", "250 OK"), ("DATA", "354 go on")):
                await wire.expect(word)
                assert await wire.silent()
                await wire.say(reply)
            await wire.content()
            assert await wire.silent()
            await wire.say("250 OK")

    async with scripted(talk) as server:
        assert await send(server, PEOPLE[:3]) == [TAKEN] * 3


async def refusing(wire: Wire, then: str, after: str) -> None:
    """Refuses p1, and takes everybody else; `then` answers p1's DATA, `after` what comes then."""
    await wire.greet("PIPELINING")
    await wire.mail()
    while True:
        line = await wire.hear()
        if line == "RSET" and not then.startswith("354"):
            await wire.say("250 reset")
            line = await wire.hear()
        to = (await wire.expect("RCPT TO:<")).removeprefix("RCPT TO:<").partition(">")[0]
        await wire.expect("DATA")
        if to == "p1@people.example":
            await wire.say("250 OK", "550 5.1.1 unknown", then)
            if then.startswith("354"):
                assert await wire.content() == "", "not a byte of the mail to a recipient who was refused"
                await wire.say(after)
        else:
            await wire.say("250 OK", "250 OK", "354 go on")
            await wire.content()
            wire.server.taken.append(to)
            await wire.say("250 OK")


@pytest.mark.parametrize(
    ("then", "after"),
    [
        ("503 5.5.1 no recipient", ""), ("554 5.5.1 no valid recipients", ""), ("451 4.3.0 later", ""),
        ("354 go on", "554 5.5.1 no valid recipients"), ("354 go on", "503 5.5.1 no"), ("354 go on", "250 2.0.0 taken"),
    ],
)  # fmt: skip
async def test_a_refused_recipient_costs_one_result(then: str, after: str) -> None:
    async with scripted(lambda wire: refusing(wire, then, after)) as server:
        results = await send(server)
    assert results == [TAKEN, (Outcome.REFUSED, Reason.BAD_ADDRESS), *[TAKEN] * 4]
    assert server.taken == [PEOPLE[0], *PEOPLE[2:]]
    assert server.connections == 1


async def test_a_sender_that_is_refused_settles_nobody() -> None:
    async def talk(wire: Wire) -> None:
        await wire.greet("PIPELINING")
        while True:
            if await wire.hear() == "RSET":
                await wire.say("250 reset")
                await wire.expect("MAIL")
            await wire.expect("RCPT")
            await wire.expect("DATA")
            await wire.say("550 5.7.1 not your sender", "503 5.5.1 MAIL first", "503 5.5.1 RCPT first")

    async with scripted(talk) as server:
        assert await send(server) == [(Outcome.DEFERRED, Reason.CREDENTIALS)] * 6
    assert server.connections == 1


async def first_then_good(wire: Wire) -> None:
    await wire.greet("PIPELINING")
    await wire.mails()


async def test_a_connection_lost_in_the_middle_leaves_one_mail_in_doubt_and_repeats_none_of_the_others() -> None:
    async def talk(wire: Wire) -> None:
        if wire.number:
            await first_then_good(wire)
        await wire.greet("PIPELINING")
        await wire.mail()
        await wire.mail(end="")  # p1: taken, and not a word
        await wire.expect("MAIL")
        await wire.expect("RCPT TO:<p2@")  # p2: only its envelope is known here
        wire.reset()

    async with scripted(talk) as server:
        results = await send(server)
    assert results == [TAKEN, (Outcome.UNKNOWN, Reason.CONNECTION_LOST), *[TAKEN] * 4]
    assert sorted(server.taken) == PEOPLE, "p2 went over another connection, once"
    assert server.connections == 2


@pytest.mark.parametrize("offers", [("PIPELINING",), ("8BITMIME",)])
@pytest.mark.parametrize(
    ("replies", "meaning"),
    [
        ((), (Outcome.DEFERRED, Reason.UNREACHABLE)),
        (("250 OK",), (Outcome.DEFERRED, Reason.UNREACHABLE)),
        (("250 OK", "250 OK"), (Outcome.DEFERRED, Reason.UNREACHABLE)),
        (("250 OK", "250 OK", "354 go on"), (Outcome.UNKNOWN, Reason.CONNECTION_LOST)),
        (("421 4.3.2 closing",), (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (("250 OK", "421 4.3.2 closing"), (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (("250 OK", "250 OK", "421 4.3.2 closing"), (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (("hello?",), (Outcome.DEFERRED, Reason.PROVIDER_ERROR)),
        (("250 OK", "250 OK", "250 OK"), (Outcome.DEFERRED, Reason.PROVIDER_ERROR)),
        (("250 OK", "250 OK", "354 go on", "hello?"), (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (("250 OK", "250 OK", "354 go on", "421 4.3.2 closing"), (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (("250 OK", "250 OK", "354 go on", "250-OK"), (Outcome.UNKNOWN, Reason.CONNECTION_LOST)),
        (("250 OK", "250 OK", "354 go on", "250 OK"), TAKEN),
    ],
)
async def test_what_the_end_of_a_connection_means(
    replies: tuple[str, ...], meaning: tuple[Outcome, Reason], offers: tuple[str, ...]
) -> None:
    async def talk(wire: Wire) -> None:
        await wire.greet(*offers)
        for n, reply in enumerate(replies):
            if n < 3 and (n == 0 or offers != ("PIPELINING",)):
                for _ in range(3 if offers == ("PIPELINING",) else 1):
                    await wire.hear()
            elif n == 3:
                await wire.content()
            await wire.say(reply)
        if len(replies) == 3 and replies[2].startswith("354"):
            await wire.hear()  # the content has begun: a reset in the middle of the mail
        wire.writer.close()

    async with scripted(talk) as server:
        assert await send(server, ["p0@people.example"]) == [meaning]
    assert server.connections == 1


async def test_a_goodbye_in_the_middle_of_a_batch_loses_nobody() -> None:
    async def talk(wire: Wire) -> None:
        await wire.greet("PIPELINING")
        await wire.mail()
        await wire.mail()
        await wire.expect("MAIL")
        await wire.say("421 4.7.0 enough for one connection")
        wire.writer.close()

    async with scripted(talk) as server:
        assert await send(server) == [TAKEN] * 6
    assert sorted(server.taken) == PEOPLE
    assert server.connections == 3


async def test_mail_that_waits_while_no_connection_is_tried_is_taken_up_again() -> None:
    async def talk(wire: Wire) -> None:
        if wire.number == 1:
            await wire.say("421 4.7.0 too many connections")
            return
        if wire.number == 0:
            await asyncio.sleep(0.1)  # so that the other one is refused first, and this one is a success after it
        await wire.greet("PIPELINING")
        await wire.mail()
        await wire.mail()
        if wire.number == 2:
            await wire.mails()

    async with scripted(talk) as server:
        async with asyncio.timeout(10):
            assert await send(server, connections=2) == [TAKEN] * 6
    assert (sorted(server.taken), server.connections >= 3) == (PEOPLE, True)


async def test_a_line_that_went_silent_is_given_up() -> None:
    async def talk(wire: Wire) -> None:
        await wire.greet("PIPELINING")
        await wire.mail()
        if wire.number == 0:
            await asyncio.sleep(60)  # half open: the far side is gone and says nothing
        await wire.mails()

    async with scripted(talk) as server:
        results = await send(server, PEOPLE[:3], timeout_s=1.0)
    assert results == [TAKEN] * 3
    assert (sorted(server.taken), server.connections) == (PEOPLE[:3], 2)


@pytest.mark.parametrize("before", [False, True])
async def test_one_byte_at_a_time_is_not_waited_for(before: bool) -> None:
    async def drip(wire: Wire, line: str) -> None:
        for letter in line:
            wire.writer.write(letter.encode())
            await asyncio.sleep(0.05)

    async def talk(wire: Wire) -> None:
        if before:
            await drip(wire, "220-" + "welcome " * 100)
        await wire.greet("PIPELINING")
        await wire.expect("MAIL")
        await wire.say("250 OK", "250 OK", "354 go on")
        await wire.expect("RCPT")
        await wire.expect("DATA")
        await wire.content()
        await drip(wire, "250-" + "thank you " * 100)

    async with scripted(talk) as server:
        results = await send(server, PEOPLE[:1], timeout_s=1.0, connect_timeout_s=1.0)
    assert results == [(Outcome.DEFERRED, Reason.UNREACHABLE) if before else (Outcome.UNKNOWN, Reason.TIMEOUT)]


async def test_an_endless_reply_is_not_kept() -> None:
    async def talk(wire: Wire) -> None:
        await wire.greet("PIPELINING")
        await wire.expect("MAIL")
        while True:
            await wire.say("250-" + "x" * 1000)

    async with scripted(talk) as server:
        results = await send(server, PEOPLE[:1])
    assert results == [(Outcome.DEFERRED, Reason.PROVIDER_ERROR)]


async def test_the_higher_lane_goes_first() -> None:
    go = asyncio.Event()

    async def talk(wire: Wire) -> None:
        await wire.greet("PIPELINING")
        await wire.mail()
        await go.wait()
        await wire.mails()

    async with scripted(talk) as server:
        notifier = server.notifier()
        bulk = asyncio.create_task(notifier.send(rendered(), deliveries([f"b{n}@people.example" for n in range(20)])))
        while not server.taken:  # noqa: ASYNC110  it happens on the far side of a socket
            await asyncio.sleep(0.005)
        extreme = asyncio.create_task(notifier.send(rendered(lane=Lane.EXTREME), deliveries(["x@people.example"])))
        await asyncio.sleep(0)
        go.set()
        assert said(await extreme) == [TAKEN]
        assert said(await bulk) == [TAKEN] * 20
        await notifier.close()
    assert server.taken.index("x@people.example") <= 2, "behind what was on the connection already, before all others"


async def test_cancelling_one_batch_leaves_the_other_alone() -> None:
    go = asyncio.Event()

    async def talk(wire: Wire) -> None:
        await wire.greet("PIPELINING")
        await wire.mail()
        await go.wait()
        await wire.mails()

    async with scripted(talk) as server:
        notifier = server.notifier()
        kept = asyncio.create_task(notifier.send(rendered(), deliveries([f"k{n}@people.example" for n in range(5)])))
        dropped = asyncio.create_task(notifier.send(rendered(), deliveries([f"d{n}@people.example" for n in range(5)])))
        while not server.taken:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        dropped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dropped
        go.set()
        outcomes = said(await kept)
        await notifier.close()
    assert outcomes == [TAKEN] * 5
    assert len([to for to in server.taken if to.startswith("d")]) <= 1
    assert sorted({to for to in server.taken if to.startswith("k")}) == [f"k{n}@people.example" for n in range(5)]
