"""What runs in the sandbox reaches nobody outside, whatever the settings name and whatever addresses people gave."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from terminal import process, refused
from town import town
from wrongdoers import RECEIVED, TAKEN, Listener, kinds, ledger, names, settle

from domain.outcomes import Outcome, Reason
from domain.people import Channel
from infra.config import OwnSettings, Settings
from infra.sandboxed import pointed, sandboxed

HOOK = {"secret": "whsec_" + base64.b64encode(b"x" * 32).decode()}


def everything(outside: str, host: str, port: int) -> dict[str, Any]:
    """Settings that name an account of every kind, each of them at one and the same place outside."""
    account = {"account_sid": "AC" + "9" * 32, "auth_token": "outside-token", "base_url": outside}
    sms = {**account, "sender": "+15550001111"}
    mail = {"host": host, "port": port, "sender": "duty@outside.example", "tls": "none", "password": "outside-word"}
    aliyun = {"access_key_id": "outside-id", "access_key_secret": "outside-key", "sign_name": "outside"}
    return {
        "public_url": outside,
        "sms": {**sms, "name": "intl", "allowed_countries": ["IT"]},
        "sms_next": [{**sms, "name": "china", "allowed_countries": ["CN"]}],
        "aliyun": {
            **aliyun,
            "templates": {},
            "allowed_countries": ["CN"],
            "endpoint": f"{host}:{port}",
            "protocol": "HTTP",
        },
        "voice": {**account, "caller": "+15550002222"},
        "email": mail,
        "email_next": [{**mail, "name": "spare"}],
        "webpush": {"contact": "mailto:duty@outside.example", "allowed_origins": [outside]},
        "webhook": {"allowed_origins": [outside]},
        "chat": {"allowed_origins": [outside]},
        "kafka": {"bootstrap": f"{host}:{port}"},
    }


async def test_no_account_of_the_settings_and_no_address_of_a_person_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, {"push.outside.example": None})
    async with Listener() as outside:
        place = f"http://127.0.0.1:{outside.port}"
        async with town(tmp_path / "data", **everything(place, "127.0.0.1", outside.port)) as made:
            browser = made.sandbox.push.subscribe()
            elsewhere = {**browser, "endpoint": "https://push.outside.example/x"}
            made.guests = {"+8613800138000", "+393330000001", "+442079460000"}
            await settle(
                made, Channel.SMS, {"chinese": {"phone": "+8613800138000"}, "kept": {"phone": "+442079460000"}}
            )
            await settle(made, Channel.VOICE, {"called": {"phone": "+393330000001"}})
            await settle(made, Channel.WEBPUSH, {"outside": {"push": elsewhere}, "inside": {"push": browser}})
            await settle(made, Channel.WEBHOOK, {"program": {"webhook": {"url": f"{place}/x", **HOOK}}})
            await settle(made, Channel.CHAT, {"room": {"chat": f"ntfy://127.0.0.1:{outside.port}/topic"}})
            warning_id = await made.release(level="red", target={"nodes": ["milan"]})
            await made.quiet()
            rows = {c: ledger(made, c, warning_id) for c in Channel}
            assert rows[Channel.SMS]["chinese"][-1].provider == "china"
            assert kinds(rows[Channel.SMS]["chinese"]) == [TAKEN], "by the sandbox, in the second account's place"
            assert kinds(rows[Channel.SMS]["kept"]) == [(Outcome.REFUSED, Reason.NOT_ALLOWED)], "limits hold here too"
            assert made.sandbox.voice.calls_to("+393330000001")
            assert kinds(rows[Channel.WEBPUSH]["outside"]) == kinds(rows[Channel.WEBPUSH]["inside"]) == [TAKEN]
            assert [m for m in made.sandbox.push.messages if browser["endpoint"].endswith(m.subscription)]
            assert kinds(rows[Channel.WEBHOOK]["program"]) == [RECEIVED]
            assert kinds(rows[Channel.CHAT]["room"]) == [TAKEN]
            assert made.sandbox.sms.callbacks_lost == made.sandbox.voice.callbacks_lost == 0, (
                "receipts come by loopback"
            )
            made.read_all()
        assert outside.came == 0


async def test_nothing_of_the_settings_is_left_by_which_somebody_could_be_reached(tmp_path: Path) -> None:
    named = everything("https://outside.example", "outside.example", 443)
    async with sandboxed(Settings(data_dir=tmp_path, sandbox=True)) as (_, sandbox):
        assert sandbox is not None
        found = pointed(Settings(data_dir=tmp_path, sandbox=True, **named), sandbox)
    left = json.dumps(found.model_dump(exclude={"public_url"}), default=_plain)
    assert "outside" not in left and "+1555" not in left, left
    assert (found.kafka, found.aliyun) == (None, None)


def test_what_stands_for_itself_takes_nothing_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fenghuo.toml").write_text('public_url = "https://warn.example"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FENGHUO_KAFKA__BOOTSTRAP", "kafka.example:9092")
    monkeypatch.setenv("FENGHUO_VOICE__CALLER", "+15550001111")
    there = Settings()
    assert (there.public_url, there.kafka is None, there.voice is None) == ("https://warn.example", False, False)
    alone = OwnSettings(data_dir=tmp_path)
    assert alone.model_dump() == {
        **{name: field.get_default() for name, field in Settings.model_fields.items()},
        **OwnSettings.model_construct(data_dir=tmp_path).model_dump(),
    }
    assert (alone.public_url, alone.kafka, alone.voice, alone.data_dir) == ("", None, None, tmp_path)


def test_a_demonstration_begins_whatever_the_settings_say(tmp_path: Path) -> None:
    """A file that no other command could read, and settings that are none: it does not so much as look at them."""
    (tmp_path / "fenghuo.toml").write_text("kafka = 5\nnonsense\n")
    env = {"FENGHUO_DATABASE_URL": "postgresql://nobody.invalid/x", "FENGHUO_SMS": "{}", "FENGHUO_PORT": "nonsense"}
    drilled = process("drill", "--sandbox", "--limit", "0.001", folder=tmp_path / "none", cwd=tmp_path, **env)
    assert (drilled.status, drilled.err.count("drill released")) == (5, 1), drilled.err
    with socket.create_server(("127.0.0.1", 0)) as taken:  # a demo that gets as far as that has its settings
        port = str(taken.getsockname()[1])
        refused(process("demo", "--port", port, folder=tmp_path / "none", cwd=tmp_path, **env), 4, "serve.port")
    assert not (tmp_path / "none").exists()


def _plain(value: Any) -> str:
    """Also of a secret what it is."""
    return str(value.get_secret_value() if isinstance(value, SecretStr) else value)
