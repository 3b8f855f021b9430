"""Every refusal that a provider has a code for, through the running program: its own outcome and reason in the log.

One town hears them all, each code against one person, in rounds: more than four faults of the provider's own in a row
would have it left alone. Whoever was only put off has the message in the end, once for each time that it was taken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio
from setting import SHARED
from town import Town, town
from townsfolk import SETUP, _node
from wrongdoers import TAKEN, Meaning, explained, kinds, ledger, settle

from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.stations import Kind as NodeKind
from infra.sandbox.behaviour import Behaviour, Kind
from notifiers import sms, voice
from notifiers.breaker import OPENS_AFTER, OURS

pytestmark = SHARED

STATUSES: dict[int, Meaning] = {
    400: (Outcome.REFUSED, Reason.BLOCKED),  # with a code that the tables do not know
    401: (Outcome.DEFERRED, Reason.CREDENTIALS),
    403: (Outcome.DEFERRED, Reason.CREDENTIALS),
    404: (Outcome.DEFERRED, Reason.CREDENTIALS),
    408: (Outcome.DEFERRED, Reason.PROVIDER_BUSY),
    425: (Outcome.DEFERRED, Reason.PROVIDER_BUSY),
    429: (Outcome.DEFERRED, Reason.RATE_LIMITED),
    500: (Outcome.UNKNOWN, Reason.PROVIDER_ERROR),
    502: (Outcome.UNKNOWN, Reason.PROVIDER_ERROR),
    503: (Outcome.UNKNOWN, Reason.PROVIDER_ERROR),
    504: (Outcome.UNKNOWN, Reason.PROVIDER_ERROR),
}


class Case(NamedTuple):
    channel: Channel
    behaviour: Behaviour
    meaning: Meaning

    @property
    def who(self) -> str:
        return f"{self.channel}-{self.behaviour.kind}-{self.behaviour.code}"


def _cases() -> list[Case]:
    found = []
    for channel, refusals in ((Channel.SMS, sms.REFUSALS), (Channel.VOICE, voice.REFUSALS)):
        found += [Case(channel, Behaviour(Kind.REFUSE, code=c, times=1), m) for c, m in sorted(refusals.items())]
        found += [Case(channel, Behaviour(Kind.ERROR, code=c, times=1), m) for c, m in STATUSES.items()]
        found.append(Case(channel, Behaviour(Kind.DEFER, times=1), (Outcome.DEFERRED, Reason.RATE_LIMITED)))
    return found


CASES = _cases()
PHONES = {case.who: f"+39333{n:07d}" for n, case in enumerate(CASES)}


def _rounds(cases: list[Case]) -> list[list[Case]]:
    """The cases of one channel, with few enough faults of the provider's own in each round."""
    quiet = [case for case in cases if case.meaning[1] not in OURS]
    loud = [case for case in cases if case.meaning[1] in OURS]
    few = OPENS_AFTER - 1
    return [quiet, *(loud[start : start + few] for start in range(0, len(loud), few))]


class Heard(NamedTuple):
    rows: dict[str, list[Row]]  # of the one warning in which they were treated so
    arrived: dict[str, int]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def heard(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Heard]:
    rows: dict[str, list[Row]] = {}
    arrived: dict[str, int] = {}
    async with town(tmp_path_factory.mktemp("refusals") / "data") as made:
        made.guests = set(PHONES.values())
        for channel in (Channel.SMS, Channel.VOICE):
            mine = [case for case in CASES if case.channel is channel]
            for n, some in enumerate(_rounds(mine)):
                await _round(made, channel, f"place-{channel}-{n}", some, rows, arrived)
        made.read_all()
        yield Heard(rows, arrived)


async def _round(
    town: Town, channel: Channel, node: str, cases: list[Case], rows: dict[str, list[Row]], arrived: dict[str, int]
) -> None:
    await town.stores.registry.register_nodes([_node(node, NodeKind.STATION, "north", "IT")], SETUP)
    await town.stores.follower.reached(await town.stores.log.last_position())
    await settle(town, channel, {case.who: {"phone": PHONES[case.who]} for case in cases}, node)
    provider = town.sandbox.sms if channel is Channel.SMS else town.sandbox.voice
    for case in cases:
        provider.behave(PHONES[case.who], case.behaviour)
    warning_id = await town.release(level="red", target={"nodes": [node]})
    await town.quiet()
    for _ in range(2):
        await town.pass_time(seconds=25)
    found = ledger(town, channel, warning_id)
    for case in cases:
        rows[case.who] = found[case.who]
        phone = PHONES[case.who]
        arrived[case.who] = len(
            town.sandbox.sms.sent_to(phone) if channel is Channel.SMS else town.sandbox.voice.calls_to(phone)
        )


@pytest.mark.parametrize("case", CASES, ids=[case.who for case in CASES])
async def test_a_code_stands_in_the_log_as_what_it_means(heard: Heard, case: Case) -> None:
    rows = heard.rows[case.who]
    assert kinds(rows)[0] == case.meaning
    if case.meaning[0] is Outcome.REFUSED:
        assert (len(rows), rows[0].retry_at, heard.arrived[case.who]) == (1, None, 0)
        return
    assert kinds(rows) == [case.meaning, TAKEN]
    assert rows[0].retry_at is not None
    explained(rows, heard.arrived[case.who])
    assert heard.arrived[case.who] == 1  # the sandbox took nothing when it failed


async def test_every_code_of_the_tables_is_tried() -> None:
    tried = {(case.channel, case.behaviour.code) for case in CASES if case.behaviour.kind is Kind.REFUSE}
    assert tried == {(Channel.SMS, code) for code in sms.REFUSALS} | {(Channel.VOICE, code) for code in voice.REFUSALS}
