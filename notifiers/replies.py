"""What a mail server's words mean: negative replies, failures to connect, and the status in a bounce.

Sources: RFC 5321 (4.2), RFC 3463 with its IANA registry (enhanced codes), RFC 4954 (AUTH), RFC 7505 (null MX).
"""

from __future__ import annotations

import re

import aiosmtplib

from domain.outcomes import Outcome, Reason
from notifiers.smtp import Phase

Meaning = tuple[Outcome, Reason]

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_NO_RELAY = re.compile(r"relay(ing)?\b", re.IGNORECASE)
_NOT_OURS = frozenset({"5.1.7", "5.1.8", "5.7.27"})  # the sender's address, not the recipient's
_NO_MAILBOX = frozenset({"5.2.0", "5.2.1", "5.7.13", "5.7.17"})  # disabled, or has another owner by now
_TOO_LONG = frozenset({"5.2.3", "5.3.4"})


def reply_meaning(code: int, message: str, phase: int) -> Meaning:
    """What a negative reply says of this mail. `phase`: 1 to MAIL, 2 to RCPT, 3 to DATA."""
    found = _ENHANCED.match(message.strip())
    status = found.group(0) if found else ""
    if code in {530, 534, 535, 538}:
        return Outcome.DEFERRED, Reason.CREDENTIALS
    if 400 <= code < 500:
        return Outcome.DEFERRED, Reason.RATE_LIMITED if status == "4.7.28" else Reason.PROVIDER_BUSY
    if not 500 <= code < 600:  # not a reply that SMTP has; whatever it was, after DATA it may have taken the mail
        return (Outcome.UNKNOWN if phase == Phase.DATA else Outcome.DEFERRED), Reason.PROVIDER_ERROR
    if status in _TOO_LONG:
        return Outcome.REFUSED, Reason.CONTENT_REFUSED
    if status == "5.7.28":
        return Outcome.DEFERRED, Reason.RATE_LIMITED
    if phase == Phase.MAIL or status in _NOT_OURS:
        return Outcome.DEFERRED, Reason.CREDENTIALS  # nothing to do with the recipient: our sender is not accepted
    if phase == Phase.RCPT and _NO_RELAY.search(message) and status in {"", "5.7.1", "5.7.0"}:
        return Outcome.DEFERRED, Reason.CREDENTIALS  # it would say so of everybody: it does not know us
    if status.startswith("5.5.") or (not status and code in {500, 502, 503, 504, 555}):
        return Outcome.DEFERRED, Reason.PROVIDER_ERROR  # the dialogue went wrong; it says nothing of the recipient
    return Outcome.REFUSED, _refusal(code, status, phase)


def _refusal(code: int, status: str, phase: int) -> Reason:
    """Why this recipient does not get this mail."""
    subject = status.split(".")[1] if status else ""
    match subject:
        case "1" | "4":  # the address; no way to its domain
            return Reason.BAD_ADDRESS
        case "2" | "7":  # the mailbox (full, disabled), or a policy
            return Reason.BAD_ADDRESS if status in _NO_MAILBOX and phase == Phase.RCPT else Reason.BLOCKED
        case "3":
            return Reason.BLOCKED if phase == Phase.RCPT else Reason.CONTENT_REFUSED
        case "6":
            return Reason.BAD_ADDRESS if status == "5.6.7" else Reason.CONTENT_REFUSED
    if phase == Phase.RCPT:
        return Reason.BLOCKED if code in {552, 554} else Reason.BAD_ADDRESS
    return Reason.CONTENT_REFUSED


def connect_failure(error: BaseException) -> Meaning:
    """What a failure to connect, to encrypt or to log in means for the mails that wait."""
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            busy = error.code < 500
            return Outcome.DEFERRED, Reason.PROVIDER_BUSY if busy else Reason.CREDENTIALS
        case aiosmtplib.SMTPResponseException():
            if not 400 <= error.code < 600:
                return Outcome.DEFERRED, Reason.PROVIDER_ERROR  # not a reply that SMTP has
            # A greeting of 5xx: this server does not want to talk to us at all, which an operator has to mend.
            return Outcome.DEFERRED, Reason.PROVIDER_BUSY if error.code < 500 else Reason.CREDENTIALS
        case OSError():  # refused, timed out, name unknown, certificate not trusted
            return Outcome.DEFERRED, Reason.UNREACHABLE
    return Outcome.DEFERRED, Reason.CREDENTIALS  # no STARTTLS or no AUTH where the settings ask for it


def bounce_reason(status: str) -> Reason:
    """Why a mail that was accepted did not arrive, by the Status field of a report (RFC 3464 section 2.3.4)."""
    found = _ENHANCED.fullmatch(status)
    if found is None:
        return Reason.UNDELIVERED
    _, subject, detail = found.groups()
    match subject, detail:
        case "1", "7" | "8":
            return Reason.BLOCKED  # our sender's address
        case ("1", _) | ("2", "0" | "1") | ("6", "7") | ("7", "13" | "17"):
            return Reason.BAD_ADDRESS
        case ("2", "3") | ("3", "4") | ("6", _):
            return Reason.CONTENT_REFUSED
        case ("2", _) | ("7", _):
            return Reason.BLOCKED
    return Reason.UNDELIVERED  # the network, the system, the dialogue, or the time ran out
