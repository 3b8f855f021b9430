"""What a reader of the console is shown of their own nodes: calls for help, answers to read, figures and lists."""

from __future__ import annotations

import re
from contextlib import aclosing

import httpx
import pytest
from setting import SHARED
from town import Town, signed_in
from townsfolk import PEOPLE

from api.pages import source
from domain.cases import CaseOpened
from domain.people import Channel

pytestmark = SHARED
CALLING = ("milan-zh", "madrid-es", "milan-both", "rome-it", "village-zh")  # one after the other
SAID = ("水到二楼了", "门打不开")  # what nobody understands, also when asked again


async def out(town: Town, **changes: object) -> str:
    warning_id = await town.release(**{"level": "red", **changes})
    await town.quiet()
    return warning_id


async def help_called(town: Town) -> tuple[str, dict[str, str]]:
    """A warning to which five people of four stations called for help; their cases by who they are."""
    warning_id = await out(town)
    for person_id in CALLING:
        assert await town.device(person_id).reply("2 救命") == 200
        await town.quiet()
    town.read_all()
    opened = [r.event for r in town.recorded(CaseOpened) if r.event.warning_id == warning_id]  # type: ignore[attr-defined]
    cases = {str(case.person_id): str(case.case_id) for case in opened}  # type: ignore[attr-defined]
    assert set(cases) == set(CALLING)
    return warning_id, cases


class Seen:
    """The part of a warning's page that says who needs help."""

    def __init__(self, page: str) -> None:
        (help_,) = re.findall(r'<section id="help".*?</section>', page, re.DOTALL)
        asked, _, unread = help_.partition('id="unread-title"')
        self.calm = "help-none" in help_
        self.cases, self.unread = ([int(n) for n in re.findall(r'help-count">(\d+)<', p)] for p in (asked, unread))
        self.more = [re.findall(r'<p class="help-more">([^<]+)</p>', part) for part in (asked, unread)]
        self.listed = re.findall(r'<li id="(?:case|unread)-([^"]+)"', help_)


async def seen(town: Town, who: str, warning_id: str, language: str = "en") -> Seen:
    async with aclosing(await signed_in(town, who)) as browser:
        page = await browser.get(f"/console/warnings/{warning_id}?lang={language}")
        assert page.status_code == 200
        return Seen(page.text)


@pytest.mark.parametrize(
    ("who", "cases", "first", "more"),
    [
        ("officer1", 5, "milan-zh", ["and 4 more"]),
        ("county1", 3, "milan-zh", ["and 2 more"]),
        ("county2", 2, "madrid-es", ["and 1 more"]),
        ("rome-head", 1, "rome-it", []),
    ],
)
async def test_calls_from_elsewhere_hide_no_call_for_help(
    town: Town, monkeypatch: pytest.MonkeyPatch, who: str, cases: int, first: str, more: list[str]
) -> None:
    monkeypatch.setattr(source, "CASES", 1)
    warning_id, case_of = await help_called(town)
    shown = await seen(town, who, warning_id)
    assert (shown.calm, shown.cases, shown.listed, shown.more[0]) == (False, [cases], [case_of[first]], more)


async def test_who_waits_longest_comes_first_and_what_is_closed_last(town: Town) -> None:
    warning_id, case_of = await help_called(town)
    for person_id, node_id in (("rome-it", "rome"), ("milan-zh", "milan")):
        task = {"node_id": node_id, "instruction": "go there"}
        assert (await town.post("officer1", f"/v1/cases/{case_of[person_id]}/task", task)).status_code == 200
    for person_id in ("milan-both", "madrid-es"):
        done = await town.post("officer1", f"/v1/cases/{case_of[person_id]}/close", {"result": "safe"})
        assert done.status_code == 200
    await town.quiet()
    town.read_all()
    shown = await seen(town, "officer1", warning_id, "zh")
    order = ["village-zh", "milan-zh", "rome-it", "milan-both", "madrid-es"]
    assert (shown.cases, shown.listed, shown.more) == ([5], [case_of[who] for who in order], [[], []])


async def test_answers_that_wait_to_be_read_are_counted_and_the_oldest_is_shown(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "UNREAD", 1)
    warning_id = await out(town)
    for person_id in CALLING:
        for text in SAID:
            assert await town.device(person_id).reply(text) == 200
            await town.quiet()
    town.read_all()
    for who, count, first, more in (
        ("officer1", 5, "milan-zh", ["还有 4 条"]),
        ("county2", 2, "madrid-es", ["还有 1 条"]),
        ("rome-head", 1, "rome-it", []),
    ):
        shown = await seen(town, who, warning_id, "zh")
        assert (shown.calm, shown.unread, shown.listed, shown.more) == (True, [count], [first], [[], more]), who


