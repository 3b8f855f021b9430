"""What networks do to messages over HTTP, through the running program: nobody is lost, and the log says why.

A send that was in doubt may arrive twice; the ledger has a row for each attempt, and the repeat is explained by it.
"""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gateway import Fault, Gateway
from town import NOW, Town, running
from townsfolk import PEOPLE, SMS, WEBPUSH, phone_of

from domain.outcomes import Outcome, Reason, Row
from domain.people import Role
from domain.shards import ChunkRecorded, ShardPlanned
from infra.config import Settings
from infra.sandbox.behaviour import Behaviour, Kind
from infra.sandboxed import sandboxed

TIMEOUT_S = 5.0  # for one request: real seconds, as the sockets are real; a busy machine may well take two
BY_SMS = [p for p, (_, role, _, channels) in PEOPLE.items() if SMS in channels and role is not Role.DEPUTY]


@asynccontextmanager
async def behind(
    folder: Path, host: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Town, Gateway]]:
    """A town whose SMS provider is reached through a gateway, at 127.0.0.1 or under the name `host`."""
    async with sandboxed(Settings(data_dir=folder, port=0, sandbox=True)) as (pointed, sandbox):
        assert sandbox is not None and pointed.sms is not None and pointed.webpush is not None
        async with Gateway(sandbox.sms.port, tls) as gateway:
            url = gateway.url.replace("127.0.0.1", host) if host else gateway.url
            settings = pointed.model_copy(
                update={
                    "sandbox": False,
                    "sms": pointed.sms.model_copy(update={"base_url": url, "timeout_s": TIMEOUT_S}),
                    "webpush": pointed.webpush.model_copy(update={"timeout_s": TIMEOUT_S}),
                }
            )
            async with running(folder, settings, sandbox) as town:
                yield town, gateway


def ledgers(town: Town, warning_id: str) -> dict[str, list[Row]]:
    """The rows of everybody who is told by SMS or push, by person."""
    found: dict[str, list[Row]] = {}
    plans: dict[str, ShardPlanned] = {}
    for r in town.recorded():
        if isinstance(r.event, ShardPlanned) and r.event.warning_id == warning_id:
            plans[r.event.shard_id] = r.event
        elif isinstance(r.event, ChunkRecorded) and r.event.shard_id in plans:
            plan = plans[r.event.shard_id]
            for row in r.event.rows:
                found.setdefault(f"{plan.recipients[row.index]}/{plan.channel}", []).append(row)
    return found


HELD_BACK = (Outcome.DEFERRED, Reason.UNREACHABLE)  # by the breaker, which enough failures of others have opened


async def nobody_lost(town: Town, warning_id: str, meaning: tuple[Outcome, Reason]) -> None:
    """Everybody told by SMS failed as `meaning` says, and has it in the end; what came twice was in doubt."""
    for _ in range(8):
        await town.pass_time(seconds=40)
    rows = ledgers(town, warning_id)
    arrived = Counter(message.to for message in town.sandbox.sms.messages)
    first = [(ledger[0].outcome, ledger[0].reason) for who, ledger in rows.items() if who.endswith("/sms")]
    assert meaning in first
    for person_id in BY_SMS:
        ledger = rows[f"{person_id}/sms"]
        kinds = [(row.outcome, row.reason) for row in ledger]
        assert kinds[0] in (meaning, HELD_BACK), (person_id, kinds)
        assert kinds[-1][0] is Outcome.ACCEPTED, (person_id, kinds)
        assert [row.attempt for row in ledger] == list(range(1, len(ledger) + 1))
        doubts = sum(outcome is Outcome.UNKNOWN for outcome, _ in kinds)
        assert 1 <= arrived[phone_of(person_id)] <= 1 + doubts, (person_id, kinds)
    town.read_all()


