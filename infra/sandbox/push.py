"""A push service on loopback with browsers behind it: takes RFC 8030 requests, checks VAPID, decrypts what came."""

from __future__ import annotations

import base64
import re
import secrets
import time
from datetime import UTC, datetime
from typing import Any

import http_ece
import msgspec
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import jwt

from infra.sandbox.behaviour import Behaviour, Script
from infra.sandbox.server import SandboxServer, refusal
from infra.sandbox.tally import Tally

LARGEST = 4096  # bytes of a request's body (RFC 8030 section 7.2)
LONGEST_TOKEN_S = 24 * 3600  # RFC 8292 section 2
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_VAPID = re.compile(r"vapid t=([A-Za-z0-9_.-]+), ?k=([A-Za-z0-9_-]+)")


class PushMessage(msgspec.Struct, frozen=True):
    """What a browser would have shown. `token` is the VAPID header that came with it."""

    subscription: str
    payload: bytes
    ttl_s: int
    urgency: str
    topic: str
    token: str
    at: datetime

    def data(self) -> dict[str, Any]:
        """The payload's JSON."""
        decoded: dict[str, Any] = msgspec.json.decode(self.payload)
        return decoded


class SandboxPush(SandboxServer):
    """The service. With `discard` any endpoint is known and nothing is decrypted."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, discard: bool = False, count: bool = False) -> None:
        super().__init__(host, port)
        self.tally: Tally[PushMessage] = Tally(discard=discard, count=count)
        self.script = Script()
        self._discard = discard
        self._browsers: dict[str, tuple[ec.EllipticCurvePrivateKey, bytes]] = {}
        self.app.router.add_post("/push/{id}", self._take)
        self.app.router.add_post("/subscribe", self._subscribe)

    @property
    def messages(self) -> list[PushMessage]:
        return self.tally.messages

    def sent_to(self, subscription: dict[str, Any]) -> list[PushMessage]:
        return [message for message in self.tally.messages if message.subscription == _id(subscription)]

    def behave(self, subscription: dict[str, Any], behaviour: Behaviour) -> None:
        self.script.behave(_id(subscription), behaviour)

    def subscribe(self) -> dict[str, Any]:
        """A new browser's subscription, as `PushSubscription.toJSON()` gives it."""
        key, secret, name = ec.generate_private_key(ec.SECP256R1()), secrets.token_bytes(16), secrets.token_urlsafe(16)
        self._browsers[name] = (key, secret)
        public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {
            "endpoint": f"{self.url}/push/{name}",
            "expirationTime": None,
            "keys": {"p256dh": _encode(public), "auth": _encode(secret)},
        }

    async def _subscribe(self, _: web.Request) -> web.Response:
        body = msgspec.json.encode(self.subscribe())
        return web.Response(status=201, body=body, content_type="application/json")

    async def _take(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        content = await request.read()
        if self._discard:
            self.tally.add(name, PushMessage(name, b"", 0, "", "", "", datetime.now(UTC)))
            return self._created()
        if name not in self._browsers:
            return web.Response(status=404)
        behaviour = self.script.next(name)
        if (refused := refusal(behaviour)) is not None:
            return refused
        token = request.headers.get("Authorization", "")
        problem = self._problem(request, token, content)
        if problem:
            return web.Response(status=problem)
        key, secret = self._browsers[name]
        try:
            payload = http_ece.decrypt(  # type: ignore[no-untyped-call]
                content, private_key=key, auth_secret=secret, version="aes128gcm"
            )
        except (http_ece.ECEException, ValueError):
            return web.Response(status=400)
        self.tally.add(
            name,
            PushMessage(
                name,
                payload,
                int(request.headers["TTL"]),
                request.headers.get("Urgency", "normal"),
                request.headers.get("Topic", ""),
                token,
                datetime.now(UTC),
            ),
        )
        if (broken := await self.broken(request, behaviour)) is not None:
            return broken
        return self._created()

    def _created(self) -> web.Response:
        return web.Response(status=201, headers={"Location": f"{self.url}/message/{secrets.token_hex(8)}"})

    def _problem(self, request: web.Request, token: str, content: bytes) -> int:
        """The HTTP status for what is wrong with a request, 0 for nothing."""
        headers = request.headers
        if not headers.get("TTL", "").isdigit() or headers.get("Content-Encoding") != "aes128gcm":
            return 400
        if "Topic" in headers and not _TOPIC.fullmatch(headers["Topic"]):
            return 400
        if len(content) > LARGEST:
            return 413
        parts = _VAPID.fullmatch(token)
        if parts is None:
            return 401
        try:
            claims = jwt.decode(parts.group(1), parts.group(2))  # type: ignore[no-untyped-call]
        except InvalidSignature:
            return 403
        now = time.time()
        if claims.get("aud") != self.url or not now < claims.get("exp", 0) <= now + LONGEST_TOKEN_S:
            return 403
        return 0


def _id(subscription: dict[str, Any]) -> str:
    return str(subscription["endpoint"]).rpartition("/")[2]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
