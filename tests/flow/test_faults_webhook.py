"""What goes wrong between us and a receiver of webhooks, through the running program and on real sockets.

Each time: the receiver has it in the end, a hook that came twice has a line in the log that says why and the same id,
and an address that leads into our own network is never connected to.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from gateway import Fault, Gateway
from test_faults_http import _certificate
from town import Town, in_earnest
from wrongdoers import RECEIVED, Listener, Meaning, explained, kinds, ledger, names, settle

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from infra.config import WebhookConfig
from infra.sandbox.behaviour import Behaviour, Kind
from infra.sandbox.webhook import SandboxWebhook

HOOK, PUSH = Channel.WEBHOOK, Channel.WEBPUSH
TIMEOUT_S = 5.0  # for one request: real seconds, as the sockets are real; a busy machine may well take two
SECRET = "whsec_" + "QUJD" * 11
PROGRAMS = [f"program{n}" for n in range(5)]
UNREACHABLE: Meaning = (Outcome.DEFERRED, Reason.UNREACHABLE)
NOWHERE: Meaning = (Outcome.REFUSED, Reason.BAD_ADDRESS)


class Hooked:
    """A town with five programs that get webhooks, their receivers, and the relay that stands between."""

    def __init__(self, town: Town, receivers: SandboxWebhook, gateway: Gateway, addresses: dict[str, Any]) -> None:
        self.town, self.receivers, self.gateway, self.addresses = town, receivers, gateway, addresses

    async def told(self) -> str:
        """A red warning; returns once each program was tried."""
        warning_id = await self.town.release(level="red", target={"nodes": ["milan"]})
        await self.town.until(lambda: set(PROGRAMS) <= ledger(self.town, HOOK, warning_id).keys(), "the first attempts")
        return warning_id

    def nobody_lost(self, warning_id: str) -> dict[str, list[Row]]:
        """Everybody has it; what came twice was in doubt, and has one id."""
        rows = ledger(self.town, HOOK, warning_id)
        for who in PROGRAMS:
            hooks = self.receivers.sent_to(self.addresses[who])
            assert kinds(rows[who])[-1] == RECEIVED, (who, kinds(rows[who]))
            explained(rows[who], len(hooks))
            assert len({hook.message_id for hook in hooks}) == 1
        self.town.read_all()
        return rows

    async def in_the_end(self) -> None:
        for _ in range(4):
            await self.town.pass_time(seconds=40)


@asynccontextmanager
async def hooked(folder: Path, host: str = "", tls: ssl.SSLContext | None = None) -> AsyncIterator[Hooked]:
    """The receivers are reached through a gateway, at 127.0.0.1 or under the name `host`."""
    receivers = SandboxWebhook()
    await receivers.start()
    try:
        async with Gateway(int(receivers.url.rpartition(":")[2]), tls) as gateway:
            url = gateway.url.replace("127.0.0.1", host) if host else gateway.url
            hooks = WebhookConfig(allowed_origins=[url], timeout_s=TIMEOUT_S)
            async with in_earnest(folder, webhook=hooks) as made:
                addresses = {who: receivers.receiver() for who in PROGRAMS}
                for address in addresses.values():
                    address["url"] = address["url"].replace(receivers.url, url)
                await settle(made, HOOK, {who: {"webhook": address} for who, address in addresses.items()})
                yield Hooked(made, receivers, gateway, addresses)
    finally:
        await receivers.stop()


# Connections ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "meaning"),
    [
        (Fault.DRIP, (Outcome.UNKNOWN, Reason.TIMEOUT)),
        (Fault.SILENT, (Outcome.UNKNOWN, Reason.TIMEOUT)),
        (Fault.RESET, (Outcome.UNKNOWN, Reason.CONNECTION_LOST)),
        (Fault.DROP, (Outcome.UNKNOWN, Reason.CONNECTION_LOST)),
    ],
)
async def test_a_connection_to_a_receiver_that_breaks(tmp_path: Path, fault: Fault, meaning: Meaning) -> None:
    async with hooked(tmp_path / "data") as h:
        h.gateway.fault = fault
        warning_id = await h.told()
        assert h.gateway.suffered >= len(PROGRAMS)
        h.gateway.fault = None
        await h.in_the_end()
        rows = h.nobody_lost(warning_id)
        assert {kinds(rows[who])[0] for who in PROGRAMS} == {meaning}
        twice = {who for who in PROGRAMS if len(h.receivers.sent_to(h.addresses[who])) > 1}
        assert twice == (set(PROGRAMS) if fault in (Fault.DRIP, Fault.DROP) else set()), "those that it had already"


async def test_a_receivers_name_that_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, tuple[str, int | None] | None] = {"hooks.example": None}
    names(monkeypatch, known)
    async with hooked(tmp_path / "data", host="hooks.example") as h:
        warning_id = await h.told()
        assert h.receivers.messages == []
        known["hooks.example"] = ("127.0.0.1", None)
        await h.in_the_end()
        rows = h.nobody_lost(warning_id)
        assert {kinds(rows[who])[0] for who in PROGRAMS} == {UNREACHABLE}


async def test_a_receivers_certificate_that_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, context = _certificate(tmp_path)
    async with hooked(tmp_path / "data", tls=context) as h:
        warning_id = await h.told()
        assert h.receivers.messages == []
        trusting = ssl.create_default_context(cafile=certificate)
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
        await h.in_the_end()
        rows = h.nobody_lost(warning_id)
        assert {kinds(rows[who])[0] for who in PROGRAMS} == {UNREACHABLE}


# Answers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "meaning"),
    [
        (Behaviour(Kind.DEFER, times=1), (Outcome.DEFERRED, Reason.RATE_LIMITED)),
        (Behaviour(Kind.DEFER, retry_after_s=90, times=1), (Outcome.DEFERRED, Reason.RATE_LIMITED)),
        (Behaviour(Kind.DEFER, code=503, retry_after_s=90, times=1), (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        *[(Behaviour(Kind.ERROR, code=c, times=1), (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)) for c in (500, 502, 504)],
        (Behaviour(Kind.REFUSE, code=400, times=1), NOWHERE),
        (Behaviour(Kind.REFUSE, code=401, times=1), (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (Behaviour(Kind.REFUSE, code=404, times=1), NOWHERE),
        (Behaviour(Kind.REFUSE, code=408, times=1), (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (Behaviour(Kind.REFUSE, code=410, times=1), (Outcome.REFUSED, Reason.SUBSCRIPTION_GONE)),
        (Behaviour(Kind.REFUSE, code=413, times=1), (Outcome.REFUSED, Reason.CONTENT_REFUSED)),
        (Behaviour(Kind.HANG, times=1), (Outcome.UNKNOWN, Reason.TIMEOUT)),
        (Behaviour(Kind.RESET, times=1), (Outcome.UNKNOWN, Reason.CONNECTION_LOST)),
    ],
    ids=lambda value: f"{value.kind}-{value.code}-{value.retry_after_s}" if isinstance(value, Behaviour) else "",
)
async def test_a_receiver_that_misbehaves(tmp_path: Path, behaviour: Behaviour, meaning: Meaning) -> None:
    async with hooked(tmp_path / "data") as h:
        h.receivers.behave(h.addresses["program2"], behaviour)
        warning_id = await h.told()
        await h.town.pass_time(seconds=30)
        if behaviour.retry_after_s:
            assert len(ledger(h.town, HOOK, warning_id)["program2"]) == 1, "it asked for more time than this"
        await h.in_the_end()
        rows = ledger(h.town, HOOK, warning_id)
        assert kinds(rows["program2"])[0] == meaning
        others = {who: kinds(rows[who]) for who in PROGRAMS if who != "program2"}
        assert others == {who: [RECEIVED] for who in others}, "it touched nobody else"
        if meaning[0] is Outcome.REFUSED:
            assert (len(rows["program2"]), h.receivers.sent_to(h.addresses["program2"])) == (1, [])
            h.town.read_all()
        else:
            h.nobody_lost(warning_id)


# Addresses -----------------------------------------------------------------------------------------------------------

INSIDE = [
    "https://127.0.0.1/x", "https://[::1]/x", "https://[::ffff:10.0.0.1]/x", "https://169.254.169.254/latest/meta-data",
    "https://192.168.1.1:8443/x", "http://hooks.example/x", "https://hooks.example:25/x", "https://2130706433/x",
    "https://hooks.example\r\nHost: evil/x", "file:///etc/passwd", "gopher://127.0.0.1:25/x",
]  # fmt: skip


@pytest.mark.parametrize("url", INSIDE)
async def test_a_webhook_into_our_own_network_is_not_registered(the_town: Town, url: str) -> None:
    before = the_town.stores.log.last_position_now()
    with pytest.raises(InvalidInput) as raised:
        await settle(the_town, HOOK, {"odd": {"webhook": {"url": url, "secret": SECRET}}})
    assert raised.value.code == "person.webhook_url"
    assert the_town.stores.log.last_position_now() == before


async def test_a_name_that_leads_into_our_own_network_is_never_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name may have been harmless when it was registered: it is looked up anew for each connection."""
    async with Listener() as inside, hooked(tmp_path / "data") as h:
        places = {"evil.example": ("127.0.0.1", inside.port), "rebound.example": ("::ffff:127.0.0.1", inside.port)}
        names(monkeypatch, dict(places))
        hooks = {name: {"webhook": {"url": f"https://{name}/x", "secret": SECRET}} for name in places}
        await settle(h.town, HOOK, hooks)
        warning_id = await h.told()
        await h.in_the_end()
        rows = ledger(h.town, HOOK, warning_id)
        assert {name: kinds(rows[name]) for name in hooks} == {name: [NOWHERE] for name in hooks}
        assert inside.came == 0
        h.nobody_lost(warning_id)


