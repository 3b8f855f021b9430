"""Who is asking: a bearer token (API) or a session cookie (console), each bound to a person and so to their grants."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated

import structlog
from fastapi import Depends, Header
from starlette.requests import Request

from api.commands import Actor, Once
from api.services import Services
from domain.errors import InvalidInput, NotSignedIn
from domain.grants import Token, TokenKind

COOKIE = "fenghuo_session"
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_CORRELATION = re.compile(r"[A-Za-z0-9._-]{1,80}")
_ETAG = re.compile(r'"?v(\d{1,9})"?')


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


# Dependencies are coroutines also where nothing is waited for: others are each called in a thread of their own.
async def _services(request: Request) -> Services:
    return services(request)


S = Annotated[Services, Depends(_services)]


def _bearer(request: Request) -> str | None:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret.strip() else None


def token(request: Request, s: Services) -> Token:
    """The credential of an API request. Raises NotSignedIn without a valid bearer token."""
    secret = _bearer(request)
    if secret is None:
        raise NotSignedIn("token.missing", "No bearer token was sent.", "Send Authorization: Bearer ….")
    return s.registry.token_of(secret, TokenKind.BEARER)


async def actor(request: Request, s: S) -> Actor:
    """The actor of an API request. Raises NotSignedIn without a valid bearer token."""
    by = token(request, s)
    return Actor(person_id=by.person_id, correlation_id=correlation(s), grant_id=by.grant_id)


def session_person(request: Request, s: Services) -> str:
    """The person of a console session. Raises NotSignedIn without a valid cookie."""
    secret = request.cookies.get(COOKIE)
    if not secret:
        raise NotSignedIn("session.missing", "You are not signed in.", "Open a new login link.")
    return s.registry.token_of(secret, TokenKind.SESSION).person_id


def sent_correlation(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The caller's X-Correlation-Id where it is a plain word."""
    sent = next((value for name, value in headers if name == b"x-correlation-id"), b"").decode("latin-1")
    return sent if _CORRELATION.fullmatch(sent) else None


def correlation(s: Services) -> str:
    """The id under which all of the present request is written down, in the log and in the program's own lines."""
    found = structlog.contextvars.get_contextvars().get("correlation_id")
    return str(found) if found else s.new_id()


A = Annotated[Actor, Depends(actor)]


async def once(
    request: Request, key: Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)] = None
) -> Once | None:
    """The idempotency key of a request with a fingerprint of what it asks for; None where it has none."""
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidInput("command.key", "An idempotency key is 1 to 200 visible ASCII characters.")
    asked = hashlib.sha256(f"{request.method} {request.scope['path']}\n".encode() + await request.body())
    return Once(key=key, fingerprint=asked.hexdigest())


O_ = Annotated[Once | None, Depends(once)]


async def expected_version(if_match: Annotated[str | None, Header(alias="If-Match")] = None) -> int | None:
    """The version that the caller saw, from `If-Match: "v3"`; None where nothing was said."""
    if if_match is None or if_match.strip() == "*":
        return None
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise InvalidInput("version.etag", 'If-Match looks like "v3".', "Send the ETag that you were given.")
    return int(match[1])


V = Annotated[int | None, Depends(expected_version)]
