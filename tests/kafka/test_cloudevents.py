"""What leaves the house in the feed: of every kind of event all that is public, and of what is personal nothing."""

from __future__ import annotations

import json
import types
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.events import Event, Metadata, Recorded, known_topics, topic_of
from domain.feeds import Feed, FeedAdded, FeedItemsTaken, Form, Taken, Verdict
from domain.outcomes import Outcome, Reason, Row
from domain.private import Private, Sealed
from domain.shards import ChunkRecorded, Spent
from infra.kafka.cloudevents import WITHHELD, encoded, inner_types, public
from tests.contracts.views_rig import lived
from tests.engine.house import PEOPLE, personal

SECRET = "zqxj"  # no word, no id and no topic has it
WORDS = st.text("abcdefghi 好", min_size=1, max_size=6)
META = Metadata(
    event_id="e1", recorded_at=datetime(2026, 7, 1, tzinfo=UTC), actor="somebody", correlation_id="c1", grant_id="g1"
)
BOXES = st.builds(
    Sealed,
    key_id=st.just(f"{SECRET}key"),
    bound_to=st.just(f"{SECRET}place"),
    box=st.text("ABC+/=", min_size=1).map(lambda text: SECRET + text),
)
CLEAR = st.builds(Private, key_id=st.just(SECRET), fields=st.dictionaries(WORDS, st.just(f"{SECRET}@people.example")))


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type as events have them; whatever is personal holds SECRET."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of(*(values(arg) for arg in args))
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return st.lists(values(args[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(values(arg) for arg in args))
    if origin in (frozenset, list, set):
        return st.lists(values(args[0]), max_size=2).map(origin)
    if origin is dict:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=2)
    if hint is Sealed:
        return BOXES
    if hint is Private:
        return CLEAR
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return st.deferred(lambda: _struct(hint))  # some contain themselves
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: WORDS,
        int: st.integers(0, 9999),
        float: st.floats(0, 90),
        bool: st.booleans(),
        type(None): st.none(),
        Any: WORDS,
        datetime: st.datetimes(timezones=st.just(UTC)),
    }
    return plain[hint] if hint in plain else st.from_type(hint)


@cache
def _struct(cls: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls)
    fields = st.fixed_dictionaries({name: values(hints[name]) for name in cls.__struct_fields__})
    return fields.map(lambda found: cls(**found))


EVENTS = st.one_of(*(values(cls) for cls in known_topics().values()))


@settings(max_examples=400, deadline=None)
@given(EVENTS)
def test_nothing_of_what_is_sealed_leaves_the_house(event):
    key, value = encoded(Recorded("stream-1", 3, META, event, 7), "urn:test")
    assert SECRET.encode() not in key + value
    assert b'"box"' not in value
    message = json.loads(value)
    assert message["type"] == topic_of(type(event))
    assert message["data"].keys() <= set(type(event).__struct_fields__)


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_all_that_is_not_personal_is_there(event):
    hints = get_type_hints(type(event))
    topic = topic_of(type(event))
    personal_fields = {name for name in hints if Sealed in inner_types(hints[name])}
    withheld = {path for path in WITHHELD.get(topic, ()) if "." not in path}
    assert public(event).keys() == set(type(event).__struct_fields__) - personal_fields - withheld


def _as_it_was(cls: type[Event]) -> bool:
    types = {t for hint in get_type_hints(cls).values() for t in inner_types(hint)}
    return topic_of(cls) not in WITHHELD and not types & {Sealed, Row, Spent}


@settings(max_examples=200, deadline=None)
@given(st.one_of(*(values(cls) for cls in known_topics().values() if _as_it_was(cls))))
def test_what_is_published_reads_back_as_the_event_that_it_was(event):
    _, value = encoded(Recorded("stream-1", 3, META, event, 7), "urn:test")
    assert msgspec.convert(json.loads(value)["data"], type(event)) == event


def test_no_field_is_left_out_for_having_its_usual_value():
    feed = Feed(feed_id="f", url="https://a.example", form=Form.CAP, node_id="office", title="t")
    data = public(FeedAdded(feed=feed, added_by="admin"))
    assert data["feed"].keys() == set(Feed.__struct_fields__) - {"url", "mapping"}
    taken = public(FeedItemsTaken(feed_id="f", items=(Taken(key="k", fingerprint="p", verdict=Verdict.DRAFTED),)))
    assert taken["items"][0].keys() == set(Taken.__struct_fields__)


@pytest.mark.parametrize("topic", sorted(known_topics()))
def test_whatever_is_stored_as_an_array_has_names_in_the_feed(topic):
    cls = known_topics()[topic]
    arrays = {
        t
        for name in get_type_hints(cls).values()
        for t in inner_types(name)
        if isinstance(t, type) and issubclass(t, msgspec.Struct) and t.__struct_config__.array_like
    }
    assert arrays <= {Row, Spent}, "a reader of the feed would have to count places"


def test_what_is_withheld_is_named_as_the_events_name_it():
    for topic, paths in WITHHELD.items():
        cls: type[Event] = known_topics()[topic]
        for path in paths:
            name, _, inner = path.partition(".")
            assert name in cls.__struct_fields__
            assert not inner or inner in get_type_hints(cls)[name].__struct_fields__


def test_the_rows_of_a_ledger_have_names_and_no_reference_of_the_provider():
    at = datetime(2026, 7, 1, 8, tzinfo=UTC)
    event = ChunkRecorded(
        shard_id="s",
        rows=(Row(2, Outcome.DEFERRED, 1, Reason.PROVIDER_BUSY, "a reference", at, "twilio"),),
        spent=(Spent("twilio", 3, 150),),
    )
    _, value = encoded(Recorded("shard-s", 4, META, event, 12), "urn:test")
    message = json.loads(value)
    assert message == {
        "specversion": "1.0",
        "id": "e1",
        "source": "urn:test",
        "type": "shard.chunk_recorded.v1",
        "subject": "shard-s",
        "time": "2026-07-01T00:00:00Z",
        "datacontenttype": "application/json",
        "sequence": "00000000000000000012",
        "streamversion": 4,
        "actor": "somebody",
        "correlationid": "c1",
        "grantid": "g1",
        "data": {
            "shard_id": "s",
            "rows": [
                {
                    "index": 2,
                    "outcome": "deferred",
                    "attempt": 1,
                    "reason": Reason.PROVIDER_BUSY.value,
                    "retry_at": "2026-07-01T08:00:00Z",
                    "provider": "twilio",
                }
            ],
            "spent": [{"provider": "twilio", "segments": 3, "cost": 150}],
        },
    }


def test_a_whole_log_with_a_bit_of_everything_names_nobody():
    feed = b"\n".join(b" ".join(encoded(recorded, "urn:test")) for recorded in lived().events).decode()
    for person_id in PEOPLE:
        fields = personal(person_id)
        for told in (fields["name"], fields["phone"], fields["email"], fields["push"]["endpoint"]):
            assert told not in feed


def test_streams_named_by_a_secret_or_a_key_go_by_their_kind():
    event = next(r for r in lived().events if r.stream.startswith("token-"))
    key, value = encoded(event, "urn:test")
    assert (key, json.loads(value)["subject"]) == (b"token", "token")
    assert event.stream.removeprefix("token-") not in value.decode()
