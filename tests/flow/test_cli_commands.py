"""Every command of the command line: its help, its JSON, its statuses; errors are one line and never a traceback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from setting import History
from terminal import fenghuo, process, refused
from townsfolk import PEOPLE, phone_of

from infra.cli.commands import PLACES, loaded


def commands(found: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in found.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command.commands, (*path, name))


ROOT = {name: loaded(name) for name in PLACES}
COMMANDS = [(), *commands(ROOT)]


# Help and wrong use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(c) or "fenghuo" for c in COMMANDS])
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    for flag in ("--help", "-h"):
        ran = fenghuo(*command, flag)
        assert (ran.status, ran.err) == (0, "")
        assert " ".join(["fenghuo", *command]) in ran.out
        assert "Usage:" in ran.out
    wrong = fenghuo(*command, "--nonsense")
    assert (wrong.status, wrong.out) == (2, "")
    assert "--nonsense" in wrong.err
    assert "Traceback" not in wrong.err


@pytest.mark.parametrize("name", PLACES)
def test_the_list_says_of_each_command_what_it_says_itself(name: str) -> None:
    assert " ".join((ROOT[name].help or "").split("\n\n")[0].split()) == PLACES[name].help


def test_a_command_loads_no_more_than_it_needs() -> None:
    code = "\n".join(
        (
            "import sys",
            "from infra.cli.main import run",
            "sys.argv = ['fenghuo', '--version']",
            "try: run()",
            "finally: print(*sys.modules)",
        )
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert {"fastapi", "sqlalchemy", "aiohttp", "aiokafka", "twilio", "pydantic"} & set(ran.stdout.split()) == set()


def test_all_commands_are_known_to_these_tests() -> None:
    assert len(COMMANDS) >= 28
    assert {"serve", "demo", "init", "replay"} <= {c[0] for c in COMMANDS if c}


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("warning", "nonsense"),
        ("warning", "show"),
        ("replay",),
        ("log", "show", "--limit", "0"),
        ("log", "show", "--after", "x"),
        ("log", "show", "--after", "9" * 20),
        ("log", "show", "--after", "9223372036854775808"),
        ("grant", "give", "p", "emperor", "office"),
        ("serve", "--port", "70000"),
        ("demo", "--people", "1"),
        ("token", "issue", "p", "--days", "0"),
        ("warning", "cancel", "x"),
        ("reach", "--days", "0"),
        ("reach", "test", "--as", "county1"),
        ("reach", "test", "--node", "milan", "--as", "county1", "--channel", "pigeon"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ran = fenghuo(*arguments, folder=tmp_path)
    assert (ran.status, ran.out) == (2, "")
    assert len(ran.err.strip().splitlines()) == 1
    assert ran.err.startswith("fenghuo: ")
    assert ran.err.rstrip().endswith("--help [cli.usage]")
    assert list(tmp_path.iterdir()) == []


# Failures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("warning", "show", "none"), 1, "warning.unknown"),
        (("warning", "export", "none"), 1, "warning.unknown"),
        (("warning", "release", "none", "--as", "officer1"), 1, "warning.unknown"),
        (("warning", "release", "none"), 1, "cli.nobody"),
        (("warning", "import", "/nowhere.xml", "--as", "officer1"), 2, "file.unreadable"),
        (("warning", "import", "/", "--as", "officer1"), 2, "file.unreadable"),
        (("warning", "draft", "/nowhere.json", "--as", "officer1"), 2, "file.unreadable"),
        (("warning", "draft", "{bad}", "--as", "officer1"), 2, "draft.invalid"),
        (("hierarchy", "load", "{bad}"), 2, "file.form"),
        (("people", "load", "{bad}", "--as", "admin"), 2, "file.form"),
        (("people", "forget", "nobody", "--as", "admin"), 1, "person.unknown"),
        (("people", "forget", "milan-zh", "--as", "officer1"), 1, "permission.denied"),
        (("grant", "revoke", "none", "--reason", "x", "--as", "admin"), 1, "permission.denied"),
        (("grant", "give", "officer1", "auditor", "office", "--as", "officer1"), 1, "permission.denied"),
        (("roster", "show", "milan", "--as", "rome-head"), 1, "permission.denied"),
        (("roster", "show", "milan", "--at", "noon", "--as", "milan-head"), 2, "roster.at"),
        (("roster", "show", "milan", "--at", "9999-12-31T00:00", "--as", "milan-head"), 2, "roster.time"),
        (("roster", "set", "milan", "{bad}", "--as", "milan-head"), 2, "file.form"),
        (("roster", "hand-over", "milan", "--as", "rome-head"), 1, "permission.denied"),
        (("roster", "hand-over", "milan", "--as", "officer1"), 1, "roster.not_staff"),
        (("views", "rebuild", "nothing"), 2, "view.unknown"),
        (("replay", "--at", "1", "--view", "nothing"), 2, "view.unknown"),
        (("replay", "--at", "yesterday"), 2, "replay.at"),
        (("replay", "--at", "-5"), 2, "replay.at"),
        (("replay", "--at", "9" * 20), 2, "replay.at"),
        (("replay", "--at", "9" * 5000), 2, "replay.at"),
        (("grant", "give", "officer1", "auditor", "nosuch"), 1, "node.unknown"),
        (("grant", "give", "officer1", "auditor", "nosuch", "--as", "officer1"), 1, "permission.denied"),
    ],
    ids=lambda v: " ".join(v)[:60] if isinstance(v, tuple) else None,
)
def test_a_failure_is_one_line(
    history: History, tmp_path: Path, arguments: tuple[str, ...], status: int, code: str
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_bytes(b'{"texts": [')
    refused(fenghuo(*[a.replace("{bad}", str(bad)) for a in arguments], folder=history.folder), status, code)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b"[1]", b'[{"person_id": 1}]', b'[{"surplus": 1}]', b"[" * 10_000]
)
def test_a_file_of_another_form_is_one_line(history: History, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(content)
    for arguments in (("people", "load", file, "--as", "admin"), ("hierarchy", "load", file, "--as", "admin")):
        ran = fenghuo(*arguments, folder=history.folder)
        if content == b"[]":
            assert ran.status == 0
        else:
            refused(ran, 2, "file.form")
    ran = fenghuo("warning", "draft", file, "--as", "officer1", folder=history.folder)
    refused(ran, 2, "draft.invalid")


@pytest.mark.parametrize("name", ["a#b%41?c d", "%", "烽火 #1"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder, other = tmp_path / name, tmp_path / f"{name} once more"
    for arguments in (
        ("init",),
        ("grant", "give", "ann", "auditor", "office"),
        ("log", "verify"),
        ("views", "rebuild"),
    ):
        ran = fenghuo(*arguments, folder=folder)
        assert (ran.status, ran.err) == (0, ""), arguments
    before = fenghuo("log", "verify", "--json", folder=folder).json
    assert fenghuo("status", "--json", folder=folder).json["views_position"] == before["events"] > 0
    moved = fenghuo("copy", "--from", f"sqlite:{folder}", "--to", f"sqlite:{other}")
    assert moved.status == 0, moved.err
    assert fenghuo("log", "verify", "--json", folder=other).json == before
    files = {"log.sqlite", "proof.sqlite", "vault.sqlite", "views.sqlite", "master.key"}
    assert [files - {file.name for file in made.iterdir()} for made in (folder, other)] == [set(), set()]
    assert {made.name for made in tmp_path.iterdir()} == {folder.name, other.name}, "nothing lies elsewhere"


def test_a_folder_without_a_log_is_one_line_and_stays_as_it_was(tmp_path: Path) -> None:
    for arguments in (("log", "verify"), ("warning", "list"), ("views", "rebuild"), ("log", "checkpoint")):
        refused(fenghuo(*arguments, folder=tmp_path), 2, "data.none")
        refused(fenghuo(*arguments, folder=tmp_path / "missing"), 2, "data.none")
    assert list(tmp_path.iterdir()) == []


def test_a_demo_touches_no_folder_in_which_there_is_anything(history: History, tmp_path: Path) -> None:
    """Neither an installation nor what an earlier demo left."""
    file = tmp_path / "file"
    file.write_text("kept")
    for folder in (history.folder, tmp_path, file):
        before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        ran = fenghuo("demo", "--exit", "--people", "300", "--data-dir", folder)
        refused(ran, 2, "demo.folder")
        assert str(folder) in ran.err
        assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before
    assert file.read_text() == "kept"


def test_a_folder_that_is_none_or_cannot_be_written_is_4(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    refused(fenghuo("init", folder=file), 4, "data.folder")
    refused(fenghuo("init", folder=file / "below"), 4, "data.folder")
    refused(fenghuo("log", "verify", folder=file), 2, "data.none")


def test_a_log_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_bytes(b"no database " * 1000)
    refused(fenghuo("warning", "list", folder=tmp_path), 4, "log.open_failed")
    refused(fenghuo("log", "verify", folder=tmp_path), 3, "log.damaged")


def test_an_output_that_cannot_be_written_is_one_line(history: History, tmp_path: Path) -> None:
    for output in (tmp_path, tmp_path / "no" / "where"):
        ran = fenghuo("warning", "export", history.warnings["draft"], "-o", output, folder=history.folder)
        refused(ran, 2, "file.unwritable")


def test_settings_that_are_wrong_name_themselves_and_not_their_value(tmp_path: Path) -> None:
    toml = tmp_path / "fenghuo.toml"
    toml.write_text("port = ")
    refused(fenghuo("init", folder=tmp_path, env={"FENGHUO_CONFIG": str(toml)}), 2, "config.toml")
    refused(fenghuo("init", folder=tmp_path, env={"FENGHUO_CONFIG": "/nowhere.toml"}), 2, "config.missing")
    ran = fenghuo("init", folder=tmp_path, env={"FENGHUO_PORT": "s3cret"})
    refused(ran, 2, "config.invalid")
    assert "port" in ran.err
    assert "s3cret" not in ran.err
    ran = fenghuo("init", folder=tmp_path, env={"FENGHUO_SMS__AUTH_TOKEN_FILE": "/nowhere"})
    refused(ran, 2, "config.secret")


def test_a_taken_port_and_a_folder_in_use_are_4(history: History) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(fenghuo("serve", "--port", str(port), folder=history.folder), 4, "serve.port")


def test_what_nobody_foresaw_is_one_line_and_a_developer_sees_more(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.cli import warning

    def broken(*_: object) -> None:
        raise RuntimeError("+8613800138000")

    monkeypatch.setattr(warning, "_row", broken)
    ran = fenghuo("warning", "show", "x", folder=history.folder)
    refused(ran, 1, "internal")
    assert "138" not in ran.err
    with pytest.raises(RuntimeError):
        fenghuo("warning", "show", "x", folder=history.folder, env={"FENGHUO_DEBUG": "1"})


def test_the_console_script_itself_says_one_line(history: History, tmp_path: Path) -> None:
    refused(process("warning", "show", "none", folder=history.folder, cwd=tmp_path), 1, "warning.unknown")
    (tmp_path / "views").mkdir()
    listed = process("warning", "list", "--json", folder=history.folder, cwd=tmp_path)
    assert (listed.status, listed.err) == (0, "")
    assert [row["status"] for row in listed.json] == ["draft", "released", "updated", "cancelled"]


# JSON and secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("init",),
        ("warning", "list"),
        ("warning", "show", "{released}"),
        ("log", "show"),
        ("log", "show", "--after", "10", "--limit", "3"),
        ("log", "verify"),
        ("views", "rebuild"),
        ("replay", "--at", "100"),
        ("replay", "--at", "2026-07-01T16:00", "--view", "directory"),
        ("roster", "show", "milan", "--as", "milan-head"),
        ("roster", "hand-over", "milan", "--note", "two open", "--as", "milan-head"),
        ("grant", "give", "milan-zh", "auditor", "milan"),
        ("token", "login-link", "officer1"),
        ("token", "issue", "officer1"),
        ("reach",),
        ("reach", "--node", "milan", "--days", "7"),
        ("reach", "test", "--node", "milan", "--as", "county1"),
    ],
    ids=" ".join,
)
def test_json_is_json_and_tells_nobody_by_name(history: History, arguments: tuple[str, ...]) -> None:
    named = [a.format_map(history.warnings) if "{" in a else a for a in arguments]
    ran = fenghuo(*named, "--json", folder=history.folder)
    assert (ran.status, ran.err) == (0, "")
    assert ran.json is not None
    assert ran.out.count("\n") == 1
    for secret in ("Name of", "people.example", *map(phone_of, PEOPLE)):
        assert secret not in ran.out
    plain = fenghuo(*named, folder=history.folder)
    assert plain.status == 0
    for secret in ("Name of", "people.example", *map(phone_of, PEOPLE)):
        assert secret not in plain.out


def test_a_token_is_shown_once_and_never_again(history: History) -> None:
    token = fenghuo("token", "issue", "officer1", "--json", folder=history.folder).json["token"]
    link = fenghuo("token", "login-link", "officer1", "--json", folder=history.folder).json["url"]
    shown = "".join(
        fenghuo(*arguments, folder=history.folder).out
        for arguments in (
            ("log", "show", "--limit", "100000", "--json"),
            ("replay", "--at", "999999", "--view", "directory", "--json"),
        )
    )
    assert "token.issued" in shown
    assert token not in shown
    assert link.rpartition("/")[2] not in shown
    stored = b"".join(path.read_bytes() for path in history.folder.iterdir() if path.is_file())
    assert token.encode() not in stored


def test_secrets_of_the_settings_are_not_shown(history: History) -> None:
    env = {"FENGHUO_SMS__AUTH_TOKEN": "hush-hush", "FENGHUO_SMS__ACCOUNT_SID": "AC1", "FENGHUO_SMS__SENDER": "+1"}
    for arguments in (("warning", "list"), ("warning", "show", "none"), ("log", "verify")):
        ran = fenghuo(*arguments, folder=history.folder, env=env)
        assert "hush-hush" not in ran.out + ran.err
    wrong = fenghuo("init", folder=history.folder, env={**env, "FENGHUO_SMS__CONCURRENCY": "0"})
    refused(wrong, 2, "config.invalid")
    assert "hush-hush" not in wrong.err


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert fenghuo("init", folder=folder).status == 0
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "master.key").stat().st_mode & 0o777 == 0o600


def test_a_forgotten_person_cannot_be_read_any_more(history: History) -> None:
    from infra.vault import FileVault

    assert b"milan-zh" in (history.folder / "vault.sqlite").read_bytes()
    ran = fenghuo("people", "forget", "milan-zh", "--as", "admin", folder=history.folder)
    assert (ran.status, ran.out, ran.err) == (0, "milan-zh is forgotten.\n", "")

    vault = FileVault(history.folder)
    shown = json.loads(fenghuo("log", "show", "--limit", "1000", "--json", folder=history.folder).out)
    vault.close()
    boxes = [e for e in shown if e["stream"] == "person-milan-zh"]
    assert [e["topic"] for e in boxes] == ["person.registered.v1", "person.forgotten.v1"]
    assert _opened(history.folder, "milan-zh") is None
    assert _opened(history.folder, "milan-it")["name"] == "Name of milan-it"
    assert _whose(history.folder, phone_of("milan-zh")) is None
    assert _whose(history.folder, phone_of("rome-it")) == "rome-it"
    assert fenghuo("log", "verify", folder=history.folder).status == 0
    assert fenghuo("people", "forget", "milan-zh", "--as", "admin", folder=history.folder).status == 0


def _opened(folder: Path, person_id: str) -> Any:
    from infra.log.mapper import EventMapper
    from infra.log.recorders import sqlite_log
    from infra.vault import FileVault

    vault = FileVault(folder)
    recorder = sqlite_log(folder / "log.sqlite")
    (first, *_) = recorder.select_events(f"person-{person_id}")
    fields = vault.open(EventMapper(vault).to_domain_event(first).event.personal)
    recorder.datastore.close()
    vault.close()
    return fields


def _whose(folder: Path, phone: str) -> str | None:
    from infra.vault import FileVault

    vault = FileVault(folder)
    found = vault.whose("phone", phone)
    vault.close()
    return found


def test_the_version_is_said() -> None:
    assert re.fullmatch(r"fenghuo \d+\.\d+\.\d+\n", fenghuo("--version").out)


def test_a_token_is_withdrawn_by_its_digest_and_only_once(history: History) -> None:
    issued = fenghuo("token", "issue", "officer1", "--json", folder=history.folder).json

    revoked = fenghuo("token", "revoke", issued["digest"], "--reason", "lost", folder=history.folder)
    again = fenghuo("token", "revoke", issued["digest"], "--reason", "lost", folder=history.folder)

    assert revoked.status == 0
    assert (again.status, "token.spent" in again.err) == (1, True)
    assert issued["token"] not in revoked.out + again.err
