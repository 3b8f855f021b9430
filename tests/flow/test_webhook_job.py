"""Webhook and chat addresses: checked when they are registered, never echoed; and a warning's way to a receiver."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from problems import problem
from setting import SHARED
from terminal import fenghuo, refused
from town import Town
from townsfolk import SETUP

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from domain.people import Channel, ContactChanged, Person, PersonRegistered, Role
from domain.shards import ReceiptsRecorded
from infra.sandbox.behaviour import Behaviour, Kind
from infra.sandbox.webhook import SandboxWebhook
from notifiers.webhook import WebhookNotifier, WebhookSettings

pytestmark = SHARED
SECRET = "whsec_" + "QUJD" * 11
URL = "https://hooks.example/fenghuo"


def program(person_id: str, channel: Channel = Channel.WEBHOOK) -> Person:
    return Person(person_id=person_id, node_id="milan", role=Role.LIAISON, language="en", channels=(channel,))


async def register(town: Town, person: Person, **personal: Any) -> None:
    await town.stores.registry.register_people([(person, {"name": "ACME", **personal})], SETUP)
    await town.stores.follower.reached(await town.stores.log.last_position())


@pytest.mark.parametrize(
    ("webhook", "code"),
    [
        ("https://hooks.example", "person.webhook_url"),
        ({"secret": SECRET}, "person.webhook_url"),
        ({"url": "http://hooks.example/x", "secret": SECRET}, "person.webhook_url"),
        ({"url": "https://169.254.169.254/x", "secret": SECRET}, "person.webhook_url"),
        ({"url": "https://u:p@hooks.example/x", "secret": SECRET}, "person.webhook_url"),
        ({"url": "https://hooks.example:22/x", "secret": SECRET}, "person.webhook_url"),
        ({"url": URL}, "person.webhook_secret"),
        ({"url": URL, "secret": "short-secret"}, "person.webhook_secret"),
        ({"url": URL, "secret": "whsec_" + "QUJD" * 7}, "person.webhook_secret"),  # 21 bytes
    ],
)
async def test_a_webhook_that_may_not_be_is_refused_and_not_echoed(town: Town, webhook: Any, code: str) -> None:
    before = town.stores.log.last_position_now()
    with pytest.raises(InvalidInput) as raised:
        await register(town, program("acme"), webhook=webhook)
    assert raised.value.code == code
    for private in ("QUJD", "short-secret", "u:p", "hooks.example"):
        assert private not in str(raised.value)
    assert town.stores.log.last_position_now() == before


@pytest.mark.parametrize("chat", ["json://hooks.example", "ntfy://127.0.0.1/x", "ntfys://10.0.0.1/secret-room", 5])
async def test_a_chat_that_may_not_be_is_refused_and_not_echoed(town: Town, chat: Any) -> None:
    with pytest.raises(InvalidInput) as raised:
        await register(town, program("acme", Channel.CHAT), chat=chat)
    assert raised.value.code == "person.chat"
    assert "secret-room" not in str(raised.value)
    assert "ntfys://" in str(raised.value)


async def test_what_is_registered_is_sealed(town: Town) -> None:
    await register(
        town, program("acme-sealed"), webhook={"url": URL, "secret": SECRET, "more": "x"}, chat="ntfys://room"
    )
    stored = b"".join(row.state for row in town.stores.log.recorder.select_notifications(0, 10_000))
    for private in (b"QUJD", b"hooks.example", b"ntfys"):
        assert private not in stored
    (r,) = [r for r in town.recorded(PersonRegistered) if r.event.person_id == "acme-sealed"]  # type: ignore[attr-defined]
    fields = town.stores.vault.open(r.event.personal)  # type: ignore[attr-defined]
    assert fields is not None
    assert fields["webhook"] == {"url": URL, "secret": SECRET}
    assert town.recorded(ContactChanged) == []


async def test_the_command_line_refuses_a_webhook_in_one_line(town: Town, tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    line = {
        "person_id": "acme", "node_id": "milan", "role": "enterprise", "language": "en", "channels": ["webhook"],
        "personal": {"name": "x", "webhook": {"url": "https://127.0.0.1/x", "secret": SECRET}},
    }  # fmt: skip
    file.write_text(json.dumps([line]))
    ran = await asyncio.to_thread(fenghuo, "people", "load", file, "--as", "admin", folder=town.stores.folder)
    refused(ran, 2, "person.webhook_url")
    assert "QUJD" not in ran.err


async def test_a_warning_and_its_cancellation_reach_a_receiver(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    receivers = SandboxWebhook()
    await receivers.start()
    notifier = WebhookNotifier(WebhookSettings(allowed_origins=frozenset({receivers.url})))
    monkeypatch.setitem(town.live.runtime.notifiers, Channel.WEBHOOK, notifier)
    monkeypatch.setattr(town.stores.registry, "allowed_origins", frozenset({receivers.url}))
    address, gone = receivers.receiver(), receivers.receiver()
    receivers.behave(gone, Behaviour(Kind.REFUSE))
    await register(town, program("acme-desk"), webhook=address)
    await register(town, program("acme-gone"), webhook=gone)
    warning_id = await town.release(target={"nodes": ["milan"]}, level="red")
    await town.quiet()
    (hook,) = receivers.sent_to(address)
    said = hook.data()
    assert (said["type"], said["data"]["warning_id"], said["data"]["level"]) == ("warning.notice", warning_id, "red")
    assert "Flood coming" in said["data"]["subject"]
    assert said["data"]["link"].startswith(town.live.url)
    assert "ACME" not in hook.body.decode()
    with town.stores.views.reading() as db:
        rows = town.stores.views.deliveries.page(db, warning_id, after=("", -1), limit=1000)
    became = {row["person_id"]: (row["outcome"], row["reason"]) for row in rows if row["person_id"].startswith("acme-")}
    assert became["acme-desk"] == (Outcome.DELIVERED, Reason.NONE)
    assert became["acme-gone"] == (Outcome.REFUSED, Reason.SUBSCRIPTION_GONE)
    await town.post("officer1", f"/v1/warnings/{warning_id}/cancel", {"reason": "false alarm"})
    await town.quiet()
    assert [hook.data()["type"] for hook in receivers.sent_to(address)] == ["warning.notice", "warning.cancel"]
    assert len({hook.message_id for hook in receivers.sent_to(address)}) == 2
    assert receivers.sent_to(gone) == []
    await notifier.close()
    await receivers.stop()
    for person_id in ("acme-desk", "acme-gone", "acme-sealed"):
        await town.stores.registry.forget_person(person_id, SETUP)
    town.read_all()


PATH = "/callbacks/aliyun/"


async def test_reports_of_aliyun_count_once_and_only_at_the_secret_path(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    from townsfolk import phone_of

    secret = "s" * 32
    town.sandbox.sms.behave(phone_of("milan-head"), Behaviour(Kind.NEVER_DELIVERED, times=1))
    warning_id = await town.release(target={"nodes": ["milan"]})
    await town.device("milan-head").expect_sms()
    await town.stores.follower.reached(await town.stores.log.last_position())
    with town.stores.views.reading() as db:
        rows = town.stores.views.deliveries.page(db, warning_id, after=("", -1), limit=1000)
    (row,) = [row for row in rows if row["person_id"] == "milan-head"]
    report = {"out_id": f"{row['shard_id']}.{row['idx']}", "success": True, "biz_id": "b1", "err_code": "DELIVERED"}
    unknown = {"out_id": f"{'0' * 32}.0", "success": True}
    body = json.dumps([report, unknown, {"out_id": "another's"}]).encode()
    problem(await town.http.post(PATH + secret, content=body), 404, "callback.off")
    state = town.live.server._app.state
    monkeypatch.setattr(state, "services", msgspec.structs.replace(state.services, aliyun_secret=secret))
    problem(await town.http.post(PATH + "x" * 32, content=body), 404, "callback.off")
    problem(await town.http.post(PATH + secret, content=b"{}"), 422, "callback.form")
    problem(await town.http.post(PATH + secret, content=b" " * 1_100_000), 413, "request.too_large")

    def receipts() -> list[Any]:
        return [
            one
            for r in town.recorded(ReceiptsRecorded)
            for one in r.event.rows  # type: ignore[attr-defined]
            if (r.event.shard_id, one.index) == (row["shard_id"], row["idx"])  # type: ignore[attr-defined]
        ]

    assert receipts() == []
    for _ in range(3):
        answer = await town.http.post(PATH + secret, content=body)
        assert (answer.status_code, answer.json()["code"]) == (200, 0)
    (one,) = receipts()
    assert (one.outcome, one.provider_ref) == (Outcome.DELIVERED, "b1")
    await town.until(lambda: len(town.sandbox.sms.messages) > 0)
    town.sandbox.sms.callbacks_lost += 1  # the last of the three that it owes for each message
    await town.quiet()
    town.read_all()
