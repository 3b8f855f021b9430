"""What the READMEs show is what happens: their sessions run, their make targets exist, their links lead somewhere.

A `console` block is a session at the top of the clone, with the data folder elsewhere: lines after `$ ` are typed, the
rest is what must come out, `…` standing for anything. A `sh` block is for reading; it names make targets.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.config import load

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.zh-CN.md")
DOCS = (*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "adr").glob("*.md"))
PAGES = (*READMES, "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", *(str(page.relative_to(ROOT)) for page in DOCS))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text(name), re.MULTILINE | re.DOTALL)


def steps(block: str) -> list[tuple[str, str]]:
    """(what is typed, what comes out) of a session."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    assert parts[0] == "", "a session begins with a command"
    typed = [part.partition("\n") for part in parts[1:]]
    return [(command, shown.strip()) for command, _, shown in typed]


def fits(shown: str, came: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), came, re.DOTALL) is not None


@pytest.mark.timeout(300)
def test_the_sessions_of_the_readme_run_as_shown(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("FENGHUO_")}
    env |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
        "FENGHUO_DATA_DIR": str(tmp_path / "data"),
        "PYTHONUTF8": "1",
    }
    session = [step for block in blocks(READMES[0], "console") for step in steps(block)]
    assert len(session) > 5
    for command, shown in session:
        ran = subprocess.run(
            ["sh", "-c", f"{command} 2>&1"], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
        )
        came = ran.stdout.strip()
        assert ran.returncode == (1 if shown.startswith("fenghuo: ") else 0), f"$ {command}\n{came}"
        assert fits(shown, came), f"$ {command}\n{came}\n\nThe README shows:\n{shown}"


def test_both_readmes_show_the_same_sessions() -> None:
    english, chinese = ([blocks(name, kind) for kind in ("console", "sh", "toml")] for name in READMES)
    assert english == chinese


def test_the_settings_that_the_readme_shows_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks(READMES[0], "toml")
    path = tmp_path / "fenghuo.toml"
    path.write_text(block, encoding="utf-8")
    monkeypatch.setenv("FENGHUO_CONFIG", str(path))
    settings = load()
    assert settings.email and settings.sms and settings.webpush
    assert settings.public_url == "https://warn.fao.example"


@pytest.mark.parametrize("name", [*READMES, "CONTRIBUTING.md"])
def test_the_make_targets_that_are_named_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", text("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", text(name), re.MULTILINE))
    assert "test" in named
    assert named <= targets


def test_make_help_lists_every_target() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.findall(r"^\.PHONY: (\w+)", text("Makefile"), re.MULTILINE)
    assert [name for name in phony if f"make {name} " not in listed] == []


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_that_are_there(name: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text(name))
    missing = [link for link in links if "://" not in link and not (ROOT / name).parent.joinpath(link).exists()]
    assert missing == []


@pytest.mark.parametrize("name", PAGES)
def test_files_that_are_named_exist(name: str) -> None:
    """Paths in backquotes that begin with a room of ours."""
    rooms = "domain|projections|notifiers|api|infra|tests|docs"
    named = re.findall(rf"`((?:{rooms})/[\w./-]+\.(?:py|md|json|xml))`", text(name))
    assert [path for path in named if not (ROOT / path).exists()] == []
