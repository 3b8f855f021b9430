"""What is kept of a person sealed: their name and where they are reached, checked before it is stored."""

from __future__ import annotations

from typing import Any

import phonenumbers

from domain.errors import InvalidInput
from notifiers.chat import FIXED, HOSTED, chat_target
from notifiers.signing import secret_of
from notifiers.targets import ports_of, public_target

MOST_LEVELS = 8  # of fields within each other
CHATS = ", ".join(f"{schema}://" for schema in sorted(FIXED | HOSTED.keys()))


def checked(personal: dict[str, Any], allowed: frozenset[str]) -> dict[str, Any]:
    """The personal fields with the phone in E.164. Numbers that cannot be one are refused; unusual ones are not."""
    _shallow(personal)
    fields = {name: value for name, value in personal.items() if value}
    if phone := fields.get("phone"):
        try:
            number = phonenumbers.parse(str(phone), "CN")
        except phonenumbers.NumberParseException as error:
            raise InvalidInput("person.phone", "A phone number cannot be read.", "Write it as +86…") from error
        if not phonenumbers.is_possible_number(number):
            raise InvalidInput("person.phone", "A phone number has an impossible length.", "Check it.")
        fields["phone"] = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    email = str(fields.get("email", ""))
    if email and (len(email) > 254 or email.count("@") != 1 or any(c.isspace() or ord(c) < 32 for c in email)):
        raise InvalidInput("person.email", "A mail address cannot be one.", "Check it.")
    if "webhook" in fields:
        fields["webhook"] = _webhook(fields["webhook"], allowed)
    if "chat" in fields:
        try:
            chat_target(fields["chat"], ports_of(allowed))
        except ValueError:
            raise InvalidInput(
                "person.chat", "A chat address is not one that may be written to.", f"Use one of {CHATS}."
            ) from None
    return fields


def _shallow(personal: dict[str, Any]) -> None:
    """Raises InvalidInput for fields in fields in fields, which could be kept and not be read again."""
    level: list[Any] = [personal]
    for _ in range(MOST_LEVELS):
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
        level = [inner for inner in level if isinstance(inner, dict | list)]
    if level:
        raise InvalidInput("person.personal", "Personal fields are nested too deeply.", "Two levels are enough.")


def _webhook(given: Any, allowed: frozenset[str]) -> dict[str, str]:
    """A webhook's URL and secret, and nothing beside them. No error of it quotes either."""
    fields = given if isinstance(given, dict) else {}
    try:
        public_target(fields.get("url"), allowed)
    except ValueError:
        raise InvalidInput(
            "person.webhook_url",
            "A webhook's URL may not be posted to.",
            "Use https, a public host, no user name and port 80, 443, 8080 or 8443.",
        ) from None
    try:
        secret_of(fields.get("secret"))
    except ValueError:
        raise InvalidInput(
            "person.webhook_secret",
            "A webhook's secret is not usable.",
            "Use whsec_ and the base64 of 24 to 64 random bytes.",
        ) from None
    return {"url": fields["url"], "secret": fields["secret"]}
