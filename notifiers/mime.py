"""A warning as a mail: built once a batch, then cut at the places that differ, so that a recipient costs a join.

Building an EmailMessage takes about a millisecond and checks every header; joining bytes takes microseconds and
checks nothing. So everything that is spliced in is held to a strict grammar here first.

Sources: RFC 5322 (format), RFC 2045 and 6152 (encodings), RFC 5321 4.1.2 and 6531 (addresses), RFC 3834, RFC 8058.
"""

from __future__ import annotations

import base64
import html
import re
import secrets
from collections.abc import Callable
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY

from domain.errors import InvalidInput
from notifiers.batch import sendable
from notifiers.channel import LINK, Rendered

LONGEST_LINE = 998  # octets without CRLF, RFC 5322 section 2.1.1
LONGEST_SUBJECT = 250  # characters; what a mail program shows of it is far less
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LOCAL = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_LOCAL_UTF8 = re.compile(rf"(?:{_ATEXT}|[^\x00-\x7f])+(?:\.(?:{_ATEXT}|[^\x00-\x7f])+)*")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_PLAIN = re.compile(rf"(?=[^@]{{1,64}}@){_LOCAL.pattern}@{_DOMAIN.pattern}")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_LINK = re.compile(r"[\x21-\x7e]*")
_BREAKING = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_NEWLINE = re.compile(r"\r\n|\r|\n")


def mail_address(text: object) -> str | None:
    """The address as it may stand in an envelope and a header, or None where it is none.

    Only the dot-string form is taken: quoted local parts, comments, groups and address literals have no use here and
    are how commands get smuggled in. A domain in another script becomes its ASCII form; a local part in another
    script stays, and needs a server with SMTPUTF8.
    """
    if not isinstance(text, str) or len(text) > 320:
        return None
    if len(text) <= 254 and text.isascii() and _PLAIN.fullmatch(text):
        return text  # nearly all of them
    local, at, domain = text.rpartition("@")
    if not at or not text.isprintable() or len(local.encode()) > 64:
        return None
    if not (_LOCAL if local.isascii() else _LOCAL_UTF8).fullmatch(local):
        return None
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    address = f"{local}@{domain}"
    if not _DOMAIN.fullmatch(domain) or len(domain) > 253 or len(address.encode()) > 254:
        return None
    return address


def header_text(text: str) -> str:
    """The text as one line that a header may hold: each run of control characters, line breaks and spaces becomes one
    space, and what is over LONGEST_SUBJECT is cut."""
    line = _BREAKING.sub(" ", sendable(text[: 4 * LONGEST_SUBJECT])).strip()
    return line if len(line) <= LONGEST_SUBJECT else line[: LONGEST_SUBJECT - 1].rstrip() + "…"


def sender_address(address: str, name: str) -> Address:
    """The From of every mail. Raises InvalidInput where the address is not plain ASCII or not an address."""
    checked = mail_address(address)
    if checked is None or not checked.isascii():
        raise InvalidInput("email.sender", "The sender of mail is not a mail address.", "Check the setting.")
    local, _, domain = checked.rpartition("@")
    return Address(header_text(name), local, domain)


