"""What the sandbox's SMS and voice gateways share: an account after Twilio's API, its errors, its signed callbacks."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from twilio.request_validator import RequestValidator

from infra.sandbox.behaviour import Behaviour, Kind

E164 = re.compile(r"\+[1-9][0-9]{5,14}")
TRIES = 6  # of one callback, before it is given up
FIRST_WAIT_S = 0.05  # between two tries of a callback; doubles
PROBLEMS = {
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    21205: "Invalid URL",
    21211: "Invalid 'To' Phone Number",
    21213: "Caller phone number is required",
    21217: "Phone number does not appear to be valid",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21609: "Invalid 'StatusCallback' URL",
    21610: "Attempt to send to unsubscribed recipient",
    21614: "'To' number is not a valid mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit.",
    20500: "Internal Server Error",
}


class Account:
    """An account: what its clients must send, and what callbacks are signed with. `connections` for callbacks.

    `detour`: what the addresses of callbacks begin with, and where those are posted in its stead.
    """

    def __init__(self, account_sid: str, auth_token: str, connections: int = 100) -> None:
        self.account_sid = account_sid
        self._authorization = aiohttp.encode_basic_auth(account_sid, auth_token)
        self._validator = RequestValidator(auth_token)  # type: ignore[no-untyped-call]
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self.detour = ("", "")

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=10), connector=aiohttp.TCPConnector(limit=self._connections)
        )

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def stranger(self, request: web.Request) -> web.Response | None:
        """The answer to a request that is not the account's; None for one that is."""
        if not secrets.compare_digest(request.headers.get("Authorization", "").encode(), self._authorization.encode()):
            return problem(401, 20003)
        if request.match_info["account"] != self.account_sid:
            return problem(404, 20404)
        return None

    async def post(self, url: str, params: dict[str, str]) -> tuple[int, str]:
        """Posts a signed form; tries again while the receiver is away or failing. Returns the last (status, text),
        0 where nobody answered."""
        if self._session is None:
            return 0, ""
        signature = self._validator.compute_signature(url, params)  # type: ignore[no-untyped-call]
        known, own = self.detour
        if url.startswith(f"{known}/"):
            url = own + url.removeprefix(known)
        status, text = 0, ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(FIRST_WAIT_S * 2**attempt)
            try:
                async with self._session.post(url, data=params, headers={"X-Twilio-Signature": signature}) as response:
                    status, text = response.status, await response.text()
            except (aiohttp.ClientError, TimeoutError):
                status, text = 0, ""
            if 0 < status < 500:
                break
        return status, text


def refusal(behaviour: Behaviour, code: int) -> web.Response | None:
    """The answer of a gateway that behaves so and takes nothing; `code` is its usual one for a refusal."""
    match behaviour.kind:
        case Kind.REFUSE:
            return problem(400, behaviour.code or code)
        case Kind.DEFER:
            return problem(429, behaviour.code or 20429, behaviour.retry_after_s)
        case Kind.ERROR:
            return problem(behaviour.code or 500, 20500)
    return None


def answer(status: int, value: Any) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")


def problem(status: int, code: int, retry_after_s: float | None = None) -> web.Response:
    """An error in the API's form."""
    said = answer(
        status,
        {
            "code": code,
            "message": PROBLEMS.get(code, "Unable to create record"),
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        },
    )
    if retry_after_s is not None:
        said.headers["Retry-After"] = f"{retry_after_s:g}"
    return said
