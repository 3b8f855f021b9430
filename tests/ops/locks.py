"""Writes the lock files (`make lock`), and tells without a network whether they are in step with pyproject.toml.

requirements.lock        what the program runs on
requirements-build.lock  what builds it
requirements-dev.lock    both, and what tests and checks need
infra/ops/requirements.lock  what the container image runs on: the first, and the extras but for development

The first line of each names a hash of the tables of pyproject.toml that it was made from. No lock names a registry.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RUNTIME, BUILD, DEV = "requirements.lock", "requirements-build.lock", "requirements-dev.lock"
IMAGE = "infra/ops/requirements.lock"
EXTRAS = ("aliyun", "chat", "otel", "postgres")
EDITABLE = "editables"  # hatchling asks for it when it builds an editable install, and says so in code alone
COMMON = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--quiet"]


def declared() -> dict[str, list[str]]:
    """What pyproject.toml asks for, by lock."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project: dict[str, Any] = tomllib.load(file)
    runtime = [project["project"]["requires-python"], *project["project"]["dependencies"]]
    build = [*project["build-system"]["requires"], EDITABLE]
    extras = project["project"]["optional-dependencies"]
    image = [*runtime, *(wish for extra in EXTRAS for wish in extras[extra])]
    return {RUNTIME: runtime, BUILD: build, DEV: [*runtime, *build, *extras["dev"]], IMAGE: image}


def header(name: str) -> str:
    digest = hashlib.sha256(json.dumps(declared()[name]).encode()).hexdigest()
    return f"# Made by `make lock` from what pyproject.toml asks for; sha256 of that: {digest}\n"


def out_of_step() -> list[str]:
    """The locks that were made from other wishes than those which pyproject.toml has now."""
    return [
        name
        for name in declared()
        if not (ROOT / name).is_file() or not (ROOT / name).read_text().startswith(header(name))
    ]


def write(options: list[str]) -> None:
    build = "\n".join(declared()[BUILD])
    _compile(RUNTIME, ["pyproject.toml", *options])
    _compile(IMAGE, ["pyproject.toml", *(f"--extra={extra}" for extra in EXTRAS), "--constraint", RUNTIME, *options])
    _compile(BUILD, ["-", "--constraint", RUNTIME, *options], build)
    _compile(DEV, ["pyproject.toml", "--extra", "dev", "-", "-c", RUNTIME, "-c", BUILD, *options], build)


def _compile(name: str, arguments: list[str], stdin: str = "") -> None:
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [uv, "pip", "compile", *arguments, *COMMON, "--output-file", name],
        input=stdin, text=True, cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    body = (ROOT / name).read_text()
    (ROOT / name).write_text(header(name) + "".join(line for line in body.splitlines(True) if line[0] != "#"))


if __name__ == "__main__":
    write(sys.argv[1:])
