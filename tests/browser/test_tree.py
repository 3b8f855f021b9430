"""Rows that a page does not have yet: the tree is taken anew while others go on changing, and loses nothing by it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.fakes import NOW, Memory
from tests.browser.watched import Watched, live

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAM, WARNING = "**/stream?*", re.compile(r"/console/warnings/[^/]+$")


async def refuse(route: Route) -> None:
    await route.abort()


@asynccontextmanager
async def going_out(memory: Memory) -> AsyncIterator[None]:
    """The warning goes out: some row changes again before each frame."""

    async def change() -> None:
        told = 0
        while True:
            told += 1
            for node_id in list(memory.nodes)[-3:]:
                memory.set(node_id, told=told)
            await memory.moved()
            await asyncio.sleep(0.05)

    changing = asyncio.create_task(change())
    try:
        yield
    finally:
        changing.cancel()
        with suppress(asyncio.CancelledError):
            await changing


async def released_unseen(page: Page, url: str, memory: Memory) -> None:
    """The page of a draft, which is released while the page hears nothing, so that its rows have no place to go."""
    await page.route(STREAM, refuse)
    await page.goto(f"{url}/console/warnings/w-draft")
    await expect(page.locator("#tree-empty")).to_be_visible()
    await expect(page.locator("#live")).to_have_class("live off")
    for node_id in list(memory.nodes):
        memory.set(node_id, state="told", told=1)
    await memory.stand("w-draft", status="released", released_by="陈晓")


def only_the_faults_meant(watched: Watched, *meant: str) -> None:
    watched.faults[:] = [fault for fault in watched.faults if not any(word in fault for word in meant)]


@pytest.fixture
def memory(memory: Memory) -> Memory:
    """With fewer rows than those above which the tree comes whole by itself."""
    memory.nodes = dict(list(memory.nodes.items())[:60])
    return memory


async def test_the_tree_fills_while_the_warning_goes_out(watched: Watched, url: str, memory: Memory) -> None:
    await released_unseen(watched.page, url, memory)
    async with going_out(memory):
        await watched.page.unroute(STREAM)
        await live(watched.page)
        await expect(watched.page.locator("#tree-body > tr")).to_have_count(len(memory.nodes))
        await expect(watched.page.locator("#map [data-dot]")).to_have_count(len(memory.nodes))
    only_the_faults_meant(watched, "htmx:oobErrorNoTarget", "[object Event]", "ERR_FAILED")


@pytest.mark.parametrize("fault", ["refused", "unreachable"])
async def test_a_tree_that_could_not_be_taken_is_taken_with_the_next_row(
    watched: Watched, url: str, memory: Memory, fault: str
) -> None:
    await released_unseen(watched.page, url, memory)
    asked = 0

    async def once(route: Route) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            await route.continue_()
        elif fault == "refused":
            await route.fulfill(status=503, content_type="text/html", body="<p>not now</p>")
        else:
            await route.abort()

    await watched.page.route(WARNING, once)
    async with going_out(memory):
        await watched.page.unroute(STREAM)
        await expect(watched.page.locator("#tree-body > tr")).to_have_count(len(memory.nodes))
    assert asked > 1
    only_the_faults_meant(watched, "htmx:oobErrorNoTarget", "[object ", "ERR_FAILED", "503")


@pytest.mark.parametrize("late", ["station-milan", "ruian"])
async def test_what_came_while_the_tree_was_fetched_is_not_shown_as_it_was_before(
    watched: Watched, url: str, memory: Memory, late: str
) -> None:
    page, everything = watched.page, dict(memory.nodes)
    del memory.nodes[late]
    await page.route(STREAM, refuse)
    await page.goto(f"{url}/console/warnings/w-1")
    await expect(page.locator("#live")).to_have_class("live off")
    memory.nodes = everything
    memory.set(late, state="told")

    async def slowly(route: Route) -> None:
        before = await route.fetch()
        if memory.nodes["ruian"].state == "acknowledged":
            return await route.fulfill(response=before)
        memory.set("ruian", state="acknowledged", acknowledged_at=NOW)
        memory.set("wenzhou", state="relayed")
        await memory.moved()
        await expect(page.locator("#n-wenzhou")).to_contain_text("已转达")
        return await route.fulfill(response=before)

    await page.route(WARNING, slowly)
    await page.unroute(STREAM)
    await expect(page.locator(f"#n-{late}")).to_have_count(1)
    await expect(page.locator("#n-ruian")).to_contain_text("已确认")
    await expect(page.locator("#n-wenzhou")).to_contain_text("已转达")
    await expect(page.locator('[data-dot="ruian"]')).to_have_class("dot state-acknowledged")
    only_the_faults_meant(watched, "htmx:oobErrorNoTarget", "[object Event]", "ERR_FAILED")