class Letter:
    """One batch's mail. `for_recipient` yields the bytes for one of them."""

    def __init__(
        self,
        rendered: Rendered,
        *,
        sender: Address,
        message_domain: str,
        date: datetime,
        unsubscribe: str,
        longest_link: int,
    ) -> None:
        """`longest_link`: characters of the longest link there will be, as it stands in hypertext."""
        self._rendered = rendered
        self._sender = sender
        self._message_domain = message_domain
        self._date = date
        self._unsubscribe = unsubscribe
        self._text = _lines(rendered.text)
        self._html = _lines(rendered.html)
        self._plain_fits = _fits(self._text, longest_link) and _fits(self._html, longest_link)
        self._skeletons: dict[bool, list[bytes]] = {}

    def for_recipient(self, address: str, message_id: str, link: str, *, eight_bit: bool) -> bytes | None:
        """The whole mail, with CRLF. None where the id or the link could break out of its place.

        `address` must come from `mail_address`. `eight_bit`: the server offers 8BITMIME.
        """
        if not _MESSAGE_ID.fullmatch(message_id) or len(message_id) > 200 or not _LINK.fullmatch(link):
            return None
        # UTF-8 goes as it is where the server takes eight bits and no line is too long: nothing to encode for each
        # recipient, and the smallest mail. Otherwise base64 and not quoted-printable, which takes nine bytes for a
        # Chinese character where base64 takes four; base64 also carries NUL and endless lines.
        plain = eight_bit and self._plain_fits
        parts = self._skeletons.get(plain)
        if parts is None:
            parts = self._skeletons[plain] = self._skeleton(plain)
        encode: Callable[[bytes], bytes] = _as_it_is if plain else _base64
        link_in_text = link.encode("ascii")
        link_in_html = html.escape(link).encode("ascii")
        return b"".join(
            (
                parts[0],
                address.encode(),
                parts[1],
                f"{message_id}@{self._message_domain}".encode("ascii"),
                parts[2],
                encode(link_in_text.join(self._text)),
                parts[3],
                encode(link_in_html.join(self._html)),
                parts[4],
            )
        )

    def _skeleton(self, plain: bool) -> list[bytes]:
        """The bytes before, between and after the four places: To, Message-ID, plain text, hypertext."""
        rendered = self._rendered
        # Boundary and placeholders are random, so that no subject and no text can hold them by chance or by design;
        # letters and digits alone, so that no header is encoded or folded because of them.
        boundary = f"=_{secrets.token_hex(16)}"
        places = to, message_id, text, hypertext = [
            f"{name}{secrets.token_hex(8)}" for name in ("to", "id", "tx", "ht")
        ]
        mail = EmailMessage(policy=SMTP_POLICY)
        mail["To"] = to
        mail["From"] = self._sender
        mail["Date"] = self._date
        mail["Message-ID"] = f"<{message_id}>"
        mail["Auto-Submitted"] = "auto-generated"
        if re.fullmatch(r"[A-Za-z0-9-]{1,35}", rendered.language):
            mail["Content-Language"] = rendered.language
        if rendered.urgency == "high":
            mail["Importance"] = "high"
        mail["MIME-Version"] = "1.0"
        mail["Content-Type"] = f'multipart/alternative; boundary="{boundary}"'
        encoding = "8bit" if plain else "base64"
        part = (
            f'\r\n--{boundary}\r\nContent-Type: text/%s; charset="utf-8"\r\n'
            f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
        )
        rest = b"".join(
            (
                *(SMTP_POLICY.fold_binary(name, value) for name, value in mail.raw_items()),
                _subject(rendered.subject),
                # On one line: folded right after the colon, its value reads as empty to some programs.
                f"List-Unsubscribe: {self._unsubscribe}\r\n".encode("ascii") if self._unsubscribe else b"",
                (part % "plain").encode("ascii"),
                text.encode("ascii"),
                (part % "html").encode("ascii"),
                hypertext.encode("ascii"),
                f"\r\n--{boundary}--\r\n".encode("ascii"),
            )
        )
        parts: list[bytes] = []
        for place in places:
            before, found, rest = rest.partition(place.encode("ascii"))
            if not found:
                raise ValueError("the mail lost one of its places")
            parts.append(before)
        return [*parts, rest]


def _subject(text: str) -> bytes:
    """The header, folded. Not by EmailMessage, which loses spaces between encoded words (RFC 2047 section 6.2)."""
    line = header_text(text)
    charset = "us-ascii" if line.isascii() and "=?" not in line else "utf-8"
    folded = Header(line, charset, header_name="Subject").encode(linesep="\r\n")
    return f"Subject: {folded}\r\n".encode("ascii")


def _lines(text: str) -> list[bytes]:
    """The body as UTF-8 with CRLF, ending with a line break, cut where the link goes."""
    body = _NEWLINE.sub("\r\n", sendable(text))
    if not body.endswith("\r\n"):
        body += "\r\n"
    return body.encode().split(LINK.encode("ascii"))


def _fits(parts: list[bytes], longest_link: int) -> bool:
    """Whether the body may go unencoded: no NUL, and no line over the limit even with the longest link."""
    body = (b"x" * longest_link).join(parts)
    return b"\0" not in body and max(map(len, body.split(b"\r\n"))) <= LONGEST_LINE


def _as_it_is(body: bytes) -> bytes:
    return body


def _base64(body: bytes) -> bytes:
    return base64.encodebytes(body).replace(b"\n", b"\r\n")
