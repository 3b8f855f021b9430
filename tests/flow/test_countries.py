"""Countries as people write them down: by code or name, in the languages of the pages; whatever is none is refused."""

from __future__ import annotations

import msgspec
import pytest
from babel import Locale
from townsfolk import TREE

from api import countries
from domain.errors import InvalidInput
from domain.stations import Hierarchy

TOWN = Hierarchy(TREE)
ABROAD = Hierarchy([*TREE, msgspec.structs.replace(TREE[-1], node_id="nowhere", country="XX")])


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        ("", ()),
        (" , ，\n", ()),
        ("JP", ("JP",)),
        ("jp, kr", ("JP", "KR")),
        ("JP KR", ("JP", "KR")),
        ("JP;KR；IT，ES、CN\r\nDE", ("JP", "KR", "IT", "ES", "CN", "DE")),
        ("ＪＰ", ("JP",)),
        ("JP, Japan, 日本", ("JP",)),
        ("Japan, Peru", ("JP", "PE")),
        ("Japan Peru", ("JP", "PE")),
        ("日本 秘鲁", ("JP", "PE")),
        ("意大利、西班牙", ("IT", "ES")),
        ("義大利", ("IT",)),
        ("SPAIN", ("ES",)),
        ("south  korea", ("KR",)),
        ("South Sudan Sudan", ("SS", "SD")),
        ("Papua New Guinea, Guinea", ("PG", "GN")),
        ("Côte d'Ivoire", ("CI",)),
        ("Perú, Pérou, Perù", ("PE",)),
    ],
)
def test_countries_are_named_by_code_or_by_name(said: str, codes: tuple[str, ...]) -> None:
    assert countries.written(said, TOWN) == codes


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("Japan, Peruu", "Peruu"),
        ("Japan Nowhere", "Nowhere"),
        ("QQ", "QQ"),
        ("JP, qq", "qq"),
        ("EU", "EU"),
        ("European Union", "European"),
        ("XA", "XA"),
        ("J", "J"),
        ("JPN", "JPN"),
        ("-", "-"),
        ("<b>", "<b>"),
        ("Guinea Bissau", "Bissau"),
        ("in Japan", "in Japan"),  # neither India
        ("Japon et Pérou", "Japon et Pérou"),  # nor Ethiopia
        ("JP 秘鲁", "JP 秘鲁"),
        ("x" * 90, "x" * 40),
    ],
)
def test_whatever_is_no_country_is_refused_by_name(said: str, word: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        countries.written(said, TOWN)
    assert (refused.value.code, refused.value.message) == ("warning.countries", f"“{word}” is not a country.")


def test_a_station_may_lie_where_no_list_has_a_country() -> None:
    assert countries.written("xx", ABROAD) == ("XX",)
    countries.check(("XX", "IT"), ABROAD)
    for said in (lambda: countries.written("xx", TOWN), lambda: countries.check(("IT", "XX"), TOWN)):
        with pytest.raises(InvalidInput):
            said()


@pytest.mark.parametrize("language", countries.LANGUAGES)
def test_every_name_is_one_country_alone_and_can_be_written(language: str) -> None:
    """Two countries of one name in two languages would be told for each other."""
    for code, name in Locale.parse(language).territories.items():
        if code in countries.codes():
            assert countries.written(name.replace(",", ""), TOWN) == (code,), name


def test_a_list_as_long_as_a_form_may_be_is_read_in_no_time() -> None:
    with pytest.raises(InvalidInput, match="Nowhere"):
        countries.written("Japan " * 80_000 + "Nowhere", TOWN)
