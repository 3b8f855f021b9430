"""What the contract suites share: one rig a channel (a sandbox provider, and a notifier that speaks to it, behind one
face), and a database for views of either kind."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Engine

from domain.outcomes import Outcome
from infra.postgres import conninfo
from infra.sandbox.behaviour import Behaviour
from infra.sandbox.push import SandboxPush
from infra.sandbox.sms import SandboxSms
from infra.sandbox.smtp import SandboxSmtp
from infra.sandbox.voice import SandboxVoice
from infra.sandbox.webhook import SandboxWebhook
from notifiers.channel import Delivery, Notifier, Rendered, Result
from notifiers.email import EmailNotifier, EmailSettings
from notifiers.sms import SmsNotifier, SmsSettings
from notifiers.voice import VoiceNotifier, VoiceSettings
from notifiers.webhook import WebhookNotifier, WebhookSettings
from notifiers.webpush import WebPushNotifier, WebPushSettings
from projections.postgres import postgres_views
from projections.sqlite import sqlite_views

ACCOUNT, TOKEN = "AC" + "7" * 32, "token-that-nobody-may-see"
VAPID_KEY = (
    base64.urlsafe_b64encode(ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32))
    .rstrip(b"=")
    .decode()
)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty database for views, of either kind."""
    if request.param == "sqlite":
        yield sqlite_views(None)
        return
    with request.getfixturevalue("postgres").schema() as config:
        made = postgres_views(conninfo(config.url.get_secret_value()), config.db_schema)
        yield made
        made.dispose()


def rendered(**changes: Any) -> Rendered:
    fields: dict[str, Any] = {
        "language": "zh",
        "subject": "台风红色预警 🌀",
        "text": "请立即撤离到高处。🌀\n\n.单独的点\n确认:{{link}}\n",
        "html": "<p>请立即撤离到高处。🌀</p>\n<p><a href='{{link}}'>确认</a></p>\n",
        "short": "请立即撤离到高处。确认:{{link}}",
        "voice": "请立即撤离到高处。",
        "voice_language": "zh-CN",
    }
    return Rendered(**{**fields, **changes})


def deliveries(addresses: Sequence[Any], attempt: int = 1, **changes: Any) -> list[Delivery]:
    return [
        Delivery(
            **{
                "index": index,
                "attempt": attempt,
                "message_id": f"{index:032x}",
                "address": address,
                "link": f"https://fenghuo.example/a/{index:04d}?k=1&t=2",
                **changes,
            }
        )
        for index, address in enumerate(addresses)
    ]


class OwnPlace:
    """A channel as the worker uses it: each delivery has its own place to call back at."""

    def __init__(self, notifier: VoiceNotifier) -> None:
        self.channel, self.chunk, self._notifier = notifier.channel, notifier.chunk, notifier

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        return await self._notifier.send(
            rendered,
            [
                msgspec.structs.replace(d, callback=f"https://fenghuo.example/callbacks/voice/{d.message_id}/{d.index}")
                for d in deliveries
            ],
        )

    async def close(self) -> None:
        await self._notifier.close()


class Rig(Protocol):
    """What the contract suite needs to know of a channel."""

    says_when: bool  # the protocol can ask to come back after so many seconds
    secrets: tuple[str, ...]
    taken_as: Outcome  # what an answer that all is well stands for

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def notifier(self, timeout_s: float = 5.0) -> Notifier: ...
    def someone(self) -> Any: ...
    def behave(self, address: Any, behaviour: Behaviour) -> None: ...
    def received(self, address: Any) -> list[str]: ...
    def identities(self, address: Any) -> list[str]: ...
    def taken(self) -> int: ...
    def carries(self, index: int) -> tuple[str, ...]:
        """What must be found in the message of the one with this index."""
        return (f"https://fenghuo.example/a/{index:04d}?k=1&t=2", "请立即撤离到高处")


