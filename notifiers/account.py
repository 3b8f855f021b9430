"""An account at Twilio over HTTP: requests with its credentials, and what each answer comes to.

Shared by text messages (sms.py) and calls (voice.py). Sources: the provider's REST API and its list of error codes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import aiohttp
import msgspec
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from domain.outcomes import Outcome, Reason
from notifiers.batch import accepted, in_doubt
from notifiers.channel import Delivery, Result
from notifiers.net import failure, http_session, read_answer, retry_after_s

_CODE = re.compile("[0-9]{1,9}")
Refusals = Mapping[int, tuple[Outcome, Reason]]


class Answered(Exception):
    """An answer that is not 2xx. Twilio's own exception drops the headers, and Retry-After with them."""

    def __init__(self, status: int, code: int, retry_after_s: float | None) -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


def code_of(said: str) -> int:
    """A number that a callback names; 0 where it is none, or longer than any code."""
    return int(said) if _CODE.fullmatch(said) else 0


class _Made(msgspec.Struct):
    """What a request made: the rest of the answer repeats what was asked for."""

    sid: str = ""


_made = msgspec.json.Decoder(_Made)


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
        data: bytes | None = None,
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


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The account to send or call with, and how it is asked."""

    account_sid: str
    auth_token: str
    base_url: str = "https://api.twilio.com"
    concurrency: int = 64  # requests in flight
    timeout_s: float = 15.0  # for one request, all told
    connect_timeout_s: float = 5.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r}, concurrency={self.concurrency})"


class Account:
    """An account, and what is asked of the provider with it: connected at first need, and again after `close`."""

    def __init__(self, settings: AccountSettings) -> None:
        self._credentials = settings.account_sid, settings.auth_token
        self._base_url = settings.base_url.rstrip("/")
        self._connections = settings.concurrency
        self._timeout_s = settings.timeout_s
        self._connect_timeout_s = settings.connect_timeout_s
        self._open: tuple[aiohttp.ClientSession, Client] | None = None

    async def ask(self, delivery: Delivery, resource: str, form: bytes, refusals: Refusals) -> Result:
        """What became of a request that makes one message or call: a POST to `resource` (`Messages`, `Calls`) of the
        account, with a form that is encoded already. The `sid` of the answer is the provider's reference.

        The library's `create_async` would read some twenty fields of the answer, which takes longer than the request.
        """
        url = f"{self._base_url}/2010-04-01/Accounts/{self._credentials[0]}/{resource}.json"
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client().request_async("POST", url, data=form)  # type: ignore[arg-type]
            made = _made.decode(answer.text)
        except Answered as said:
            outcome, reason = meaning(said, refusals)
            return Result(index=delivery.index, outcome=outcome, reason=reason, retry_after_s=said.retry_after_s)
        except (aiohttp.ClientError, OSError) as error:
            outcome, reason = failure(error)
            return Result(index=delivery.index, outcome=outcome, reason=reason)
        except ValueError:  # 2xx, but not as promised: somebody answered, perhaps not the provider
            return in_doubt(delivery, Reason.PROVIDER_ERROR)
        if not made.sid:
            return in_doubt(delivery, Reason.PROVIDER_ERROR)
        return accepted(delivery, made.sid[:64])

    def _client(self) -> Client:
        if self._open is None or self._open[0].closed:
            session = http_session(connections=self._connections, connect_timeout_s=self._connect_timeout_s)
            transport = _HttpClient(session, *self._credentials)
            # An empty `environment` keeps the library from reading edge and region from the process's own.
            client = Client(*self._credentials, http_client=transport, environment={"TWILIO": ""})  # type: ignore[no-untyped-call]
            self._open = session, client
        return self._open[1]

    async def close(self) -> None:
        """Gives back its connections."""
        held, self._open = self._open, None
        if held is not None:
            await held[0].close()


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
