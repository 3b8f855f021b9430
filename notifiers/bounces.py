"""Reads the mail that comes back: what a delivery status notification says of the one message that it is about.

Only the address that it came to (verp.py) is trusted to say which message that is; nothing inside is. Forms: a
multipart/report with message/delivery-status (RFC 3464), and from the null sender also free text, since not every
server writes reports. An automatic answer of a person's mailbox (RFC 3834) is not a bounce.
"""

from __future__ import annotations

import re
from email import message_from_bytes
from email.message import Message
from typing import Any

from domain.outcomes import Outcome, Reason
from notifiers.replies import Meaning, bounce_reason

LARGEST = 2 * 1024 * 1024  # octets of a mail that is taken; a report may hold the whole mail that it is about
MOST_PARTS = 20  # of a report that are looked at
MOST_RECIPIENTS = 20  # of a report: an alias may stand for several
_STATUS = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")


def read_bounce(content: bytes, *, null_sender: bool) -> Meaning | None:
    """What became of the message, or None where the mail says nothing certain of it: delayed, relayed to a server that
    does not report, expanded to a list, read, an answer, a report of abuse."""
    mail = message_from_bytes(content)
    kind = mail.get_content_type()
    if kind == "multipart/report":
        blocks = _status_blocks(mail)
        if blocks is not None:
            return _worst_but_delivered(blocks)
        return None  # a report of another kind: read (RFC 8098), abuse (RFC 5965)
    if not null_sender or _is_answer(mail):
        return None
    return Outcome.REFUSED, _reason_in_text(mail)


def _status_blocks(mail: Message[Any, Any]) -> list[Message[Any, Any]] | None:
    """The blocks of fields about recipients, in the report's order; None where it has no delivery status."""
    parts = mail.get_payload()
    if not isinstance(parts, list):
        return None
    for part in parts[:MOST_PARTS]:
        if isinstance(part, Message) and part.get_content_type() in {
            "message/delivery-status",
            "message/global-delivery-status",
        }:
            blocks = part.get_payload()
            if isinstance(blocks, list):
                return [b for b in blocks[: MOST_RECIPIENTS + 1] if isinstance(b, Message) and _field(b, "action")]
            return []
    return None


def _worst_but_delivered(blocks: list[Message[Any, Any]]) -> Meaning | None:
    """One recipient may have become several on the way: reached by any is reached; otherwise a failure counts."""
    actions = [_field(block, "action").split()[0].lower() for block in blocks]
    if "delivered" in actions:
        return Outcome.DELIVERED, Reason.NONE
    if "failed" not in actions:
        return None
    return Outcome.REFUSED, bounce_reason(_status(blocks[actions.index("failed")]))


def _status(block: Message[Any, Any]) -> str:
    """The enhanced code; where that says nothing (5.0.0), the one that the far server named, if it did."""
    status = _STATUS.search(_field(block, "status"))
    if status is not None and not status[1].endswith(".0.0"):
        return status[1]
    named = _STATUS.search(_field(block, "diagnostic-code"))
    return (named or status or [""])[0]


def _field(block: Message[Any, Any], name: str) -> str:
    return str(block.get(name, ""))[:1000].strip()


def _is_answer(mail: Message[Any, Any]) -> bool:
    """Somebody is on holiday: their mailbox has the mail."""
    automatic = _field(mail, "auto-submitted").lower()
    return automatic.startswith("auto-replied") or any(
        name in mail for name in ("x-autoreply", "x-autorespond", "x-auto-response-suppress")
    )


def _reason_in_text(mail: Message[Any, Any]) -> Reason:
    part = mail
    if mail.is_multipart():
        parts = [p for p in mail.get_payload() if isinstance(p, Message)]
        part = next((p for p in parts[:MOST_PARTS] if p.get_content_type() == "text/plain"), mail)
    text = part.get_payload(decode=True)
    found = _STATUS.search(text[:20_000].decode("utf-8", "replace")) if isinstance(text, bytes) else None
    return bounce_reason(found[1]) if found is not None and found[1].startswith("5") else Reason.UNDELIVERED
