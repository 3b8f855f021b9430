"""`fenghuo migrate` and `fenghuo copy`: the schema as a step of its own, and moving house there and back."""

from __future__ import annotations

import msgspec
import pytest
from setting import History
from terminal import fenghuo, process, refused

from infra.config import DatabaseConfig
from tests.postgres_part import Postgres, environment


@pytest.fixture
def config(postgres: Postgres):
    with postgres.schema(migrated=False) as made:
        yield made


@pytest.fixture
def env(config: DatabaseConfig) -> dict[str, str]:
    return environment(config)


def head(folder, env=None) -> str:
    return fenghuo("log", "checkpoint", folder=folder, env=env).out


def trees(folder, env=None) -> dict[str, object]:
    """A few views as they are shown."""
    views = ("warnings", "tree", "cases", "directory")
    return {v: fenghuo("replay", "--at", "100000", "--view", v, "--json", folder=folder, env=env).json for v in views}


def fingerprints(folder, env=None) -> dict[str, str]:
    """What `log verify` says of the views, after it held them against the log."""
    done = fenghuo("log", "verify", "--json", folder=folder, env=env)
    assert done.status == 0, done.err
    return done.json["views"]


def test_without_the_schema_every_command_says_what_to_run(config, env, tmp_path):
    for command in (("init",), ("log", "verify"), ("log", "show"), ("views", "rebuild")):
        ran = fenghuo(*command, folder=tmp_path / "data", env=env)
        refused(ran, 4, "database.migrate")
        assert ran.err.endswith("Run: fenghuo migrate [database.migrate]\n")
    refused(process("serve", folder=tmp_path / "data", **env), 4, "database.migrate")


def test_migrating_makes_it_and_may_be_said_again(config, env, tmp_path):
    for _ in range(2):
        ran = fenghuo("migrate", "--json", folder=tmp_path / "data", env=env)
        assert (ran.status, ran.json) == (0, {"schema": config.db_schema, "revision": 1, "role": None}), ran.err
    assert fenghuo("init", folder=tmp_path / "data", env=env).status == 0
    assert fenghuo("log", "verify", folder=tmp_path / "data", env=env).status == 0


def test_the_url_comes_from_a_file_and_is_never_repeated(config, env, tmp_path):
    (tmp_path / "url").write_text(env["FENGHUO_DATABASE_URL"] + "\n")
    schema = {"FENGHUO_DATABASE_SCHEMA": config.db_schema}
    ran = fenghuo("migrate", folder=tmp_path, env={**schema, "FENGHUO_DATABASE_URL_FILE": str(tmp_path / "url")})
    assert ran.status == 0, ran.err
    for url, status in (("mysql://ann:geheim@/x", 2), ("postgresql://ann:geheim@/x?host=/nowhere", 4)):
        for command in (("migrate",), ("log", "show")):
            ran = fenghuo(*command, folder=tmp_path, env={**schema, "FENGHUO_DATABASE_URL": url})
            assert (ran.status, "geheim" in ran.err) == (status, False), ran.err


def test_migrating_without_a_database_or_for_nobody_is_used_wrongly(config, env, tmp_path):
    refused(fenghuo("migrate", folder=tmp_path), 2, "database.none")
    refused(fenghuo("migrate", "--role", "nobody-here", folder=tmp_path, env=env), 2, "database.role")
    refused(fenghuo("log", "show", folder=tmp_path, env=env), 4, "database.migrate")  # nothing was made


def test_a_log_moves_to_postgresql_and_back_with_positions_keys_and_proofs(config, env, history: History, tmp_path):
    here = history.folder
    before, note, shown = fingerprints(here), head(here), trees(here)
    assert fenghuo("migrate", folder=here, env=env).status == 0
    there = tmp_path / "there"  # another machine's data folder

    moved = fenghuo("copy", "--from", f"sqlite:{here}", "--to", "postgresql:", "--json", folder=there, env=env)
    assert moved.status == 0, moved.err
    events = fenghuo("log", "verify", "--json", folder=here).json["events"]
    assert (moved.json["events"], moved.json["position"]) == (events, events)
    assert moved.json["checkpoints"] > 0
    assert (there / "master.key").read_bytes() == (here / "master.key").read_bytes()
    assert {file.name for file in there.iterdir()} == {"master.key"}
    assert (fingerprints(there, env), head(there, env), trees(there, env)) == (before, note, shown)

    back = tmp_path / "back"
    moved = process("copy", "--from", "postgresql:", "--to", f"sqlite:{back}", folder=there, **env)
    assert moved.status == 0, moved.err
    assert f"{events} events" in moved.out
    assert (fingerprints(back), head(back), trees(back)) == (before, note, shown)


def test_a_wrong_folder_is_named_and_gets_no_key_of_its_own(config, env, tmp_path):
    here, wrong = tmp_path / "here", tmp_path / "wrong"
    assert fenghuo("migrate", folder=here, env=env).status == 0
    assert fenghuo("init", folder=here, env=env).status == 0
    refused(fenghuo("status", folder=wrong, env=env), 3, "vault.master_key")
    refused(process("serve", "--port", "0", folder=wrong, **env), 3, "vault.master_key")
    assert list(wrong.iterdir()) == []


def test_a_target_that_holds_something_is_left_alone(config, env, history: History, tmp_path):
    here, there = history.folder, tmp_path / "there"
    fenghuo("migrate", folder=there, env=env)
    fenghuo("init", folder=there, env=env)
    to_database = ("copy", "--from", f"sqlite:{here}", "--to", "postgresql:")
    refused(fenghuo(*to_database, folder=there, env=env), 1, "copy.master_key")
    refused(fenghuo(*to_database, folder=here, env=env), 1, "copy.not_empty")
    to_files = ("copy", "--from", f"sqlite:{here}", "--to", f"sqlite:{here}")
    refused(fenghuo(*to_files, folder=here), 1, "copy.not_empty")
    assert fenghuo("log", "show", "--json", folder=there, env=env).json[0]["topic"] == "rulepack.adopted.v1"


@pytest.mark.parametrize("place", ["nowhere", "sqlite:", "ftp://x/y"])
def test_a_place_that_is_none_is_used_wrongly(history: History, tmp_path, place):
    ran = fenghuo("copy", "--from", f"sqlite:{history.folder}", "--to", place, folder=tmp_path)
    refused(ran, 2, "copy.place")


def test_a_log_that_is_not_there_is_not_copied(tmp_path):
    ran = fenghuo("copy", "--from", f"sqlite:{tmp_path / 'none'}", "--to", f"sqlite:{tmp_path}", folder=tmp_path)
    refused(ran, 2, "data.none")
    assert msgspec.json.encode([file.name for file in tmp_path.iterdir()]) == b"[]"
