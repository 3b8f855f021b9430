"""Feeds: where other authorities publish, asked in turns. What is new there becomes a draft; a person releases it.

An item is known by its key and by a fingerprint of what it says, without the times that stand on it: a re-stamp or a
replay says nothing new, and a level that swings back to what was drafted before is no new warning. Which drafts a feed
may release by itself is a decision of two people, written down like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from domain.errors import InvalidInput, Refused
from domain.events import Event, topic
from domain.ids import derived
from domain.rulepacks import Level
from domain.warnings import Status

ACTOR = "system:feeds"
MOST_ITEMS = 2_000  # items of one reading
MOST_KEYS = 20_000  # items that a feed is known to have had; beyond it, it is no feed of warnings
REMEMBERED = 20  # versions of one item that are known again


class Form(StrEnum):
    """How a feed is written."""

    CAP = "cap"  # CAP 1.2 messages, in one file or linked from an index
    SYNDICATION = "syndication"  # Atom (RFC 4287) or RSS 2.0
    JSON = "json"  # a list of objects, such as travel advice by country


class Mapping(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the fields of a JSON item stand. `items` is a path of names with dots, empty for a list at the top.

    `changes` are the fields whose change is news; where none are named, all that are mapped but `updated`.
    """

    items: str = ""
    key: str = "id"
    title: str = "title"
    text: str = ""
    level: str = ""
    link: str = ""
    updated: str = ""
    changes: tuple[str, ...] = ()


class Feed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One feed. Drafts from it concern all below `node_id`.

    `every_s` seconds lie between two readings. `levels` says which of our levels the source's own words stand for,
    `level` is for items without such a word. `hours` is how long a draft is valid where the item does not say.
    `baseline`: what stands in it at the first reading is taken note of and not drafted; where nothing is said, that
    holds for all but CAP, whose messages are of the day.
    """

    feed_id: str
    url: str
    form: Form
    node_id: str
    title: str
    language: str = "en"
    every_s: int = 300
    level: Level = Level.BLUE
    levels: dict[str, Level] = msgspec.field(default_factory=dict)
    hours: int = 24
    baseline: bool | None = None
    mapping: Mapping = Mapping()


class Verdict(StrEnum):
    """What a reading made of an item."""

    NOTED = "noted"  # it stood there at the first reading
    DRAFTED = "drafted"  # a draft of its own
    REVISED = "revised"  # new words for a draft that nobody had touched
    UPDATE = "update"  # a draft that is to take a released warning's place
    RETURNED = "returned"  # it says again what it had said: nothing is drafted
    CANCELLED = "cancelled"  # its source took it back: a person decides what becomes of the warning
    UNUSABLE = "unusable"  # it cannot be drafted from; `why` says it


class Taken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item as a reading took it. `warning_id` is the warning that stands for it, empty where there is none;
    `withdraws` a draft that nobody had touched and that its source no longer says.
    """

    key: str
    fingerprint: str
    verdict: Verdict
    warning_id: str = ""
    why: str = ""
    withdraws: str = ""


@topic("feed.added")
class FeedAdded(Event, frozen=True, kw_only=True):
    feed: Feed
    added_by: str


@topic("feed.removed")
class FeedRemoved(Event, frozen=True, kw_only=True):
    removed_by: str


@topic("feed.release_allowed")
class FeedReleaseAllowed(Event, frozen=True, kw_only=True):
    """From here on drafts of these levels go out by themselves; none, to end that."""

    levels: tuple[Level, ...]
    allowed_by: str


@topic("feed.items_taken")
class FeedItemsTaken(Event, frozen=True, kw_only=True):
    """What one reading brought that was not known."""

    feed_id: str
    items: tuple[Taken, ...]


class Known(msgspec.Struct, frozen=True):
    """One item: what it said last, and the drafts by what they were made from (latest last)."""

    fingerprint: str
    versions: dict[str, str]
    drafts: int = 0

    @property
    def warning_id(self) -> str:
        """The latest draft made from it; empty while there is none."""
        return next((w for w in reversed(list(self.versions.values())) if w), "")


