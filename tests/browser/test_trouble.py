"""What the console says when the server does not answer, or knows its reader no more."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from playwright.async_api import Browser, Route, expect
from starlette.requests import Request

from api.pages.live import Hub
from api.pages.model import Who
from api.pages.routes import console
from domain.errors import NotSignedIn
from tests.browser.fakes import DUTY, Memory, application, serving
from tests.browser.watched import Watched, live

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("fault", ["not reached", "silent"])
@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("zh", ("服务器没有响应。", "无法确认此操作是否已完成：请先核对，再重试。")),
        ("en", ("The server did not answer.", "It is not known whether this was done: look before you try again.")),
    ],
)
async def test_what_was_sent_and_not_answered_is_said_until_it_is_answered(
    watched: Watched, url: str, memory: Memory, lang: str, words: tuple[str, str], fault: str
) -> None:
    page = watched.page
    await page.goto(f"{url}/console/warnings/w-draft?lang={lang}")
    await live(page)
    assert await page.evaluate("htmx.config.timeout") == 45_000
    await page.evaluate("htmx.config.timeout = 300")

    async def unanswered(route: Route) -> None:
        if fault == "not reached":
            await route.abort()

    await page.route("**/release", unanswered)
    await page.locator("#release").click()
    alert = page.locator("#problem-release [role=alert]")
    for said in words:
        await expect(alert).to_contain_text(said)
    await expect(alert).to_be_visible()
    await expect(page.locator("#release")).to_be_enabled()
    assert memory.calls == []

    await page.unroute("**/release")
    memory.lines["w-draft"] = memory.add_warning("w-draft", "draft", drafted_by="值班员 陈晓")
    await page.locator("#release").click()
    await expect(page.locator("#problem-release")).to_contain_text("warning.second_person")
    await expect(page.locator("#problem-release [role=alert]")).to_have_count(1)
    await expect(page.locator("#problem-release")).not_to_contain_text(words[0])
    watched.faults[:] = [
        one for one in watched.faults if not any(word in one for word in ("ERR_FAILED", "409", "[object "))
    ]


@pytest.mark.parametrize(
    ("lang", "state", "words"),
    [
        ("zh", "登录已失效", ("登录已失效，请重新登录。", "请打开新的登录链接；在此之前，本页内容不再更新。")),
        (
            "en",
            "Signed out",
            ("Your session has ended: sign in again.", "Open a new login link. Until then nothing on this page is up"),
        ),
    ],
)
async def test_a_session_that_has_ended_is_said_until_one_is_signed_in_again(
    browser: Browser, memory: Memory, lang: str, state: str, words: tuple[str, str]
) -> None:
    hub = Hub(memory, heartbeat_s=0.2)
    signed_in = True

    def current(_: Request) -> Who:
        if not signed_in:
            raise NotSignedIn("session.missing", "You are not signed in.", "Open a new login link.")
        return DUTY

    app = FastAPI()
    app.include_router(console(memory, memory, current, hub=hub))
    page = await browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    async with serving(app, hub) as url:
        await page.goto(f"{url}/console/warnings/w-1?lang={lang}")
        await live(page)
        await expect(page.locator("#signed-out")).to_be_hidden()
        signed_in = False  # the next heartbeat ends the stream
        async with page.expect_response(lambda got: got.url.endswith("/session") and got.status == 401):
            pass
        for said in words:
            await expect(page.locator("#signed-out")).to_contain_text(said)
        await expect(page.locator("#signed-out")).to_be_in_viewport()
        await expect(page.locator("#live")).to_have_text(state)
        async with page.expect_response(lambda got: "/stream" in got.url and got.status == 401):
            pass  # it tries again, and says the same
        await expect(page.locator("#live")).to_have_text(state)
        assert asked.count("/console/session") == 1
        signed_in = True
        await live(page)
        await expect(page.locator("#signed-out")).to_be_hidden()
        await page.close()


async def test_a_server_that_is_away_is_no_session_that_has_ended(browser: Browser, memory: Memory) -> None:
    page, hub = await browser.new_page(locale="en"), Hub(memory)
    async with serving(application(memory, hub=hub), hub) as url:
        await page.goto(f"{url}/console/warnings/w-1")
        await live(page)
    await expect(page.locator("#live")).to_have_text("Reconnecting")
    await expect(page.locator("#signed-out")).to_be_hidden()
    await page.close()
