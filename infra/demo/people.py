"""The demo people: staff of every office and station, citizens, and contacts of enterprises; the same for one seed.

Names are put together by lot from data/names.json. An address is given only for a channel the person can be reached
by, as a registry should keep no more than it uses; three people can be reached by none, for the reachability audit.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Literal

import msgspec

from domain.ids import derived
from infra.demo.hierarchy import DATA, NodeSpec, hierarchy
from infra.demo.phones import Directory

Role = Literal["duty_officer", "county_officer", "head", "deputy", "liaison", "citizen", "enterprise"]

UNREACHABLE = 3
"""People without any channel, where there are that many citizens and enterprise contacts."""

WEIGHT = {"IT": 9, "ES": 8, "FR": 8, "US": 7, "BR": 5, "NL": 4, "PT": 4, "DE": 3, "AE": 3, "CN": 2}
"""How many people a station of a country has against one elsewhere, whose weight is 2 as well."""

LANGUAGE = {
    "IT": "it",
    "ES": "es",
    "PE": "es",
    "EC": "es",
    "AR": "es",
    "FR": "fr",
    "BE": "fr",
    "GA": "fr",
    "PT": "pt",
    "BR": "pt",
    "AO": "pt",
    "DE": "de",
    "AT": "de",
}
"""The language that those who do not read Chinese are written to in; English where none is named."""

CHANNELS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("sms", "email"), 48),
    (("sms", "email", "webpush"), 22),
    (("sms", "webpush"), 21),
    (("email", "webpush"), 8),
    (("sms",), 0.5),
    (("email",), 0.3),
    (("webpush",), 0.2),
)
"""Ways to be reached, with the percentage of citizens who have just these."""

ALL_CHANNELS = ("sms", "email", "webpush")
MAIL_DOMAINS = ("example.org", "example.com", "example.net")  # RFC 2606: never delivered anywhere
OFFICE_DOMAIN = "fao.wenzhou.example"


class PersonSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One made-up person. `language` is an RFC 5646 tag, `zone` an IANA name, `phone` E.164.

    `channels` holds `sms`, `email`, `webpush`; `phone` and `email` are empty without the channel that needs them.
    `push` says that the sandbox shall subscribe this person to web push. `may_release` marks the shift leader, the
    second person who releases warnings.
    """

    id: str
    node: str
    role: Role
    name: str
    language: str
    zone: str
    phone: str
    email: str
    push: bool
    channels: tuple[str, ...]
    may_release: bool = False


class Names(msgspec.Struct, frozen=True):
    """Parts of names: Chinese ones with their pinyin, others as (first names, last names) by language."""

    surnames: tuple[tuple[str, str], ...]
    given: tuple[tuple[str, str], ...]
    foreign: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    companies: tuple[str, ...]


@cache
def names() -> Names:
    """The parts that names are made of, read once."""
    return msgspec.json.decode((DATA / "names.json").read_bytes(), type=Names)


def staff_posts() -> Iterator[tuple[NodeSpec, Role, int]]:
    """Every post of the tree with its number within node and role, offices first.

    Three duty officers and a shift leader, two officers a county, and for each station a head, a deputy and two
    liaisons (rules S5 and S6).
    """
    tree = hierarchy()
    for n in range(4):
        yield tree.duty_office, "duty_officer", n
    for county in tree.counties:
        for n in range(2):
            yield county, "county_officer", n
    posts: tuple[tuple[Role, int], ...] = (("head", 0), ("deputy", 0), ("liaison", 0), ("liaison", 1))
    for station in tree.stations:
        for role, n in posts:
            yield station, role, n


def person_id(node: str, role: Role, n: int) -> str:
    """The id of the n-th person (from 0) of a role at a node: a UUID of version 5, the same for every seed."""
    return derived("demo-person", node, role, str(n))


def people(seed: int = 7, count: int = 2000) -> Iterator[PersonSpec]:
    """Exactly `count` people, staff included and first; the same people in the same order for the same arguments.

    Raises `ValueError` if `count` is smaller than the staff.
    """
    posts = tuple(staff_posts())
    if count < len(posts):
        raise ValueError(f"the staff alone are {len(posts)} people, more than {count}")
    return _people(seed, count - len(posts), posts)


