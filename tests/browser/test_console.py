"""The console in a real browser: it loads under its policy, lights up live, works by keyboard, and is accessible."""

from __future__ import annotations

import re

import msgspec
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Route, expect

from api.pages.live import Hub
from tests.browser.fakes import NOW, Memory, application, serving
from tests.browser.watched import Watched, live, open_all, tab_to

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one browser for all

AXE = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}


async def test_it_loads_and_the_map_is_drawn(watched: Watched, url: str, memory: Memory) -> None:
    for path in ("/console", "/console/warnings/w-1", "/console/warnings/w-draft"):
        await watched.page.goto(url + path)
        await watched.page.wait_for_load_state()
    await watched.page.goto(f"{url}/console/warnings/w-1")
    await live(watched.page)
    await expect(watched.page.locator("#map .map-land")).to_have_attribute("d", re.compile("^M.{1000,}"))
    await expect(watched.page.locator("#map [data-dot]")).to_have_count(len(memory.nodes))


async def test_tree_map_and_figures_light_up(watched: Watched, url: str, memory: Memory) -> None:
    page = watched.page
    await page.goto(f"{url}/console/warnings/w-1")
    await live(page)
    row, dot = page.locator("#n-ruian"), page.locator('[data-dot="ruian"]')
    await expect(row).to_contain_text("尚未通知")
    await expect(dot).to_have_class("dot state-waiting")

    memory.set("ruian", state="acknowledged", acknowledged_at=NOW)
    station = next(node for node in memory.nodes.values() if node.parent == "ruian")
    memory.set(station.node_id, state="told", told=station.recipients)
    await memory.moved()
    await expect(row).to_contain_text("已确认")
    await expect(dot).to_have_class("dot state-acknowledged")
    await expect(page.locator(".tile-told .tile-value")).to_have_text(str(station.recipients))
    await expect(row.locator(".c-told")).to_have_text(str(station.recipients))
    await expect(row.locator(".bead.state-told")).to_have_count(1)

    await expect(page.locator("#help")).to_contain_text("暂无人求助")
    memory.ask_help(station.node_id, "case-7")
    await memory.moved()
    await expect(page.locator("#help")).to_contain_text(station.name)
    await expect(page.locator(f'[data-dot="{station.node_id}"]')).to_have_class("dot state-told has-help")


async def test_folding_survives_what_arrives(watched: Watched, url: str, memory: Memory) -> None:
    page = watched.page
    await page.goto(f"{url}/console/warnings/w-1")
    await live(page)
    station = next(node for node in memory.nodes.values() if node.parent == "ruian")
    below = page.locator(f'[id="n-{station.node_id}"]')
    fold = page.locator("#f-ruian")
    await expect(below).to_be_hidden()
    await fold.focus()
    await page.keyboard.press("Enter")
    await expect(below).to_be_visible()
    await page.keyboard.press("Enter")
    memory.set("ruian", state="told")
    memory.set(station.node_id, state="told")
    await memory.moved()
    await expect(page.locator("#n-ruian")).to_contain_text("已通知")
    await expect(below).to_be_hidden()
    await expect(fold).to_be_focused()
    await page.locator('[data-show="silent"]').press("Enter")
    await expect(below).to_be_visible()


async def test_a_new_station_appears(watched: Watched, url: str, memory: Memory) -> None:
    page = watched.page
    late = memory.nodes.popitem()[1]
    await page.goto(f"{url}/console/warnings/w-1")
    await live(page)
    memory.nodes[late.node_id] = late
    memory.set(late.node_id, state="told")
    await memory.moved()
    await expect(page.locator(f'[data-dot="{late.node_id}"]')).to_have_class("dot state-told")
    watched.faults[:] = [
        fault for fault in watched.faults if "htmx:oobErrorNoTarget" not in fault
    ]  # htmx says it first


async def test_a_restarted_server_is_caught_up_with(browser: Browser, memory: Memory) -> None:
    page = await browser.new_page(locale="zh-CN")
    hub = Hub(memory)
    async with serving(application(memory, hub=hub), hub) as url:
        await page.goto(f"{url}/console/warnings/w-1")
        await live(page)
    memory.set("ruian", state="relayed", relayed_at=NOW)
    await expect(page.locator("#live")).to_have_class("live off")
    again = Hub(memory)
    async with serving(application(memory, hub=again), again, int(url.rpartition(":")[2])):
        await expect(page.locator("#n-ruian")).to_contain_text("已转达", timeout=10_000)
        await live(page)
        await page.close()


async def test_release_by_keyboard_alone(watched: Watched, url: str, memory: Memory) -> None:
    page = watched.page
    await page.goto(f"{url}/console")
    await tab_to(page, 'a[href="/console/warnings/w-draft"]')
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/w-draft")
    await tab_to(page, "#release")
    await page.keyboard.press("Enter")
    await expect(page.locator("#status .status")).to_have_text("生效中")
    await expect(page.locator("#tree-body > tr")).to_have_count(len(memory.nodes))
    assert [call[0] for call in memory.calls] == ["release"]


