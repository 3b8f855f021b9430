"""The wheel as others get it: what is in it, that nothing else owns its names, and that the demo runs from it.

It is built once and installed, with what the lock names, into a virtual environment of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from tests.ops.locks import ROOT, RUNTIME

pytestmark = pytest.mark.timeout(600)  # the demo is a story
NAMES = ("domain", "projections", "notifiers", "api", "infra")
DEMO_S = 240
KEYS = {
    "recipients", "sent", "delivered", "acknowledged", "escalated", "cancelled", "log_events", "views_identical",
    "log_verified", "seconds",
}  # fmt: skip


def run(*command: str | Path, cwd: Path, within_s: float = 400) -> str:
    """Runs a program with nothing of the checkout or of its environment in reach; what it wrote."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("FENGHUO_", "PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=within_s, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and what the lock names, and nothing else."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    pip = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", folder / "bin" / "python"]
    run(*pip, "--require-hashes", "--requirement", ROOT / RUNTIME, cwd=folder.parent)
    run(*pip, "--no-deps", wheel, cwd=folder.parent)
    return folder / "bin"


def test_the_wheel_has_what_the_program_needs_and_nothing_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(NAMES)
    vendor = {name.rpartition("/")[2] for name in names if name.startswith("api/pages/static/vendor/")}
    assert {"htmx.min.js", "sse.min.js", "bootstrap.min.css", "land-110m.json", "LICENCES.txt"} <= vendor
    assert [name for name in names if name.endswith((".po", ".pyc", ".ts", ".lock"))] == []
    assert [name for name in names if "node_modules" in name or "/frontend/" in name or "test" in name.lower()] == []

    def tracked(*suffixes: str) -> set[str]:
        found = {str(p.relative_to(ROOT)) for top in NAMES for p in (ROOT / top).rglob("*") if p.suffix in suffixes}
        return {name for name in found if "/frontend/" not in name and "/__pycache__/" not in name}

    assert tracked(".py", ".html", ".css", ".js", ".mo") - set(names) == set()
    assert {name.removesuffix(".po") for name in tracked(".po")} == {n.removesuffix(".mo") for n in tracked(".mo")}
    assert {str(p.relative_to(ROOT)) for p in (ROOT / "infra" / "demo" / "data").iterdir()} <= set(names)


def test_no_other_distribution_owns_one_of_our_names(installed: Path) -> None:
    (packages,) = installed.parent.glob("lib/python3.*/site-packages")
    owners: dict[str, set[str]] = {name: set() for name in NAMES}
    for distribution in distributions(path=[str(packages)]):
        for file in distribution.files or ():
            top = file.parts[0].removesuffix(".py")
            if top in owners:
                owners[top].add(distribution.metadata["Name"])
    assert owners == {name: {"fenghuo"} for name in NAMES}


def test_the_requirements_are_met_and_the_version_is_said(installed: Path, tmp_path: Path) -> None:
    assert "No broken requirements found." in run(installed / "python", "-m", "pip", "check", cwd=tmp_path)
    assert run(installed / "fenghuo", "--version", cwd=tmp_path).startswith("fenghuo ")
    where = run(installed / "python", "-c", "import api, infra; print(api.__file__, infra.__file__)", cwd=tmp_path)
    assert str(ROOT) not in where


def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    said = run(installed / "fenghuo", "demo", "--people", "300", "--exit", "--json", cwd=tmp_path, within_s=DEMO_S)
    result: dict[str, Any] = json.loads(said)
    assert set(result) >= KEYS
    assert (result["views_identical"], result["log_verified"], result["cancelled_exactly"]) == (True, True, True)
    assert set(result["sent"]) == {"sms", "email", "webpush"}
    assert all(count > 0 for count in result["sent"].values())
    assert result["recipients"] >= result["told"] >= result["acknowledged"] > 0
    assert result["told"] + result["unreachable"] <= result["recipients"]
    assert result["told"] == result["cancelled"]
    assert 0 < result["delivered"] <= result["told"]
    assert result["escalated"] >= 1
    assert result["log_events"] > result["recipients"]
    assert 0 < result["seconds"] < DEMO_S
    assert list(tmp_path.iterdir()) == []  # it leaves nothing where it was started
