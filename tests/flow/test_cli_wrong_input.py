"""What is written wrongly, or names what is not there: one line that says what to do, the status, and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminal import fenghuo, refused

SECRET = "whisper-9f3a"
DEAD = {"FENGHUO_DATABASE_URL": f"postgresql://u:{SECRET}@127.0.0.1:1/x"}
NOWHERE = {"FENGHUO_DATABASE_URL": f"postgresql://u:{SECRET}@no-such-host.invalid/x"}
MYSQL = {"FENGHUO_DATABASE_URL": f"mysql://u:{SECRET}@h/x"}
NO_PORT = {"FENGHUO_DATABASE_URL": f"postgresql://u:{SECRET}@127.0.0.1:port/x"}
URL = ("--public-url", "https://warn.example")


def kafka(**more: str) -> dict[str, str]:
    settings = {"bootstrap": "127.0.0.1:1", "request_timeout_s": "2", **more}
    return {f"FENGHUO_KAFKA__{name.upper()}": value for name, value in settings.items()}


SASL = {"security": "SASL_SSL", "username": "u", "password": SECRET}

WRONG: list[tuple[str, dict[str, str], int, str]] = [
    ("work --name two_words! --public-url https://warn.example", {}, 2, "work.name"),
    ("work --name= --public-url https://warn.example", {}, 2, "work.name"),
    ("work --lane none", {}, 2, "cli.usage"),
    ("work --name one", {}, 2, "config.public_url"),
    ("work --public-url nonsense", {}, 2, "config.invalid"),
    ("work --public-url ftp://warn.example", {}, 2, "config.invalid"),
    ("serve --public-url http://[warn", {}, 2, "config.invalid"),
    ("serve --public-url https://me@warn.example", {}, 2, "config.invalid"),
    ("serve --public-url https://warn.example:99999", {}, 2, "config.invalid"),
    ("serve --port 99999", {}, 2, "cli.usage"),
    ("serve", {"FENGHUO_HOST": "300.1.1.1"}, 4, "serve.port"),
    ("project", {"FENGHUO_METRICS_HOST": "300.1.1.1"}, 4, "serve.port"),
    ("project", {"FENGHUO_METRICS_PORT": "many"}, 2, "config.invalid"),
    ("serve", {"FENGHUO_OTEL_ENDPOINT": "collector:4317"}, 2, "config.invalid"),
    ("serve", {"FENGHUO_OTEL_SAMPLE": "7"}, 2, "config.invalid"),
    ("serve", {"FENGHUO_LOG_LEVEL": "loud"}, 2, "config.invalid"),
    ("serve --log-level loud", {}, 2, "config.invalid"),
    ("serve", {"FENGHUO_DATABASE_URL_FILE": "/nowhere"}, 2, "config.secret"),
    ("serve", {"FENGHUO_DATABASE_URL_FILE": "{binary}"}, 2, "config.secret"),
    ("status", {"FENGHUO_CONFIG": "{binary}"}, 2, "config.toml"),
    ("status", {"FENGHUO_CONFIG": "{text}"}, 2, "config.toml"),
    ("status", {"FENGHUO_CONFIG": "{deep}"}, 2, "config.toml"),
    ("status", {"FENGHUO_CONFIG": "{digits}"}, 2, "config.toml"),
    ("status", {"FENGHUO_CONFIG": "{empty}"}, 2, "config.missing"),
    ("migrate", {}, 2, "database.none"),
    ("migrate", DEAD, 4, "database.failed"),
    ("migrate", NOWHERE, 4, "database.failed"),
    ("migrate", MYSQL, 2, "config.database_url"),
    ("status", {}, 2, "data.none"),
    ("status", DEAD, 4, "database.failed"),
    ("status", MYSQL, 2, "config.database_url"),
    ("status", NO_PORT, 2, "config.database_url"),
    ("status", {"FENGHUO_DATABASE_URL": SECRET}, 2, "config.database_url"),
    ("status", {**DEAD, "FENGHUO_DATABASE_SCHEMA": "Two Words"}, 2, "config.invalid"),
    ("all", DEAD, 4, "database.failed"),
    ("relay", DEAD, 4, "database.failed"),
    ("work --public-url https://warn.example", DEAD, 4, "database.failed"),
    ("copy --to postgresql:", {}, 2, "cli.usage"),
    ("copy --from nowhere --to postgresql:", {}, 2, "copy.place"),
    ("copy --from sqlite: --to postgresql:", {}, 2, "copy.place"),
    ("copy --from sqlite:{empty} --to postgresql:", DEAD, 2, "data.none"),
    ("copy --from postgresql: --to sqlite:{empty}", {}, 2, "database.none"),
    ("copy --from postgresql: --to sqlite:{empty}", DEAD, 4, "database.failed"),
    (f"copy --from mysql://u:{SECRET}@h/x --to sqlite:{{empty}}", {}, 2, "copy.place"),
    ("dead list", {}, 2, "kafka.none"),
    ("dead redrive one", {}, 2, "kafka.none"),
    ("dead redrive", kafka(), 2, "dead.which"),
    ("dead list", kafka(), 4, "kafka.unreachable"),
    ("dead redrive --all", kafka(), 4, "kafka.unreachable"),
    ("dead list", kafka(bootstrap="no-such-host.invalid:9092"), 4, "kafka.unreachable"),
    ("dead list", kafka(bootstrap="nonsense"), 2, "config.invalid"),
    ("dead list", kafka(security="SASL_SSL"), 2, "config.invalid"),
    ("dead list", kafka(**{**SASL, "username": ""}), 2, "config.invalid"),
    ("dead list", kafka(**SASL, mechanism="GSSAPI"), 2, "config.invalid"),
    ("dead list", kafka(**SASL, ca_file="/nowhere"), 2, "config.secret"),
    ("dead list", kafka(**SASL, ca_file="{text}"), 2, "kafka.ca_file"),
    ("self-test --as x", {}, 2, "selftest.nobody"),
    ("self-test --as x --to y", {}, 2, "data.none"),
]


@pytest.mark.timeout(20)
@pytest.mark.filterwarnings("ignore:Unclosed AIOKafka:ResourceWarning", "ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(("words", "env", "status", "code"), WRONG)
def test_it_is_said_in_one_line_what_is_wrong(
    words: str, env: dict[str, str], status: int, code: str, tmp_path: Path
) -> None:
    places = {name: tmp_path / name for name in ("empty", "binary", "text", "deep", "digits")}
    places["empty"].mkdir()
    places["binary"].write_bytes(b"\xff\xfe\x00")
    places["text"].write_text("this is no certificate")
    places["deep"].write_text("canaries = " + "[" * 100_000)
    places["digits"].write_text("port = " + "9" * 5_000)
    given = {name: value.format(**places) for name, value in env.items()}
    ran = fenghuo(*words.format(**places).split(), folder=tmp_path / "data", env=given)
    refused(ran, status, code)
    assert SECRET not in ran.err
    if code == "config.invalid":
        assert "String should match" not in ran.err, "a pattern tells nobody what to write"


def test_a_setting_of_a_certain_form_is_shown_one() -> None:
    said = fenghuo("dead", "list", env=kafka(bootstrap="nonsense")).err
    assert "Write host:port" in said
    assert "Write https://warn.example" in fenghuo("serve", "--public-url", "nonsense").err


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("CANARIES", "alice", "canaries"),
        ("CANARIES", "[" * 100_000, "canaries"),
        ("SMS_NEXT", "{", "sms_next"),
        ("SMS__PRICES", "+86: 0.05", "sms.prices"),
        ("SMS__ALLOWED_COUNTRIES", "CN", "sms.allowed_countries"),
        ("WEBHOOK__ALLOWED_ORIGINS", "http://inside.example", "webhook.allowed_origins"),
        ("SMS", "whisper-9f3a", "sms"),
    ],
)
def test_a_list_or_a_map_that_cannot_be_read_is_named_and_not_repeated(
    variable: str, value: str, name: str, tmp_path: Path
) -> None:
    ran = fenghuo("status", folder=tmp_path, env={f"FENGHUO_{variable}": value})
    refused(ran, 2, "config.invalid")
    assert f"The setting {name} is wrong" in ran.err
    assert value not in ran.err.replace("sms", "")


def test_a_settings_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "locked.toml"
    file.write_text("")
    monkeypatch.setattr(Path, "open", _denied)  # root, who may run the tests, may read every file
    ran = fenghuo("status", folder=tmp_path, env={"FENGHUO_CONFIG": str(file)})
    refused(ran, 2, "config.toml")
    assert f"{file} cannot be read: Permission denied." in ran.err


def _denied(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")