async def test_cancel_by_keyboard_alone_and_a_refusal_is_shown_in_place(
    watched: Watched, url: str, memory: Memory
) -> None:
    page = watched.page
    await page.goto(f"{url}/console/warnings/w-1")
    await tab_to(page, "#cancel-open")
    await page.keyboard.press("Enter")
    await tab_to(page, "#cancel-reason")
    await page.keyboard.type("  ")
    await tab_to(page, "#cancel")
    await page.keyboard.press("Enter")
    await expect(page.locator("#problem-cancel")).to_contain_text("撤销须说明理由。")
    assert [fault for fault in watched.faults if "409" not in fault] == []
    watched.faults.clear()  # the browser itself notes the 409
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.type("误报")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#status .status")).to_have_text("已撤销")
    assert memory.calls[-1] == ("cancel", "p-1", "w-1", "误报")


@pytest.mark.parametrize(("lang", "words"), [("zh", "退出登录"), ("en", "Sign out")])
async def test_signing_out_by_keyboard_alone(watched: Watched, url: str, lang: str, words: str) -> None:
    page = watched.page
    await page.goto(f"{url}/console/warnings/w-1?lang={lang}")
    await expect(page.locator("#sign-out")).to_have_text(words)
    await tab_to(page, "#sign-out")
    asked = []

    async def out(route: Route) -> None:  # this console has no sessions
        asked.append(route.request.method)
        await route.fulfill(content_type="text/html", body="<title>out</title>")

    await page.route("**/logout", out)
    await page.keyboard.press("Enter")
    await expect(page).to_have_title("out")
    assert asked == ["POST"]


async def test_others_see_a_release_without_reloading(watched: Watched, url: str, memory: Memory) -> None:
    page = watched.page
    await page.goto(f"{url}/console/warnings/w-draft")
    await live(page)
    await expect(page.locator("#tree-empty")).to_be_visible()
    await memory.stand("w-draft", status="released", released_by="陈晓")
    for node_id in list(memory.nodes):  # as they are opened, after the release
        memory.set(node_id)
    await memory.moved()
    await expect(page.locator("#status .status")).to_have_text("生效中")
    await expect(page.locator("#map [data-dot]")).to_have_count(len(memory.nodes))
    await expect(page.locator("#release")).to_have_count(0)
    await expect(page.locator("#tree-empty")).to_be_hidden()


async def test_a_draft_that_is_revised_meanwhile_shows_its_new_words_before_it_is_released(
    watched: Watched, url: str, memory: Memory
) -> None:
    page = watched.page
    await page.goto(f"{url}/console/warnings/w-draft")
    await live(page)
    await expect(page.locator("#preview .preview-sample")).to_have_text(memory.lines["w-draft"].headline)
    await memory.revise("w-draft", "新的标题")
    await expect(page.locator("#said summary").first).to_contain_text("新的标题")
    await expect(page.locator("#preview .preview-sample")).to_have_text("新的标题")
    await expect(page.locator("#preview")).to_have_count(1)
    await page.locator("#release").click()
    await expect(page.locator("#status .status")).to_have_text("生效中")
    await expect(page.locator("#preview")).to_have_count(0)


async def test_words_that_the_page_does_not_show_are_not_released(watched: Watched, url: str, memory: Memory) -> None:
    page = watched.page
    await page.goto(f"{url}/console/warnings/w-draft")
    await live(page)
    line = memory.lines["w-draft"]
    memory.lines["w-draft"] = msgspec.structs.replace(line, version=2)  # the page has not heard of it yet
    await page.locator("#release").click()
    await expect(page.locator("#problem-release strong")).to_have_text("您看到的是第 1 版，现已是第 2 版。")
    assert memory.lines["w-draft"].status == "draft"
    assert [fault for fault in watched.faults if "412" not in fault] == []
    watched.faults.clear()  # the browser itself notes the 412


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_axe_finds_nothing_serious(watched: Watched, url: str, memory: Memory, lang: str) -> None:
    states = ["told", "delivered", "acknowledged", "relayed", "escalated", "asleep"]
    for number, node_id in enumerate(list(memory.nodes)[1:40]):
        memory.set(node_id, state=states[number % 6], told=5, late=number % 7 == 0, escalations=("deputy",))
    memory.ask_help(node_id, "case-1")
    public_pages = ["/a/open", "/a/safe", "/a/help", "/gone", "/login"]
    found = []
    for path in [
        "/console",
        "/console/warnings/w-1",
        "/console/warnings/w-draft",
        "/console/warnings/x",
        *public_pages,
    ]:
        await watched.page.goto(f"{url}{path}?lang={lang}")
        await open_all(watched.page)
        results = await Axe().run(watched.page, options=AXE)
        found += [
            (path, one["id"], one["nodes"][0]["html"][:160])
            for one in results.response["violations"]
            if one["impact"] in {"serious", "critical"} or one["id"] in {"region", "heading-order"}
        ]
    watched.faults[:] = [fault for fault in watched.faults if "404" not in fault]  # the page that is not there
    assert found == []


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_a_telephone_needs_no_sideways_scrolling(watched: Watched, url: str, memory: Memory, lang: str) -> None:
    await watched.page.set_viewport_size({"width": 360, "height": 740})
    memory.ask_help(list(memory.nodes)[-1], "case-" + "7" * 60)
    for path in (
        "/console",
        "/console/warnings/w-1",
        "/console/warnings/w-draft",
        "/a/open",
        "/a/help",
        "/gone",
        "/login",
    ):
        await watched.page.goto(f"{url}{path}?lang={lang}")
        await open_all(watched.page)
        assert await watched.page.evaluate("document.documentElement.scrollWidth") <= 360, path