async def test_a_push_endpoint_in_our_own_network_is_never_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Listener() as inside, in_earnest(tmp_path / "data") as made:
        names(monkeypatch, {"evil.example": ("127.0.0.1", inside.port)})
        endpoints = {
            "literal": f"https://127.0.0.1:{inside.port}/x",
            "plain": f"http://127.0.0.1:{inside.port}/x",
            "mapped": f"https://[::ffff:127.0.0.1]:{inside.port}/x",
            "number": f"https://2130706433:{inside.port}/x",
            "name": "https://evil.example/x",
            "user": f"https://push.example@127.0.0.1:{inside.port}/x",
            "words": "https://127.0.0.1\r\nHost: evil/x",
        }
        people = {who: {"push": {**made.sandbox.push.subscribe(), "endpoint": e}} for who, e in endpoints.items()}
        await settle(made, PUSH, people)
        warning_id = await made.release(level="red", target={"nodes": ["milan"]})
        await made.quiet()
        rows = ledger(made, PUSH, warning_id)
        assert {who: kinds(rows[who]) for who in endpoints} == {who: [NOWHERE] for who in endpoints}
        assert inside.came == 0
        assert kinds(rows["milan-en"]) == [(Outcome.ACCEPTED, Reason.NONE)], "it touched nobody else"
        made.read_all()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_into_our_own_network_is_not_followed(tmp_path: Path, status: int) -> None:
    async with Listener() as inside, Listener() as outside:
        place = f"http://127.0.0.1:{inside.port}/x"
        outside.answer = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()
        ours = f"http://127.0.0.1:{outside.port}"
        async with in_earnest(tmp_path / "data", webhook=WebhookConfig(allowed_origins=[ours])) as made:
            await settle(made, HOOK, {"elsewhere": {"webhook": {"url": f"{ours}/x", "secret": SECRET}}})
            warning_id = await made.release(level="red", target={"nodes": ["milan"]})
            await made.quiet()
            assert kinds(ledger(made, HOOK, warning_id)["elsewhere"]) == [NOWHERE]
            assert (outside.came, inside.came) == (1, 0)
            made.read_all()