class SmsRig(Rig):
    says_when = True
    taken_as = Outcome.ACCEPTED
    secrets = (ACCOUNT, TOKEN, base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode())

    def __init__(self) -> None:
        self.sandbox = SandboxSms(ACCOUNT, TOKEN)
        self._people = 0

    async def start(self) -> None:
        await self.sandbox.start()

    async def stop(self) -> None:
        await self.sandbox.stop()

    def notifier(self, timeout_s: float = 5.0) -> SmsNotifier:
        return SmsNotifier(
            SmsSettings(
                account_sid=ACCOUNT,
                auth_token=TOKEN,
                sender="+15005550006",
                base_url=self.sandbox.url,
                timeout_s=timeout_s,
                concurrency=16,
            )
        )

    def someone(self) -> str:
        self._people += 1
        return f"+8613800{self._people:06d}"

    def behave(self, address: str, behaviour: Behaviour) -> None:
        self.sandbox.behave(address, behaviour)

    def received(self, address: str) -> list[str]:
        return [message.body for message in self.sandbox.sent_to(address)]

    def identities(self, address: str) -> list[str]:
        return self.received(address)  # the protocol has no place for an id: the same text is all there is

    def taken(self) -> int:
        return self.sandbox.tally.total


class VoiceRig(Rig):
    """The gateway takes calls and makes none: what is said is fetched from us, which is not part of the channel."""

    says_when = True
    secrets = SmsRig.secrets

    taken_as = Outcome.ACCEPTED

    def __init__(self) -> None:
        self.sandbox = SandboxVoice(ACCOUNT, TOKEN, answer=False)
        self._people = 0

    async def start(self) -> None:
        await self.sandbox.start()

    async def stop(self) -> None:
        await self.sandbox.stop()

    def settings(self, **changes: Any) -> VoiceSettings:
        fields = {"account_sid": ACCOUNT, "auth_token": TOKEN, "caller": "+15005550007", "base_url": self.sandbox.url}
        return VoiceSettings(**{**fields, "concurrency": 16, **changes})  # type: ignore[arg-type]

    def notifier(self, timeout_s: float = 5.0) -> OwnPlace:
        return OwnPlace(VoiceNotifier(self.settings(timeout_s=timeout_s)))

    def someone(self) -> str:
        self._people += 1
        return f"+8613900{self._people:06d}"

    def behave(self, address: str, behaviour: Behaviour) -> None:
        self.sandbox.behave(address, behaviour)

    def received(self, address: str) -> list[str]:
        return [call.url for call in self.sandbox.calls_to(address)]

    def identities(self, address: str) -> list[str]:
        return self.received(address)

    def taken(self) -> int:
        return self.sandbox.tally.total

    def carries(self, index: int) -> tuple[str, ...]:
        return (f"https://fenghuo.example/callbacks/voice/{index:032x}/{index}",)


class EmailRig(Rig):
    says_when = False
    taken_as = Outcome.ACCEPTED
    secrets = ("user-that-nobody-may-see", "password-that-nobody-may-see")

    def __init__(self) -> None:
        self.sandbox = SandboxSmtp()
        self._people = 0

    async def start(self) -> None:
        await self.sandbox.start()

    async def stop(self) -> None:
        await self.sandbox.stop()

    def settings(self, **changes: Any) -> EmailSettings:
        fields: dict[str, Any] = {
            "host": self.sandbox.host,
            "port": self.sandbox.port,
            "sender": "warnings@fenghuo.example",
            "sender_name": "烽火",
            "tls": "none",
        }
        return EmailSettings(**{**fields, **changes})

    def notifier(self, timeout_s: float = 5.0) -> EmailNotifier:
        return EmailNotifier(self.settings(timeout_s=timeout_s))

    def someone(self) -> str:
        self._people += 1
        return f"somebody{self._people}@people.example"

    def behave(self, address: str, behaviour: Behaviour) -> None:
        self.sandbox.behave(address, behaviour)

    def received(self, address: str) -> list[str]:
        bodies = [mail.parsed().get_body(("plain",)) for mail in self.sandbox.sent_to(address)]
        return [str(body.get_content()) for body in bodies if body is not None]

    def identities(self, address: str) -> list[str]:
        return [mail.parsed()["Message-ID"] for mail in self.sandbox.sent_to(address)]

    def taken(self) -> int:
        return self.sandbox.tally.total


