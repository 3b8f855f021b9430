"""What the voice provider calls while it speaks to somebody: what to say, which key was pressed, how the call ended.

The same signature as on the SMS provider's callbacks. A key is durable before it is confirmed aloud; a key that is
missing or means nothing is asked for once more.
"""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth import services
from api.callbacks import place, signed_form
from api.services import Services
from domain import shards
from domain.answers import Answer
from domain.errors import NotFound
from domain.ids import shard_stream
from domain.outcomes import Outcome, Row
from domain.shards import Circle, Purpose, ShardPlanned
from domain.warnings import Status
from notifiers import spoken, twiml
from notifiers.voice import by_machine, call_to_row

NO_ANSWER = frozenset({Purpose.CANCEL, Purpose.TEST})  # is wanted: the call says what it has to say, and ends

KEYS = {"1": Answer.SAFE, "2": Answer.HELP}


def _tokens(s: Services) -> list[str]:
    """The secret that callbacks about calls are signed with. Raises NotFound where there are no calls."""
    if s.voice_token is None:
        raise NotFound("callback.off", "Calls are not configured here.")
    return [s.voice_token]


async def speak(request: Request) -> Response:
    """Somebody, or their mailbox, picked up: what the call says."""
    s, (shard_id, index) = services(request), place(request)
    params = await signed_form(request, s, _tokens(s))
    plan = await _plan(s, shard_id, index)
    said = await s.texts.rendered(plan)
    if plan.purpose in NO_ANSWER or by_machine(params):
        return _xml(twiml.statement(said.voice, said.voice_language, times=2))
    return _xml(twiml.question(said.voice, said.voice_language, _key_url(s, shard_id, index, asked=1)))


async def key(request: Request) -> Response:
    """A key, or the lack of one."""
    s, (shard_id, index) = services(request), place(request)
    params = await signed_form(request, s, _tokens(s))
    plan = await _plan(s, shard_id, index)
    rendered = await s.texts.rendered(plan)
    if plan.purpose is Purpose.TEST:  # a call of a program that still asked
        return _xml(twiml.statement(rendered.voice, rendered.voice_language))
    words = spoken.words(rendered.voice_language)
    pressed, call = params.get("Digits", "")[:8], params.get("CallSid", "")[:48]
    answer = KEYS.get(pressed)
    if answer is None and request.query_params.get("asked") == "1":
        again = f"{words.again} {spoken.asked(words, plan.circle)}"
        return _xml(twiml.question(again, words.tag, _key_url(s, shard_id, index, asked=2)))
    if answer is not None or pressed:  # twice a key that means nothing is an answer that is not clear; silence is none
        await s.desk.answer(
            warning_id=plan.warning_id,
            person_id=plan.recipients[index],
            answer=answer or Answer.UNCLEAR,
            channel="voice",
            words="" if answer else pressed,
            provider_ref=f"{call}-{pressed}",
        )
        # Whoever presses keys has heard it, whatever the provider takes them for later.
        await s.receipts.record(shard_id, Row(index, Outcome.DELIVERED, 0, provider_ref=call))
    match answer:
        case Answer.SAFE:
            said = words.relayed if plan.circle is Circle.STAFF else words.safe
        case Answer.HELP:
            said = words.help
        case _:
            said = words.bye
    return _xml(twiml.statement(said, words.tag))


async def ended(request: Request) -> Response:
    """How the call ended."""
    s, (shard_id, index) = services(request), place(request)
    said = call_to_row(await signed_form(request, s, _tokens(s)))
    if said is not None:
        outcome, reason, ref = said
        await s.receipts.record(shard_id, Row(index, outcome, 0, reason, ref))
    return Response(status_code=204)


async def _plan(s: Services, shard_id: str, index: int) -> ShardPlanned:
    """The shard that a call is of; as its withdrawal, where the warning was cancelled while the telephone rang."""
    state, _ = await s.log.load(shard_stream(shard_id), shards.evolve)
    if state is None or not 0 <= index < len(state.plan.recipients):
        raise NotFound("receipt.unknown", "There is no such message.")
    if await asyncio.to_thread(_cancelled, s, state.plan.warning_id):
        return msgspec.structs.replace(state.plan, purpose=Purpose.CANCEL)
    return state.plan


def _cancelled(s: Services, warning_id: str) -> bool:
    with s.views.reading() as db:
        warning = s.views.warnings.state(db, warning_id)
    return warning is not None and warning.status is Status.CANCELLED


def _key_url(s: Services, shard_id: str, index: int, *, asked: int) -> str:
    return f"{s.public_url}/callbacks/voice/{shard_id}/{index}/key?asked={asked}"


def _xml(said: str) -> Response:
    return Response(said, media_type="text/xml")


routes = [
    Route("/callbacks/voice/{shard_id}/{index}", speak, methods=["POST"]),
    Route("/callbacks/voice/{shard_id}/{index}/key", key, methods=["POST"]),
    Route("/callbacks/voice/{shard_id}/{index}/status", ended, methods=["POST"]),
]
