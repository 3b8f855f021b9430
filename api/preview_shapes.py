"""What a preview of a draft says, as the API gives it and the console and the command line show it."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel


class NodeCount(BaseModel):
    """People of one node, by what they are to it; `without_channel` are meant and cannot be reached at all."""

    node_id: str
    name_zh: str
    name_en: str
    country: str
    staff: int
    people: int
    without_channel: int


class Phase(BaseModel):
    """Who is told at one time: `at_once` by the release itself, `on_relay` when their stations relay. Deputies, offices
    above and further channels, to which silence leads, are not counted: nobody knows it before.

    Counts by language and country are people, by channel messages: somebody with two channels gets two.
    """

    when: Literal["at_once", "on_relay"]
    people: int
    messages: int
    shards: int
    without_channel: int
    by_channel: dict[str, int]
    by_language: dict[str, int]
    by_country: dict[str, int]
    by_node: list[NodeCount]


class Some(BaseModel):
    """How many people, and the ids of the first of them."""

    count: int
    person_ids: list[str]


class Difference(BaseModel):
    """Against those whom the last issue reached. `texts`: by language and field, the pieces of the way from the old
    words to the new: `=` kept, `-` gone, `+` new.

    `left_silent` are the nodes that have yet to acknowledge the last issue or, where that is theirs to do, to relay it:
    a correction ends their part, so that nobody chases them and the people whom they would have told hear nothing. An
    ordinary update goes through them anew, and leaves none.
    """

    updates: str
    newly: Some
    stays: Some
    no_longer: Some
    left_silent: list[str]
    texts: dict[str, dict[str, list[tuple[str, str]]]]


class TextMessage(BaseModel):
    """The text message of one language. `segments` is of one message, `messages` how many are sent."""

    language: str
    circle: str
    encoding: str
    characters: int
    segments: int
    messages: int


class Charge(BaseModel):
    """What goes to one calling prefix; `amount` is null, and the prefix empty, where no price is known."""

    channel: str
    prefix: str
    messages: int
    segments: int
    amount: Decimal | None


class Cost(BaseModel):
    """`total` is of the messages with a known price; `unknown` counts the text messages and calls without."""

    currency: str
    total: Decimal
    unknown: int
    charges: list[Charge]


class Sample(BaseModel):
    """What one person reads or hears. `subject` is empty where the channel has none."""

    channel: str
    language: str
    circle: str
    subject: str
    text: str


class Preview(BaseModel):
    """What a release now would do. Another audience as of `as_of`, or another version, is another preview.

    `sandboxed`: a drill reaches no provider, and costs nothing, unless it is released over the real channels.
    """

    warning_id: str
    version: int
    as_of: int
    level: str
    lane: str
    drill: bool
    sandboxed: bool
    correction: bool
    phases: list[Phase]
    difference: Difference | None
    text_messages: list[TextMessage]
    cost: Cost
    samples: list[Sample]
