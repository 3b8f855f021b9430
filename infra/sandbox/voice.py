"""A voice gateway on loopback that speaks Twilio's Calls API: it calls, fetches what to say, hears it, presses keys.

Who is called is scripted (`Callee`); what the gateway itself does wrong is too (`Behaviour`). Every callback is signed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import msgspec
from aiohttp import web
from defusedxml.ElementTree import ParseError, fromstring

from infra.sandbox.behaviour import Behaviour, Kind, Script
from infra.sandbox.gateway import E164, Account, answer, problem, refusal
from infra.sandbox.server import SandboxServer
from infra.sandbox.tally import Tally

AT_ONCE = 64  # calls under way at the same time; more wait
TURNS = 10  # questions in one call, before the gateway gives up


class Callee(msgspec.Struct, frozen=True):
    """Somebody with a telephone. `picks_up`: human, machine, or the call's status where nobody does: no-answer, busy,
    failed. `keys` are pressed one a question, an empty one is none; after the last, nothing more is pressed."""

    picks_up: str = "human"
    keys: tuple[str, ...] = ()
    sip: int = 0


class Call(msgspec.Struct):
    """A call that the gateway took. `heard` is what was said, in order; `pressed` the keys; `status` how it ended."""

    sid: str
    to: str
    caller: str
    url: str
    status_url: str
    heard: list[str] = []
    languages: list[str] = []
    pressed: list[str] = []
    status: str = "queued"


class SandboxVoice(SandboxServer):
    """The gateway. With `answer` False it takes calls and never makes them."""

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        number: str = "+15005550007",
        answer: bool = True,
    ) -> None:
        super().__init__(host, port)
        self.account_sid = account_sid
        self.number = number
        self.tally: Tally[Call] = Tally()
        self.script = Script()
        self.callbacks_posted = 0
        self.callbacks_lost = 0
        self.statuses: list[int] = []  # HTTP statuses that our callbacks got
        self._answer = answer
        self._callees: dict[str, Callee] = {}
        self.account = Account(account_sid, auth_token)
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self.app.router.add_post("/2010-04-01/Accounts/{account}/Calls.json", self._create)

    async def start(self) -> None:
        await super().start()
        await self.account.start()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.account.stop()
        await super().stop()

    @property
    def calls(self) -> list[Call]:
        return self.tally.messages

    @property
    def at_rest(self) -> bool:
        """Whether no call is under way."""
        return not self._tasks

    def calls_to(self, number: str) -> list[Call]:
        return [call for call in self.calls if call.to == number]

    def behave(self, number: str, behaviour: Behaviour) -> None:
        self.script.behave(number, behaviour)

    def callee(self, number: str, callee: Callee) -> None:
        """Who has this number; whoever is not named picks up, listens and presses nothing."""
        self._callees[number] = callee

    async def post(self, url: str, params: dict[str, str]) -> tuple[int, str]:
        """Posts a callback of ours, and notes its status; (status, text)."""
        status, text = await self.account.post(url, params)
        self.statuses.append(status)
        return status, text

    async def _create(self, request: web.Request) -> web.Response:
        if (stranger := self.account.stranger(request)) is not None:
            return stranger
        form = await request.post()
        to, caller, url, status_url = (str(form.get(name, "")) for name in ("To", "From", "Url", "StatusCallback"))
        if not E164.fullmatch(to):
            return problem(400, 21211)
        if not caller:
            return problem(400, 21213)
        if not url.startswith(("http://", "https://")):
            return problem(400, 21205)
        behaviour = self.script.next(to)
        if (refused := refusal(behaviour, 21217)) is not None:
            return refused
        call = Call("CA" + secrets.token_hex(16), to, caller, url, status_url)
        self.tally.add(to, call)
        if self._answer:
            task = asyncio.create_task(self._call(call, behaviour))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if (broken := await self.broken(request, behaviour)) is not None:
            return broken
        if behaviour.kind is Kind.SLOW:
            await asyncio.sleep(behaviour.delay_s)
        return answer(201, self._resource(call))

    def _resource(self, call: Call) -> dict[str, Any]:
        return {
            "account_sid": self.account_sid,
            "answered_by": None,
            "api_version": "2010-04-01",
            "caller_name": None,
            "date_created": format_datetime(datetime.now(UTC)),
            "direction": "outbound-api",
            "duration": None,
            "from": call.caller,
            "parent_call_sid": None,
            "price": None,
            "price_unit": "USD",
            "sid": call.sid,
            "status": "queued",
            "to": call.to,
            "uri": f"/2010-04-01/Accounts/{self.account_sid}/Calls/{call.sid}.json",
        }

    async def _call(self, call: Call, behaviour: Behaviour) -> None:
        callee = self._callees.get(call.to, Callee())
        async with self._gate:
            if callee.picks_up in ("human", "machine"):
                by = "human" if callee.picks_up == "human" else "machine_start"
                await self._talk(call, by, iter(callee.keys if by == "human" else ()), behaviour)
                ending = {"CallStatus": "completed", "AnsweredBy": by, "CallDuration": "21"}
            else:
                ending = {"CallStatus": callee.picks_up, "CallDuration": "0"}
                if callee.sip:
                    ending["SipResponseCode"] = str(callee.sip)
            call.status = ending["CallStatus"]
            if call.status_url and behaviour.kind is not Kind.NEVER_DELIVERED:
                if behaviour.kind is Kind.LATE:
                    await asyncio.sleep(behaviour.delay_s)
                await self._say(call.status_url, {**self._params(call), **ending}, behaviour)

    async def _talk(self, call: Call, by: str, keys: Iterator[str], behaviour: Behaviour) -> None:
        """Fetches what to say, hears it, and goes on to the next question while there is one."""
        call.status = "in-progress"
        url, more = call.url, {"AnsweredBy": by}
        for _ in range(TURNS):
            text = await self._say(url, {**self._params(call), "CallStatus": "in-progress", **more}, behaviour)
            try:
                response = fromstring(text, forbid_dtd=True)
            except ParseError:
                call.heard.append("an application error has occurred")
                return
            for said in response.iter("Say"):
                call.heard.append(said.text or "")
                call.languages.append(said.get("language", ""))
            gather = response.find("Gather")
            if gather is None:
                return
            pressed = next(keys, "")
            if pressed:
                call.pressed.append(pressed)
            elif gather.get("actionOnEmptyResult") != "true":
                return
            url, more = str(gather.get("action")), {"Digits": pressed}

    async def _say(self, url: str, params: dict[str, str], behaviour: Behaviour) -> str:
        text = ""
        for _ in range(2 if behaviour.kind is Kind.DUPLICATE else 1):
            status, text = await self.post(url, params)
            if status:
                self.callbacks_posted += 1
            else:
                self.callbacks_lost += 1
        return text

    def _params(self, call: Call) -> dict[str, str]:
        return {
            "CallSid": call.sid,
            "AccountSid": self.account_sid,
            "From": call.caller,
            "To": call.to,
            "Direction": "outbound-api",
            "ApiVersion": "2010-04-01",
        }
