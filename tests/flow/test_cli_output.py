"""What commands print is what there is: others' words unchanged, on any terminal, and JSON on request."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from setting import History
from terminal import fenghuo, refused

from api.cap import read
from infra.cli.commands import PLACES, loaded
from infra.demo.warning import warning_cap
from tests.ops.process import FENGHUO, environment

HEADLINE = "洪水 :warning: [red]é[/red] [/b]"
WORDS = "Call :sos: now,\tsee [bold]https://h.example/on:100:x[/bold]\nLine [two"
NODE = {
    "node_id": "odd", "kind": "station", "parent": "north", "scope": "overseas", "country": "IT", "zone": "Europe/Rome",
    "name_zh": "[/鹿城]领事保护志愿服务站", "name_en": "Lucheng [closed] :sos:", "lat": 45.0, "lon": 9.0,
}  # fmt: skip


def printed(*arguments: str | bytes | Path, folder: Path, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """The console script, with what it printed as bytes. `more`: settings of the environment, or where it prints to."""
    env = environment(FENGHUO_DATA_DIR=str(folder), **{name: more.pop(name) for name in [*more] if name.isupper()})
    to = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.run([FENGHUO, *arguments], env=env, timeout=60, check=False, **to)


@pytest.fixture
def odd(history: History, tmp_path: Path) -> tuple[Path, str]:
    """The folder of a log in which a draft's words and a station's name would mean something else to a terminal; the
    draft's id."""
    cap = warning_cap().decode()
    for element, words in (("headline", HEADLINE), ("description", WORDS)):
        cap, found = re.subn(rf"(?s)(<{element}>).*?(</{element}>)", lambda m, w=words: m[1] + w + m[2], cap, count=1)
        assert found == 1
    (tmp_path / "odd.xml").write_text(cap, encoding="utf-8")
    (tmp_path / "nodes.json").write_text(json.dumps([NODE]), encoding="utf-8")
    folder = history.folder
    loaded_ = fenghuo("hierarchy", "load", tmp_path / "nodes.json", "--as", "admin", folder=folder)
    assert loaded_.status == 0, loaded_.err
    drafted = fenghuo("warning", "import", tmp_path / "odd.xml", "--as", "officer1", "--json", folder=folder)
    assert drafted.status == 0, drafted.err
    return folder, drafted.json["id"]


def test_the_words_of_others_are_printed_as_they_are(odd: tuple[Path, str], tmp_path: Path) -> None:
    folder, warning_id = odd
    assert HEADLINE in fenghuo("warning", "list", folder=folder).out
    shown = fenghuo("warning", "show", warning_id, folder=folder).out
    assert HEADLINE in shown and json.dumps(WORDS, ensure_ascii=False) in shown
    reach = printed("reach", folder=folder, COLUMNS="200", TERM="xterm")  # how wide it is, is asked once a process
    assert reach.returncode == 0, reach.stderr
    assert f"{NODE['name_zh']} {NODE['name_en']}" in " ".join(reach.stdout.decode().split())


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_what_is_exported_to_standard_output_is_the_file_byte_by_byte(
    odd: tuple[Path, str], tmp_path: Path, encoding: str
) -> None:
    folder, warning_id = odd
    file = tmp_path / "file.xml"
    assert fenghuo("warning", "export", warning_id, "-o", file, folder=folder).status == 0
    ran = printed("warning", "export", warning_id, folder=folder, PYTHONIOENCODING=encoding)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout == file.read_bytes()
    (alert,) = read(ran.stdout).alerts
    assert [info.description for info in alert.info if info.headline == HEADLINE] == [WORDS]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_has_no_such_letter_gets_its_number_and_json_is_json_there(
    odd: tuple[Path, str], encoding: str
) -> None:
    folder, warning_id = odd
    for command in (("warning", "list"), ("reach",), ("warning", "show", warning_id)):
        ran = printed(*command, folder=folder, PYTHONIOENCODING=encoding)
        assert (ran.returncode, ran.stderr) == (0, b""), command
        assert b"\\u9e7f\\u57ce" in ran.stdout if command == ("reach",) else HEADLINE[:2].encode() not in ran.stdout
        whole = printed(*command, "--json", folder=folder, PYTHONIOENCODING=encoding)
        assert (whole.returncode, whole.stderr) == (0, b"")
        assert json.loads(whole.stdout.decode("utf-8"))
    said = printed("warning", "show", "洪水", folder=folder, PYTHONIOENCODING=encoding)
    assert (said.returncode, said.stdout) == (1, b"")
    assert (
        said.stderr
        == b"fenghuo: There is no warning \\u6d2a\\u6c34. fenghuo warning list shows them. [warning.unknown]\n"
    )


