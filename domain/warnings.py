"""Warnings: drafted, released by a second person or by breaking the glass, updated, cancelled, expired.

A released warning never changes. An update is a warning of its own that names the one it updates (CAP 1.2 `Update`
with `references`), a withdrawal is an event after which nothing else happens to it.

An update is told to the audience of its own content; those whom the one before reached and whom it no longer concerns
are told that it is over for them. A `correction` is an update that takes back wrong words: it is told to exactly those
who have them, over the channel and in the language that brought them, and to nobody else. It opens no relays: where
the warning is to go on through the tree as well, draft an ordinary update instead.

A drill is a drill from its first draft to its end: no revision, update, correction or cancellation of a drill is real,
and none of a real warning is a drill. It needs one person to release it, and reaches no provider unless it was
released over the real channels, with a reason.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.content import Content, Text, check_content
from domain.errors import InvalidInput, Refused
from domain.events import Event, topic
from domain.rulepacks import RulePack


class Release(StrEnum):
    TWO_PERSON = "two_person"
    SINGLE = "single"
    BREAK_GLASS = "break_glass"
    BY_RULE = "by_rule"  # two people had allowed its feed to release warnings of this level by itself


@topic("warning.drafted")
class WarningDrafted(Event, frozen=True, kw_only=True):
    warning_id: str
    content: Content
    drafted_by: str
    updates: str | None = None
    correction: bool = False


@topic("warning.revised")
class WarningRevised(Event, frozen=True, kw_only=True):
    content: Content
    revised_by: str


@topic("warning.released")
class WarningReleased(Event, frozen=True, kw_only=True):
    """From here on the warning is sent. `reason` is required where the glass was broken, and for `real_channels`: a
    drill that goes to the real providers."""

    warning_id: str
    release: Release
    released_by: str
    reason: str = ""
    real_channels: bool = False


@topic("warning.updated")
class WarningUpdated(Event, frozen=True, kw_only=True):
    """A later warning took this one's place."""

    updated_by_warning: str


@topic("warning.cancelled")
class WarningCancelled(Event, frozen=True, kw_only=True):
    warning_id: str
    cancelled_by: str
    reason: str
    texts: tuple[Text, ...] = ()


@topic("warning.expired")
class WarningExpired(Event, frozen=True, kw_only=True):
    warning_id: str


class Status(StrEnum):
    DRAFT = "draft"
    RELEASED = "released"
    UPDATED = "updated"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDED = frozenset({Status.UPDATED, Status.CANCELLED, Status.EXPIRED})


class WarningState(msgspec.Struct, frozen=True, kw_only=True):
    """A warning as its events make it."""

    warning_id: str
    status: Status
    content: Content
    authors: tuple[str, ...]
    updates: str | None = None
    updated_by: str | None = None
    released_by: str | None = None
    correction: bool = False
    real_channels: bool = False

    @property
    def sandboxed(self) -> bool:
        """Whether its messages stay in this program: those of a drill, unless it was released otherwise."""
        return self.content.drill and not self.real_channels


def draft(
    state: WarningState | None,
    *,
    warning_id: str,
    content: Content,
    actor: str,
    parent: WarningState | None = None,
    correction: bool = False,
) -> list[Event]:
    """A new draft. With `parent` it updates a released warning, with `correction` it takes back that one's words.

    Drafting the same again changes nothing.
    """
    check_content(content)
    if state is not None:
        if state.content == content and state.correction == correction:
            return []
        raise Refused("warning.exists", f"Warning {warning_id} exists.", "Revise it, or draft under another id.")
    if parent is not None and parent.status is not Status.RELEASED:
        raise Refused(
            "warning.parent_not_released",
            f"Warning {parent.warning_id} is {parent.status}; only a released one is updated.",
        )
    if correction and parent is None:
        raise InvalidInput(
            "warning.correction_of_nothing", "A correction names the warning that it corrects.", "Say which: updates."
        )
    if parent is not None:
        _same_kind(parent.content, content)
        if correction:
            _same_languages(parent.content, content)
    return [
        WarningDrafted(
            warning_id=warning_id,
            content=content,
            drafted_by=actor,
            updates=parent.warning_id if parent else None,
            correction=correction,
        )
    ]


def _same_kind(before: Content, after: Content) -> None:
    """Raises Refused where a drill would turn into a real warning, or the other way round."""
    if before.drill is not after.drill:
        was, would = ("a drill", "real") if before.drill else ("real", "a drill")
        raise Refused(
            "warning.drill_kind", f"The warning is {was}: what follows from it cannot be {would}.", "Draft a new one."
        )


def _same_languages(before: Content, after: Content) -> None:
    """Raises Refused where those who got a text would not get the correction in its language."""
    missing = {t.language.lower() for t in before.texts} - {t.language.lower() for t in after.texts}
    if missing:
        raise Refused(
            "warning.correction_language",
            f"The correction has no text in: {', '.join(sorted(missing))}.",
            "Correct every language in which the warning went out.",
        )