@pytest.mark.parametrize(
    ("fault", "meaning"),
    [
        (Fault.DRIP, (Outcome.UNKNOWN, Reason.TIMEOUT)),
        (Fault.SILENT, (Outcome.UNKNOWN, Reason.TIMEOUT)),
        (Fault.RESET, (Outcome.UNKNOWN, Reason.CONNECTION_LOST)),
        (Fault.DROP, (Outcome.UNKNOWN, Reason.CONNECTION_LOST)),
    ],
)
async def test_a_connection_that_breaks(tmp_path: Path, fault: Fault, meaning: tuple[Outcome, Reason]) -> None:
    async with behind(tmp_path / "data") as (town, gateway):
        gateway.fault = fault
        warning_id = await town.release(level="red")
        await town.until(
            lambda: len([k for k in ledgers(town, warning_id) if k.endswith("/sms")]) == len(BY_SMS), "rows"
        )
        assert gateway.suffered >= 1
        gateway.fault = None
        await nobody_lost(town, warning_id, meaning)


async def test_a_name_that_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **named: Any) -> Any:
        if host == "sms.example":
            if not known:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = "127.0.0.1"
        return real(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with behind(tmp_path / "data", host="sms.example") as (town, _):
        warning_id = await town.release(level="red")
        await town.until(
            lambda: len([k for k in ledgers(town, warning_id) if k.endswith("/sms")]) == len(BY_SMS), "rows"
        )
        assert town.sandbox.sms.messages == []
        known.append("now")
        await nobody_lost(town, warning_id, (Outcome.DEFERRED, Reason.UNREACHABLE))


async def test_a_certificate_that_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, context = _certificate(tmp_path)
    async with behind(tmp_path / "data", tls=context) as (town, _):
        warning_id = await town.release(level="red")
        await town.until(
            lambda: len([k for k in ledgers(town, warning_id) if k.endswith("/sms")]) == len(BY_SMS), "rows"
        )
        assert town.sandbox.sms.messages == []
        trusting = ssl.create_default_context(cafile=certificate)
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
        await nobody_lost(town, warning_id, (Outcome.DEFERRED, Reason.UNREACHABLE))


@pytest.mark.parametrize(
    ("behaviour", "meaning"),
    [
        (Behaviour(Kind.HANG, times=1), (Outcome.UNKNOWN, Reason.TIMEOUT)),
        (Behaviour(Kind.RESET, times=1), (Outcome.UNKNOWN, Reason.CONNECTION_LOST)),
        (Behaviour(Kind.ERROR, times=1), (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (Behaviour(Kind.DEFER, times=1), (Outcome.DEFERRED, Reason.RATE_LIMITED)),
        (Behaviour(Kind.REFUSE), (Outcome.REFUSED, Reason.SUBSCRIPTION_GONE)),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Behaviour) else "",
)
async def test_a_push_service_that_misbehaves(
    tmp_path: Path, behaviour: Behaviour, meaning: tuple[Outcome, Reason]
) -> None:
    async with behind(tmp_path / "data") as (town, _):
        town.sandbox.push.script.behave(town.push["milan-en"], behaviour)
        warning_id = await town.release(level="red")
        await town.until(lambda: "milan-en/webpush" in ledgers(town, warning_id), "the first attempt")
        for _ in range(4):
            await town.pass_time(seconds=40)
        ledger = ledgers(town, warning_id)
        kinds = [(row.outcome, row.reason) for row in ledger["milan-en/webpush"]]
        assert kinds[0] == meaning
        if behaviour.kind is not Kind.REFUSE:
            assert kinds[-1] == (Outcome.ACCEPTED, Reason.NONE)
        others = [p for p, (_, _, _, channels) in PEOPLE.items() if WEBPUSH in channels and p != "milan-en"]
        assert all(len(ledger[f"{p}/webpush"]) == 1 for p in others), "it touched nobody else"
        town.read_all()


def _certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that nobody knows yet."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, NOW) - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "provider.pem", folder / "provider.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    return certificate, context
