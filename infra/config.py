"""The settings of one installation: a TOML file, over it the environment (`FENGHUO_…`), over that the command's flags.

Secrets are better kept in files than in either: `FENGHUO_SMS__AUTH_TOKEN_FILE=/run/secrets/token` names one.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, SecretStr, StringConstraints, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from domain.errors import InvalidInput
from domain.rates import FASTEST, LARGEST_BURST, SLOWEST

PREFIX = "FENGHUO_"


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


class EmailConfig(Limited):
    """The mail server that takes our mail."""

    host: str
    sender: str
    port: int = Field(default=587, ge=1, le=65535)
    sender_name: str = "烽火 Fenghuo"
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    username: str = ""
    password: SecretStr = SecretStr("")
    unsubscribe: str = ""
    connections: int = Field(default=8, ge=1, le=100)


class WebPushConfig(BaseModel):
    """Web push needs no account; `contact` is whom push services may write to (RFC 8292)."""

    contact: str
    allowed_origins: list[str] = []
    concurrency: int = Field(default=64, ge=1, le=1000)


class Settings(BaseSettings):
    """All settings, with what holds where nothing is said."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid")

    data_dir: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: str = ""
    sandbox: bool = False
    ack_limit_s: int = Field(default=900, ge=1)
    sms: SmsConfig | None = None
    sms_next: list[SmsConfig] = []  # asked in this order where the one before fails
    email: EmailConfig | None = None
    email_next: list[EmailConfig] = []
    webpush: WebPushConfig | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, _toml_file()))


def _toml_file() -> Path | None:
    named = os.environ.get(f"{PREFIX}CONFIG")
    path = Path(named) if named else Path("fenghuo.toml")
    if named and not path.is_file():
        raise InvalidInput("config.missing", f"There is no settings file {path}.", "Correct FENGHUO_CONFIG.")
    return path if path.is_file() else None


def load(**flags: Any) -> Settings:
    """The settings in force; a flag of None says nothing. Raises InvalidInput that names the setting which is wrong."""
    with _secret_files():
        try:
            return Settings(**{name: value for name, value in flags.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise InvalidInput("config.invalid", f"The setting {name} is wrong: {first['msg']}.") from None
        except tomllib.TOMLDecodeError as error:
            raise InvalidInput("config.toml", f"The settings file is no TOML: {error}.") from None


class _secret_files:  # noqa: N801  reads like the function that it is
    """For the time of loading, `NAME_FILE` in the environment stands for `NAME` with the file's content."""

    def __enter__(self) -> None:
        self._set: list[str] = []
        for name, path in list(os.environ.items()):
            if name.startswith(PREFIX) and name.endswith("_FILE"):
                target = name.removesuffix("_FILE")
                try:
                    content = Path(path).read_text(encoding="utf-8").strip()
                except OSError as error:
                    raise InvalidInput("config.secret", f"{name} names a file that cannot be read.") from error
                if target not in os.environ:
                    os.environ[target] = content
                    self._set.append(target)

    def __exit__(self, *_: object) -> None:
        for name in self._set:
            del os.environ[name]
