"""Webhooks: a durable fan-out against a bare loop over the same library, and against Debian's Alertmanager.

Alertmanager keeps nothing on disk before it answers; ours is durable from the release to the last outcome. Both send
1,000 alerts to 1,000 receivers of one process, in turn. Where its package cannot be had, there is no figure.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec

from domain.people import Channel
from infra.runtime import Runtime
from notifiers.channel import LINK as PLACE
from notifiers.webhook import WebhookNotifier, WebhookSettings, body_of
from tests.bench.durable import LINK, REQUESTS, compared, rendered, spread
from tests.bench.figures import ROOT, Figure, figure
from tests.bench.report import NoPeer
from tests.bench.rig import fan_out, folder, installation

ALERTS = 1000
ROUNDS = 5
SECRET = "whsec_" + "QUJD" * 11
PACKAGE = "prometheus-alertmanager"
CACHE = Path(tempfile.gettempdir()) / "fenghuo-bench-alertmanager"


class Sink(msgspec.Struct):
    url: str
    said: asyncio.StreamReader
    seen: int = 0

    def address(self, n: int) -> dict[str, dict[str, str]]:
        return {"webhook": {"url": f"{self.url}/hooks/{n}", "secret": SECRET}}

    async def got(self, number: int) -> int:
        """When the last of so many more requests came (monotonic, nanoseconds), once nothing more comes."""
        async with asyncio.timeout(60):
            while True:
                told = json.loads(await self.said.readline())
                if told["total"] >= self.seen + number:
                    self.seen = told["total"]
                    return int(told["last"])


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.hooks", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = json.loads(await process.stdout.readline())["port"]
        yield Sink(f"http://127.0.0.1:{port}", process.stdout)
    finally:
        process.kill()
        await process.wait()


def _notifier(to: Sink) -> WebhookNotifier:
    return WebhookNotifier(WebhookSettings(allowed_origins=frozenset({to.url}), concurrency=REQUESTS))


async def durable() -> Figure:
    async with sink() as to:
        body = body_of(rendered()).replace(PLACE.encode(), LINK.encode())
        connector = aiohttp.TCPConnector(limit=REQUESTS)
        headers = {"Content-Type": "application/json"}
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:

            async def one(n: int) -> None:
                async with http.post(f"{to.url}/hooks/{n}", data=body, headers=headers) as answer:
                    await answer.read()

            return await compared(
                "webhook.durable",
                Channel.WEBHOOK,
                _notifier(to),
                lambda: spread(REQUESTS, one),
                to.address,
                allowed_origins=frozenset({to.url}),
            )


async def vs_alertmanager() -> Figure:
    """`ceiling` is the peer's figure. Raises NoPeer."""
    program = _alertmanager()
    async with sink() as to:
        with folder() as path, _running(program, path, to) as peer:
            notifier = _notifier(to)
            async with (
                aiohttp.ClientSession() as http,
                installation(
                    Channel.WEBHOOK, ALERTS, {Channel.WEBHOOK: notifier}, to.address, frozenset({to.url})
                ) as runtime,
            ):
                await _ready(http, peer)
                pairs = []
                for n in range(ROUNDS + 1):
                    theirs = await _theirs(http, peer, to, n)
                    rate = await _ours(runtime, to)
                    if n:  # the first warms up
                        pairs.append((rate, theirs))
    return figure("webhook.vs_alertmanager", "alerts/s", pairs)


async def _ours(runtime: Runtime, to: Sink) -> float:
    """From the release to the last outcome durable, in the views and in the receivers' hands."""
    rate = await fan_out(runtime, ALERTS)
    await to.got(ALERTS)
    return rate


async def _theirs(http: aiohttp.ClientSession, peer: str, to: Sink, n: int) -> float:
    """From posting the alerts to the last receipt."""
    now = datetime.now(UTC).isoformat()
    words = rendered()
    alerts = [
        {
            "labels": {"alertname": "flood", "station": str(i), "round": str(n)},
            "annotations": {"summary": words.subject, "description": words.text},
            "startsAt": now,
        }
        for i in range(ALERTS)
    ]
    body = msgspec.json.encode(alerts)
    began = time.monotonic_ns()
    async with http.post(f"{peer}/api/v2/alerts", data=body, headers={"Content-Type": "application/json"}) as answer:
        if answer.status != 200:
            raise AssertionError(await answer.text())
    last = await to.got(ALERTS)
    return ALERTS / ((last - began) / 1e9)


def _alertmanager() -> Path:
    """The program of Debian's package, unpacked into a cache folder. Raises NoPeer."""
    program = CACHE / "usr" / "bin" / PACKAGE
    if program.exists():
        return program
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise NoPeer(f"{PACKAGE} is taken from Debian, and this is none")
    CACHE.mkdir(exist_ok=True)
    try:
        subprocess.run(["apt-get", "download", PACKAGE], cwd=CACHE, check=True, capture_output=True, timeout=120)
        (package,) = CACHE.glob(f"{PACKAGE}_*.deb")
        subprocess.run(["dpkg", "-x", package.name, "."], cwd=CACHE, check=True, capture_output=True, timeout=120)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise NoPeer(f"{PACKAGE} cannot be had: {type(error).__name__}") from error
    return program


@contextmanager
def _running(program: Path, path: Path, to: Sink) -> Iterator[str]:
    """Alertmanager on loopback, alone, with a receiver for each station; its address."""
    routes = [
        {"receiver": f"r{n}", "matchers": [f'station="{n}"'], "group_by": ["station", "round"], "group_wait": "0s"}
        for n in range(ALERTS)
    ]
    config = {
        "route": {
            "receiver": "none", "group_wait": "0s", "group_interval": "1h", "repeat_interval": "24h", "routes": routes
        },
        "receivers": [
            {"name": "none"},
            *(
                {"name": f"r{n}", "webhook_configs": [{"url": f"{to.url}/hooks/{n}", "send_resolved": False}]}
                for n in range(ALERTS)
            ),
        ],
    }  # fmt: skip
    (path / "alertmanager.yml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # The program reads a template at a fixed path of the package; a mount of its own puts it there.
    command = [
        "unshare", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"',
        str(CACHE / "usr" / "share"), str(program), f"--config.file={path / 'alertmanager.yml'}",
        f"--storage.path={path / 'data'}", f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
        "--log.level=error",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


async def _ready(http: aiohttp.ClientSession, peer: str) -> None:
    try:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"{peer}/-/ready") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise NoPeer(f"{PACKAGE} does not start here") from None
