"""`fenghuo people load` and `grant give`: what is not meant so is refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from setting import History
from terminal import Ran, fenghuo, refused
from townsfolk import SETUP, TREE

from domain.errors import InvalidInput
from domain.people import Channel, Person, Role
from infra.stores import Stores


def line(person_id: str, **personal: Any) -> dict[str, Any]:
    return {
        "person_id": person_id, "node_id": "milan", "role": "citizen", "language": "zh", "channels": ["sms"],
        "personal": {"name": "x", "phone": "+393331234567", **personal},
    }  # fmt: skip


def load(history: History, tmp_path: Path, content: str) -> Ran:
    file = tmp_path / "people.json"
    file.write_text(content, encoding="utf-8")
    return fenghuo("people", "load", file, "--as", "admin", folder=history.folder)


def test_who_is_in_a_file_twice_is_named_and_nobody_is_registered(history: History, tmp_path: Path) -> None:
    before = fenghuo("status", "--json", folder=history.folder).json["position"]
    people = [line(f"p{n}") for n in range(1200)]  # more than are registered in one go
    ran = load(history, tmp_path, json.dumps([*people, line("p3", name="y")]))
    refused(ran, 2, "person.twice")
    assert ran.err.startswith(f"fenghuo: p3 stands in {tmp_path}/people.json 2 times. ")
    assert fenghuo("status", "--json", folder=history.folder).json["position"] == before
    assert load(history, tmp_path, json.dumps(people)).out == "1200 people are registered.\n"
    again = load(history, tmp_path, json.dumps([line("p3", name="y")]))
    assert (again.status, again.out) == (0, "1 people are registered.\n"), "in a later file they are another version"


@pytest.mark.parametrize("depth", [20, 500, 3000])
def test_personal_fields_that_lie_too_deep_in_each_other_are_refused(
    history: History, tmp_path: Path, depth: int
) -> None:
    deep = json.dumps([line("deep", odd="?")]).replace('"?"', "[" * depth + "]" * depth)
    ran = load(history, tmp_path, deep)
    assert ran.err.endswith("[person.personal]\n" if depth < 1000 else "[file.form]\n"), ran.err
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    kept = line("kept", push={"endpoint": "https://push.example/x", "keys": {"p256dh": "A", "auth": "B"}})
    assert load(history, tmp_path, json.dumps([kept])).status == 0


async def test_somebody_twice_in_what_is_registered_together_is_named(tmp_path: Path) -> None:
    async with Stores(tmp_path) as stores:
        await stores.registry.register_nodes(TREE, SETUP)
        given = {"person_id": "admin", "role": "administrator", "node_id": "office"}
        await stores.registry.give_grant(SETUP, **given, bootstrap=True)
        await stores.catch_up()
        person = Person(person_id="p1", node_id="milan", role=Role.CITIZEN, language="zh", channels=(Channel.SMS,))
        with pytest.raises(InvalidInput, match="p1 is there more than once") as refusal:
            await stores.registry.register_people([(person, {"phone": "+393331234567"})] * 2, SETUP)
        assert refusal.value.code == "person.twice"


def test_a_grant_is_for_a_node_that_there_is_but_before_there_is_any(history: History, tmp_path: Path) -> None:
    first = ("grant", "give", "ann", "administrator", "office")
    assert fenghuo("init", folder=tmp_path).status == 0
    assert fenghuo(*first, folder=tmp_path).status == 0
    assert fenghuo(*first, folder=history.folder).status == 0
    ran = fenghuo("grant", "give", "ann", "administrator", "ofice", folder=history.folder)
    refused(ran, 1, "node.unknown")
    assert "There is no node ofice." in ran.err