class PushRig(Rig):
    says_when = True
    taken_as = Outcome.ACCEPTED
    secrets = (VAPID_KEY,)

    def __init__(self) -> None:
        self.sandbox = SandboxPush()

    async def start(self) -> None:
        await self.sandbox.start()

    async def stop(self) -> None:
        await self.sandbox.stop()

    def notifier(self, timeout_s: float = 5.0) -> WebPushNotifier:
        return WebPushNotifier(
            WebPushSettings(
                vapid_key=VAPID_KEY,
                contact="mailto:duty@fenghuo.example",
                allowed_origins=frozenset({self.sandbox.url}),
                timeout_s=timeout_s,
                concurrency=16,
            )
        )

    def someone(self) -> dict[str, Any]:
        return self.sandbox.subscribe()

    def behave(self, address: dict[str, Any], behaviour: Behaviour) -> None:
        self.sandbox.behave(address, behaviour)

    def received(self, address: dict[str, Any]) -> list[str]:
        return [f"{m.data()['body']} {m.data()['url']}" for m in self.sandbox.sent_to(address)]

    def identities(self, address: dict[str, Any]) -> list[str]:
        return [f"{m.topic} {m.data()['tag']}" for m in self.sandbox.sent_to(address)]

    def taken(self) -> int:
        return self.sandbox.tally.total


class PlainEmailRig(EmailRig):
    """A server that takes one command at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.sandbox = SandboxSmtp(pipelining=False)


class WebhookRig(Rig):
    says_when = True
    taken_as = Outcome.DELIVERED  # the receiver itself answers
    secrets = ("whsec_",)

    def __init__(self) -> None:
        self.sandbox = SandboxWebhook()

    async def start(self) -> None:
        await self.sandbox.start()

    async def stop(self) -> None:
        await self.sandbox.stop()

    def notifier(self, timeout_s: float = 5.0) -> WebhookNotifier:
        return WebhookNotifier(
            WebhookSettings(allowed_origins=frozenset({self.sandbox.url}), timeout_s=timeout_s, concurrency=16)
        )

    def someone(self) -> dict[str, str]:
        return self.sandbox.receiver()

    def behave(self, address: dict[str, str], behaviour: Behaviour) -> None:
        self.sandbox.behave(address, behaviour)

    def received(self, address: dict[str, str]) -> list[str]:
        return [f"{hook.data()['data']['text']}" for hook in self.sandbox.sent_to(address)]

    def identities(self, address: dict[str, str]) -> list[str]:
        return [hook.message_id for hook in self.sandbox.sent_to(address)]

    def taken(self) -> int:
        return self.sandbox.tally.total


@pytest.fixture(
    params=[SmsRig, EmailRig, PlainEmailRig, PushRig, VoiceRig, WebhookRig],
    ids=["sms", "email", "email-one-by-one", "webpush", "voice", "webhook"],
)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    made: Rig = request.param()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def sms() -> AsyncIterator[SmsRig]:
    made = SmsRig()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def voice() -> AsyncIterator[VoiceRig]:
    made = VoiceRig()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def mail() -> AsyncIterator[EmailRig]:
    made = EmailRig()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def hooks() -> AsyncIterator[WebhookRig]:
    made = WebhookRig()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def push() -> AsyncIterator[PushRig]:
    made = PushRig()
    await made.start()
    yield made
    await made.stop()


async def until(condition: Any, seconds: float = 30.0) -> None:
    """Returns once `condition()` holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (what is waited for happens on the far side of a socket)
            await asyncio.sleep(0.005)
