"""The receiver's code in docs/webhooks.md, run against what the channel sends."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from conftest import deliveries, rendered

from infra.sandbox.server import SandboxServer
from notifiers.webhook import WebhookNotifier, WebhookSettings

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
SECRET = "whsec_" + "QUJD" * 11


def snippet() -> Any:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    space: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), space)
    return space["genuine"]


async def test_the_code_of_the_page_takes_what_we_send_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine, got = snippet(), []

    async def take(request: web.Request) -> web.Response:
        got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response()

    server = SandboxServer("127.0.0.1", 0)
    server.app.router.add_post("/x", take)
    await server.start()
    notifier = WebhookNotifier(WebhookSettings(allowed_origins=frozenset({server.url})))
    await notifier.send(rendered(text="长" * 5000), deliveries([{"url": f"{server.url}/x", "secret": SECRET}]))
    await notifier.close()
    await server.stop()
    ((headers, body),) = got
    assert genuine(SECRET, headers, body)
    assert genuine(SECRET, {**headers, "webhook-signature": f"v1,AAAA {headers['webhook-signature']}"}, body)
    assert not genuine("whsec_" + "QUJE" * 11, headers, body)
    assert not genuine(SECRET, headers, body + b" ")
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        assert not genuine(SECRET, {**headers, name: ""}, body)
        assert not genuine(SECRET, {**headers, name: "1"}, body)
    later = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: later)
    assert not genuine(SECRET, headers, body)
