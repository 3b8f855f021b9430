"""A small town for the tests of the whole program: an office, two counties, four stations, 25 people with real devices.

The program serves HTTP on loopback and sends over real sockets to the sandbox providers; only the clock is moved by
hand. A `Device` reads what reached one person; whatever nobody expected fails the test when it ends.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from townsfolk import EMAIL, PEOPLE, SETUP, SMS, WEBPUSH, mail_of, phone_of, populate

from domain.events import Event, Recorded
from domain.grants import TokenKind
from domain.people import Channel
from infra.clock import ManualClock
from infra.config import Settings
from infra.sandboxed import Sandbox, sandboxed
from infra.serve import Serving, serving
from infra.stores import Stores

NOW = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
OURS = {"Sec-Fetch-Site": "same-origin"}  # what a browser says of a form of our own page
LINK = re.compile(r"http://127\.0\.0\.1:\d+(/a/[A-Za-z0-9_=-]+)")


class Device:
    """What one person holds: phone, mailbox and browser. Each message is read once, in the order it came."""

    def __init__(self, town: Town, person_id: str) -> None:
        self.town, self.person_id = town, person_id

    async def expect_sms(self, *words: str) -> str:
        """The next text message; it has all these words in it."""
        return await self._expect(SMS, words)

    async def expect_mail(self, *words: str) -> str:
        return await self._expect(EMAIL, words)

    async def expect_push(self, *words: str) -> str:
        return await self._expect(WEBPUSH, words)

    async def expect(self, *words: str) -> str:
        """The next message on each channel that the person has; returns that on the last one."""
        said = ""
        for channel in PEOPLE[self.person_id][3]:
            said = await self._expect(channel, words)
        return said

    async def reply(self, text: str) -> int:
        """Answers by text message, as the SMS provider hands it in; returns the status that it got."""
        return await self.town.sandbox.sms.reply(phone_of(self.person_id), text)

    async def _expect(self, channel: Channel, words: tuple[str, ...]) -> str:
        key = (self.person_id, channel)
        await self.town.until(
            lambda: len(self.town.inbox(*key)) > self.town.read.get(key, 0), f"{key} to get a message"
        )
        said = self.town.inbox(*key)[self.town.read.get(key, 0)]
        self.town.read[key] = self.town.read.get(key, 0) + 1
        missing = [word for word in words if word not in said]
        assert not missing, f"{key} got {said!r}"
        return said


class Town:
    """The running program with questions to it, and the devices of its people."""

    def __init__(self, live: Serving, clock: ManualClock, http: httpx.AsyncClient) -> None:
        assert live.sandbox is not None
        self.live, self.clock, self.http = live, clock, http
        self.stores, self.sandbox = live.stores, live.sandbox
        self.push: dict[str, str] = {}  # the id of a person's push subscription
        self.tokens: dict[str, str] = {}
        self.read: dict[tuple[str, Channel], int] = {}
        self.guests: set[str] = set()  # numbers of people whom a test registered beside PEOPLE, and reads itself

    def device(self, person_id: str) -> Device:
        return Device(self, person_id)

    # Acting ----------------------------------------------------------------------------------------------------------

    async def token(self, person_id: str, lasts: timedelta = timedelta(days=1)) -> str:
        """A new bearer token of a person."""
        secret = secrets.token_urlsafe(32)
        done = await self.stores.registry.issue_token(person_id, TokenKind.BEARER, secret, lasts, SETUP)
        await self.stores.follower.reached(done.position)
        return secret

    async def login_link(self, person_id: str) -> str:
        """The path of a new one-time link."""
        secret = secrets.token_urlsafe(32)
        done = await self.stores.registry.issue_token(
            person_id, TokenKind.LOGIN_LINK, secret, timedelta(minutes=15), SETUP
        )
        await self.stores.follower.reached(done.position)
        return f"/login/{secret}"

    async def ask(self, person_id: str, method: str, path: str, **more: Any) -> httpx.Response:
        """One API request of a person."""
        if person_id not in self.tokens:
            self.tokens[person_id] = await self.token(person_id)
        headers = {"Authorization": f"Bearer {self.tokens[person_id]}", **more.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **more)

    async def get(self, person_id: str, path: str, **more: Any) -> httpx.Response:
        return await self.ask(person_id, "GET", path, **more)

    async def post(self, person_id: str, path: str, json: Any = None, **more: Any) -> httpx.Response:
        if "content" not in more:
            more["json"] = {} if json is None else json
        return await self.ask(person_id, "POST", path, **more)

    async def draft(self, person_id: str = "officer1", **changes: Any) -> str:
        answer = await self.post(person_id, "/v1/warnings", self.body(**changes))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def release(self, **changes: Any) -> str:
        """A warning of officer1, released by officer2."""
        warning_id = await self.draft(**changes)
        answer = await self.post("officer2", f"/v1/warnings/{warning_id}/release")
        assert answer.status_code == 200, answer.text
        return warning_id

    def body(self, **changes: Any) -> dict[str, Any]:
        """A draft as the API takes it."""
        now = self.clock.now()
        return {
            "event": "Flood",
            "level": "orange",
            "texts": [
                {"language": "zh-CN", "headline": "洪水将至", "instruction": "请撤到高处。"},
                {"language": "it", "headline": "Alluvione in arrivo", "instruction": "Salite ai piani alti."},
                {"language": "es", "headline": "Inundación", "instruction": "Suba a un lugar alto."},
                {"language": "en", "headline": "Flood coming", "instruction": "Move to high ground."},
            ],
            "area": {"description": "Po", "circles": [[45.0, 9.0, 30.0]]},
            "target": {"nodes": ["office"]},
            "contact": {
                "hotline": "12308", "mission": "+39 02 5693869", "police": "112", "valid_from": now.isoformat(),
            },
            "effective_at": now.isoformat(),
            "expires_at": (now + timedelta(hours=6)).isoformat(),
            **changes,
        }  # fmt: skip

    # Waiting ---------------------------------------------------------------------------------------------------------

    async def pass_time(self, **by: float) -> None:
        self.clock.move(timedelta(**by))
        await self.quiet()

    async def quiet(self) -> None:
        """Returns once nothing is left to do at this moment of the clock, receipts of the providers included."""
        await self.until(self._idle, "quiet")

    async def until(self, condition: Callable[[], Any], what: str = "", seconds: float = 40) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not await asyncio.to_thread(condition):  # noqa: ASYNC110  it works in tasks and threads
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"waited {seconds} s for {what or condition}") from None

    def _idle(self) -> bool:
        stores, now, sms = self.stores, self.clock.now(), self.sandbox.sms
        end = stores.log.last_position_now()
        if stores.views.position != end or sms.callbacks_posted + sms.callbacks_lost < 3 * len(sms.messages):
            return False
        if not self.sandbox.voice.at_rest:
            return False
        with stores.views.reading() as db:
            busy = (
                stores.views.plans.pending(db)
                or stores.views.deliveries.queue(db, now, "embedded", 1)
                or stores.views.timers.due(db, now)
                or stores.views.ladder.due(db, now)
            )
        return not busy and stores.log.last_position_now() == end

    # Asking ----------------------------------------------------------------------------------------------------------

    def inbox(self, person_id: str, channel: Channel) -> list[str]:
        """Everything that came in over one channel so far."""
        match channel:
            case Channel.SMS:
                return [message.body for message in self.sandbox.sms.sent_to(phone_of(person_id))]
            case Channel.EMAIL:
                return [_mail(mail.parsed()) for mail in self.sandbox.smtp.sent_to(mail_of(person_id))]
            case Channel.WEBPUSH:
                name, sent = self.push.get(person_id), self.sandbox.push.messages
                return ["{title}\n{body}\n{url}".format_map(m.data()) for m in sent if m.subscription == name]
            case Channel.VOICE:
                return ["\n".join(call.heard) for call in self.sandbox.voice.calls_to(phone_of(person_id))]
        return []

    def unread(self) -> list[tuple[str, Channel, str]]:
        """Messages that no test expected, whoever got them, known to us or not."""
        found = [
            (person_id, channel, said)
            for person_id in PEOPLE
            for channel in (SMS, EMAIL, WEBPUSH)
            for said in self.inbox(person_id, channel)[self.read.get((person_id, channel), 0) :]
        ]
        phones, mails = {phone_of(p) for p in PEOPLE}, {mail_of(p) for p in PEOPLE}
        found += [(m.to, SMS, m.body) for m in self.sandbox.sms.messages if m.to not in phones | self.guests]
        found += [(m.to, EMAIL, "") for m in self.sandbox.smtp.messages if m.to not in mails]
        return found

    def read_all(self) -> None:
        """For tests about something else: takes everything that came in so far as expected."""
        for person_id in PEOPLE:
            for channel in (SMS, EMAIL, WEBPUSH):
                self.read[person_id, channel] = len(self.inbox(person_id, channel))

    def recorded(self, kind: type[Event] = Event) -> list[Recorded]:
        everything: list[Recorded] = []
        while batch := self.stores.log.read_now(everything[-1].position if everything else 0, 1000):
            everything += batch
        return [r for r in everything if isinstance(r.event, kind)]


async def signed_in(town: Town, person_id: str) -> httpx.AsyncClient:
    """A browser with a session."""
    browser = httpx.AsyncClient(base_url=town.live.url, headers=OURS)
    answer = await browser.post(await town.login_link(person_id))
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    return browser


async def console(browser: httpx.AsyncClient) -> int:
    return (await browser.get("/console")).status_code


def link_in(said: str) -> str:
    """The path of the answer link in a message."""
    found = LINK.search(said)
    assert found is not None, said
    return found[1]


def _mail(mail: Any) -> str:
    text = mail.get_body(("plain",)).get_content()
    return f"{mail['Subject']}\n{text}"


@asynccontextmanager
async def town(folder: Path, **settings_: Any) -> AsyncIterator[Town]:
    """A new town, running. At the end nobody may have got anything that was not expected."""
    async with running(folder, Settings(data_dir=folder, port=0, sandbox=True, **settings_)) as made:
        yield made


@asynccontextmanager
async def in_earnest(folder: Path, **beside: Any) -> AsyncIterator[Town]:
    """A town that does not know of the sandbox: the providers of its settings are the sandbox's, but for `beside`."""
    async with (
        sandboxed(Settings(data_dir=folder, port=0, sandbox=True)) as (pointed, sandbox),
        running(folder, pointed.model_copy(update={"sandbox": False, **beside}), sandbox) as made,
    ):
        yield made


@asynccontextmanager
async def running(folder: Path, settings: Settings, sandbox: Sandbox | None = None) -> AsyncIterator[Town]:
    """A town with other settings; with `sandbox` its providers are those, started by the caller."""
    clock = ManualClock(NOW)
    async with Stores(folder, clock, database=settings.database) as stores, serving(settings, stores) as live:
        if sandbox is not None:
            live.sandbox = sandbox
            sandbox.sms.inbound_url = f"{live.url}/callbacks/sms/inbound"
        assert live.sandbox is not None
        async with httpx.AsyncClient(base_url=live.own_url, timeout=20) as http:
            made = Town(live, clock, http)
            made.push = await populate(stores, live.sandbox)
            yield made
            await made.quiet()
            assert made.unread() == []
