"""A whole installation in the sandbox: providers on loopback take all that is sent, and nobody outside hears of it.

What the settings say of the installation itself stays (`STAYS`). Every account of theirs is another one here, with its
own name, rates and limits, so that what would go to the second provider does; and whatever else the settings may name,
now or later, is left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from infra.config import (
    Charged,
    ChatConfig,
    EmailConfig,
    Limited,
    OwnSettings,
    Settings,
    SmsConfig,
    VoiceConfig,
    WebPushConfig,
)
from infra.sandbox.push import SandboxPush
from infra.sandbox.sms import SandboxSms
from infra.sandbox.smtp import SandboxSmtp
from infra.sandbox.voice import SandboxVoice

TOKEN = "sandbox-token"  # noqa: S105  it guards nothing but the sandbox itself
ACCOUNT = "AC" + "0" * 32
STAYS = (
    "data_dir",
    "database_url",
    "database_schema",
    "host",
    "port",
    "public_url",
    "sandbox",
    "ack_limit_s",
    "reach_test_days",
    "canaries",
    "log_level",
    "metrics_host",
    "metrics_port",
    "otel_endpoint",
    "otel_sample",
    "feeds",  # they are read, and what is read is a draft
    "prices",
)
"""Settings that hold in the sandbox as they are: none of them leads to people, or to where others listen."""
BOUNCES = {"bounce_host", "bounce_port", "bounce_domain", "receipts"}  # of the first mail server: taken on this machine


class Sandbox(msgspec.Struct):
    """The providers on loopback."""

    sms: SandboxSms
    smtp: SandboxSmtp
    push: SandboxPush
    voice: SandboxVoice

    def report_to(self, known: str, own: str) -> None:
        """Callbacks that are addressed to the program as it is known outside go straight to where it answers."""
        self.sms.inbound_url = f"{known}/callbacks/sms/inbound"
        for gateway in (self.sms, self.voice):
            gateway.account.detour = (known, own)


@contextlib.asynccontextmanager
async def sandboxed(settings: Settings) -> AsyncIterator[tuple[Settings, Sandbox | None]]:
    """With `settings.sandbox`, starts the sandbox's providers; the settings that lead to these and to nobody else."""
    if not settings.sandbox:
        yield settings, None
        return
    sandbox = Sandbox(SandboxSms(ACCOUNT, TOKEN), SandboxSmtp(), SandboxPush(), SandboxVoice(ACCOUNT, TOKEN))
    parts = (sandbox.sms, sandbox.smtp, sandbox.push, sandbox.voice)
    for part in parts:
        await part.start()
    try:
        yield pointed(settings, sandbox), sandbox
    finally:
        for part in parts:
            await part.stop()


def pointed(settings: Settings, sandbox: Sandbox) -> Settings:
    """The settings, with the sandbox's providers in the place of all that they name."""
    texts: list[Charged] = [*([settings.sms] if settings.sms else []), *settings.sms_next]
    if settings.aliyun is not None:
        texts.append(settings.aliyun.model_copy(update={"name": settings.aliyun.name or "aliyun"}))
    mails = [*([settings.email] if settings.email else []), *settings.email_next]
    sms, *sms_next = [_sms(sandbox, account) for account in texts or (None,)]
    mail, *mail_next = [_email(sandbox, server) for server in mails or (None,)]
    bounces = settings.email.model_dump(include=BOUNCES) if settings.email else {}
    return OwnSettings(
        **{name: getattr(settings, name) for name in STAYS},
        sms=sms,
        sms_next=sms_next,
        email=mail.model_copy(update=bounces),
        email_next=mail_next,
        voice=VoiceConfig(caller=sandbox.voice.number, base_url=sandbox.voice.url, **_limits(settings.voice, Charged)),
        webpush=WebPushConfig(contact="mailto:duty@fao.example", allowed_origins=[sandbox.push.url]),
        chat=ChatConfig() if settings.chat else None,  # see infra/sandbox/fence.py
    )


def _sms(sandbox: Sandbox, account: Charged | None) -> SmsConfig:
    return SmsConfig(
        account_sid=sandbox.sms.account_sid,
        auth_token=TOKEN,  # type: ignore[arg-type]
        sender=sandbox.sms.number,
        base_url=sandbox.sms.url,
        **_limits(account, Charged),
    )


def _email(sandbox: Sandbox, server: Limited | None) -> EmailConfig:
    return EmailConfig(
        host="127.0.0.1",
        port=sandbox.smtp.port,
        sender="duty@fao.example",
        tls="none",
        **_limits(server, Limited),
    )


def _limits(account: Limited | None, kind: type[Limited]) -> dict[str, Any]:
    """An account's name, rates and limits, and nothing by which it could be reached."""
    return account.model_dump(include=set(kind.model_fields)) if account is not None else {}
