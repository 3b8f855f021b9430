"""What is written down beside the code is in step with it: locks, changelog, API description, make targets."""

from __future__ import annotations

import re
import tomllib

import pytest

import infra.log.mapper  # noqa: F401  registers every topic
from api.app import VERSION
from domain.events import known_topics
from domain.outcomes import Outcome, Reason
from infra.config import Settings
from infra.openapi import description
from tests.ops import configuration, faults, locks, outcomes

ROOT = locks.ROOT


def test_the_locks_were_made_from_what_pyproject_asks_for() -> None:
    assert locks.out_of_step() == [], "make lock writes them anew"


@pytest.mark.parametrize("name", [locks.RUNTIME, locks.BUILD, locks.DEV, locks.IMAGE])
def test_a_lock_pins_by_hash_and_names_no_registry(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "//" not in text
    pins = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert pins
    for pin in pins:
        assert re.fullmatch(r"[a-z0-9._-]+==[^ ]+( ; .+)? \\", pin), pin


def test_no_folder_of_tests_is_left_out() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        named = tomllib.load(file)["tool"]["pytest"]["ini_options"]["testpaths"]
    assert sorted(named) == sorted({str(path.parent.relative_to(ROOT)) for path in ROOT.glob("tests/**/test_*.py")})


def test_the_version_is_one_and_the_changelog_speaks_of_it() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert version == VERSION
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## \[?([^\]\s]+)", changelog, re.MULTILINE)
    assert version in sections or "Unreleased" in sections


async def test_the_api_is_described_as_it_is() -> None:
    assert (ROOT / "docs" / "openapi.json").read_bytes() == await description(), "make openapi writes it anew"


def test_the_lower_bound_of_python_is_the_one_that_is_checked() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    assert project["project"]["requires-python"] == ">=3.11"
    assert project["tool"]["ruff"]["target-version"] == "py311"
    assert project["tool"]["mypy"]["python_version"] == "3.11"
    assert "version_info < (3, 11)" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_table_of_events_names_every_topic_and_no_other() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"\| `([a-z]+\.[a-z_]+\.v\d+)` \|", table)
    assert sorted(named) == sorted(known_topics())


def test_what_outcomes_mean_is_written_as_it_is() -> None:
    assert outcomes.TARGET.read_text(encoding="utf-8") == outcomes.page(), "make outcomes writes it anew"


def test_settings_are_written_as_they_are_and_each_has_a_meaning() -> None:
    assert configuration.TARGET.read_text(encoding="utf-8") == configuration.page(), "make configuration writes it anew"
    plain = {name for name, of in Settings.model_fields.items() if configuration.section(of.annotation) is None}
    assert plain <= configuration.MEANINGS.keys()


def test_the_table_of_faults_is_that_of_the_closed_list() -> None:
    assert tuple(faults.table()) == faults.FAULTS + faults.PARTS


@pytest.mark.parametrize("fault", faults.FAULTS + faults.PARTS)
def test_a_fault_has_words_a_reason_and_tests_that_exist(fault: str) -> None:
    happens, said, tests = faults.table()[fault]
    assert happens
    assert said
    assert set(re.findall(r"`(\w+)`", said)) <= {*Reason, *Outcome, "late"}
    assert tests
    for file, name in tests:
        assert name in faults.tests_in(file), f"{file} has no {name}"


def test_every_test_of_a_fault_stands_in_the_table() -> None:
    named = {test for _, _, tests in faults.table().values() for test in tests}
    assert faults.fault_tests() - named == set()
