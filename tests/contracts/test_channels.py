"""What every channel promises, held against each of them on real sockets (notifiers/channel.py)."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from conftest import Rig, deliveries, rendered, until

from domain.outcomes import Outcome, Reason
from infra.sandbox.behaviour import Behaviour, Kind
from notifiers.channel import Result

GARBAGE: list[Any] = [
    None,
    5,
    "",
    "nobody",
    b"+8613800000000",
    {},
    {"endpoint": "https://push.example/x"},
    'x\r\nRCPT TO:<evil@evil.example>" <a@b.example>',
    "a@b.example\r\nBcc: evil@evil.example",
    "+8613800000000\r\nX: y",
    "\ud800@b.example",
    "a\u202e@b.example",
    "\0",
    "9" * 1_000_000,
    ["+8613800000000"],
]


def by_index(results: list[Result]) -> list[Result]:
    return sorted(results, key=lambda result: result.index)


async def send(rig: Rig, addresses: list[Any], timeout_s: float = 5.0, **changes: Any) -> list[Result]:
    """One batch through a notifier of its own, and the promise that holds for every batch."""
    notifier = rig.notifier(timeout_s)
    try:
        results = by_index(await notifier.send(rendered(**changes), deliveries(addresses)))
    finally:
        await notifier.close()
    assert [result.index for result in results] == list(range(len(addresses)))
    return results


def parts_of(address: Any) -> list[str]:
    """Every word of an address."""
    if isinstance(address, dict):
        return [part for value in address.values() for part in parts_of(value)]
    return [address] if isinstance(address, str) else []


async def one(rig: Rig, behaviour: Behaviour, timeout_s: float = 5.0) -> Result:
    somebody = rig.someone()
    rig.behave(somebody, behaviour)
    return (await send(rig, [somebody], timeout_s))[0]


async def test_a_message_is_taken_and_carries_the_recipients_own_link(rig: Rig) -> None:
    people = [rig.someone() for _ in range(40)]
    results = await send(rig, people)
    assert {result.outcome for result in results} == {rig.taken_as}
    assert all(result.provider_ref for result in results) or rig.taken_as is Outcome.DELIVERED
    for index, somebody in enumerate(people):
        (text,) = rig.received(somebody)
        assert all(part in text for part in rig.carries(index))
        assert "{{link}}" not in text


async def test_nothing_to_send(rig: Rig) -> None:
    assert await send(rig, []) == []


async def test_a_refusal_is_final(rig: Rig) -> None:
    result = await one(rig, Behaviour(Kind.REFUSE))
    assert result.outcome is Outcome.REFUSED
    assert result.reason in {Reason.BAD_ADDRESS, Reason.SUBSCRIPTION_GONE}
    assert rig.taken() == 0


async def test_a_deferral_says_when_to_come_back(rig: Rig) -> None:
    result = await one(rig, Behaviour(Kind.DEFER, retry_after_s=7))
    assert result.outcome is Outcome.DEFERRED
    assert result.reason in {Reason.RATE_LIMITED, Reason.PROVIDER_BUSY}
    assert result.retry_after_s == (7.0 if rig.says_when else None)


async def test_a_deferral_without_a_time(rig: Rig) -> None:
    result = await one(rig, Behaviour(Kind.DEFER))
    assert (result.outcome, result.retry_after_s) == (Outcome.DEFERRED, None)


async def test_no_answer_in_time_is_in_doubt(rig: Rig) -> None:
    result = await one(rig, Behaviour(Kind.HANG), timeout_s=1.0)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, Reason.TIMEOUT)
    assert rig.taken() == 1, "it was taken after all: calling this a failure would have been a lie"


async def test_a_connection_broken_after_sending_is_in_doubt(rig: Rig) -> None:
    result = await one(rig, Behaviour(Kind.RESET))
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, Reason.CONNECTION_LOST)
    assert rig.taken() == 1


async def test_nobody_listening_means_nothing_was_sent(rig: Rig) -> None:
    people = [rig.someone() for _ in range(3)]
    notifier = rig.notifier()
    await rig.stop()
    results = await notifier.send(rendered(), deliveries(people))
    await notifier.close()
    assert [(r.outcome, r.reason) for r in results] == [(Outcome.DEFERRED, Reason.UNREACHABLE)] * 3


async def test_a_poisoned_recipient_does_not_stop_the_others(rig: Rig) -> None:
    people = [rig.someone() for _ in range(len(GARBAGE) + 1)]
    mixed = [address for pair in zip(people, [*GARBAGE, None], strict=True) for address in pair]
    results = await send(rig, mixed)
    assert {result.outcome for result in results[::2]} == {rig.taken_as}
    assert {(result.outcome, result.reason) for result in results[1::2]} == {(Outcome.REFUSED, Reason.BAD_ADDRESS)}
    assert rig.taken() == len(people)


async def test_bad_behaviour_of_one_does_not_touch_the_others(rig: Rig) -> None:
    bad = [Kind.REFUSE, Kind.DEFER, Kind.ERROR, Kind.HANG, Kind.RESET]
    people = [rig.someone() for _ in range(30)]
    for somebody, kind in zip(people, bad, strict=False):
        rig.behave(somebody, Behaviour(kind))
    results = await send(rig, people, timeout_s=4.0)
    assert rig.taken_as not in {result.outcome for result in results[: len(bad)]}
    assert {result.outcome for result in results[len(bad) :]} == {rig.taken_as}
    assert all(len(rig.received(somebody)) == 1 for somebody in people[len(bad) :])


@pytest.mark.parametrize(
    "subject", ["A\r\nBcc: evil@evil.example\r\n\r\nbody", "A\nB\x00C\x1bD", "\u202eevil\u2066", "", "字" * 500_000]
)
async def test_a_subject_cannot_break_out(rig: Rig, subject: str) -> None:
    results = await send(rig, [rig.someone()], subject=subject)
    assert results[0].outcome is rig.taken_as
    assert rig.taken() == 1


@pytest.mark.parametrize(
    "text",
    [
        "左\u202e右\u2066{{link}}",
        "مرحبا שלום {{link}}",
        "bell \x07 null \x00 escape \x1b {{link}}",
        "lone \ud800 surrogate {{link}}",
        "mixed\rline\nends\r\n.\r\n.. {{link}}",
        "{{link}}" * 3,
        "👨‍👩‍👧‍👦" * 20 + "{{link}}",
    ],
)
async def test_odd_texts_arrive(rig: Rig, text: str) -> None:
    somebody = rig.someone()
    results = await send(rig, [somebody], text=text, html=text, short=text, voice=text)
    assert results[0].outcome is rig.taken_as
    assert all(part.partition("?")[0] in rig.received(somebody)[0] for part in rig.carries(0)[:1])


@pytest.mark.parametrize("text", ["长" * 350_000 + "{{link}}", ("line\n" * 200_000) + "{{link}}", "\0" * 1_000_000])
async def test_a_huge_text_is_refused_or_cut(rig: Rig, text: str) -> None:
    somebody = rig.someone()
    (result,) = await send(rig, [somebody], 30.0, text=text, html=text, short=text, voice=text)
    if result.outcome is Outcome.REFUSED:
        assert result.reason is Reason.CONTENT_REFUSED
        assert rig.taken() == 0
    else:
        assert result.outcome is rig.taken_as
        assert rig.taken() == 1


async def test_a_repeat_bears_the_same_identity(rig: Rig) -> None:
    somebody = rig.someone()
    notifier = rig.notifier()
    for attempt in (1, 2, 3):
        await notifier.send(rendered(), deliveries([somebody], attempt))
    await notifier.close()
    identities = rig.identities(somebody)
    assert len(identities) == 3
    assert len(set(identities)) == 1


async def test_different_messages_bear_different_identities(rig: Rig) -> None:
    people = [rig.someone(), rig.someone()]
    await send(rig, people)
    assert rig.identities(people[0]) != rig.identities(people[1])


async def test_cancellation_goes_through_and_leaves_the_channel_usable(rig: Rig) -> None:
    hanging = [rig.someone() for _ in range(20)]
    for somebody in hanging:
        rig.behave(somebody, Behaviour(Kind.HANG))
    notifier = rig.notifier(timeout_s=60.0)
    sending = asyncio.create_task(notifier.send(rendered(), deliveries(hanging)))
    await until(lambda: rig.taken() > 0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    (result,) = await notifier.send(rendered(), deliveries([rig.someone()]))
    assert result.outcome is rig.taken_as
    await notifier.close()


async def test_several_batches_at_once(rig: Rig) -> None:
    notifier = rig.notifier()
    batches = [[rig.someone() for _ in range(15)] for _ in range(6)]
    answers = await asyncio.gather(*(notifier.send(rendered(), deliveries(batch)) for batch in batches))
    await notifier.close()
    assert [len(answer) for answer in answers] == [15] * 6
    assert {result.outcome for answer in answers for result in answer} == {rig.taken_as}
    assert rig.taken() == 90


async def test_closing_is_not_the_end(rig: Rig) -> None:
    notifier = rig.notifier()
    for _ in range(2):
        (result,) = await notifier.send(rendered(), deliveries([rig.someone()]))
        assert result.outcome is rig.taken_as
        await notifier.close()
    await notifier.close()


async def test_it_works_again_once_the_provider_is_back(rig: Rig) -> None:
    somebody = rig.someone()
    rig.behave(somebody, Behaviour(Kind.DEFER, times=2))
    notifier = rig.notifier()
    outcomes = []
    for attempt in (1, 2, 3):
        (result,) = await notifier.send(rendered(), deliveries([somebody], attempt))
        outcomes.append(result.outcome)
    await notifier.close()
    assert outcomes == [Outcome.DEFERRED, Outcome.DEFERRED, rig.taken_as]


async def test_no_log_line_holds_an_address_a_text_or_a_secret(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        if name != "mail.log":  # the sandbox's own mail server
            caplog.set_level(logging.DEBUG, logger=name)
    asyncio.get_running_loop().set_debug(True)
    kinds = [Kind.OK, Kind.REFUSE, Kind.DEFER, Kind.ERROR, Kind.HANG, Kind.RESET]
    people = [rig.someone() for _ in kinds]
    for somebody, kind in zip(people, kinds, strict=True):
        rig.behave(somebody, Behaviour(kind))
    await send(rig, [*people, *GARBAGE], timeout_s=1.0)
    await rig.stop()
    await send(rig, people)
    logged = "\n".join(f"{record.getMessage()} {record.exc_text} {record.args}" for record in caplog.records)
    for somebody in people:
        for part in parts_of(somebody):
            assert part not in logged
    for private in (*rig.secrets, "撤离", "台风", "fenghuo.example/a/", "evil"):
        assert private not in logged
        assert json.dumps(private)[1:-1] not in logged


async def test_a_fault_of_ours_costs_one_result_and_tells_nothing(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hostile(str):
        def __len__(self) -> int:
            raise RuntimeError("secret inside")

    people = [rig.someone() for _ in range(3)]
    batch = deliveries(people)
    poisoned = deliveries([people[0]], address=Hostile("x"))
    notifier = rig.notifier()
    results = by_index(await notifier.send(rendered(), [*poisoned, *batch[1:]]))
    await notifier.close()
    assert [result.index for result in results] == [0, 1, 2]
    assert {result.outcome for result in results[1:]} == {rig.taken_as}
    assert "secret inside" not in caplog.text