def links(page: httpx.Response) -> list[str]:
    return re.findall(r'href="/console/warnings/(\w+)"', page.text)


async def test_a_list_says_that_there_is_more_and_leads_to_it(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    drafted = [await town.draft(target={"nodes": ["village"]}) for _ in range(5)][::-1]
    async with aclosing(await signed_in(town, "officer1")) as browser:
        monkeypatch.setattr(source, "LISTED", 3)
        newest = await browser.get("/console?lang=en")
        assert (links(newest), "the newest 3" in newest.text, "3 warnings" in newest.text) == (drafted[:3], True, False)
        (older,) = re.findall(r'<a id="older" href="([^"]+)">Older warnings', newest.text)
        page = await browser.get(older)
        assert (links(page)[:2], "3 older" in page.text, 'id="newest" href="/console"' in page.text) == (
            drafted[3:], True, True,
        )  # fmt: skip
        (language,) = re.findall(r'<a href="([^"]+)" lang="zh-CN"', page.text)
        assert links(await browser.get("/console" + language.replace("&amp;", "&"))) == links(page)
        for said in ("x", "-1", "9" * 19, "²"):
            assert links(await browser.get("/console", params={"before": said})) == drafted[:3]
        while 'id="older"' in page.text:
            page = await browser.get(re.findall(r'id="older" href="([^"]+)"', page.text)[0])
        assert links(await browser.get("/console?before=1")) == []


async def test_a_list_that_ends_says_how_many_there_are(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        await town.draft(target={"nodes": ["village"]})
    async with aclosing(await signed_in(town, "village-head")) as browser:
        whole = await browser.get("/console?lang=en")
        number = len(links(whole))
        assert (f">{number} warnings<" in whole.text, 'id="older"' in whole.text) == (True, False)
        monkeypatch.setattr(source, "LISTED", number)
        assert f">{number} warnings<" in (await browser.get("/console?lang=en")).text
        monkeypatch.setattr(source, "LISTED", number - 1)
        assert f"the newest {number - 1}<" in (await browser.get("/console?lang=en")).text


class Figures:
    """The figures at the top of a warning's page, and the rows of its tree."""

    def __init__(self, page: str) -> None:
        self.top = {name: int(n) for name, n in re.findall(r'tile-(\w+)"><dt>[^<]*</dt>.*?data-value="(\d+)"', page)}
        (counts,) = re.findall(r'<dl class="counts">(.*?)</dl>', page, re.DOTALL)
        self.counts = {name: int(n) for name, n in re.findall(r"<dt>([^<]+)</dt><dd>(\d+)</dd>", counts)}
        self.rows = {
            str(node_id): {name: int(n) for name, n in re.findall(r'data-(\w+)="(\d+)"', tag)}
            for node_id, tag in re.findall(r'<tr id="n-([^"]+)"([^>]+)>', page)
        }


async def figures(town: Town, who: str, warning_id: str) -> Figures:
    async with aclosing(await signed_in(town, who)) as browser:
        return Figures((await browser.get(f"/console/warnings/{warning_id}?lang=en")).text)


@pytest.mark.parametrize(
    ("who", "top", "nodes"),
    [("officer1", "office", 7), ("county1", "north", 3), ("milan-head", "milan", 1), ("village-head", "village", 1)],
)
async def test_the_figures_at_the_top_are_those_of_the_readers_own_nodes(
    town: Town, who: str, top: str, nodes: int
) -> None:
    warning_id, cases = await help_called(town)
    shown = await figures(town, who, warning_id)
    row = shown.rows[top]
    assert (shown.counts["Offices and stations"], len(shown.rows)) == (nodes, nodes)
    assert {name: shown.top[name] for name in ("recipients", "told", "delivered", "acknowledged", "help")} == {
        name: row[name] for name in ("recipients", "told", "delivered", "acknowledged", "help")
    }
    own = {person_id for person_id, of in PEOPLE.items() if of[0] in shown.rows}
    assert shown.top["help"] == len(own & cases.keys())
    with town.stores.views.reading() as db:
        sent = town.stores.views.deliveries.of(db, warning_id)
    for name, channel in (("SMS", Channel.SMS), ("Email", Channel.EMAIL), ("Web push", Channel.WEBPUSH)):
        assert shown.counts.get(name, 0) == len([1 for key in sent if key[0] in own and key[1] is channel]), name


async def test_what_happens_elsewhere_moves_no_figure_of_a_station(town: Town) -> None:
    warning_id = await out(town)
    before, whole = [(await figures(town, who, warning_id)).top for who in ("milan-head", "officer1")]
    assert await town.device("rome-it").reply("2 救命") == 200
    await town.quiet()
    town.read_all()
    assert (await figures(town, "milan-head", warning_id)).top == before
    assert (await figures(town, "officer1", warning_id)).top["help"] == whole["help"] + 1
