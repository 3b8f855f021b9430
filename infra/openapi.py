"""Writes the description of the HTTP API, in OpenAPI: `python -m infra.openapi FILE` (`make openapi`)."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec

from infra import wiring
from infra.config import Settings
from infra.runtime import Runtime
from infra.stores import Stores


async def description() -> bytes:
    """The document as JSON, the same bytes each time. Nothing is served; the stores are empty and soon gone."""
    with tempfile.TemporaryDirectory(prefix="fenghuo-openapi-") as name:
        folder = Path(name)
        async with Stores(folder) as stores:
            app = wiring.application(Settings(data_dir=folder), stores, Runtime(stores, {}, "http://127.0.0.1"))
            return msgspec.json.format(msgspec.json.encode(app.openapi(), order="sorted")) + b"\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(asyncio.run(description()))
