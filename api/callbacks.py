"""What the SMS provider calls: receipts of messages, and messages that came in. Signed, answered once durable."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Path, Request, Response

from api.auth import S
from api.services import Services
from api.warnings import limited
from domain.errors import InvalidInput, NotFound, NotPermitted
from domain.outcomes import Row
from notifiers.sms import status_to_row, verify_signature

MAX_FORM = 64 * 1024  # bytes
router = APIRouter(prefix="/callbacks", include_in_schema=False)


async def _signed_form(request: Request, s: Services) -> dict[str, str]:
    """The form of a callback whose signature is right. Raises NotPermitted for any other."""
    body = await limited(request, MAX_FORM)
    try:
        params = dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=200))
    except ValueError as error:
        raise InvalidInput("callback.form", "The callback is no form.") from error
    if s.sms_token is None:
        raise NotFound("callback.off", "SMS is not configured here.")
    url = f"{s.public_url}{request.url.path}" + (f"?{request.url.query}" if request.url.query else "")
    signature = request.headers.get("x-twilio-signature", "")
    if not verify_signature(s.sms_token, url, params, signature):
        raise NotPermitted("callback.signature", "The signature is not the provider's.")
    return params


@router.post("/sms/inbound")
async def inbound(request: Request, s: S) -> Response:
    """An SMS that somebody sent to us."""
    params = await _signed_form(request, s)
    await s.desk.reply(
        phone=params.get("From", ""), text=params.get("Body", "")[:2000], provider_ref=params.get("MessageSid", "")
    )
    return Response('<?xml version="1.0" encoding="UTF-8"?><Response/>', media_type="text/xml")


@router.post("/sms/{shard_id}/{index}")
async def receipt(
    request: Request,
    s: S,
    shard_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
    index: Annotated[int, Path(ge=0, le=65535)],
) -> Response:
    """What became of a message."""
    params = await _signed_form(request, s)
    said = status_to_row(params)
    if said is not None:
        outcome, reason, ref = said
        await s.receipts.record(shard_id, Row(index, outcome, 0, reason, ref))
    return Response(status_code=204)
