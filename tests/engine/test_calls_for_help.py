"""What people answer: a call for help opens one case however often it comes; replies find their warning."""

from __future__ import annotations

import asyncio

import pytest
from house import SMS, actor, house, phone_of

from domain.answers import Answer, AnswerReceived
from domain.cases import ActionKind, CaseHelpRepeated, CaseOpened, Place
from domain.errors import NotFound, Refused
from domain.relays import RelayAcknowledged
from domain.rulepacks import Level
from projections.cases import STATUSES


async def help_from(h, warning_id, who="milan-zh", **more):
    return await h.desk.answer(
        warning_id=warning_id, person_id=who, answer=Answer.HELP, **{"channel": "sms", "words": "救命", **more}
    )


async def test_help_opens_one_case_even_when_asked_for_twice_and_at_once(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await asyncio.gather(*[help_from(h, warning_id, provider_ref=f"m{n % 3}") for n in range(9)])
        await help_from(h, warning_id, provider_ref="m9")
        await h.quiet()

        (case,) = h.events(CaseOpened)
        assert (case.node_id, case.person_id, case.warning_id) == ("milan", "milan-zh", warning_id)
        assert len(h.events(AnswerReceived)) == 4
        assert h.stores.vault.open(case.personal) == {"text": "救命"}
        assert len(h.events(CaseHelpRepeated)) == 3
        row = h.view(lambda v, db: v.cases.one(db, case.case_id))
        assert row["status"] == "open"
        totals = h.view(lambda v, db: v.tree.totals(db, warning_id))
        assert (totals["acknowledged"], totals["help"]) == (1, 1)


@pytest.mark.parametrize("channel", ["sms", "link"])
async def test_help_asked_for_after_the_case_was_closed_is_a_new_case_and_only_one(tmp_path, channel):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")

        async def call(n):
            ref = f"m{n}" if channel == "sms" else ""
            return await help_from(h, warning_id, channel=channel, provider_ref=ref)

        for closed in range(3):
            for _ in range(3):
                await asyncio.gather(*[call(closed) for _ in range(3)])
            opened = h.events(CaseOpened)
            assert (len(opened), len({case.case_id for case in opened})) == (closed + 1, closed + 1)
            await h.desk.close_case(actor("county1"), opened[-1].case_id, result="safe")
        await call(2) if channel == "sms" else None  # the provider's repeat, after the case was closed
        await h.quiet()

        assert len(h.events(CaseOpened)) == len(h.events(AnswerReceived)) == 3


async def test_help_while_the_case_is_being_closed_is_never_lost(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await help_from(h, warning_id, provider_ref="first")
        for n in range(8):
            case_id = h.events(CaseOpened)[-1].case_id
            await asyncio.gather(
                help_from(h, warning_id, provider_ref=f"m{n}"),
                h.desk.close_case(actor("county1"), case_id, result="safe"),
            )
            # Either the call is written on the case before its end, or it opened the next one.
            kinds = [type(r.event) for r in h.recorded() if r.stream == f"case-{case_id}"]
            opened = h.events(CaseOpened)[-1].case_id
            assert (CaseHelpRepeated in kinds) != (opened != case_id)
            if opened == case_id:
                await help_from(h, warning_id, provider_ref=f"n{n}")
        await h.quiet()


async def test_two_people_are_two_cases_and_two_warnings_too(tmp_path):
    async with house(tmp_path) as h:
        one = await h.told(Level.RED, target="milan")
        two = await h.told(Level.RED, target="milan", event="Fire")
        await help_from(h, one)
        await help_from(h, one, "milan-it")
        await help_from(h, two)

        assert len({case.case_id for case in h.events(CaseOpened)}) == 3


async def test_somebody_who_asked_for_help_and_is_safe_later_is_counted_as_safe(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        await help_from(h, warning_id)
        await h.desk.answer(warning_id=warning_id, person_id="milan-zh", answer=Answer.SAFE, channel="link")
        await h.quiet()

        totals = h.view(lambda v, db: v.tree.totals(db, warning_id))
        assert (totals["acknowledged"], totals["help"], len(h.events(CaseOpened))) == (1, 0, 1)


async def test_a_reply_is_about_the_warning_last_sent_to_that_number(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.RED, target="milan")
        latest = await h.told(Level.RED, target="milan", event="Fire")
        answer = await h.desk.reply(phone=phone_of("milan-zh"), text="2", provider_ref="m1")

        assert answer is Answer.HELP
        assert [(e.warning_id, e.person_id, e.channel) for e in h.events(AnswerReceived)] == [
            (latest, "milan-zh", "sms")
        ]
        assert h.stores.vault.open(h.events(AnswerReceived)[0].personal) == {"text": "2"}


async def test_the_providers_repeat_of_a_reply_changes_nothing(tmp_path):
    async with house(tmp_path) as h:
        await h.told(Level.RED, target="milan")
        for _ in range(3):
            await h.desk.reply(phone=phone_of("milan-zh"), text="1", provider_ref="m1")

        assert len(h.events(AnswerReceived)) == 1


async def test_replies_that_nobody_can_place_are_nobodys(tmp_path):
    async with house(tmp_path) as h:
        assert await h.desk.reply(phone="+8613999999999", text="2", provider_ref="m1") is None
        assert await h.desk.reply(phone=phone_of("milan-zh"), text="2", provider_ref="m2") is None

        assert h.events(AnswerReceived) == []


async def test_an_unclear_reply_is_kept_and_counts_for_nothing(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE, target="village")
        answer = await h.desk.reply(phone=phone_of("village-liaison"), text="who is this?", provider_ref="m1")
        await h.quiet()

        assert (answer, len(h.events(AnswerReceived)), h.events(RelayAcknowledged)) == (Answer.UNCLEAR, 1, [])
        assert h.view(lambda v, db: v.tree.totals(db, warning_id))["acknowledged"] == 0


async def test_staff_who_need_help_acknowledge_and_open_a_case_in_one(tmp_path):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.ORANGE, target="milan")
        done = await help_from(h, warning_id, "milan-head")
        written = [r for r in h.recorded() if r.metadata.correlation_id == f"answer-{warning_id}-milan-head"]

        assert [type(r.event).__name__ for r in written] == [
            "AnswerReceived",
            "RelayAcknowledged",
            "RelayPassed",
            "CaseOpened",
        ]
        assert [r.position for r in written] == [done.position - n for n in (3, 2, 1, 0)]
        await h.quiet()
        assert ("milan-zh", SMS) in h.sent()


@pytest.mark.parametrize(("who", "what"), [("nobody", "warning"), ("milan-zh", "nothing")])
async def test_an_answer_of_nobody_or_to_nothing_is_refused(tmp_path, who, what):
    async with house(tmp_path) as h:
        warning_id = await h.told(Level.RED, target="milan")
        with pytest.raises(NotFound) as failed:
            await help_from(h, warning_id if what == "warning" else what, who)

        assert failed.value.code == "answer.unknown"


async def test_a_case_goes_from_report_to_task_to_action_to_its_end(tmp_path):
    async with house(tmp_path) as h:
        county, head = actor("county1"), actor("milan-head")
        warning_id = await h.told(Level.RED, target="milan")
        case_id = (await h.desk.open_case(head, node_id="milan", text="a missing child", warning_id=warning_id)).id

        async def act():
            await h.desk.record_action(
                head,
                case_id,
                node_id="milan",
                kind=ActionKind.VERIFIED,
                place=Place(country="IT", city="Milano"),
                text="found at school",
            )

        async def stands():
            await h.quiet()
            return h.view(lambda v, db: v.cases.one(db, case_id))["status"]

        stood = [await stands()]
        with pytest.raises(Refused) as refused:
            await act()
        assert refused.value.code == "case.not_tasked"
        await h.desk.task(county, case_id, node_id="milan", instruction="look for the child")
        stood.append(await stands())
        await act()
        stood.append(await stands())
        await h.desk.close_case(county, case_id, result="found")
        stood.append(await stands())
        assert tuple(stood) == STATUSES
        with pytest.raises(Refused) as refused:
            await act()
        assert refused.value.code == "case.closed"

        entries = h.view(lambda v, db: v.cases.entries_of(db, case_id))
        assert [(e["kind"], e["actor"], e["place"], e["text"]) for e in entries] == [
            ("opened", "milan-head", "", ""),
            ("tasked", "county1", "", "look for the child"),
            ("verified", "milan-head", "Milano, IT", ""),
            ("closed", "county1", "", "found"),
        ]
        inbox = h.view(lambda v, db: v.inbox.page(db, "milan", before=None, limit=9))
        assert [(i["kind"], i["state"]) for i in inbox] == [("task", "ended"), ("warning", "new")]
