"""Standard Webhooks 1.0: a receiver's secret, and the signature that it knows a message by."""

from __future__ import annotations

import base64
import binascii
import hmac

SECRET_PREFIX = "whsec_"  # noqa: S105  how a secret begins, not one
LEAST_SECRET, MOST_SECRET = 24, 64  # bytes, as the specification asks
PIECE = 2000  # bytes hashed at once; for 2,048 and more hashlib gives the interpreter's lock away, which costs a wait


def secret_of(text: object) -> bytes:
    """The bytes of a receiver's secret, `whsec_` and base64. Raises ValueError; its text never quotes the secret."""
    if not isinstance(text, str) or not text.startswith(SECRET_PREFIX) or len(text) > 200:
        raise ValueError("not a webhook secret")
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not a webhook secret") from None
    if not LEAST_SECRET <= len(secret) <= MOST_SECRET:
        raise ValueError("not a webhook secret")
    return secret


def signature(secret: bytes, message_id: str, at: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`."""
    signing = hmac.new(secret, f"{message_id}.{at}.".encode(), "sha256")
    for start in range(0, len(body), PIECE):
        signing.update(body[start : start + PIECE])
    return "v1," + base64.b64encode(signing.digest()).decode()
