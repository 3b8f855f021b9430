"""The envelope sender of each mail, so that a bounce says by its address alone which message it is about.

`b-<token>@<domain>`: the token is a shard id (16 bytes), a recipient's index (2) and 12 bytes of keyed BLAKE2b, in
base32 and lower case, since a mail server may change the case of a local part: 50 octets of the 64 that RFC 5321
(4.5.3.1.1) allows. Whoever got the mail can read its own token, and nobody can make another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

_PREFIX = "b-"
_MAC = 12
_LONGEST = 64
_MESSAGE_ID = re.compile(r"([0-9a-f]{32})\.([0-9]{1,5})")


class Verp:
    """Makes and reads bounce addresses in one domain."""

    def __init__(self, domain: str, secret: bytes) -> None:
        self.domain = domain.lower()
        self._secret = secret

    def address(self, message_id: str) -> str | None:
        """For a message id `<shard id>.<index>`; None for any other, whose bounces would say nothing to us."""
        found = _MESSAGE_ID.fullmatch(message_id)
        if found is None or int(found[2]) > 0xFFFF:
            return None
        body = bytes.fromhex(found[1]) + int(found[2]).to_bytes(2, "big")
        token = base64.b32encode(body + self._mac(body)).decode().lower()
        return f"{_PREFIX}{token}@{self.domain}"

    def read(self, address: str) -> tuple[str, int] | None:
        """The (shard id, index) that an address stands for, or None where we did not make it."""
        local, _, domain = address.lower().rpartition("@")
        if domain != self.domain or not local.startswith(_PREFIX) or len(local) > _LONGEST:
            return None
        try:
            raw = base64.b32decode(local.removeprefix(_PREFIX).upper().encode("ascii"))
        except (binascii.Error, ValueError):
            return None
        body, mac = raw[:18], raw[18:]
        if len(raw) != 18 + _MAC or not hmac.compare_digest(mac, self._mac(body)):
            return None
        return body[:16].hex(), int.from_bytes(body[16:], "big")

    def _mac(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, digest_size=_MAC, key=self._secret, person=b"bounce-address").digest()
