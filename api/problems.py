"""Errors as problem details (RFC 9457): `application/problem+json`, each with the stable code as its type."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from domain.errors import (
    FenghuoError,
    InvalidInput,
    NotFound,
    NotPermitted,
    NotSignedIn,
    Refused,
    UnknownEvent,
    Unreachable,
    VersionConflict,
)

STATUS: dict[type[FenghuoError], int] = {
    InvalidInput: 422,
    NotSignedIn: 401,
    NotPermitted: 403,
    NotFound: 404,
    Refused: 409,
    VersionConflict: 412,
    Unreachable: 503,
    UnknownEvent: 503,  # a process of the newer program may answer
}
TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not permitted",
    404: "Not found",
    405: "Method not allowed",
    409: "Refused by a rule",
    412: "Somebody else was first",
    413: "Too large",
    415: "Unsupported media type",
    422: "Invalid input",
    500: "Internal error",
    503: "Not available",
}


class Problem(JSONResponse):
    """A problem document. What UTF-8 cannot hold (half of a surrogate pair that somebody sent) is written as "?", since
    a refusal must not fail itself."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def status_of(error: FenghuoError) -> int:
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)


def problem(status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    """A problem document. `type` is a URN of the code, so it never has to resolve to anything."""
    body = {
        "type": f"urn:fenghuo:problem:{code}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "code": code,
        "detail": detail,
        **more,
    }
    return Problem(body, status, headers=headers)


def internal() -> JSONResponse:
    """What is said of an error that nobody foresaw."""
    return problem(500, "internal", "Something went wrong here; it was logged.")


def install(app: FastAPI) -> None:
    """Makes every error of the API a problem document; what was not foreseen says nothing of its inside."""

    @app.exception_handler(FenghuoError)
    async def ours(_: Request, error: FenghuoError) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, NotSignedIn) else None
        more = {"remedy": error.remedy} if error.remedy else {}
        return problem(status_of(error), error.code, error.message, headers=headers, **more)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # The values themselves are left out: they may be personal.
        wrong = [{"at": ".".join(str(p) for p in e["loc"]), "what": e["msg"]} for e in error.errors()[:20]]
        return problem(422, "request.invalid", "The request does not have the form that it should.", errors=wrong)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        code = "request.too_large" if error.status_code == 413 else f"http.{error.status_code}"
        return problem(error.status_code, code, str(error.detail), headers=headers)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, __: Exception) -> JSONResponse:
        return internal()
