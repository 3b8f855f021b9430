"""Stays: sealed, replaced and withdrawn by their id, forgotten with their person; tags, which are nothing personal."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from given import code_of, person

from domain import people, whereabouts
from domain.errors import InvalidInput, Refused
from domain.events import Event, fold
from domain.people import ContactChanged, Person, PersonForgotten, PersonRegistered, PersonTagged
from domain.private import Private
from domain.whereabouts import MAX_STAYS, Stay, StayRecorded, StayWithdrawn

JULY: dict[str, Any] = {"country": "JP", "zone": "Asia/Tokyo", "from_": date(2026, 7, 1), "to": date(2026, 7, 9)}
IN_JAPAN = Stay(**JULY, place="大阪", lat=34.69, lon=135.5)
PERSONAL = Private("ann", {"name": "安娜", "phone": "+393331234567"})
FORGOTTEN = PersonForgotten(person_id="ann")


def known(*events: Event, **facts: Any) -> Person | None:
    (registered,) = people.register(None, person("ann", **facts), PERSONAL)
    return fold(whereabouts.evolve, [registered, *events])


def record(state: Person | None, stay: Stay = IN_JAPAN, stay_id: str = "s1") -> list[Event]:
    return whereabouts.record(state, person_id="ann", stay_id=stay_id, stay=stay)


def withdraw(state: Person | None, stay_id: str = "s1") -> list[Event]:
    return whereabouts.withdraw(state, person_id="ann", stay_id=stay_id)


def test_a_stay_is_noted_sealed_with_its_persons_key():
    (event,) = record(known())

    assert isinstance(event, StayRecorded)
    assert (event.person_id, event.stay_id, event.personal.key_id) == ("ann", "s1", "ann")
    assert isinstance(event.personal, Private)
    assert whereabouts.opened(event.personal.fields) == IN_JAPAN
    assert not [word for word in ("JP", "Tokyo", "大阪", "34") if word in repr(event) + repr(IN_JAPAN)]


def test_the_same_id_again_takes_the_earlier_ones_place():
    state = known(*record(known()))
    again = known(*record(known()), *record(state))

    assert again is not None
    assert again.stays == ("s1",)


def test_a_stay_is_withdrawn_once():
    state = known(*record(known()))

    assert withdraw(state) == [StayWithdrawn(person_id="ann", stay_id="s1")]
    assert withdraw(state, "s2") == withdraw(known()) == []
    assert known(*record(known()), *withdraw(state)) == known()


def test_nothing_is_noted_of_one_who_is_not_there_or_was_forgotten():
    assert code_of(Refused, lambda: record(None)) == code_of(Refused, lambda: withdraw(None)) == "person.unknown"
    assert code_of(Refused, lambda: record(known(FORGOTTEN))) == "person.forgotten"
    assert code_of(Refused, lambda: people.tag(known(FORGOTTEN), tags=("a",), enterprise="")) == "person.forgotten"
    assert code_of(Refused, lambda: people.tag(None, tags=(), enterprise="")) == "person.unknown"


def test_a_person_has_so_many_stays_and_no_more():
    many = [event for n in range(MAX_STAYS) for event in record(known(), stay_id=f"s{n}")]

    assert code_of(Refused, lambda: record(known(*many), stay_id="new")) == "stay.too_many"
    assert len(record(known(*many), stay_id="s0")) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"country": "jp"}, "country"),
        ({"country": "JPN"}, "country"),
        ({"zone": "Tokyo"}, "zone"),
        ({"zone": ""}, "zone"),
        ({"zone": "../etc"}, "zone"),
        ({"zone": "Asia"}, "zone"),
        ({"to": date(2026, 6, 30)}, "dates"),
        ({"lat": 1.0}, "point"),
        ({"lat": 91.0, "lon": 0.0}, "point"),
        ({"lat": float("nan"), "lon": 0.0}, "point"),
        ({"place": "x" * 201}, "place"),
    ],
)
def test_what_cannot_be_a_stay_is_refused(change, code):
    assert code_of(InvalidInput, lambda: record(known(), Stay(**{**JULY, **change}))) == f"stay.{code}"


def test_a_box_that_holds_something_else_is_no_stay():
    assert code_of(InvalidInput, lambda: whereabouts.opened({"name": "安娜"})) == "stay.form"


# Tags -----------------------------------------------------------------------------------------------------------------


def test_tags_are_sorted_and_each_is_there_once():
    (event,) = people.register(None, person("ann", tags=("b", "a", "b"), enterprise="e-1"), PERSONAL)

    assert isinstance(event, PersonRegistered)
    assert (event.tags, event.enterprise) == (("a", "b"), "e-1")


def test_tagging_replaces_and_tagging_the_same_changes_nothing():
    state = known(tags=("a",))

    assert people.tag(state, tags=("b", "a"), enterprise="e") == [
        PersonTagged(person_id="ann", tags=("a", "b"), enterprise="e")
    ]
    assert people.tag(state, tags=(), enterprise="") == [PersonTagged(person_id="ann")]
    assert people.tag(state, tags=("a", "a"), enterprise="") == []


def test_registering_again_changes_tags_only_where_it_names_some():
    state = known(tags=("a",), enterprise="e")

    assert [type(e) for e in people.register(state, person("ann"), PERSONAL)] == [ContactChanged]
    assert [type(e) for e in people.register(state, person("ann", tags=("b",)), PERSONAL)] == [
        ContactChanged,
        PersonTagged,
    ]


@pytest.mark.parametrize("word", ["", " ", "a b", "x" * 65, "a,b", "安娜 +39", "\n"])
def test_a_tag_is_no_place_for_a_note(word):
    assert code_of(InvalidInput, lambda: people.tag(known(), tags=(word,), enterprise="")) == "person.tags"
    if word:
        assert code_of(InvalidInput, lambda: people.tag(known(), tags=(), enterprise=word)) == "person.tags"


def test_a_person_has_so_many_tags_and_no_more():
    many = tuple(f"t{n}" for n in range(33))

    assert code_of(InvalidInput, lambda: people.tag(known(), tags=many, enterprise="")) == "person.tags"
    assert len(people.tag(known(), tags=many[:32], enterprise="温州商会")) == 1


def test_forgetting_takes_tags_and_stays_along():
    state = known(*record(known()), FORGOTTEN, tags=("a",), enterprise="e")

    assert state == person("ann", channels=(), forgotten=True)