def test_where_nobody_takes_what_is_printed_the_status_says_so(history: History) -> None:
    for command in (("warning", "list"), ("warning", "list", "--json"), ("log", "show", "--json", "--limit", "5000")):
        with Path("/dev/full").open("wb") as full:
            ran = printed(*command, folder=history.folder, stdout=full)
        assert ran.returncode == 1, command
        assert ran.stderr == b"fenghuo: Standard output cannot be written: No space left on device. [output.failed]\n"


BYTES = b"a\xff"


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("warning", "show", BYTES), "ID'"),
        (("warning", "show", BYTES, "--json"), "ID'"),
        (("warning", "cancel", "x", "--reason", BYTES, "--as", "officer1"), "--reason'"),
        (("people", "forget", "milan-zh", "--as", BYTES), "--as' (env var: 'FENGHUO_AS')"),
        (("reach", "--node", BYTES), "--node'"),
        (("self-test", "--as", "officer1", "--to", "milan-zh", "--to", BYTES), "--to'"),
    ],
    ids=["argument", "json", "option", "who", "group", "list"],
)
def test_a_word_that_is_no_utf_8_is_refused(history: History, command: tuple[str | bytes, ...], what: str) -> None:
    ran = printed(*command, folder=history.folder)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.decode() == f"fenghuo: What is given for '{what} is not UTF-8. [cli.utf8]\n"


def test_a_file_may_have_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    file = bytes(tmp_path) + b"/\xff.xml"
    Path(file.decode("utf-8", "surrogateescape")).write_bytes(warning_cap())
    for command in ((b"cap", b"check", file), (b"feed", b"try", file, b"--form", b"cap")):
        ran = printed(*command, folder=tmp_path)
        assert (ran.returncode, ran.stderr) == (0, b""), ran
    made = printed("init", "--data-dir", bytes(tmp_path) + b"/\xfe", folder=tmp_path)
    assert (made.returncode, made.stderr) == (0, b"")


PROGRAMS = {("all",), ("serve",), ("project",), ("relay",), ("work",)}  # they run until they are told to end
FILES = {("warning", "export")}  # what it prints is the file itself


def leaves(command: Any, path: tuple[str, ...]) -> dict[tuple[str, ...], Any]:
    """Every command that does something, by the words that it is called with."""
    below = getattr(command, "commands", {})
    found = {} if below and command.no_args_is_help else {path: command}
    for name, one in below.items():
        found |= leaves(one, (*path, name))
    return found


def test_every_command_that_prints_a_result_prints_it_as_json_too() -> None:
    every: dict[tuple[str, ...], Any] = {}
    for name in PLACES:
        every |= leaves(loaded(name), (name,))
    assert len(every) > 40
    without = {path for path, command in every.items() if not any("--json" in p.opts for p in command.params)}
    assert without == PROGRAMS | FILES


def test_what_was_done_is_said_as_json(history: History) -> None:
    folder = history.folder

    def said(*command: str) -> Any:
        ran = fenghuo(*command, "--json", folder=folder)
        assert (ran.status, ran.err) == (0, ""), ran
        return ran.json

    given = said("grant", "give", "milan-zh", "auditor", "milan")["grant"]
    assert said("grant", "revoke", given, "--reason", "over", "--as", "admin") == {"revoked": given}
    digest = said("token", "issue", "officer1")["digest"]
    assert said("token", "revoke", digest, "--reason", "lost") == {"revoked": digest}
    assert said("people", "forget", "milan-zh", "--as", "admin") == {"forgotten": "milan-zh"}
    signed = said("log", "checkpoint")
    text = fenghuo("log", "checkpoint", folder=folder).out
    assert text == f"{signed['note']}# {signed['key']}\n"
    refused(fenghuo("people", "forget", "nobody", "--as", "admin", "--json", folder=folder), 1, "person.unknown")
