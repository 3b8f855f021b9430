"""Answers of people: received (1), safe (1), need help (2), by SMS, call, link or push; late ones count.

For staff, any clear answer is their node's acknowledgement; "need help" opens a case. One that is not clear
(meaning.py) is asked about once; what stays unclear is for a person to read.
"""

from __future__ import annotations

import msgspec

from domain.errors import Refused
from domain.events import Event, topic
from domain.meaning import Answer, interpret
from domain.people import Channel
from domain.private import Personal

__all__ = ["Answer", "interpret"]  # what an answer means belongs to it


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


@topic("answer.asked_back")
class AnswerAskedBack(Event, frozen=True, kw_only=True):
    """The answer was not clear: the person is asked again over the channel that it came by."""

    warning_id: str
    person_id: str
    node_id: str
    channel: Channel


@topic("answer.referred")
class AnswerReferred(Event, frozen=True, kw_only=True):
    """It stays unclear: a person has to read it."""

    warning_id: str
    person_id: str
    node_id: str
    channel: str


@topic("answer.opened")
class AnswerOpened(Event, frozen=True, kw_only=True):
    """Somebody of the duty office read the words of answers that were not clear."""

    warning_id: str
    person_id: str
    node_id: str
    by: str


@topic("answer.settled")
class AnswerSettled(Event, frozen=True, kw_only=True):
    """Somebody read it and says what it means; UNCLEAR: that it needs nothing more."""

    warning_id: str
    person_id: str
    node_id: str
    by: str
    meaning: Answer


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """All that one person said to one warning: the last clear answer, whether help was ever asked for.

    `asked_back`: they were asked again once, which is all there is. `unclear`: the last answer was not clear, and
    nobody has settled it. `referred`: it waits for a person. `words` are those of unclear answers since the last clear
    one, sealed.
    """

    answer: Answer
    help_asked: bool
    refs: tuple[str, ...]
    node_id: str = ""
    channel: str = ""
    asked_back: bool = False
    unclear: bool = False
    referred: bool = False
    words: tuple[Personal, ...] = ()


ASKED_BACK_BY = frozenset({Channel.SMS, Channel.EMAIL})
"""Channels over which people write freely, and can be asked again. A call asks again by itself."""
ASK_LIMIT_S = 300
"""Seconds after being asked again, after which silence is left to a person to read."""


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
    again: bool = False,
) -> list[Event]:
    """Takes an answer. The same message of the provider again, or the same link pressed again, changes nothing.

    `again`: help that was asked for before is over and done with, so that asking for it once more is news.
    """
    if state is not None:
        if provider_ref and provider_ref in state.refs:
            return []
        if not provider_ref and state.answer is answer and not again:
            return []
    events: list[Event] = [
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
    if answer is Answer.UNCLEAR:
        # After the warning's end there is nothing to be asked about, but somebody may still be in need.
        if not late and channel in ASKED_BACK_BY and not (state is not None and state.asked_back):
            events.append(
                AnswerAskedBack(warning_id=warning_id, person_id=person_id, node_id=node_id, channel=Channel(channel))
            )
        elif state is None or not state.referred:
            events.append(AnswerReferred(warning_id=warning_id, person_id=person_id, node_id=node_id, channel=channel))
    return events


def refer(state: Answers | None, *, warning_id: str, person_id: str) -> list[Event]:
    """Leaves an answer that stayed unclear to a person. Nothing, where it was cleared up or is with one already."""
    if state is None or not state.unclear or state.referred:
        return []
    return [AnswerReferred(warning_id=warning_id, person_id=person_id, node_id=state.node_id, channel=state.channel)]


def open_words(state: Answers | None, *, warning_id: str, person_id: str, by: str) -> list[Event]:
    """Somebody reads the words of answers that were not clear."""
    if state is None or not state.words:
        raise Refused("answer.no_words", "There are no words of this person to read.")
    return [AnswerOpened(warning_id=warning_id, person_id=person_id, node_id=state.node_id, by=by)]


def settle(state: Answers | None, *, warning_id: str, person_id: str, by: str, meaning: Answer) -> list[Event]:
    """Somebody says what an unclear answer means. Saying the same again changes nothing."""
    if state is None:
        raise Refused("answer.none", "This person has not answered.")
    if not state.unclear:
        if meaning in (Answer.UNCLEAR, state.answer):
            return []
        raise Refused("answer.clear", "This person's answer is clear by now.", "Open a case where they need help.")
    return [AnswerSettled(warning_id=warning_id, person_id=person_id, node_id=state.node_id, by=by, meaning=meaning)]


def evolve(state: Answers | None, event: Event) -> Answers | None:
    match event:
        case AnswerReceived():
            before = state or Answers(answer=event.answer, help_asked=False, refs=())
            unclear = event.answer is Answer.UNCLEAR
            sealed = (event.personal,) if event.personal is not None else ()
            return Answers(
                answer=before.answer if unclear else event.answer,
                help_asked=before.help_asked or event.answer is Answer.HELP,
                refs=(*before.refs, event.provider_ref) if event.provider_ref else before.refs,
                node_id=event.node_id,
                channel=event.channel,
                asked_back=before.asked_back,
                unclear=unclear,
                referred=unclear and before.referred,
                words=(*before.words, *sealed) if unclear else (),
            )
        case AnswerAskedBack() if state:
            return msgspec.structs.replace(state, asked_back=True)
        case AnswerReferred() if state:
            return msgspec.structs.replace(state, referred=True)
        case AnswerSettled() if state:
            return msgspec.structs.replace(
                state,
                answer=state.answer if event.meaning is Answer.UNCLEAR else event.meaning,
                help_asked=state.help_asked or event.meaning is Answer.HELP,
                unclear=False,
                referred=False,
                words=(),
            )
    return state
