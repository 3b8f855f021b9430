"""Takes the pictures of README.md into docs/img: `make screenshot`.

The demo runs as it always does; a browser watches the console. console.png is the warning's page while it goes through
the tree, phone.png what one recipient's own link opens.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from datetime import timedelta
from pathlib import Path

import aiohttp
from playwright.async_api import Browser, Page, async_playwright

from domain.grants import TokenKind
from domain.people import Channel
from domain.shards import Circle, ShardPlanned
from infra import logs
from infra.cli.common import run_loop
from infra.config import OwnSettings
from infra.demo.crowd import Crowd, Order
from infra.demo.run import ANSWERS, SLEEPER, STAFF, Demo
from infra.demo.setup import SETUP
from infra.serve import Serving, serving
from infra.stores import Stores

IMAGES = Path(__file__).parents[2] / "docs" / "img"
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
CONSOLE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
THROUGH = 0.6  # of the nodes have relayed when the picture is taken: the rest shows the other states


class Pictured(Demo):
    """The demo up to the moment of the picture."""

    async def take(self) -> None:
        async with (
            async_playwright() as playwright,
            Crowd() as crowd,
            Stores(self.settings.data_dir) as stores,
            serving(crowd.settings(self.settings), stores) as live,
        ):
            cast = await self._load(live, crowd)
            order = Order(
                what="answer",
                inbound_url=f"{live.url}/callbacks/sms/inbound",
                staff=cast.addresses(lambda p: p.role in STAFF),
                asleep=cast.addresses(lambda p: p.role in STAFF and p.node == SLEEPER),
                answers=ANSWERS,
            )
            await crowd.answer(order)
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = await self._signed_in(browser, live, cast.officers[0])
            tokens = [await self._token(stores, officer) for officer in cast.officers[:2]]
            async with aiohttp.ClientSession(live.url) as http:
                warning_id = await self._issue(http, tokens)
            await page.goto(f"{live.url}/console/warnings/{warning_id}?lang=zh", wait_until="load")
            await self._lit(live, warning_id)
            await page.wait_for_timeout(1500)
            await page.screenshot(path=IMAGES / "console.png")
            phone = await browser.new_page(viewport=PHONE, device_scale_factor=2, locale="zh-CN")
            await phone.goto(self._link(live, warning_id), wait_until="load")
            await phone.screenshot(path=IMAGES / "phone.png")
            await browser.close()

    async def _signed_in(self, browser: Browser, live: Serving, person_id: str) -> Page:
        secret = secrets.token_urlsafe(32)
        await live.stores.registry.issue_token(person_id, TokenKind.LOGIN_LINK, secret, timedelta(hours=1), SETUP)
        page = await browser.new_page(viewport=CONSOLE, locale="zh-CN", timezone_id="Asia/Shanghai")
        page.set_default_timeout(120_000)  # ms; the machine is busy with the warning itself
        await page.goto(f"{live.url}/login/{secret}")
        await page.get_by_role("button").first.click()
        await page.wait_for_url("**/console")
        return page

    async def _lit(self, live: Serving, warning_id: str) -> None:
        async with asyncio.timeout(180):
            while True:
                with live.stores.views.reading() as db:
                    rows = live.stores.views.tree.rows(db, warning_id).values()
                    help_asked = live.stores.views.tree.totals(db, warning_id)["help"]
                relayed = sum(row["relayed_at"] is not None for row in rows)
                if rows and relayed >= THROUGH * len(rows) and help_asked:
                    return
                await asyncio.sleep(0.1)

    def _link(self, live: Serving, warning_id: str) -> str:
        """The link of the first citizen who is told in Chinese by text message."""
        for recorded in live.stores.log.read_now(0, 100_000):
            match recorded.event:
                case ShardPlanned(
                    circle=Circle.PEOPLE, channel=Channel.SMS, language="zh", warning_id=told, shard_id=shard_id
                ) if told == warning_id:
                    return live.runtime.links.link(shard_id, 0)
        raise AssertionError("nobody was told in Chinese")


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    logs.configure(level="error", as_json=False)
    with tempfile.TemporaryDirectory(prefix="fenghuo-picture-") as folder:
        run_loop(Pictured(OwnSettings(data_dir=Path(folder), port=0), people=2000, stay=False).take())


if __name__ == "__main__":
    main()
