"""The settings of one installation: a TOML file, over it the environment (`FENGHUO_…`), over that the command's flags.

Secrets are better kept in files than in either: `FENGHUO_SMS__AUTH_TOKEN_FILE=/run/secrets/token` names one.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from domain.errors import InvalidInput
from domain.rates import FASTEST, LARGEST_BURST, SLOWEST
from infra.config_sources import PREFIX, Environment, secret_files, settings_file
from infra.kafka.settings import KafkaConfig
from infra.logs import Level
from notifiers.prices import Prices

Prefix = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{0,6}$")]


class Limited(BaseModel):
    """What every provider of a channel may be given beside its account. Rates are tokens a second, for text messages
    one a segment; the `sender_` ones are for the number that it sends from. `fenghuo rate set` changes them."""

    name: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9-]{0,39})?$")
    per_s: float | None = Field(default=None, ge=SLOWEST, le=FASTEST)
    burst: int = Field(default=1, ge=1, le=LARGEST_BURST)
    sender_per_s: float | None = Field(default=None, ge=SLOWEST, le=FASTEST)
    sender_burst: int = Field(default=1, ge=1, le=LARGEST_BURST)


class Charged(Limited):
    """A provider that charges. `allowed_countries`: ISO 3166 regions (empty: all; `001`: numbers of no country).
    `prices`: what a segment or a call costs, by the beginning of the number (`{"+86": 0.05, "": 0.1}`).
    `spend_limit`: how much of `currency` a day, in UTC; the extreme lane is sent above it."""

    allowed_countries: list[Annotated[str, StringConstraints(pattern=r"^([A-Z]{2}|001)$")]] = []
    prices: dict[Annotated[str, StringConstraints(pattern=r"^(\+[0-9]{1,8})?$")], Annotated[float, Field(ge=0)]] = {}
    spend_limit: float | None = Field(default=None, ge=0)
    currency: str = Field(default="", max_length=8)

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.spend_limit is not None and not self.prices:
            raise ValueError("a spend limit needs prices")
        return self


class SmsConfig(Charged):
    """The account at the SMS provider (Twilio's API)."""

    account_sid: str
    auth_token: SecretStr
    sender: str
    base_url: str = "https://api.twilio.com"
    concurrency: int = Field(default=64, ge=1, le=1000)
    timeout_s: float = Field(default=15.0, gt=0, le=300)


class VoiceConfig(Charged):
    """Calls by the same provider. Where no account is named, it is that of the text messages."""

    caller: str
    account_sid: str = ""
    auth_token: SecretStr = SecretStr("")
    base_url: str = "https://api.twilio.com"
    concurrency: int = Field(default=16, ge=1, le=1000)
    timeout_s: float = Field(default=15.0, gt=0, le=300)


class EmailConfig(Limited):
    """The mail server that takes our mail.

    With `bounce_port` and `bounce_domain`, `fenghuo all` (or `serve`) takes bounces on that port of `bounce_host`; the
    domain's MX or the mail server must hand them there. `receipts` asks for word of delivery too, where a server can.
    """

    host: str
    sender: str
    port: int = Field(default=587, ge=1, le=65535)
    sender_name: str = "烽火 Fenghuo"
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: str = ""
    unsubscribe: str = ""
    connections: int = Field(default=8, ge=1, le=100)
    bounce_host: str = "127.0.0.1"
    bounce_port: int | None = Field(default=None, ge=0, le=65535)
    bounce_domain: str = ""
    receipts: bool = False


class WebPushConfig(BaseModel):
    """Web push needs no account; `contact` is whom push services may write to (RFC 8292)."""

    contact: str
    allowed_origins: list[str] = []
    concurrency: int = Field(default=64, ge=1, le=1000)
    timeout_s: float = Field(default=15.0, gt=0, le=300)


class FeedsConfig(BaseModel):
    """Where feeds are read. `allowed_origins` may lie in a private network, and need no https."""

    allowed_origins: list[str] = []


class PricesConfig(BaseModel):
    """What messages cost, by calling prefix: `{"+86": 0.05}`. Of one part of a text message, of one call."""

    currency: str = "CNY"
    sms: dict[Prefix, Decimal] = {}
    voice: dict[Prefix, Decimal] = {}

    def table(self) -> Prices:
        return Prices(currency=self.currency, sms=self.sms, voice=self.voice)


class WebhookConfig(BaseModel):
    """Webhooks go to receivers on the open internet; `allowed_origins` names those in a network of our own."""

    allowed_origins: list[str] = []
    concurrency: int = Field(default=64, ge=1, le=1000)
    timeout_s: float = Field(default=15.0, gt=0, le=300)


class ChatConfig(BaseModel):
    """WeCom, DingTalk, Feishu, ntfy, Matrix (the extra `chat`); `allowed_origins` as for webhooks."""

    allowed_origins: list[str] = []
    threads: int = Field(default=16, ge=1, le=100)


class AliyunConfig(Charged):
    """The account at Aliyun's short message service (the extra `aliyun`), asked after the other SMS providers.

    `templates` holds the approved template of each purpose and language: `{"notice.zh": "SMS_1", "cancel.zh": …}`.
    Reports come to `/callbacks/aliyun/<callback_secret>`; without a secret none are taken.
    """

    access_key_id: str
    access_key_secret: SecretStr
    sign_name: str
    templates: dict[str, str]
    callback_secret: SecretStr | None = Field(default=None, min_length=24)
    endpoint: str = "dysmsapi.aliyuncs.com"
    protocol: Literal["HTTP", "HTTPS"] = "HTTPS"
    concurrency: int = Field(default=32, ge=1, le=1000)


class DatabaseConfig(BaseModel):
    """A schema of a PostgreSQL, as `Settings` names it."""

    url: SecretStr
    db_schema: str


FORMS = {
    "public_url": "https://warn.example, without a user, a query or a fragment",
    "otel_endpoint": "https://collector.example:4318",
    "kafka.bootstrap": "host:port, several with commas between",
    "database_schema": "at most 40 small letters, digits and underscores",
}
"""What a setting looks like whose pattern says little to people."""


def web_address(url: str) -> str:
    """A URL that links can be made from, or nothing."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if url and (not fine or parts.query or parts.fragment or parts.username or not url.isprintable() or " " in url):
        raise ValueError("it is no address of a web server")
    return url


def own_address(host: str, port: int) -> str:
    """The URL of a port of this machine."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


PublicUrl = Annotated[str, AfterValidator(web_address)]


class Settings(BaseSettings):
    """All settings, with what holds where nothing is said."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid")

    data_dir: Path = Path("data")
    database_url: SecretStr | None = None  # postgresql://…: log, vault, checkpoints and views lie there, not in files
    database_schema: str = Field(default="fenghuo", pattern=r"^[a-z_][a-z0-9_]{0,39}$")  # one for each tenant
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: PublicUrl = ""
    sandbox: bool = False
    ack_limit_s: int = Field(default=900, ge=1)
    reach_test_days: int = Field(default=0, ge=0, le=3650)  # 0: test messages go out by hand alone
    canaries: list[str] = []  # ids of people who get the messages of `fenghuo self-test`
    log_level: Level = "info"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)  # of processes that serve no API; 0: a free one
    otel_endpoint: Annotated[str, StringConstraints(pattern=r"^(https?://[^/?#]+(/[^?#]*)?)?$")] = ""  # OTLP over HTTP
    otel_sample: float = Field(default=1.0, ge=0, le=1)  # of how many traces in one
    sms: SmsConfig | None = None
    sms_next: list[SmsConfig] = []  # asked in this order where the one before fails
    voice: VoiceConfig | None = None
    email: EmailConfig | None = None
    email_next: list[EmailConfig] = []
    webpush: WebPushConfig | None = None
    feeds: FeedsConfig = FeedsConfig()
    prices: PricesConfig = PricesConfig()
    webhook: WebhookConfig = WebhookConfig()
    chat: ChatConfig | None = None
    aliyun: AliyunConfig | None = None
    kafka: KafkaConfig | None = None

    @property
    def database(self) -> DatabaseConfig | None:
        """Where the stores lie; None for files in the data folder."""
        if self.database_url is None or not self.database_url.get_secret_value():
            return None
        return DatabaseConfig(url=self.database_url, db_schema=self.database_schema)

    @property
    def allowed_origins(self) -> frozenset[str]:
        """Where webhooks and chats may lead beside the open internet."""
        chats = self.chat.allowed_origins if self.chat else ()
        return frozenset((*self.webhook.allowed_origins, *chats))

    def reached_at(self, port: int | None = None) -> str:
        """The address under which links and callbacks reach us. `port`: the one that is listened on."""
        return (self.public_url or own_address(self.host, port or self.port)).rstrip("/")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, Environment(settings_cls), settings_file(settings_cls))


class OwnSettings(Settings):
    """Of a program that stands for itself (the demo, all that is in the sandbox): no file and no environment has a say,
    so that nothing of an installation (its accounts, its Kafka, its public address) is used by it."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def load(**flags: Any) -> Settings:
    """The settings in force; a flag of None says nothing. Raises InvalidInput that names the setting which is wrong."""
    with secret_files():
        try:
            return Settings(**{name: value for name, value in flags.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            said = "it has another form" if first["type"] == "string_pattern_mismatch" else first["msg"]
            remedy = f"Write {FORMS[name]}." if name in FORMS else ""
            raise InvalidInput("config.invalid", f"The setting {name} is wrong: {said}.", remedy) from None
        except SettingsError as error:
            section, within = str(error).partition('"')[2].partition('"')[0], str(error.__cause__)
            name = section if within == section else f"{section}.{within}"
            raise InvalidInput(
                "config.invalid", f"The setting {name} is wrong: it is no JSON.", 'Write lists and maps as JSON: ["a"].'
            ) from None


def voice_account(settings: Settings) -> tuple[str, str] | None:
    """(account, token) to call with; None where calls are not configured. Raises InvalidInput where no account is."""
    voice = settings.voice
    if voice is None:
        return None
    if voice.account_sid:
        return voice.account_sid, voice.auth_token.get_secret_value()
    if settings.sms is None:
        raise InvalidInput(
            "config.voice", "The setting voice names no account, and there is none for sms.", "Set voice.account_sid."
        )
    return settings.sms.account_sid, settings.sms.auth_token.get_secret_value()
