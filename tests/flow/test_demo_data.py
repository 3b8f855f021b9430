"""The demo's people, places and warning: enough of them, none twice, all acceptable to the domain, nobody real."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parseaddr
from itertools import pairwise
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from defusedxml import ElementTree

from domain import people as domain_people
from domain import stations as domain_stations
from domain.private import Private
from domain.rulepacks import OFFICIAL_REMINDERS
from infra.demo import phones
from infra.demo.hierarchy import NodeSpec, hierarchy
from infra.demo.people import ALL_CHANNELS, PersonSpec, people, staff_posts
from infra.demo.warning import warning_cap

TREE = hierarchy()
NODES = {node.id: node for node in TREE.nodes}
PEOPLE = list(people())
CAP = "{urn:oasis:names:tc:emergency:cap:1.2}"


def node_of(spec: NodeSpec) -> domain_stations.Node:
    return domain_stations.Node(
        node_id=spec.id,
        kind=domain_stations.Kind(spec.kind),
        parent=spec.parent,
        name_zh=spec.name_zh,
        name_en=spec.name_en,
        country=spec.country,
        lat=spec.lat,
        lon=spec.lon,
        zone=spec.zone,
        scope=None if spec.scope is None else domain_stations.Scope(spec.scope),
    )


def test_the_tree_has_an_office_twelve_counties_and_stations_the_world_over() -> None:
    assert [node.id for node in TREE.nodes if node.parent is None] == ["wenzhou"] == [TREE.duty_office.id]
    assert len(TREE.counties) == 12
    assert len(TREE.stations) >= 44
    overseas = [station for station in TREE.stations if station.scope == "overseas"]
    assert len({station.country for station in overseas} - {"CN"}) >= 12
    assert len({station.zone for station in overseas}) >= 10
    winter = datetime(2026, 12, 1, tzinfo=UTC)
    assert len({ZoneInfo(station.zone).utcoffset(winter) for station in overseas}) >= 10
    assert {county.id for county in TREE.counties} == {station.parent for station in TREE.stations}


def test_no_node_is_there_twice() -> None:
    assert len(NODES) == len(TREE.nodes)
    for names in ([node.name_zh for node in TREE.nodes], [node.name_en for node in TREE.nodes]):
        assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", node) for node in NODES)


def test_the_domain_accepts_every_node_in_the_order_of_the_table() -> None:
    registered: dict[str, domain_stations.Node] = {}
    for spec in TREE.nodes:
        parent = registered[spec.parent] if spec.parent else None
        assert domain_stations.register(None, node_of(spec), parent)
        registered[spec.id] = node_of(spec)


def test_domestic_stations_are_in_china_and_named_as_the_guideline_asks() -> None:
    for station in TREE.stations:
        assert (station.scope == "domestic") == (station.country == "CN")
        assert station.name_zh.endswith(domain_stations.SUFFIX)


def test_there_are_exactly_as_many_people_as_asked_for() -> None:
    staff = len(list(staff_posts()))
    assert len(PEOPLE) == 2000
    assert len(list(people(count=staff))) == staff
    assert len(list(people(count=staff + 1))) == staff + 1
    with pytest.raises(ValueError):
        people(count=staff - 1)


def test_the_same_seed_gives_the_same_people_and_another_does_not() -> None:
    assert list(people(7, 600)) == list(people(7, 600))
    assert [p.name for p in people(7, 600)] != [p.name for p in people(8, 600)]
    assert PEOPLE[:240] == list(people(count=5000))[:240]


def test_every_post_is_filled() -> None:
    roles: dict[str, Counter[str]] = {}
    for person in PEOPLE:
        if person.role not in ("citizen", "enterprise"):
            roles.setdefault(person.node, Counter())[person.role] += 1
    assert roles["wenzhou"] == {"duty_officer": 4}
    assert all(roles[county.id] == {"county_officer": 2} for county in TREE.counties)
    assert all(roles[station.id] == {"head": 1, "deputy": 1, "liaison": 2} for station in TREE.stations)
    releasers = [p for p in PEOPLE if p.may_release]
    assert [(p.node, p.role) for p in releasers] == [("wenzhou", "duty_officer")]
    assert all(p.channels == ALL_CHANNELS for p in PEOPLE if p.role not in ("citizen", "enterprise"))


def test_every_station_has_people_and_some_have_many() -> None:
    members = Counter(p.node for p in PEOPLE if p.role in ("citizen", "enterprise"))
    assert set(members) == {station.id for station in TREE.stations}
    assert members["station-prato"] > 2 * members["station-tokyo"]


@pytest.mark.parametrize("count", [2000, 20_000])
def test_no_two_people_share_an_id_a_phone_or_a_mailbox(count: int) -> None:
    crowd = list(people(count=count))
    for values in ([p.id for p in crowd], [p.phone for p in crowd if p.phone], [p.email for p in crowd if p.email]):
        assert len(set(values)) == len(values)


def test_languages_and_zones_are_mixed_and_every_zone_loads() -> None:
    languages = Counter(p.language for p in PEOPLE)
    assert languages["zh"] > 0.8 * len(PEOPLE)
    assert set(languages) == {"zh", "en", "es", "it", "fr", "pt", "de"}
    zones = {p.zone for p in PEOPLE} | {node.zone for node in TREE.nodes}
    assert len(zones) >= 10
    assert all(ZoneInfo(zone).key == zone for zone in zones)


def test_channels_are_mixed_and_three_people_cannot_be_reached() -> None:
    ways = Counter(p.channels for p in PEOPLE)
    reached = Counter(channel for p in PEOPLE for channel in p.channels)
    assert reached["sms"] > reached["email"] > reached["webpush"] > 0
    assert 0.005 <= sum(n for channels, n in ways.items() if len(channels) == 1) / len(PEOPLE) <= 0.015
    assert ways[()] == 3
    for person in PEOPLE:
        given = bool(person.phone), bool(person.email), person.push
        assert given == tuple(channel in person.channels for channel in ALL_CHANNELS)


def test_the_domain_accepts_every_person() -> None:
    for spec in PEOPLE:
        person = domain_people.Person(
            person_id=spec.id,
            node_id=spec.node,
            role=domain_people.Role(spec.role),
            language=spec.language,
            channels=tuple(domain_people.Channel(channel) for channel in spec.channels),
        )
        fields = {"name": spec.name, "phone": spec.phone, "email": spec.email, "zone": spec.zone}
        subscription = {"push": {"endpoint": "later"}} if spec.push else {}
        assert spec.node in NODES
        assert domain_people.register(None, person, Private(key_id=spec.id, fields=fields | subscription))


def reserved(number: str) -> bool:
    return any(number.startswith(block.prefix) for blocks in phones.RESERVED.values() for block in blocks)


def test_every_number_is_possible_and_none_can_ring_a_stranger() -> None:
    for person in PEOPLE:
        if person.phone:
            number = phonenumbers.parse(person.phone)
            assert phonenumbers.is_possible_number(number), person.phone
            assert phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) == person.phone
            assert reserved(person.phone) or not phonenumbers.is_valid_number(number), person.phone


def test_every_country_of_the_tree_has_demo_numbers() -> None:
    assert {node.country for node in TREE.nodes} <= set(phones.RESERVED) | set(phones.UNASSIGNED)


def test_a_block_that_runs_out_goes_on_with_numbers_from_home() -> None:
    directory = phones.Directory()
    taken = [directory.take("DE") for _ in range(201)]
    assert taken[0] == "+491713920000"
    assert taken[199].startswith("+49176040690")
    assert taken[200].startswith("+861000")


def test_mail_goes_nowhere() -> None:
    allowed = {"example.org", "example.com", "example.net", "fao.wenzhou.example"}
    for person in PEOPLE:
        if person.email:
            assert re.fullmatch(r"[a-z0-9.-]+@[a-z.]+", person.email)
            assert parseaddr(person.email)[1] == person.email
            assert person.email.partition("@")[2] in allowed


def test_names_are_for_people_of_either_script() -> None:
    assert all(p.name.strip() == p.name != "" for p in PEOPLE)
    assert all(re.match(r"[\u4e00-\u9fff]{2,4}", p.name) for p in PEOPLE if p.language == "zh")


def cap_times(raw: bytes) -> dict[str, set[datetime]]:
    times: dict[str, set[datetime]] = {}
    for element in ElementTree.fromstring(raw).iter():
        tag = element.tag.removeprefix(CAP)
        if tag in ("sent", "effective", "onset", "expires"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[-+]\d\d:\d\d", element.text)
            times.setdefault(tag, set()).add(datetime.fromisoformat(element.text))
    return times


def test_the_warning_says_the_same_in_three_languages() -> None:
    alert = ElementTree.fromstring(warning_cap())
    infos = alert.findall(f"{CAP}info")
    assert alert.tag == f"{CAP}alert"
    assert alert.findtext(f"{CAP}sender") == "duty@fao.wenzhou.example"
    assert [info.findtext(f"{CAP}language") for info in infos] == ["zh-CN", "en-US", "it-IT"]
    for tag in ("severity", "urgency", "certainty", "expires"):
        assert len({info.findtext(f"{CAP}{tag}") for info in infos}) == 1
    for info in infos:
        assert all(
            info.findtext(f"{CAP}{tag}")
            for tag in ("headline", "description", "instruction", "area/" + CAP + "areaDesc")
        )
        assert {"12308", "112"} <= set(re.findall(r"\d+", info.findtext(f"{CAP}contact")))
    assert not any(word in "".join(alert.itertext()) for word in OFFICIAL_REMINDERS)


def inside(ring: list[tuple[float, float]], lat: float, lon: float) -> bool:
    odd = False
    for (lat1, lon1), (lat2, lon2) in pairwise(ring):
        if (lon1 > lon) != (lon2 > lon) and lat < (lat2 - lat1) * (lon - lon1) / (lon2 - lon1) + lat1:
            odd = not odd
    return odd


def test_the_warning_lies_over_two_stations() -> None:
    for polygon in ElementTree.fromstring(warning_cap()).iter(f"{CAP}polygon"):
        pairs = [tuple(map(float, pair.split(","))) for pair in polygon.text.split()]
        ring = [(lat, lon) for lat, lon in pairs]
        assert ring[0] == ring[-1]
        met = {station.id for station in TREE.stations if inside(ring, station.lat, station.lon)}
        assert met == {"station-prato", "station-florence"}


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-3))])
def test_the_warning_can_be_sent_at_any_hour(zone: timezone) -> None:
    before, at = cap_times(warning_cap()), datetime(2030, 2, 28, 23, 59, 30, 5, tzinfo=zone)
    after = cap_times(warning_cap(at))
    assert after["sent"] == {at.replace(microsecond=0)}
    (old_sent,), (new_sent,) = before.pop("sent"), after.pop("sent")
    for tag, times in after.items():
        assert {time - new_sent for time in times} == {time - old_sent for time in before[tag]}
    assert b"+00:00" not in warning_cap(at)
    with pytest.raises(ValueError):
        warning_cap(datetime(2030, 1, 1))  # noqa: DTZ001 -- the mistake under test


def people_at(node: str) -> list[PersonSpec]:
    return [p for p in PEOPLE if p.node == node]


def test_the_flooded_stations_have_people_of_three_languages_to_warn() -> None:
    crowd = people_at("station-prato") + people_at("station-florence")
    assert {"zh", "it", "en"} <= {p.language for p in crowd}
