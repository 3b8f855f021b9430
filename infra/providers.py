"""From settings to providers: each account with its breaker, rates and limits, and the channels made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from domain.errors import InvalidInput
from domain.ports import Clock
from domain.rates import Rate
from infra.config import AliyunConfig, Charged, EmailConfig, Limited, Settings, SmsConfig, voice_account
from notifiers.aliyun import AliyunNotifier, AliyunSettings
from notifiers.channel import Notifier
from notifiers.email import EmailNotifier, EmailSettings
from notifiers.failover import FailoverNotifier, Provider
from notifiers.limits import MICRO, Budget, Limits
from notifiers.rates import Pace
from notifiers.sms import SmsNotifier, SmsSettings
from notifiers.verp import Verp
from notifiers.voice import VoiceNotifier, VoiceSettings

C = TypeVar("C", bound=Limited)


def sms_channel(settings: Settings, clock: Clock) -> FailoverNotifier | None:
    """Text messages through the accounts of the settings, Aliyun's last; None where there are none."""
    accounts = _in_order(settings.sms, settings.sms_next, "sms")
    found = [provider(sms_notifier(a), name, a, clock, sender=a.sender) for name, a in accounts]
    if (last := settings.aliyun) is not None:
        found.append(provider(aliyun_notifier(last), last.name or "aliyun", last, clock, sender=last.sign_name))
    return _failover(found)


def voice_channel(settings: Settings, clock: Clock) -> FailoverNotifier | None:
    """Calls through the account of the settings; None where there is none."""
    voice, account = settings.voice, voice_account(settings)
    if voice is None or account is None:
        return None
    notifier = VoiceNotifier(
        VoiceSettings(
            account_sid=account[0],
            auth_token=account[1],
            caller=voice.caller,
            base_url=voice.base_url,
            concurrency=voice.concurrency,
            timeout_s=voice.timeout_s,
        )
    )
    # Its callbacks go by the name of the channel: there is one account, and its key is known.
    return _failover([provider(notifier, "voice", voice, clock, sender=voice.caller)])


def email_channel(settings: Settings, clock: Clock, bounces: Verp | None = None) -> FailoverNotifier | None:
    """Mail through the servers of the settings; None where there are none. `bounces` makes the envelope's senders."""
    accounts = _in_order(settings.email, settings.email_next, "email")
    return _failover([provider(email_notifier(a, bounces), name, a, clock, sender=a.sender) for name, a in accounts])


def provider(
    notifier: Notifier, name: str, config: Limited, clock: Clock, *, sender: str = "", breaks: bool = True
) -> Provider:
    """One account as the settings want it used."""
    rates: dict[str, Rate] = {}
    if config.per_s is not None:
        rates[""] = Rate(config.per_s, config.burst)
    if config.sender_per_s is not None and sender:
        rates[sender] = Rate(config.sender_per_s, config.sender_burst)
    budget = None
    if isinstance(config, Charged):
        limits = Limits(
            countries=frozenset(config.allowed_countries),
            prices={prefix: round(price * MICRO) for prefix, price in config.prices.items()},
            per_day=None if config.spend_limit is None else round(config.spend_limit * MICRO),
            currency=config.currency,
        )
        budget = Budget(name, limits, clock)
    return Provider(name, notifier, clock, pace=Pace(clock, sender, rates), budget=budget, breaks=breaks)


def sms_tokens(settings: Settings) -> dict[str, str]:
    """The secret that each SMS provider signs its callbacks with, by the provider's name, the preferred one first."""
    return {
        name: account.auth_token.get_secret_value()
        for name, account in _in_order(settings.sms, settings.sms_next, "sms")
    }


def names(settings: Settings) -> list[str]:
    """The names of all providers of the settings."""
    return [
        *(name for name, _ in _in_order(settings.sms, settings.sms_next, "sms")),
        *([settings.aliyun.name or "aliyun"] if settings.aliyun else []),
        *(["voice"] if settings.voice else []),
        *(name for name, _ in _in_order(settings.email, settings.email_next, "email")),
    ]


def sms_notifier(sms: SmsConfig) -> SmsNotifier:
    return SmsNotifier(
        SmsSettings(
            account_sid=sms.account_sid,
            auth_token=sms.auth_token.get_secret_value(),
            sender=sms.sender,
            base_url=sms.base_url,
            concurrency=sms.concurrency,
            timeout_s=sms.timeout_s,
        )
    )


def email_notifier(email: EmailConfig, bounces: Verp | None = None) -> EmailNotifier:
    return EmailNotifier(
        EmailSettings(
            host=email.host,
            port=email.port,
            sender=email.sender,
            sender_name=email.sender_name,
            tls=email.tls,
            username=email.username,
            password=email.password.get_secret_value(),
            ca_file=email.ca_file,
            unsubscribe=email.unsubscribe,
            connections=email.connections,
            notify="" if bounces is None else "SUCCESS,FAILURE" if email.receipts else "FAILURE",
        ),
        envelope_of=bounces.address if bounces else None,
    )


def aliyun_notifier(config: AliyunConfig) -> AliyunNotifier:
    return AliyunNotifier(
        AliyunSettings(
            access_key_id=config.access_key_id,
            access_key_secret=config.access_key_secret.get_secret_value(),
            sign_name=config.sign_name,
            templates=config.templates,
            endpoint=config.endpoint,
            protocol=config.protocol,
            concurrency=config.concurrency,
        )
    )


def _failover(providers: Sequence[Provider]) -> FailoverNotifier | None:
    return FailoverNotifier(providers) if providers else None


def _in_order(first: C | None, others: Sequence[C], channel: str) -> list[tuple[str, C]]:
    """(name, account) in the order of asking: the first is called like its channel, the others by their place."""
    accounts = [*([first] if first is not None else []), *others]
    named = [(a.name or (f"{channel}-{n}" if n > 1 else channel), a) for n, a in enumerate(accounts, start=1)]
    if len({name for name, _ in named}) < len(named):
        raise InvalidInput("config.provider", f"Two {channel} providers have the same name.", "Give each its own.")
    return named