def revise(state: WarningState | None, *, content: Content, actor: str) -> list[Event]:
    """New words for a draft; whoever touched them may not be the second person of its release."""
    warning = _existing(state)
    check_content(content)
    if warning.status is not Status.DRAFT:
        raise Refused("warning.released", "A released warning is not revised.", "Draft an update of it.")
    _same_kind(warning.content, content)
    return [] if warning.content == content else [WarningRevised(content=content, revised_by=actor)]


def release(
    state: WarningState | None,
    *,
    actor: str,
    pack: RulePack,
    at: datetime,
    break_glass: bool = False,
    reason: str = "",
    real_channels: bool = False,
    parent: WarningState | None = None,
) -> list[Event]:
    """Lets a draft go out: by someone who did not write it, or by breaking the glass with a reason.

    A drill goes out by one person. `real_channels` sends it to the real providers, with a reason; a correction of a
    drill goes where that drill, its `parent`, went.
    """
    warning = _existing(state)
    if warning.status is Status.RELEASED:
        return []
    _still(warning)
    if at >= warning.content.expires_at:
        raise Refused("warning.expired", "The draft's validity is over.", "Revise its expiry first.")
    if real_channels and not warning.content.drill:
        raise InvalidInput("warning.not_a_drill", "Only for a drill is it said that it goes over the real channels.")
    if real_channels and not reason.strip():
        raise Refused("warning.reason_missing", "A drill over the real channels needs a reason.", "Say why.")
    if warning.correction and parent is not None:
        _same_languages(parent.content, warning.content)
        real_channels = real_channels or parent.real_channels
    if break_glass:
        if not reason.strip():
            raise Refused(
                "warning.reason_missing", "Breaking the glass needs a reason.", "Say why there is no second person."
            )
        how = Release.BREAK_GLASS
    elif warning.content.drill or not pack.levels[warning.content.level].two_person:
        how = Release.SINGLE
    elif actor in warning.authors:
        raise Refused(
            "warning.second_person",
            "A warning is released by somebody who did not write it.",
            "Ask a second person, or break the glass with a reason.",
        )
    else:
        how = Release.TWO_PERSON
    return [
        WarningReleased(
            warning_id=warning.warning_id,
            release=how,
            released_by=actor,
            reason=reason.strip(),
            real_channels=real_channels,
        )
    ]


def release_by_rule(state: WarningState | None, *, actor: str, rule: str, at: datetime) -> list[Event]:
    """Lets a draft out that nobody has touched, since two people had allowed its feed to. `rule` names the feed."""
    warning = _existing(state)
    if warning.status is not Status.DRAFT or warning.authors != (actor,) or at >= warning.content.expires_at:
        return []
    return [WarningReleased(warning_id=warning.warning_id, release=Release.BY_RULE, released_by=actor, reason=rule)]


def mark_updated(state: WarningState | None, *, by_warning: str) -> list[Event]:
    """What the release of an update does to the warning it updates."""
    warning = _existing(state)
    if warning.updated_by == by_warning:
        return []
    _still(warning)
    return [WarningUpdated(updated_by_warning=by_warning)]


def cancel(state: WarningState | None, *, actor: str, reason: str, texts: tuple[Text, ...] = ()) -> list[Event]:
    """Withdraws a warning. Exactly those whom it reached will be told. Cancelling twice changes nothing."""
    warning = _existing(state)
    if warning.status is Status.CANCELLED:
        return []
    _still(warning)
    if not reason.strip():
        raise Refused("warning.reason_missing", "A cancellation needs a reason.", "Say why it is withdrawn.")
    return [WarningCancelled(warning_id=warning.warning_id, cancelled_by=actor, reason=reason.strip(), texts=texts)]


def expire(state: WarningState | None, *, at: datetime) -> list[Event]:
    """Ends a released warning whose validity is over; silent for any other."""
    if state is None or state.status is not Status.RELEASED or at < state.content.expires_at:
        return []
    return [WarningExpired(warning_id=state.warning_id)]


def evolve(state: WarningState | None, event: Event) -> WarningState | None:
    """Folds one event. Events that do not concern a warning leave it as it is."""
    match event:
        case WarningDrafted():
            return WarningState(
                warning_id=event.warning_id,
                status=Status.DRAFT,
                content=event.content,
                authors=(event.drafted_by,),
                updates=event.updates,
                correction=event.correction,
            )
        case WarningRevised() if state:
            authors = state.authors if event.revised_by in state.authors else (*state.authors, event.revised_by)
            return msgspec.structs.replace(state, content=event.content, authors=authors)
        case WarningReleased() if state:
            return msgspec.structs.replace(
                state,
                status=Status.RELEASED,
                released_by=event.released_by,
                real_channels=event.real_channels,
            )
        case WarningUpdated() if state:
            return msgspec.structs.replace(state, status=Status.UPDATED, updated_by=event.updated_by_warning)
        case WarningCancelled() if state:
            return msgspec.structs.replace(state, status=Status.CANCELLED)
        case WarningExpired() if state:
            return msgspec.structs.replace(state, status=Status.EXPIRED)
    return state


def _existing(state: WarningState | None) -> WarningState:
    if state is None:
        raise Refused("warning.unknown", "There is no such warning.")
    return state


def _still(warning: WarningState) -> None:
    if warning.status in ENDED:
        raise Refused(f"warning.{warning.status}", f"The warning is {warning.status}; nothing more happens to it.")