def _people(seed: int, crowd: int, posts: tuple[tuple[NodeSpec, Role, int], ...]) -> Iterator[PersonSpec]:
    maker = _Maker(seed)
    for post in posts:
        yield maker.staff(*post)
    rng = maker.rng
    stations = hierarchy().stations
    weights = [WEIGHT.get(station.country, 2) for station in stations]
    unreachable = set(rng.sample(range(crowd), k=min(UNREACHABLE, crowd)))
    counted: dict[tuple[str, Role], int] = {}
    for n in range(crowd):
        station = rng.choices(stations, weights)[0]
        role: Role = "enterprise" if rng.random() < 0.06 else "citizen"
        nth = counted.get((station.id, role), 0)
        counted[station.id, role] = nth + 1
        channels = () if n in unreachable else rng.choices(*zip(*CHANNELS, strict=True))[0]
        yield maker.member(station, role, nth, channels)


class _Maker:
    """One run of the lottery: its random numbers and the telephone numbers already given away."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)  # noqa: S311 -- a lottery that must repeat, not a secret
        self.phones = Directory()
        self.mailboxes = 0
        self.zones = tuple(sorted({station.zone for station in hierarchy().stations}))

    def staff(self, node: NodeSpec, role: Role, n: int) -> PersonSpec:
        # The second liaison abroad may be one who grew up there and works in the local language.
        local = role == "liaison" and n == 1 and node.scope == "overseas" and self.rng.random() < 0.5
        language = LANGUAGE.get(node.country, "en") if local else "zh"
        name, romanised = self.name(language)
        if node.kind == "station":
            email = self.mailbox(romanised)
        else:
            email = f"{node.id if node.kind == 'county' else 'duty'}.{n + 1}@{OFFICE_DOMAIN}"
        return PersonSpec(
            id=person_id(node.id, role, n),
            node=node.id,
            role=role,
            name=name,
            language=language,
            zone=node.zone,
            phone=self.phones.take(node.country),
            email=email,
            push=True,
            channels=ALL_CHANNELS,
            may_release=role == "duty_officer" and n == 3,
        )

    def member(self, node: NodeSpec, role: Role, n: int, channels: tuple[str, ...]) -> PersonSpec:
        draw = self.rng.random()
        language = "zh"
        if node.scope == "overseas" and draw < 0.14:
            language = LANGUAGE.get(node.country, "en") if draw < 0.10 else "en"
        name, romanised = self.name(language)
        if role == "enterprise":
            name = f"{name}（{self.rng.choice(names().companies)}）"
        # Some are away from their station, and some keep their number from home.
        zone = self.rng.choice(self.zones) if self.rng.random() < 0.05 else node.zone
        country = node.country if self.rng.random() < 0.8 else "CN"
        return PersonSpec(
            id=person_id(node.id, role, n),
            node=node.id,
            role=role,
            name=name,
            language=language,
            zone=zone,
            phone=self.phones.take(country) if "sms" in channels else "",
            email=self.mailbox(romanised) if "email" in channels else "",
            push="webpush" in channels,
            channels=channels,
        )

    def name(self, language: str) -> tuple[str, str]:
        """A name as written, and in letters fit for a mailbox."""
        if language == "zh":
            surname, surname_pinyin = self.rng.choice(names().surnames)
            given = self.rng.choices(names().given, k=self.rng.choice((1, 2, 2)))
            return surname + "".join(c for c, _ in given), f"{''.join(p for _, p in given)}.{surname_pinyin}"
        first, last = (self.rng.choice(part) for part in names().foreign[language])
        plain = unicodedata.normalize("NFKD", f"{first}.{last}").encode("ascii", "ignore").decode()
        return f"{first} {last}", plain.lower().replace(" ", "-")

    def mailbox(self, romanised: str) -> str:
        self.mailboxes += 1
        return f"{romanised}.{self.mailboxes}@{self.rng.choice(MAIL_DOMAINS)}"
