"""From settings to a running program: the channels of an installation and the services of its HTTP face."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Sequence

from fastapi import FastAPI

from api.app import create_app, health_app
from api.health import Meters
from api.services import Services
from domain.errors import InvalidInput
from domain.people import Channel
from infra.config import EmailConfig, Settings, WebPushConfig, voice_account
from infra.gauges import StateCollector
from infra.providers import email_channel, sms_channel, sms_tokens, voice_channel
from infra.roles import Role
from infra.runtime import Runtime
from infra.sandbox.fence import PushFence, Taker
from infra.stores import Stores
from infra.traced_http import Requests
from infra.traces import span
from notifiers.absent import AbsentNotifier
from notifiers.channel import Delivery, Notifier, Rendered, Result
from notifiers.chat import ChatNotifier, ChatSettings
from notifiers.drill import Count
from notifiers.mime import mail_address
from notifiers.verp import Verp
from notifiers.webhook import WebhookNotifier, WebhookSettings
from notifiers.webpush import WebPushNotifier, WebPushSettings

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def channels(settings: Settings, stores: Stores) -> dict[Channel, Notifier]:
    """The channels that the settings name, and a stand-in for each that they do not."""
    found: dict[Channel, Notifier] = {channel: AbsentNotifier(channel) for channel in Channel}
    addresses = bounce_addresses(settings.email, stores) if settings.email is not None else None
    for made in (
        sms_channel(settings, stores.clock),
        voice_channel(settings, stores.clock),
        email_channel(settings, stores.clock, addresses),
    ):
        if made is not None:
            found[made.channel] = made
    if settings.webpush is not None:
        found[Channel.WEBPUSH] = web_push(settings.webpush, stores)
    if settings.sandbox:
        return found | taken_here(settings, found)
    hooks = settings.webhook
    found[Channel.WEBHOOK] = WebhookNotifier(
        WebhookSettings(
            allowed_origins=frozenset(hooks.allowed_origins), concurrency=hooks.concurrency, timeout_s=hooks.timeout_s
        )
    )
    if settings.chat is not None:
        chat = settings.chat
        found[Channel.CHAT] = ChatNotifier(
            ChatSettings(allowed_origins=frozenset(chat.allowed_origins), threads=chat.threads)
        )
    return found


def web_push(push: WebPushConfig, stores: Stores) -> WebPushNotifier:
    return WebPushNotifier(
        WebPushSettings(
            vapid_key=vapid_key(stores),
            contact=push.contact,
            allowed_origins=frozenset(push.allowed_origins),
            concurrency=push.concurrency,
            timeout_s=push.timeout_s,
        )
    )


def taken_here(settings: Settings, found: dict[Channel, Notifier]) -> dict[Channel, Notifier]:
    """In the sandbox, what stands in for channels whose addresses are people's own: nothing leaves by these."""
    origins = settings.webpush.allowed_origins if settings.webpush else []
    taken: dict[Channel, Notifier] = {
        Channel.WEBPUSH: PushFence(found[Channel.WEBPUSH], origins),
        Channel.WEBHOOK: Taker(Channel.WEBHOOK),
    }
    return taken | ({Channel.CHAT: Taker(Channel.CHAT)} if settings.chat else {})


class Counted:
    """A channel whose outcomes are counted for Prometheus."""

    def __init__(self, notifier: Notifier, meters: Meters) -> None:
        self.channel = notifier.channel
        self._notifier = notifier
        self._meters = meters

    @property
    def chunk(self) -> int:
        return self._notifier.chunk

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        began = time.perf_counter()
        shard_id = deliveries[0].message_id.partition(".")[0] if deliveries else ""
        with span("shard.send", channel=self.channel.value, messages=len(deliveries), shard_id=shard_id):
            results = await self._notifier.send(rendered, deliveries)
        if not rendered.drill:  # a drill is counted apart: see notifiers/drill.py
            self._meters.sent(self.channel, results, time.perf_counter() - began)
        return results

    async def close(self) -> None:
        await self._notifier.close()


def drilled(meters: Meters) -> Count:
    """Counts the messages of drills, apart from the real ones."""
    return lambda channel, outcome, n: meters.drilled.labels(channel, outcome.value).inc(n)


def counted(notifiers: dict[Channel, Notifier], meters: Meters) -> dict[Channel, Notifier]:
    return {channel: Counted(notifier, meters) for channel, notifier in notifiers.items()}


def bounce_addresses(email: EmailConfig, stores: Stores) -> Verp | None:
    """The envelope senders that bounces come back to, where the settings ask for them."""
    if email.bounce_port is None:
        return None
    if mail_address(f"b-{'x' * 48}@{email.bounce_domain}") is None or not email.bounce_domain.isascii():
        raise InvalidInput("email.bounce_domain", "The domain for bounces is no domain.", "Set email.bounce_domain.")
    return Verp(email.bounce_domain, stores.vault.secret("bounces"))


def vapid_key(stores: Stores) -> str:
    """The installation's own web push key (RFC 8292), derived from a secret of the vault."""
    number = int.from_bytes(stores.vault.secret("vapid", 48), "big") % (P256_ORDER - 1) + 1
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).decode().rstrip("=")


def services(settings: Settings, stores: Stores, runtime: Runtime, meters: Meters) -> Services:
    account = voice_account(settings)
    return Services(
        log=stores.log,
        views=stores.views,
        progress=stores.follower,
        desk=stores.desk,
        registry=stores.registry,
        feeds=stores.feeds,
        readings=runtime.poller.reading,
        duty=stores.duty,
        reachability=stores.reachability,
        receipts=runtime.receipts,
        texts=runtime.texts,
        links=runtime.links,
        clock=stores.clock,
        new_id=stores.new_id,
        new_secret=lambda: secrets.token_urlsafe(32),
        public_url=runtime.links.public_url,
        alive=lambda: runtime.alive,
        checkpoint=stores.prover.note,
        metrics=meters.registry,
        prices=settings.prices.table(),
        voice_token=account[1] if account else None,
        aliyun_secret=(
            settings.aliyun.callback_secret.get_secret_value()
            if settings.aliyun and settings.aliyun.callback_secret
            else None
        ),
        sms_tokens=sms_tokens(settings),
        providers=runtime.providers,
    )


def observed(stores: Stores, runtime: Runtime, meters: Meters) -> None:
    """Has these meters show what a process is made of: its stores, its parts, its providers."""
    meters.watch(runtime.providers)
    meters.registry.register(StateCollector(stores, runtime))
    stores.log.appended = meters.appended


def application(settings: Settings, stores: Stores, runtime: Runtime, meters: Meters | None = None) -> FastAPI:
    """The HTTP application of a process: the whole API, or how it is where its role is another one."""
    meters = meters or Meters()
    observed(stores, runtime, meters)
    made = create_app if runtime.role in {Role.ALL, Role.SERVE} else health_app
    app = made(services(settings, stores, runtime, meters), meters)
    app.add_middleware(Requests)
    return app
