"""Answers of people: received (1), safe (1), need help (2), by SMS, link or push; late ones count.

For staff, any clear answer is their node's acknowledgement; "need help" opens a case.
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum

import msgspec

from domain.events import Event, topic
from domain.private import Personal


class Answer(StrEnum):
    SAFE = "safe"
    HELP = "help"
    UNCLEAR = "unclear"


@topic("answer.received")
class AnswerReceived(Event, frozen=True, kw_only=True):
    """`personal` holds the words as they came, where there were any. `late`: after the warning had ended."""

    warning_id: str
    person_id: str
    node_id: str
    answer: Answer
    channel: str
    late: bool = False
    personal: Personal | None = None
    provider_ref: str = ""


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """All that one person said to one warning: the last clear answer, whether help was ever asked for."""

    answer: Answer
    help_asked: bool
    refs: tuple[str, ...]


_SAFE = frozenset(
    [
        "1",
        "一",
        "ok",
        "okay",
        "yes",
        "y",
        "safe",
        "收到",
        "已收到",
        "安全",
        "平安",
        "我安全",
        "我很安全",
        "我平安",
        "已读",
        "知道了",
        "好",
        "好的",
        "嗯",
        "received",
        "ack",
        "i am safe",
        "i'm safe",
        "seguro",
        "segura",
        "estoy bien",
        "sicuro",
        "sto bene",
        "si",
        "sí",
        "sì",
    ]
)
_HELP = frozenset(
    [
        "2",
        "二",
        "help",
        "sos",
        "救命",
        "求助",
        "需要帮助",
        "帮助",
        "救我",
        "有危险",
        "需要救助",
        "ayuda",
        "aiuto",
        "socorro",
    ]
)
_HELP_PARTS = ("救命", "求助", "救我", "帮助", "need help", "help me", "sos", "ayuda", "aiuto", "socorro")
_NOT = ("不需要帮助", "no help", "don't need help", "不用帮助", "无需帮助", "do not need help")


def interpret(text: str) -> Answer:
    """What somebody meant. A cry for help anywhere in the words wins; what is not clear is never taken for safe."""
    plain = unicodedata.normalize("NFKC", text).casefold().strip().strip("。.!！,，、?？ \"'“”()（）")
    if plain in _HELP:
        return Answer.HELP
    if plain in _SAFE:
        return Answer.SAFE
    for no in _NOT:  # taken out rather than believed: "no help came, sos" is a cry for help
        plain = plain.replace(no, " ")
    if any(part in plain for part in _HELP_PARTS):
        return Answer.HELP
    return Answer.UNCLEAR


def receive(
    state: Answers | None,
    *,
    warning_id: str,
    person_id: str,
    node_id: str,
    answer: Answer,
    channel: str,
    late: bool,
    personal: Personal | None,
    provider_ref: str = "",
) -> list[Event]:
    """Takes an answer. The same message of the provider again, or the same link pressed again, changes nothing."""
    if state is not None:
        if provider_ref and provider_ref in state.refs:
            return []
        if not provider_ref and state.answer is answer:
            return []
    return [
        AnswerReceived(
            warning_id=warning_id,
            person_id=person_id,
            node_id=node_id,
            answer=answer,
            channel=channel,
            late=late,
            personal=personal,
            provider_ref=provider_ref,
        )
    ]


def evolve(state: Answers | None, event: Event) -> Answers | None:
    match event:
        case AnswerReceived():
            before = state or Answers(answer=event.answer, help_asked=False, refs=())
            return Answers(
                answer=before.answer if event.answer is Answer.UNCLEAR else event.answer,
                help_asked=before.help_asked or event.answer is Answer.HELP,
                refs=(*before.refs, event.provider_ref) if event.provider_ref else before.refs,
            )
    return state