class FeedState(msgspec.Struct, frozen=True, kw_only=True):
    feed: Feed
    added_by: str
    removed: bool = False
    read: bool = False
    release_levels: frozenset[Level] = frozenset()
    allowed_by: str = ""
    items: dict[str, Known] = msgspec.field(default_factory=dict)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a reading. `warning_id` and `references` (ids of warnings), where the item itself says which warning
    it is and which it follows (CAP 1.2). `why` where it cannot be drafted from; `ended` where its source takes it back.
    """

    key: str
    fingerprint: str
    warning_id: str = ""
    references: tuple[str, ...] = ()
    why: str = ""
    ended: bool = False


Status_ = Callable[[str], tuple[Status, bool] | None]
"""How a warning stands, and whether a person has touched it; None where there is none."""


def add(state: FeedState | None, feed: Feed, *, by: str) -> list[Event]:
    if not feed.url.startswith(("https://", "http://")) or len(feed.url) > 2_000:
        raise InvalidInput("feed.url", "A feed has an address that begins with https://.", "Correct it.")
    if not 30 <= feed.every_s <= 86_400:
        raise InvalidInput("feed.every", "A feed is read every 30 to 86400 seconds.", "Correct it.")
    if not 1 <= feed.hours <= 24 * 30:
        raise InvalidInput("feed.hours", "A draft is valid for 1 to 720 hours.", "Correct it.")
    if state is not None and not state.removed:
        if state.feed == feed:
            return []
        raise Refused("feed.exists", f"Feed {feed.feed_id} exists.", "Remove it first, or choose another id.")
    return [FeedAdded(feed=feed, added_by=by)]


def remove(state: FeedState | None, *, by: str) -> list[Event]:
    feed = _existing(state)
    return [] if feed.removed else [FeedRemoved(removed_by=by)]


def allow_release(state: FeedState | None, *, levels: Sequence[Level], by: str) -> list[Event]:
    """Lets drafts of these levels go out by themselves. Refused to whoever added the feed: it takes a second person."""
    feed = _existing(state)
    wanted = tuple(level for level in Level if level in set(levels))
    if frozenset(wanted) == feed.release_levels:
        return []
    if wanted and by == feed.added_by:
        raise Refused(
            "feed.second_person",
            "Whoever added a feed does not decide alone that it releases by itself.",
            "Ask a second person.",
        )
    return [FeedReleaseAllowed(levels=wanted, allowed_by=by)]


def judge(state: FeedState, found: Sequence[Found], status: Status_) -> list[Taken]:
    """What is to be done with the items of a reading; nothing for those that say what they said before."""
    key_of = {w: key for key, known in state.items.items() for w in known.versions.values() if w}
    said_by = {f: key for key, known in state.items.items() for f, w in known.versions.items() if w}
    first = not state.read and (state.feed.baseline if state.feed.baseline is not None else state.feed.form != Form.CAP)
    taken: dict[str, Taken] = {}
    seen: set[str] = set()
    for item in found[:MOST_ITEMS]:
        key = next((key_of[w] for w in (item.warning_id, *item.references) if w in key_of), item.key)
        if key not in state.items and item.fingerprint in said_by:
            key = said_by[item.fingerprint]  # the same words under a new name
        if key in seen or (key not in state.items and len(state.items) + len(taken) >= MOST_KEYS):
            continue  # a feed that names an item twice: the first is the newer one by custom
        seen.add(key)
        known = state.items.get(key, Known("", {}))
        if known.fingerprint != item.fingerprint or _news_again(known, item, status):
            taken[key] = _judged(state.feed, msgspec.structs.replace(item, key=key), known, first, status)
    return list(taken.values())


def _news_again(known: Known, item: Found, status: Status_) -> bool:
    """Whether it still is said after the warning that it had led to is over: then it is news once more."""
    if item.warning_id or item.ended or item.why:
        return False
    stands = status(known.versions.get(item.fingerprint, ""))
    return stands is not None and stands[0] in (Status.EXPIRED, Status.CANCELLED)


def _judged(feed: Feed, item: Found, known: Known, first: bool, status: Status_) -> Taken:
    latest = known.warning_id
    before = status(latest) if latest else None
    untouched = before is not None and before[0] is Status.DRAFT and not before[1]

    def taken(verdict: Verdict, warning_id: str = "") -> Taken:
        return Taken(
            key=item.key,
            fingerprint=item.fingerprint,
            verdict=verdict,
            warning_id=warning_id,
            why=item.why[:300],
            withdraws=latest if untouched and latest != warning_id else "",
        )

    if item.why:
        return msgspec.structs.replace(taken(Verdict.UNUSABLE, latest), withdraws="")
    if item.ended:
        return msgspec.structs.replace(taken(Verdict.CANCELLED, latest), withdraws=latest if untouched else "")
    if first:
        return taken(Verdict.NOTED)
    if item.warning_id and status(item.warning_id) is not None:  # a message that somebody has drafted from already
        return taken(Verdict.RETURNED, item.warning_id)
    then = known.versions.get(item.fingerprint, "")
    stood = status(then) if then else None
    if stood is not None and (stood[0] is Status.RELEASED or (stood[0] is Status.DRAFT and then != latest)):
        return taken(Verdict.RETURNED, then)  # and what was drafted since is withdrawn, where nobody touched it
    if untouched and not item.warning_id:
        return taken(Verdict.REVISED, latest)
    if stood is not None and stood[0] is Status.DRAFT:
        return taken(Verdict.RETURNED, then)
    warning_id = item.warning_id or derived("feed", feed.feed_id, item.key, item.fingerprint, str(known.drafts))
    update = before is not None and before[0] is Status.RELEASED
    return taken(Verdict.UPDATE if update else Verdict.DRAFTED, warning_id)


def parent_of(state: FeedState, taken: Taken) -> str:
    """The released warning that an update is to take the place of."""
    return state.items[taken.key].warning_id


def take(state: FeedState, taken: Sequence[Taken]) -> list[Event]:
    """Notes a reading; the first is noted even where it was empty, since it is the baseline."""
    if not taken and state.read:
        return []
    return [FeedItemsTaken(feed_id=state.feed.feed_id, items=tuple(taken))]


def evolve(state: FeedState | None, event: Event) -> FeedState | None:
    match event:
        case FeedAdded(feed=feed, added_by=by):
            before = state.items if state else {}
            return FeedState(feed=feed, added_by=by, items=before, read=bool(state and state.read))
        case FeedRemoved() if state:
            return msgspec.structs.replace(state, removed=True, release_levels=frozenset())
        case FeedReleaseAllowed(levels=levels, allowed_by=by) if state:
            return msgspec.structs.replace(state, release_levels=frozenset(levels), allowed_by=by)
        case FeedItemsTaken(items=items) if state:
            known = dict(state.items)
            for item in items:
                was = known.get(item.key, Known("", {}))
                revised = item.warning_id if item.verdict is Verdict.REVISED else None  # it says no more what it said
                versions = {k: v for k, v in was.versions.items() if k != item.fingerprint and v != revised}
                versions[item.fingerprint] = item.warning_id
                kept = dict(list(versions.items())[-REMEMBERED:])
                made = item.verdict in (Verdict.DRAFTED, Verdict.UPDATE)
                known[item.key] = Known(item.fingerprint, kept, was.drafts + made)
            return msgspec.structs.replace(state, items=known, read=True)
    return state


def _existing(state: FeedState | None) -> FeedState:
    if state is None or state.removed:
        raise Refused("feed.unknown", "There is no such feed.")
    return state
