"""Where the program listens, and the address that it gives of itself."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from infra.config import Settings
from infra.serve import serving
from infra.stores import Stores


def six() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not six(), reason="this machine has no IPv6")
@pytest.mark.parametrize(("host", "asked"), [("::", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")])
async def test_it_serves_at_an_address_of_version_6(tmp_path: Path, host: str, asked: str) -> None:
    settings = Settings(data_dir=tmp_path, host=host, port=0, sandbox=True)
    async with Stores(tmp_path) as stores, serving(settings, stores) as live:
        port = live.url.rpartition(":")[2]
        assert live.url == live.own_url == f"http://[{host}]:{port}"
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://{asked}:{port}/healthz")).status_code == 200


def test_the_address_that_links_lead_to_is_one(tmp_path: Path) -> None:
    known = {host: Settings(host=host, port=8080).reached_at() for host in ("127.0.0.1", "localhost", "fd00::1")}
    assert known == {
        "127.0.0.1": "http://127.0.0.1:8080", "localhost": "http://localhost:8080", "fd00::1": "http://[fd00::1]:8080",
    }  # fmt: skip
    assert Settings(host="::", public_url="https://warn.example/").reached_at(1) == "https://warn.example"
