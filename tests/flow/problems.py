"""How a refusal of the API looks: problem details (RFC 9457)."""

from __future__ import annotations

from typing import Any

import httpx


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document, after its form has been looked at."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    said: dict[str, Any] = answer.json()
    assert (said["status"], said["code"], said["type"]) == (status, code, f"urn:fenghuo:problem:{code}")
    assert isinstance(said["title"], str) and said["title"] != "Error"
    assert isinstance(said["detail"], str) and said["detail"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    return said


def denied(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()["code"]) == (403, "permission.denied")
