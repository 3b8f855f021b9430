"""A page at which much happens: long lists stay where their reader was, and the map bears that everything changes."""

from __future__ import annotations

import msgspec
import pytest
from playwright.async_api import expect

from api.pages.model import HelpLine
from tests.browser.fakes import NOW, Memory
from tests.browser.watched import Watched, live, tab_to

pytestmark = pytest.mark.asyncio(loop_scope="module")

LISTS = {"help": "#help-list", "unread": "#unread-list"}


@pytest.fixture
def memory(memory: Memory) -> Memory:
    """With more calls for help, and more answers that nobody understood, than fit."""
    for number in range(80):
        memory.ask_help("station-milan", f"case-{number}")
    line = HelpLine(
        case_id="", node_id="station-milan", node_name="", person_id="", status="referred", opened_at=NOW, unclear=True
    )
    memory.cases += [msgspec.structs.replace(line, person_id=f"person-{number}") for number in range(80)]
    return memory


@pytest.mark.parametrize("reading", ["#help-list", "#unread-list", "#read-person-40"])
async def test_who_reads_the_calls_for_help_by_keyboard_stays_where_they_are_when_one_more_comes(
    watched: Watched, url: str, memory: Memory, reading: str
) -> None:
    page = watched.page
    await page.goto(f"{url}/console/warnings/w-1")
    await live(page)
    await tab_to(page, reading)
    for scrolled in LISTS.values():
        await page.locator(scrolled).evaluate("list => { list.scrollTop = 120 }")
    memory.ask_help("station-milan", "case-more")
    await memory.moved()
    await expect(page.locator("#help .help-count").first).to_have_text("81")
    await expect(page.locator(reading)).to_be_focused()
    for scrolled in LISTS.values():
        assert await page.locator(scrolled).evaluate("list => list.scrollTop") == 120


async def test_the_map_is_laid_out_once_however_many_nodes_change(watched: Watched, url: str, memory: Memory) -> None:
    page = watched.page
    await page.goto(f"{url}/console/warnings/w-1")
    await live(page)
    await expect(page.locator("#map [data-dot]")).to_have_count(len(memory.nodes))
    changed = list(memory.nodes)[1:]
    for _ in range(2):  # what pulses already begins anew
        layouts = await page.evaluate(
            """changed => {
              const read = Element.prototype.getBoundingClientRect;
              let layouts = 0;
              Element.prototype.getBoundingClientRect = function () { layouts += 1; return read.call(this); };
              document.dispatchEvent(new CustomEvent("fenghuo:changed", { detail: [...changed, "unknown"] }));
              Element.prototype.getBoundingClientRect = read;
              return layouts;
            }""",
            changed,
        )
        assert layouts == 1
        await expect(page.locator("#map .map-ring.pulse")).to_have_count(len(changed))
