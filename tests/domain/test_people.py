"""People: registered once, reachable at what they gave, forgotten for good; and no value of theirs in any repr."""

from __future__ import annotations

from typing import Any

import pytest
from given import code_of, person

from domain import people
from domain.errors import InvalidInput, Refused
from domain.events import Event, fold
from domain.people import Channel, ContactChanged, Person, PersonForgotten, PersonRegistered, Role
from domain.private import Private

ALL = (Channel.SMS, Channel.EMAIL, Channel.WEBPUSH)
FIELDS: dict[str, Any] = {
    "name": "安娜·罗西",
    "phone": "+393331234567",
    "email": "anna@people.example",
    "push": {"endpoint": "https://push.example/s3cret"},
    "zone": "Europe/Rome",
}
ANN = person("ann", channels=ALL)
PERSONAL = Private("ann", FIELDS)
REGISTERED = PersonRegistered(
    person_id="ann", node_id="milan", role=Role.CITIZEN, language="zh", channels=ALL, personal=PERSONAL
)
FORGOTTEN = PersonForgotten(person_id="ann")


def known(*events: Event) -> Person | None:
    return fold(people.evolve, [REGISTERED, *events])


def test_a_person_is_registered_with_what_the_log_may_know():
    assert people.register(None, ANN, PERSONAL) == [REGISTERED]
    assert known() == ANN


def test_the_same_person_again_is_a_change_of_contact():
    moved = person("ann", language="it", channels=(Channel.EMAIL,))
    events = people.register(known(), moved, PERSONAL)

    assert events == [ContactChanged(person_id="ann", language="it", channels=(Channel.EMAIL,), personal=PERSONAL)]
    assert known(*events) == moved


def test_a_channel_that_is_named_twice_is_one():
    twice = person("ann", channels=(Channel.SMS, Channel.EMAIL, Channel.SMS))
    for state in (None, known()):
        (event,) = people.register(state, twice, PERSONAL)
        assert event.channels == (Channel.SMS, Channel.EMAIL)


@pytest.mark.parametrize("other", [person("ann", "madrid"), person("ann", role=Role.HEAD)])
def test_a_person_does_not_change_node_or_role(other):
    assert code_of(Refused, lambda: people.register(known(), other, PERSONAL)) == "person.exists"


@pytest.mark.parametrize(("channel", "field"), [("sms", "phone"), ("email", "email"), ("webpush", "push")])
@pytest.mark.parametrize("missing", ["", None, "absent"])
def test_a_channel_needs_its_address(channel, field, missing):
    fields = {k: v for k, v in FIELDS.items() if k != field} | ({} if missing == "absent" else {field: missing})
    wanted = person("ann", channels=(Channel(channel),))

    assert code_of(InvalidInput, lambda: people.register(None, wanted, Private("ann", fields))) == "person.address"


def test_fields_that_are_none_of_ours_are_refused():
    wrong = Private("ann", {**FIELDS, "passport": "E1234"})

    assert code_of(InvalidInput, lambda: people.register(None, ANN, wrong)) == "person.field"


def test_somebody_without_any_channel_is_registered_all_the_same():
    assert len(people.register(None, person("ann", channels=()), Private("ann", {"name": "安娜"}))) == 1


def test_a_person_is_forgotten_once_and_stays_so():
    assert people.forget(known()) == [FORGOTTEN]
    assert people.forget(known(FORGOTTEN)) == []
    assert people.forget(None) == []
    assert known(FORGOTTEN) == person("ann", channels=(), forgotten=True)
    assert code_of(Refused, lambda: people.register(known(FORGOTTEN), ANN, PERSONAL)) == "person.forgotten"


@pytest.mark.parametrize("shown", [repr, str, "{}".format, "{!r}".format])
def test_no_personal_value_shows_in_a_repr(shown):
    text = shown(PERSONAL) + shown(REGISTERED) + shown([REGISTERED])

    assert [value for value in ("罗西", "333123", "people.example", "s3cret", "Rome") if value in text] == []
    assert "name, phone, push" in shown(PERSONAL)
