"""What the SMS provider calls: receipts of messages, and messages that came in. Signed, answered once durable."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth import services
from api.services import Services
from api.warnings import limited
from domain.errors import InvalidInput, NotFound, NotPermitted
from domain.outcomes import Row
from notifiers.sms import status_to_row, verify_signature

MAX_FORM = 64 * 1024  # bytes
_SHARD = re.compile("[0-9a-f]{32}")


async def _signed_form(request: Request, s: Services) -> dict[str, str]:
    """The form of a callback whose signature is right. Raises NotPermitted for any other."""
    body = await limited(request, MAX_FORM)
    try:
        params = dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=200))
    except ValueError as error:
        raise InvalidInput("callback.form", "The callback is no form.") from error
    tokens = _tokens(request, s)
    url = f"{s.public_url}{request.url.path}" + (f"?{request.url.query}" if request.url.query else "")
    signature = request.headers.get("x-twilio-signature", "")
    if not any(verify_signature(token, url, params, signature) for token in tokens):
        raise NotPermitted("callback.signature", "The signature is not the provider's.")
    return params


def _tokens(request: Request, s: Services) -> list[str]:
    """The secrets that a callback may be signed with: that of the provider that its address names. Without a name a
    receipt is the first provider's; what people write may come from any, since its address is set at the provider."""
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
    params = await _signed_form(request, s)
    await s.desk.reply(
        phone=params.get("From", ""), text=params.get("Body", "")[:2000], provider_ref=params.get("MessageSid", "")
    )
    return Response('<?xml version="1.0" encoding="UTF-8"?><Response/>', media_type="text/xml")


async def receipt(request: Request) -> Response:
    """What became of a message."""
    s = services(request)
    shard_id, index = request.path_params["shard_id"], request.path_params["index"]
    if not _SHARD.fullmatch(shard_id):
        raise NotFound("receipt.unknown", "There is no such message.")
    params = await _signed_form(request, s)
    said = status_to_row(params)
    if said is not None:
        outcome, reason, ref = said
        provider = request.query_params.get("provider") or next(iter(s.sms_tokens))
        await s.receipts.record(shard_id, Row(index, outcome, 0, reason, ref, None, provider))
    return Response(status_code=204)


# Plain routes: the provider calls them two or three times a message, and they need nothing that FastAPI would add.
routes = [
    Route("/callbacks/sms/inbound", inbound, methods=["POST"]),
    Route("/callbacks/sms/{shard_id}/{index:int}", receipt, methods=["POST"]),
]
