"""What the console says when the server does not answer, or knows its reader no more."""

from __future__ import annotations

import pytest
from playwright.async_api import Route, expect

from tests.browser.fakes import Memory
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
