"""An SMS gateway on loopback that speaks Twilio's Messages API, with signed status callbacks and signed replies."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from infra.sandbox.behaviour import Behaviour, Kind, Script
from infra.sandbox.gateway import E164, Account, answer, problem, refusal
from infra.sandbox.server import SandboxServer
from infra.sandbox.tally import Tally

POSTERS = 32  # callbacks under way at the same time
MOST_WAITING = 200_000  # callbacks in the queue; more are dropped and counted


class SmsMessage(msgspec.Struct, frozen=True):
    """A message that the gateway took."""

    sid: str
    to: str
    sender: str
    body: str
    at: datetime


class SandboxSms(SandboxServer):
    """The gateway. `account_sid` and `auth_token` are what clients must send and callbacks are signed with.

    Without `callbacks` it takes messages and never reports on them.
    """

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        number: str = "+15005550006",
        inbound_url: str | None = None,
        discard: bool = False,
        count: bool = False,
        callbacks: bool = True,
        stats: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(host, port)
        self.account_sid = account_sid
        self.number = number
        self.inbound_url = inbound_url
        self.tally: Tally[SmsMessage] = Tally(discard=discard, count=count)
        self.script = Script()
        self.callbacks_posted = 0
        self.callbacks_lost = 0
        self._callbacks = callbacks
        self.account = Account(account_sid, auth_token, POSTERS + 4)
        self._stats = stats or (lambda: {"sms": self.tally.stats()})
        self._queue: asyncio.Queue[tuple[str, SmsMessage, Behaviour]] = asyncio.Queue(MOST_WAITING)
        self._posters: list[asyncio.Task[None]] = []
        self.app.router.add_post("/2010-04-01/Accounts/{account}/Messages.json", self._create)
        self.app.router.add_get("/stats", self._show_stats)

    async def start(self) -> None:
        await super().start()
        await self.account.start()
        self._posters = [asyncio.create_task(self._post_callbacks()) for _ in range(POSTERS)]

    async def stop(self) -> None:
        for task in self._posters:
            task.cancel()
        await asyncio.gather(*self._posters, return_exceptions=True)
        self._posters = []
        await self.account.stop()
        await super().stop()

    @property
    def messages(self) -> list[SmsMessage]:
        return self.tally.messages

    def sent_to(self, number: str) -> list[SmsMessage]:
        return [message for message in self.tally.messages if message.to == number]

    def behave(self, number: str, behaviour: Behaviour) -> None:
        self.script.behave(number, behaviour)

    async def reply(self, from_number: str, text: str) -> int:
        """A person writes back: posts to `inbound_url`, signed. Returns the HTTP status, 0 where nobody answered."""
        if self.inbound_url is None:
            return 0
        sid = "SM" + secrets.token_hex(16)
        status, _ = await self.account.post(
            self.inbound_url,
            {
                "MessageSid": sid,
                "SmsMessageSid": sid,
                "SmsSid": sid,
                "AccountSid": self.account_sid,
                "From": from_number,
                "To": self.number,
                "Body": text,
                "NumMedia": "0",
                "NumSegments": "1",
                "ApiVersion": "2010-04-01",
            },
        )
        return status

    async def _create(self, request: web.Request) -> web.Response:
        if (stranger := self.account.stranger(request)) is not None:
            return stranger
        form = await request.post()
        to, body, callback = (str(form.get(name, "")) for name in ("To", "Body", "StatusCallback"))
        sender = str(form.get("From") or form.get("MessagingServiceSid") or "")
        if not E164.fullmatch(to):
            return problem(400, 21211)
        if not sender:
            return problem(400, 21603)
        if not body:
            return problem(400, 21602)
        if len(body) > 1600:
            return problem(400, 21617)
        if callback and not callback.startswith(("http://", "https://")):
            return problem(400, 21609)
        behaviour = self.script.next(to)
        if (refused := refusal(behaviour, 21614)) is not None:
            return refused
        message = SmsMessage("SM" + secrets.token_hex(16), to, sender, body, datetime.now(UTC))
        self.tally.add(to, message)
        if callback and self._callbacks:
            self._enqueue(callback, message, behaviour)
        if (broken := await self.broken(request, behaviour)) is not None:
            return broken
        if behaviour.kind is Kind.SLOW:
            await asyncio.sleep(behaviour.delay_s)
        return answer(201, self._resource(message))

    def _resource(self, message: SmsMessage) -> dict[str, Any]:
        uri = f"/2010-04-01/Accounts/{self.account_sid}/Messages/{message.sid}"
        date = format_datetime(message.at)
        return {
            "account_sid": self.account_sid,
            "api_version": "2010-04-01",
            "body": message.body,
            "date_created": date,
            "date_sent": None,
            "date_updated": date,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": message.sender,
            "messaging_service_sid": message.sender if message.sender.startswith("MG") else None,
            "num_media": "0",
            "num_segments": "1",
            "price": None,
            "price_unit": "USD",
            "sid": message.sid,
            "status": "queued",
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": message.to,
            "uri": f"{uri}.json",
        }

    def _enqueue(self, url: str, message: SmsMessage, behaviour: Behaviour) -> None:
        try:
            self._queue.put_nowait((url, message, behaviour))
        except asyncio.QueueFull:
            self.callbacks_lost += 1

    async def _post_callbacks(self) -> None:
        while True:
            url, message, behaviour = await self._queue.get()
            with contextlib.suppress(aiohttp.ClientError, OSError, ValueError):
                await self._report(url, message, behaviour)

    async def _report(self, url: str, message: SmsMessage, behaviour: Behaviour) -> None:
        statuses = [("queued", 0), ("sent", 0)]
        if behaviour.kind is Kind.UNDELIVERED or (behaviour.kind is Kind.SLOW and behaviour.code):
            statuses.append(("undelivered", behaviour.code or 30003))
        elif behaviour.kind is not Kind.NEVER_DELIVERED:
            statuses.append(("delivered", 0))
        for status, code in statuses:
            if behaviour.kind is Kind.LATE and status == "delivered":
                await asyncio.sleep(behaviour.delay_s)
            params = {
                "MessageSid": message.sid,
                "SmsSid": message.sid,
                "MessageStatus": status,
                "SmsStatus": status,
                "To": message.to,
                "From": message.sender,
                "AccountSid": self.account_sid,
                "ApiVersion": "2010-04-01",
            }
            if code:
                params["ErrorCode"] = str(code)
            for _ in range(2 if behaviour.kind is Kind.DUPLICATE else 1):
                got, _ = await self.account.post(url, params)
                if got:
                    self.callbacks_posted += 1
                else:
                    self.callbacks_lost += 1

    async def _show_stats(self, _: web.Request) -> web.Response:
        return answer(200, self._stats())
