"""Static files: named with a hash of their content, so that browsers may keep them for good."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

FOLDER: Final = Path(__file__).parent / "static"
PREFIX: Final = "/console/static"
FOREVER: Final = "public, max-age=31536000, immutable"


@cache
def _digest(name: str, _changed_at: int) -> str:
    return hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:16]


def _version(name: str) -> str:
    return _digest(name, (FOLDER / name).stat().st_mtime_ns)


def url(name: str) -> str:
    """Where the page finds static file `name` (`console.css`, `vendor/htmx.min.js`). Raises FileNotFoundError."""
    return f"{PREFIX}/{name}?v={_version(name)}"


class Assets:
    """Serves FOLDER and nothing else: StaticFiles refuses every path that leads out of it."""

    def __init__(self) -> None:
        self._files = StaticFiles(directory=FOLDER, follow_symlink=False)

    async def serve(self, path: str, request: Request) -> Response:
        if any(part.startswith(".") for part in path.split("/")):
            raise HTTPException(404)
        response = await self._files.get_response(path, request.scope)
        asked = request.query_params.get("v")
        fresh = response.status_code in {200, 304} and asked is not None and asked == _version(path)
        # A page from before an upgrade asks for an older hash: it gets the file there is, but may not keep it.
        response.headers["Cache-Control"] = FOREVER if fresh else "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
