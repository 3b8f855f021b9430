"""Fixtures of the browser tests: one browser a module, and a console over plain memory that it looks at."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI
from playwright.async_api import Browser, async_playwright

from api.pages import answer
from api.pages.live import Hub
from domain.errors import NotFound
from tests.browser.fakes import Memory, application, serving
from tests.browser.watched import CHROMIUM, FLAGS, HAVE_CHROMIUM, Watched


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    if not HAVE_CHROMIUM:
        if os.environ.get("CI"):
            pytest.fail(f"{CHROMIUM} is missing, and in CI nothing is skipped")
        pytest.skip(f"{CHROMIUM} is missing")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        await started.close()


@pytest.fixture
def memory() -> Memory:
    made = Memory()
    made.fill()
    made.add_warning()
    made.add_warning("w-draft", "draft", drafted_by="林岚", level="orange")
    return made


@pytest_asyncio.fixture(loop_scope="module")
async def url(memory: Memory) -> AsyncIterator[str]:
    hub = Hub(memory)
    app = application(memory, hub=hub)
    public(app)
    async with serving(app, hub) as at:
        yield at


@pytest_asyncio.fixture(loop_scope="module")
async def watched(browser: Browser, url: str) -> AsyncIterator[Watched]:
    page = await browser.new_page(viewport={"width": 1440, "height": 900}, locale="zh-CN")
    made = Watched(page)
    yield made
    await page.close()
    assert made.faults == []


def public(app: FastAPI) -> None:
    """The recipient's page, as the caller of answer.py wires it."""

    @app.get("/a/{state}")
    async def page(state: str, lang: str = "zh") -> Any:
        body = answer.answer_page(
            lang, level="red", headline="日本石川近海强震", description="海啸警报已发布。",
            instruction="请立即前往高处。",
            text_language="zh-CN", hotline="12308", mission="+81 3 3403 3388", police="110", post_to="/a/x",
            answered=None if state == "open" else state, drill=state == "open",
        )  # fmt: skip
        return answer.respond(body)

    @app.get("/gone")
    async def gone(lang: str = "zh") -> Any:
        wrong = NotFound("link.unknown", "This link is not one of ours.", "Check that it is complete.")
        return answer.respond(answer.refusal_page(lang, wrong))

    @app.get("/login")
    async def login(lang: str = "zh") -> Any:
        return answer.respond(answer.login_page(lang, post_to="/login"))
