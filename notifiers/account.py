"""An account at Twilio over HTTP: requests with its credentials, and what an answer that is not 2xx comes to.

Shared by text messages (sms.py) and calls (voice.py). Sources: the provider's REST API and its list of error codes.
"""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import msgspec
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from domain.outcomes import Outcome, Reason
from notifiers.net import http_session, read_answer, retry_after_s

Refusals = Mapping[int, tuple[Outcome, Reason]]


class Answered(Exception):
    """An answer that is not 2xx. Twilio's own exception drops the headers, and Retry-After with them."""

    def __init__(self, status: int, code: int, retry_after_s: float | None) -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class _HttpClient(AsyncTwilioHttpClient):
    """The library's transport over a session of ours.

    The library's own `request` logs URLs and headers, keeps the last request with the recipient in it, leaves answers
    unclosed when cancelled and passes no usable timeout; hence another one.
    """

    def __init__(self, session: aiohttp.ClientSession, account_sid: str, auth_token: str) -> None:
        super().__init__(pool_connections=False)
        self._http = session
        self._authorization = aiohttp.encode_basic_auth(account_sid, auth_token)

    async def request(  # type: ignore[override]  # the library's own is marked as plain, too
        self,
        method: str,
        url: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  (the library's signature; it never passes one)
        allow_redirects: bool = False,
    ) -> Response:
        async with self._http.request(
            method,
            url,
            params=params,  # type: ignore[arg-type]
            data=data,
            headers={**(headers or {}), "Authorization": self._authorization},
            allow_redirects=False,
        ) as response:
            body = await read_answer(response)
        if response.status not in range(200, 300):
            raise Answered(response.status, _error_code(body), retry_after_s(response.headers))
        return Response(response.status, body.decode(errors="replace"), response.headers)


def _error_code(body: bytes) -> int:
    try:
        code = msgspec.json.decode(body)["code"]
    except (msgspec.DecodeError, LookupError, TypeError, ValueError):
        return 0
    return code if isinstance(code, int) else 0


def connected(
    account_sid: str, auth_token: str, base_url: str, *, connections: int, connect_timeout_s: float
) -> tuple[aiohttp.ClientSession, Client]:
    """A session of its own, and the library's client over it. The session is the caller's to close."""
    session = http_session(connections=connections, connect_timeout_s=connect_timeout_s)
    transport = _HttpClient(session, account_sid, auth_token)
    # An empty `environment` keeps the library from reading edge and region from the process's own.
    client = Client(account_sid, auth_token, http_client=transport, environment={"TWILIO": ""})  # type: ignore[no-untyped-call]
    client.api.base_url = base_url.rstrip("/")
    return session, client


def meaning(answer: Answered, refusals: Refusals) -> tuple[Outcome, Reason]:
    """429 says that nothing was taken; 5xx leaves it open whether it is on its way. `refusals` by error code."""
    if answer.status == 429:
        return Outcome.DEFERRED, Reason.RATE_LIMITED
    if answer.status >= 500:
        return Outcome.UNKNOWN, Reason.PROVIDER_ERROR
    if answer.status in {401, 403} and answer.code not in refusals:
        return Outcome.DEFERRED, Reason.CREDENTIALS
    if answer.status in {408, 425}:
        return Outcome.DEFERRED, Reason.PROVIDER_BUSY
    if answer.code in refusals:
        return refusals[answer.code]
    if answer.status < 400 or answer.status == 404:  # a redirect, or no such account: not the API we were told of
        return Outcome.DEFERRED, Reason.CREDENTIALS
    return Outcome.REFUSED, Reason.BLOCKED
