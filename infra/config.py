"""The settings of one installation: a TOML file, over it the environment (`FENGHUO_…`), over that the command's flags.

Secrets are better kept in files than in either: `FENGHUO_SMS__AUTH_TOKEN_FILE=/run/secrets/token` names one.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from domain.errors import InvalidInput

PREFIX = "FENGHUO_"


class SmsConfig(BaseModel):
    """The account at the SMS provider (Twilio's API)."""

    account_sid: str
    auth_token: SecretStr
    sender: str
    base_url: str = "https://api.twilio.com"
    concurrency: int = Field(default=64, ge=1, le=1000)


class EmailConfig(BaseModel):
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


class WebhookConfig(BaseModel):
    """Webhooks go to receivers on the open internet; `allowed_origins` names those in a network of our own."""

    allowed_origins: list[str] = []
    concurrency: int = Field(default=64, ge=1, le=1000)


class ChatConfig(BaseModel):
    """WeCom, DingTalk, Feishu, ntfy, Matrix (the extra `chat`); `allowed_origins` as for webhooks."""

    allowed_origins: list[str] = []
    threads: int = Field(default=16, ge=1, le=100)


class AliyunConfig(BaseModel):
    """The account at Aliyun's short message service (the extra `aliyun`), used where no other SMS provider is set.

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
    email: EmailConfig | None = None
    webpush: WebPushConfig | None = None
    webhook: WebhookConfig = WebhookConfig()
    chat: ChatConfig | None = None
    aliyun: AliyunConfig | None = None

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
