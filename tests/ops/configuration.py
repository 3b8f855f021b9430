"""Writes docs/configuration.md from the settings themselves: `make configuration`."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotated_types
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from infra.config import PREFIX, Settings

TARGET = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

INTRO = """\
# Settings

Made by `make configuration` from `infra/config.py`; a test holds them together.

A setting comes from the TOML file (`fenghuo.toml` where the program is started, or the one that `FENGHUO_CONFIG`
names), over that from the environment, over that from a flag of the command. `FENGHUO_SMS__SENDER` in the environment
is `sender` in the section `[sms]` of the file. Lists and maps are JSON in the environment. Any variable with `_FILE`
behind its name is read from the file that it names: the way to hand over what is marked as secret, also with the
secrets of a container or the credentials of systemd. A value that is wrong is named in one line, and the program does
not start. A name that is misspelt is noticed on the first level of the file alone.

## General

"""

MEANINGS = {
    "data_dir": "The folder of log, vault, proof and views, and of `master.key`.",
    "database_url": "A PostgreSQL for all four in place of files; `master.key` stays in the folder.",
    "database_schema": "The schema in it: one for each tenant.",
    "host": "The address that the API and the console listen on.",
    "port": "Their port; 0 takes a free one.",
    "public_url": "The address under which links and callbacks reach us from outside.",
    "sandbox": "Send to made-up providers on loopback, and nowhere else: every account and Kafka are left alone.",
    "ack_limit_s": "Seconds of silence before the first step of escalation, in the default rules of `fenghuo init`.",
    "reach_test_days": "Test contact points that were not heard of for so many days; 0: by hand alone.",
    "canaries": "Ids of people who get the messages of `fenghuo self-test`.",
    "log_level": "The least that is written to standard error.",
    "metrics_host": "The address for `/healthz` and `/metrics` of processes that serve no API.",
    "metrics_port": "The port for these; none: they are not served.",
    "otel_endpoint": "Where an OpenTelemetry collector takes OTLP over HTTP; empty: no traces. Needs the extra `otel`.",
    "otel_sample": "One trace in how many is kept, where the caller did not decide.",
}


class Setting(typing.NamedTuple):
    variable: str
    form: str
    default: str


def page() -> str:
    """The whole file."""
    general = [(name, field) for name, field in Settings.model_fields.items() if section(field.annotation) is None]
    parts = [INTRO, _table((_setting(name, field), MEANINGS.get(name, "")) for name, field in general)]
    for name, field in Settings.model_fields.items():
        model = section(field.annotation)
        if model is None:
            continue
        listed = typing.get_origin(field.annotation) is list
        parts.append(f"\n## `{name}`\n\n")
        if listed:
            parts.append(f"A list of sections like `{name.removesuffix('_next')}`: `[[{name}]]` in the file.\n")
            continue
        parts.append(f"{_words(model)}\n")
        rows = ((_setting(f"{name}__{sub}", of), None) for sub, of in model.model_fields.items())
        parts.append("\n" + _table(rows))
    return "".join(parts)


def section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, once or in a list."""
    for part in typing.get_args(annotation):
        if (found := section(part)) is not None:
            return found
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _words(model: type[BaseModel]) -> str:
    """What its docstring says, and those of what it is made from."""
    said: list[str] = []
    for cls in model.__mro__:
        if cls is BaseModel:
            break
        if doc := cls.__dict__.get("__doc__"):
            said.append(" ".join(doc.split()))
    return "\n\n".join(said)


def _table(rows: typing.Iterable[tuple[Setting, str | None]]) -> str:
    found = list(rows)
    told = any(meaning is not None for _, meaning in found)
    lines = ["| Setting | Form | Default | Meaning |\n|---|---|---|---|\n"] if told else [
        "| Setting | Form | Default |\n|---|---|---|\n"
    ]  # fmt: skip
    for setting, meaning in found:
        cells = [f"`{setting.variable}`", setting.form, setting.default, *([meaning] if told else [])]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |\n")
    return "".join(lines)


def _setting(name: str, field: FieldInfo) -> Setting:
    secret = SecretStr in _flat(field.annotation)
    default = "needed" if field.is_required() else _default(field, secret=secret)
    bounds = ", ".join(_bounds(field.metadata))
    form = _form(field.annotation) + (f", {bounds}" if bounds else "")
    return Setting(f"{PREFIX}{name.upper()}", form, default)


def _default(field: FieldInfo, *, secret: bool) -> str:
    value = field.default if field.default is not PydanticUndefined else field.get_default(call_default_factory=True)
    if value is None or value in ("", [], {}) or secret:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def _flat(annotation: Any) -> list[Any]:
    return [annotation, *(deeper for part in typing.get_args(annotation) for deeper in _flat(part))]


def _form(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin is typing.Annotated:
        return _form(parts[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_form(part) for part in parts if part is not type(None))
    if origin is list:
        return f"list of {_form(parts[0])}"
    if origin is dict:
        return f"map of {_form(parts[1])}"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "`true` or `false`", "Path": "path"}
    return {SecretStr: "secret"}.get(annotation) or names.get(annotation.__name__, "number")


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for of in metadata:
        match of:
            case annotated_types.Ge(ge=least):
                yield f"at least {least}"
            case annotated_types.Gt(gt=above):
                yield f"above {above}"
            case annotated_types.Le(le=most):
                yield f"at most {most}"
            case annotated_types.MinLen(min_length=least):
                yield f"{least} characters or more"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
