"""The sandbox: people who answer, and the providers in a process of their own."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import aiohttp
import aiosmtplib
import pytest
from aiohttp import web
from conftest import EmailRig, PushRig, SmsRig, deliveries, rendered

from domain.outcomes import Outcome
from infra.sandbox.behaviour import Behaviour, Kind
from infra.sandbox.people import HELP_WORDS, SAFE_WORDS, SandboxPeople
from infra.sandbox.smtp import SandboxSmtp
from infra.sandbox.voice import SandboxVoice
from notifiers.sms import SmsNotifier, SmsSettings

ROOT = Path(__file__).parents[2]
AT_ONCE = (0.0, 0.02)


class Page:
    """The page behind a link: notes who looked and who answered what."""

    def __init__(self) -> None:
        self.visits: list[tuple[str, str]] = []
        app = web.Application()
        app.router.add_route("*", "/a/{who}", self._visit)
        self._runner = web.AppRunner(app, access_log=None)
        self.url = ""

    async def _visit(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.visits.append((request.method, str(form.get("answer", ""))))
        return web.Response(text="ok")

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/a/7"

    async def stop(self) -> None:
        await self._runner.cleanup()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    made = Page()
    await made.start()
    yield made
    await made.stop()


async def test_people_answer_by_text_message_but_not_in_their_sleep(sms: SmsRig) -> None:
    replies: list[tuple[str, str]] = []

    async def reply(number: str, text: str) -> None:
        replies.append((number, text))

    everyone = [sms.someone() for _ in range(60)]
    asleep = frozenset(everyone[:20])
    people = SandboxPeople(Random(7), answers=0.8, needs_help=0.3, wait_s=AT_ONCE, asleep=asleep, reply=reply)
    people.watch(sms=sms.sandbox)
    notifier = sms.notifier()
    await notifier.send(rendered(), deliveries(everyone))
    await people.settled()
    await people.stop()
    await notifier.close()
    assert 20 <= len(replies) <= 40
    assert not {number for number, _ in replies} & asleep
    assert {text for _, text in replies} <= {*SAFE_WORDS, *HELP_WORDS}
    assert (people.safe, people.help) == (
        sum(text in SAFE_WORDS for _, text in replies),
        sum(text in HELP_WORDS for _, text in replies),
    )


async def test_people_follow_the_link_in_a_mail_and_a_notification(mail: EmailRig, push: PushRig, page: Page) -> None:
    people = SandboxPeople(Random(7), answers=1.0, needs_help=0.0, wait_s=AT_ONCE)
    people.watch(smtp=mail.sandbox, push=push.sandbox)
    for rig in (mail, push):
        notifier = rig.notifier()
        await notifier.send(rendered(), deliveries([rig.someone()], link=page.url))
        await notifier.close()
    await people.settled()
    await people.stop()
    assert sorted(page.visits) == [("GET", ""), ("GET", ""), ("POST", "safe"), ("POST", "safe")]
    assert people.safe == 2


async def test_a_mail_to_several_people_is_one_to_each_who_was_taken() -> None:
    sandbox = SandboxSmtp(count=True)
    await sandbox.start()
    sandbox.behave("nobody@people.example", Behaviour(Kind.REFUSE, 550))
    sandbox.behave("strict@people.example", Behaviour(Kind.REFUSE, 554))
    one, two, nobody, strict = (f"{name}@people.example" for name in ("one", "two", "nobody", "strict"))
    async with aiosmtplib.SMTP(hostname=sandbox.host, port=sandbox.port) as client:
        refused, _ = await client.sendmail("duty@fenghuo.example", [one, two, nobody], b"Subject: x\r\n\r\nwords\r\n")
        with pytest.raises(aiosmtplib.SMTPDataError) as content:
            await client.sendmail("duty@fenghuo.example", [strict, one], b"Subject: y\r\n\r\nwords\r\n")
    await sandbox.stop()
    assert (list(refused), content.value.code) == ([nobody], 554)
    assert sandbox.tally.stats() == {"total": 2, "recipients": {one: 1, two: 1}}
    assert [mail.to for mail in sandbox.messages] == [one, two]
    assert {mail.parsed()["Subject"] for mail in sandbox.messages} == {"x"}


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"From": ""}, 21213, "Caller phone number is required"),
        ({"Url": "nowhere"}, 21205, "Invalid URL"),
        ({"To": "+8613800000009"}, 21217, "Phone number does not appear to be valid"),
    ],
)
async def test_the_voice_gateway_says_in_the_providers_words_what_is_wrong(
    changes: dict[str, str], code: int, words: str
) -> None:
    sandbox = SandboxVoice("AC" + "0" * 32, "sandbox")
    await sandbox.start()
    sandbox.behave("+8613800000009", Behaviour(Kind.REFUSE))
    form = {"To": "+8613800000001", "From": sandbox.number, "Url": "http://127.0.0.1:9/say", **changes}
    headers = {"Authorization": aiohttp.encode_basic_auth(sandbox.account_sid, "sandbox")}
    url = f"{sandbox.url}/2010-04-01/Accounts/{sandbox.account_sid}/Calls.json"
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, data=form) as answer:
        said = await answer.json()
    await sandbox.stop()
    assert (answer.status, said["code"], said["message"]) == (400, code, words)


async def test_the_providers_in_a_process_of_their_own() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.sandbox", "--discard", "--count", stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
    notifier = SmsNotifier(
        SmsSettings(account_sid="AC" + "0" * 32, auth_token="sandbox", sender="+15005550006", base_url=ready["sms"])
    )
    results = await notifier.send(rendered(), deliveries(["+8613800000001", "+8613800000001", "+8613800000002"]))
    await notifier.close()
    async with aiohttp.ClientSession() as session, session.get(f"{ready['sms']}/stats") as answer:
        stats = await answer.json()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert stats["sms"] == {"total": 3, "recipients": {"+8613800000001": 2, "+8613800000002": 1}}
    assert stats["smtp"]["total"] == stats["push"]["total"] == 0
