"""The program ends well, and says in one line why it cannot begin; a full disk costs nothing that was accepted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from domain.ids import warning_stream
from domain.outcomes import Outcome
from domain.shards import ChunkIntended, ChunkRecorded
from domain.warnings import WarningDrafted
from infra.stores import Stores
from tests.ports import free_port

from .installation import Installation, draft, install
from .process import Sandbox, Serve, fenghuo, sandbox

PEOPLE = 400
ROOM = 512 * 1024  # bytes left on the small disk: for some drafts, not for many
DRAIN_S = 45.0  # ten seconds for open requests, thirty for what is being sent, and some to end


@pytest.fixture
async def providers() -> AsyncIterator[Sandbox]:
    async with sandbox("--count") as running:
        yield running


async def _installed(folder: Path, providers: Sandbox, people: int = PEOPLE) -> Installation:
    async with aiohttp.ClientSession() as http, http.post(f"{providers.ready['push']}/subscribe") as answer:
        subscription = await answer.json(content_type=None)
    return await install(folder, people, subscribe=lambda: subscription)


def _settings(installed: Installation, providers: Sandbox, port: int) -> dict[str, str]:
    return {
        **providers.settings(),
        "FENGHUO_DATA_DIR": str(installed.folder),
        "FENGHUO_PORT": str(port),
        "FENGHUO_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }


def _bearer(installed: Installation, which: int = 0) -> dict[str, str]:
    return {"Authorization": f"Bearer {installed.tokens[which]}"}


async def _post(http: aiohttp.ClientSession, path: str, installed: Installation, which: int, body: Any) -> Any:
    async with http.post(path, json=body, headers=_bearer(installed, which)) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()


async def _taken(http: aiohttp.ClientSession, providers: Sandbox, count: int) -> None:
    """Returns once the providers took so many messages in all."""
    async with asyncio.timeout(60):
        while sum(provider["total"] for provider in (await providers.stats(http)).values()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_sigterm_drains_with_readers_attached(tmp_path: Path, providers: Sandbox) -> None:
    """Readers of both streams, one that does not read, and a request that never ends do not keep it from exiting."""
    installed = await _installed(tmp_path / "data", providers)
    port = free_port()
    program = await Serve.start(_settings(installed, providers, port))
    try:
        await program.up()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            reader = await http.get("/v1/log/stream", params={"since": "0"}, headers=_bearer(installed))
            assert reader.status == 200
            assert await reader.content.readline()
            station = await http.get("/v1/live", headers=_bearer(installed))
            assert station.status == 200
            assert await station.content.readline()
            _, deaf = await asyncio.open_connection("127.0.0.1", port, limit=1)
            deaf.write(
                b"GET /v1/log/stream?since=0 HTTP/1.1\r\nHost: x\r\n"
                b"Authorization: Bearer " + installed.tokens[0].encode() + b"\r\n\r\n"
            )
            _, slow = await asyncio.open_connection("127.0.0.1", port)
            slow.write(b"POST /v1/warnings HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            await asyncio.gather(deaf.drain(), slow.drain())
            drafted = await _post(http, "/v1/warnings", installed, 0, draft())
            await _post(http, f"/v1/warnings/{drafted['id']}/release", installed, 1, {})
            await _taken(http, providers, 1)
            assert await program.stop(DRAIN_S) == 0, program.said
            for writer in (deaf, slow):
                writer.close()
    finally:
        await program.kill()
    assert not any("Traceback" in line for line in program.said), program.said
    async with Stores(installed.folder) as stores:
        recorded = [r.event for r in await stores.log.read(0, 100_000)]
    intended = sum(len(e.indices) for e in recorded if isinstance(e, ChunkIntended))
    rows = [row for e in recorded if isinstance(e, ChunkRecorded) for row in e.rows]
    assert intended == len(rows) > 0, "what was begun was recorded before the end"
    assert {row.outcome for row in rows} == {Outcome.ACCEPTED}


async def test_a_second_program_on_the_same_folder_is_told_so(tmp_path: Path, providers: Sandbox) -> None:
    installed = await _installed(tmp_path / "data", providers, 1)
    first = await Serve.start(_settings(installed, providers, free_port()))
    try:
        await first.up()
        second = await Serve.start(_settings(installed, providers, free_port()))
        assert await second.wait() == 4
        assert len(second.said) == 1, second.said
        assert "runtime.running" in second.said[0]
        assert await first.stop(DRAIN_S) == 0, first.said
    finally:
        await first.kill()


async def test_a_taken_port_is_named(tmp_path: Path, providers: Sandbox) -> None:
    installed = await _installed(tmp_path / "data", providers, 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = await Serve.start(_settings(installed, providers, port))
        assert await program.wait() == 4
    assert len(program.said) == 1, program.said
    assert "serve.port" in program.said[0]
    assert str(port) in program.said[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 16 MiB. Only root may mount one; CI runs as root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    asked = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not asked or asked.returncode:
        if os.environ.get("CI"):
            pytest.fail("a file system cannot be mounted here")
        pytest.skip("a full disk needs a file system of its own, and this user may not mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_loses_nothing_that_was_accepted(small_disk: Path, providers: Sandbox) -> None:
    """Commands are refused with 503 while the disk is full, the program stays, and goes on once there is room."""
    installed = await _installed(small_disk / "data", providers, 50)
    port = free_port()
    program = await Serve.start(_settings(installed, providers, port))
    accepted: dict[str, int] = {}
    try:
        await program.up()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            filler = small_disk / "filler"
            refused = await _draft_until_refused(http, installed, filler, accepted)
            assert refused["status"] == 503, refused
            assert refused["code"] == "log.write_failed", refused
            assert "full" in refused["detail"], refused
            assert program.process.returncode is None
            async with http.get("/healthz") as answer:
                assert answer.status == 200
            before = len(accepted)
            assert before > 0
            filler.unlink()
            async with asyncio.timeout(60):
                while len(accepted) < before + 5:
                    await _draft(http, installed, accepted)
            warning_id = next(reversed(accepted))
            await _released(http, installed, warning_id)
            await _taken(http, providers, 50)
        assert await program.stop(DRAIN_S) == 0, program.said
    finally:
        await program.kill()
    async with Stores(installed.folder) as stores:
        recorded = await stores.log.read(0, 100_000)
    drafted = {r.stream for r in recorded if isinstance(r.event, WarningDrafted)}
    assert {warning_stream(warning_id) for warning_id in accepted} <= drafted
    status, out, err = await fenghuo("log", "verify", folder=installed.folder)
    assert status == 0, out + err


async def _draft_until_refused(
    http: aiohttp.ClientSession, installed: Installation, filler: Path, accepted: dict[str, int]
) -> dict[str, Any]:
    """Leaves some room, then drafts until there is none."""
    await _draft(http, installed, accepted)
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
    with filler.open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - ROOM)
    async with asyncio.timeout(60):
        while True:
            refused = await _draft(http, installed, accepted)
            if refused is not None:
                return refused


async def _draft(
    http: aiohttp.ClientSession, installed: Installation, accepted: dict[str, int]
) -> dict[str, Any] | None:
    """One draft of some size: noted where it is accepted, else what was said."""
    body = draft()
    body["texts"][0]["description"] = "x" * 8000
    async with http.post("/v1/warnings", json=body, headers=_bearer(installed)) as answer:
        said: dict[str, Any] = await answer.json(content_type=None)
        if answer.status == 201:
            accepted[said["id"]] = said["position"]
            return None
        return said


async def _released(http: aiohttp.ClientSession, installed: Installation, warning_id: str) -> None:
    """Releases it; the views may take a moment to come back after there was no room for them."""
    async with asyncio.timeout(60):
        while True:
            path = f"/v1/warnings/{warning_id}/release"
            async with http.post(path, json={}, headers=_bearer(installed, 1)) as answer:
                if answer.status == 200:
                    return
                assert answer.status in (404, 503), await answer.text()
            await asyncio.sleep(0.2)
