"""The recipient's own link: `/a/<token>`, where the token names one delivery and proves that we made it.

A token is a shard id (16 bytes), a recipient's index (2) and 12 bytes of keyed BLAKE2b, in base64url: 40 characters,
short enough for a text message. It tells nothing about the person.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from domain.errors import NotFound
from domain.people import Channel

_MAC = 12
CALLED_BACK = frozenset({Channel.SMS, Channel.VOICE})
"""Channels whose providers call us back."""


class Links:
    """Makes and reads links under one public address, e.g. `https://warn.example`."""

    def __init__(self, public_url: str, secret: bytes) -> None:
        self.public_url = public_url.rstrip("/")
        self._secret = secret

    def link(self, shard_id: str, index: int) -> str:
        return f"{self.public_url}/a/{self.token(shard_id, index)}"

    def callback(self, shard_id: str, index: int, channel: Channel = Channel.SMS) -> str:
        """Where the provider reports on a message, or asks what to say in a call; empty where it does neither."""
        if channel not in CALLED_BACK:
            return ""
        return f"{self.public_url}/callbacks/{channel.value}/{shard_id}/{index}"

    def token(self, shard_id: str, index: int) -> str:
        body = bytes.fromhex(shard_id) + index.to_bytes(2, "big")
        return base64.urlsafe_b64encode(body + self._mac(body)).decode()

    def read(self, token: str) -> tuple[str, int]:
        """The (shard id, index) of a token. Raises NotFound for any that we did not make."""
        try:
            raw = base64.urlsafe_b64decode(token)
        except (binascii.Error, ValueError):
            raw = b""
        body, mac = raw[:18], raw[18:]
        if len(raw) != 18 + _MAC or not hmac.compare_digest(mac, self._mac(body)):
            raise NotFound("link.unknown", "This link is not one of ours.", "Check that it is complete.")
        return body[:16].hex(), int.from_bytes(body[16:], "big")

    def _mac(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, digest_size=_MAC, key=self._secret, person=b"answer-link").digest()
