"""What the SMS providers call: receipts of messages, and messages that came in. Signed, answered once durable.

Aliyun signs nothing: its reports come to a path with a secret in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth import services
from api.services import Services
from api.warnings import limited
from domain.errors import InvalidInput, NotFound, NotPermitted, Unreachable
from domain.outcomes import Row
from notifiers.aliyun import report_rows
from notifiers.sms import status_to_row, verify_signature

MAX_FORM = 64 * 1024  # bytes
MAX_REPORTS = 1024 * 1024  # bytes
SHOWN_S = 10.0  # how long a reply waits for views that are behind; providers wait for 15
_SHARD = re.compile("[0-9a-f]{32}")
_INDEX = re.compile("[0-9]{1,9}")  # not a converter of the route's: that would try to read any number of digits


def place(request: Request) -> tuple[str, int]:
    """(shard id, index) of the message that a callback is about, as its path says."""
    shard_id, index = request.path_params["shard_id"], request.path_params["index"]
    if not _SHARD.fullmatch(shard_id) or not _INDEX.fullmatch(index):
        raise NotFound("receipt.unknown", "There is no such message.")
    return shard_id, int(index)


async def signed_form(request: Request, s: Services, tokens: Sequence[str]) -> dict[str, str]:
    """The form of a callback that was signed with one of `tokens`. Raises NotPermitted for any other."""
    body = await limited(request, MAX_FORM)
    try:
        params = dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=200))
    except ValueError as error:
        raise InvalidInput("callback.form", "The callback is no form.") from error
    url = f"{s.public_url}{request.url.path}" + (f"?{request.url.query}" if request.url.query else "")
    signature = request.headers.get("x-twilio-signature", "")
    if not any(verify_signature(token, url, params, signature) for token in tokens):
        raise NotPermitted("callback.signature", "The signature is not the provider's.")
    return params


def sms_tokens(request: Request, s: Services) -> list[str]:
    """The secrets that a callback may be signed with: that of the provider that its address names. Without a name a
    receipt is the first provider's; what people write may come from any, since its address is set at the provider.

    Raises NotFound where there is no SMS provider.
    """
    if not s.sms_tokens:
        raise NotFound("callback.off", "SMS is not configured here.")
    name = request.query_params.get("provider")
    if name is not None:
        return [s.sms_tokens[name]] if name in s.sms_tokens else []
    everybody = list(s.sms_tokens.values())
    return everybody if request.url.path.endswith("/inbound") else everybody[:1]


async def inbound(request: Request) -> Response:
    """An SMS that somebody sent to us."""
    s = services(request)
    params = await signed_form(request, s, sms_tokens(request, s))
    reply = {"phone": params.get("From", ""), "text": params.get("Body", "")[:2000]}
    answer = await s.desk.reply(**reply, provider_ref=params.get("MessageSid", ""))
    if answer is None:  # the views may not have known yet that this number was written to
        if not await s.progress.reached(await s.log.last_position(), SHOWN_S):
            raise Unreachable(
                "callback.behind", "The views are behind the log.", "Post it again, or to the fallback address."
            )
        await s.desk.reply(**reply, provider_ref=params.get("MessageSid", ""))
    return Response('<?xml version="1.0" encoding="UTF-8"?><Response/>', media_type="text/xml")


async def receipt(request: Request) -> Response:
    """What became of a message."""
    s = services(request)
    shard_id, index = place(request)
    params = await signed_form(request, s, sms_tokens(request, s))
    said = status_to_row(params)
    if said is not None:
        outcome, reason, ref = said
        provider = request.query_params.get("provider") or next(iter(s.sms_tokens))
        await s.receipts.record(shard_id, Row(index, outcome, 0, reason, ref, None, provider))
    return Response(status_code=204)


async def aliyun_reports(request: Request) -> Response:
    """What became of messages that went through Aliyun: many in one call, answered once all are durable.

    A report about a message that is not ours is left out: the service would send the whole call again.
    """
    s = services(request)
    given = str(request.path_params["secret"])
    if s.aliyun_secret is None or not hmac.compare_digest(given.encode(), s.aliyun_secret.encode()):
        raise NotFound("callback.off", "There is nothing here.")
    body = await limited(request, MAX_REPORTS)
    try:
        rows = report_rows(body)
    except ValueError as error:
        raise InvalidInput("callback.form", "The callback is no list of reports.") from error

    async def take(shard_id: str, row: Row) -> None:
        with contextlib.suppress(NotFound):
            await s.receipts.record(shard_id, row)

    await asyncio.gather(*(take(shard_id, row) for shard_id, row in rows))
    return Response(b'{"code":0,"msg":"OK"}', media_type="application/json")


# Plain routes: the provider calls them two or three times a message, and they need nothing that FastAPI would add.
routes = [
    Route("/callbacks/aliyun/{secret}", aliyun_reports, methods=["POST"]),
    Route("/callbacks/sms/inbound", inbound, methods=["POST"]),
    Route("/callbacks/sms/{shard_id}/{index}", receipt, methods=["POST"]),
]
