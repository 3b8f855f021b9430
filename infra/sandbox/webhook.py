"""A receiver of webhooks on loopback: many receivers behind one port, each with a secret that is checked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from infra.sandbox.behaviour import Behaviour, Script
from infra.sandbox.server import SandboxServer, refusal
from infra.sandbox.tally import Tally

TOLERANCE_S = 300  # how far a timestamp may be from now


class Hook(msgspec.Struct, frozen=True):
    """What a receiver got, its signature found good."""

    receiver: str
    message_id: str
    body: bytes
    at: datetime

    def data(self) -> dict[str, Any]:
        decoded: dict[str, Any] = msgspec.json.decode(self.body)
        return decoded


class SandboxWebhook(SandboxServer):
    """The receivers. A request that is not signed by its receiver's secret gets 401."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(host, port)
        self.tally: Tally[Hook] = Tally()
        self.script = Script()
        self._secrets: dict[str, bytes] = {}
        self.app.router.add_post("/hooks/{id}", self._take)

    @property
    def messages(self) -> list[Hook]:
        return self.tally.messages

    def sent_to(self, address: dict[str, str]) -> list[Hook]:
        return [hook for hook in self.tally.messages if hook.receiver == _id(address)]

    def behave(self, address: dict[str, str], behaviour: Behaviour) -> None:
        self.script.behave(_id(address), behaviour)

    def receiver(self) -> dict[str, str]:
        """A new receiver's address."""
        name, secret = secrets.token_urlsafe(12), secrets.token_bytes(32)
        self._secrets[name] = secret
        return {"url": f"{self.url}/hooks/{name}", "secret": "whsec_" + base64.b64encode(secret).decode()}

    async def _take(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        body = await request.read()
        secret = self._secrets.get(name)
        if secret is None:
            return web.Response(status=404)
        behaviour = self.script.next(name)
        if (refused := refusal(behaviour)) is not None:
            return refused
        if not _genuine(request, secret, body):
            return web.Response(status=401)
        self.tally.add(name, Hook(name, request.headers["webhook-id"], body, datetime.now(UTC)))
        if (broken := await self.broken(request, behaviour)) is not None:
            return broken
        return web.Response(status=204)


def _genuine(request: web.Request, secret: bytes, body: bytes) -> bool:
    """As a receiver checks it: the words of docs/webhooks.md, not the sender's code."""
    message_id, at = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
    if not at.isdigit() or abs(time.time() - int(at)) > TOLERANCE_S:
        return False
    wanted = base64.b64encode(hmac.new(secret, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest())
    signatures = request.headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(s.encode(), b"v1," + wanted) for s in signatures)


def _id(address: dict[str, str]) -> str:
    return address["url"].rpartition("/")[2]
