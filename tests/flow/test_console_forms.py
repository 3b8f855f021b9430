"""The console's forms for an answer that nobody understood, and for what follows a released warning."""

from __future__ import annotations

import html
import re
from contextlib import aclosing

import httpx
import pytest
from setting import SHARED
from town import Town, signed_in

from api.pages import source
from domain.answers import AnswerOpened, AnswerSettled
from domain.cases import CaseOpened
from domain.people import Channel
from domain.warnings import WarningDrafted
from notifiers.render import WORDS

pytestmark = SHARED
CROSS = {"Sec-Fetch-Site": "cross-site"}
DRAFT = {
    "level": "red", "event": "地震", "headline_zh": "标题", "area": "石川", "hotline": "12308", "mission": "+81",
    "police": "110", "expires": "2026-07-02T08:00", "zone": "Asia/Shanghai",
}  # fmt: skip
SAID = ("水到二楼了", "门打不开")


def fields(page: str) -> dict[str, str]:
    """What a browser would send of the page's form as it stands: inputs, texts and chosen options by name."""
    form = page[page.index('class="draft-form"') :]
    found: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        said = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if said.get("type") not in ("radio", "checkbox") or " checked" in tag:
            found[said["name"]] = html.unescape(said.get("value", ""))
    for name, text in re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', form, re.DOTALL):
        found[name] = html.unescape(text)
    return found


async def misunderstood(town: Town, **changes: object) -> str:
    warning_id = await town.release(**{"target": {"nodes": ["milan"]}, "level": "red", **changes})
    await town.quiet()
    for text in SAID:
        assert await town.device("milan-zh").reply(text) == 200
    await town.quiet()
    town.read_all()
    return warning_id


async def answer_link(browser: httpx.AsyncClient, warning_id: str) -> str:
    page = (await browser.get(f"/console/warnings/{warning_id}?lang=en")).text
    (link,) = re.findall(r'<a [^>]*href="(/console/warnings/[^"]+/answers/[^"]+)">Read and settle', page)
    return str(link)


async def test_an_answer_is_read_and_settled_in_the_console(town: Town) -> None:
    warning_id = await misunderstood(town)
    async with aclosing(await signed_in(town, "county1")) as browser:
        link = await answer_link(browser, warning_id)
        before = town.stores.log.last_position_now()
        shown = (await browser.get(f"{link}?lang=zh")).text
        assert "查看原文" in shown
        assert [said for said in SAID if said in shown] == []
        assert town.stores.log.last_position_now() == before  # looking at the page is not reading the words
        opened = await browser.post(f"{link}/open", params={"lang": "en"})
        assert opened.status_code == 200
        assert [said for said in SAID if f"<bdi>{said}</bdi>" not in opened.text] == []
        assert "What does it mean?" in opened.text
        assert "<script" not in opened.text
        assert [r.event.by for r in town.recorded(AnswerOpened)][-1] == "county1"  # type: ignore[attr-defined]
        before = town.stores.log.last_position_now()
        for answered in (f"{link}/open", f"{link}/settle"):  # its links to the other language
            again = await browser.get(answered, params={"lang": "en"}, follow_redirects=True)
            assert (again.status_code, again.url.path, again.url.query) == (200, link, b"lang=en")
            assert ("Read the words" in again.text, SAID[0] in again.text) == (True, False)
        assert town.stores.log.last_position_now() == before
        wrong = await browser.post(f"{link}/settle", data={"meaning": "perhaps"})
        assert (wrong.status_code, "page.form" in wrong.text) == (422, True)
        settled = await browser.post(f"{link}/settle", data={"meaning": "help"})
        assert (settled.status_code, settled.headers["location"]) == (303, f"/console/warnings/{warning_id}")
        page = (await browser.get(settled.headers["location"])).text
        assert "/answers/" not in page
        (case,) = [r.event for r in town.recorded(CaseOpened) if r.event.warning_id == warning_id]  # type: ignore[attr-defined]
        assert (case.person_id, case.opened_by, case.drill) == ("milan-zh", "county1", False)  # type: ignore[attr-defined]
        assert f'id="case-{case.case_id}"' in page  # type: ignore[attr-defined]
        assert (await browser.get(link)).status_code == 404
        late = await browser.post(f"{link}/settle", params={"lang": "zh"}, data={"meaning": "safe"})
        assert (late.status_code, "此人的回复现已明确。" in late.text) == (409, True)
    await town.quiet()


async def test_who_may_not_reads_and_settles_nothing_in_the_console(town: Town) -> None:
    warning_id = await misunderstood(town)
    link = f"/console/warnings/{warning_id}/answers/milan-zh"
    before = len(town.recorded(AnswerOpened)), len(town.recorded(AnswerSettled))
    for who, sees in (("milan-head", 200), ("auditor1", 200), ("county2", 404), ("milan-zh", 404)):
        async with aclosing(await signed_in(town, who)) as browser:
            page = await browser.get(link)
            assert (page.status_code, f'action="{link}' in page.text) == (sees, False), who
            assert "/answers/" not in (await browser.get(f"/console/warnings/{warning_id}")).text
            assert (await browser.post(f"{link}/open")).status_code == 403, who
            assert (await browser.post(f"{link}/settle", data={"meaning": "help"})).status_code == 403, who
    async with aclosing(await signed_in(town, "officer1")) as browser:
        assert (await browser.post(f"{link}/open", headers=CROSS)).status_code == 403
        assert (await browser.post(f"{link}/settle", data={"meaning": "safe"}, headers=CROSS)).status_code == 403
        assert (await browser.get(f"/console/warnings/{warning_id}/answers/nobody")).status_code == 404
    assert (await town.http.get(link)).status_code == 401
    assert (len(town.recorded(AnswerOpened)), len(town.recorded(AnswerSettled))) == before


@pytest.mark.parametrize("correction", [False, True])
async def test_what_follows_a_warning_is_drafted_from_it_as_it_stands(town: Town, correction: bool) -> None:
    warning_id = await town.release(target={"nodes": ["milan"]}, area={"description": "Po", "circles": [[45, 9, 30]]})
    await town.quiet()
    town.read_all()
    path = f"/console/warnings/{warning_id}/follow"
    async with aclosing(await signed_in(town, "officer1")) as browser:
        assert f'href="{path}"' in (await browser.get(f"/console/warnings/{warning_id}")).text
        page = (await browser.get(f"{path}?lang=en")).text
        assert "exactly those whom it reached are told" in page
        assert "只通知原预警已送达的人" in (await browser.get(f"{path}?lang=zh")).text
        sent = {**fields(page), "headline_0": "洪水提前到达"}
        assert (sent["headline_1"], sent["instruction_2"]) == ("Alluvione in arrivo", "Suba a un lugar alto.")
        if correction:
            sent["correction"] = "yes"
        done = await browser.post(path, data=sent)
        assert done.status_code == 303, done.text
        drafted = done.headers["location"].rpartition("/")[2]
        (first,) = [r.event for r in town.recorded(WarningDrafted) if r.event.warning_id == warning_id]  # type: ignore[attr-defined]
        (event,) = [r.event for r in town.recorded(WarningDrafted) if r.event.warning_id == drafted]  # type: ignore[attr-defined]
        was, now = first.content, event.content  # type: ignore[attr-defined]
        assert (event.updates, event.correction) == (warning_id, correction)  # type: ignore[attr-defined]
        assert [text.headline for text in now.texts] == ["洪水提前到达", *(text.headline for text in was.texts[1:])]
        assert (now.area, now.target, now.contact, now.level, now.event) == (
            was.area, was.target, was.contact, was.level, was.event,
        )  # fmt: skip
        assert now.expires_at == was.expires_at.replace(second=0, microsecond=0)
        assert ("更正" in (await browser.get(f"{done.headers['location']}?lang=zh")).text) is correction
    assert (await town.post("officer2", f"/v1/warnings/{drafted}/release")).status_code == 200
    await town.quiet()
    said = town.inbox("milan-head", Channel.SMS)[-1]
    assert (WORDS["zh"].corrected in said, "洪水提前到达" in said) == (correction, True)
    town.read_all()
    async with aclosing(await signed_in(town, "officer1")) as browser:  # it is over: nothing follows it any more
        assert "/follow" not in (await browser.get(f"/console/warnings/{warning_id}")).text
        over = await browser.get(path, params={"lang": "zh"})
        assert (over.status_code, "只有生效中的预警可以更新或更正。" in over.text) == (409, True)


async def test_what_is_wrong_with_a_following_draft_is_said_and_what_was_typed_stays(town: Town) -> None:
    warning_id = await town.release(target={"nodes": ["milan"]})
    await town.quiet()
    town.read_all()
    path = f"/console/warnings/{warning_id}/follow"
    async with aclosing(await signed_in(town, "officer1")) as browser:
        sent = fields((await browser.get(path)).text)
        before = len(town.recorded(WarningDrafted))
        missing = {**sent, "headline_1": "", "headline_0": "<b>新</b>", "correction": "yes"}
        refused = await browser.post(path, data=missing, params={"lang": "zh"})
        assert (refused.status_code, "warning.correction_language" in refused.text) == (409, True)
        assert fields(refused.text) == missing
        assert 'id="correction" name="correction" value="yes" checked' in refused.text
        in_place = await browser.post(path, data={**sent, "expires": "?"}, headers={"HX-Request": "true"})
        assert (in_place.status_code, "warning.expires" in in_place.text, "<html" in in_place.text) == (
            422,
            True,
            False,
        )
        purple = await browser.post(path, data={**sent, "level": "purple"})
        assert (purple.status_code, "warning.level" in purple.text) == (422, True)
        assert (await browser.post(path, data=sent, headers=CROSS)).status_code == 403
        assert (await browser.get("/console/warnings/none/follow")).status_code == 404
    for who in ("county1", "milan-head", "auditor1", "milan-zh"):
        async with aclosing(await signed_in(town, who)) as browser:
            assert "/follow" not in (await browser.get(f"/console/warnings/{warning_id}")).text
            assert (await browser.get(path)).status_code == 403, who
            assert (await browser.post(path, data=sent)).status_code == 403, who
    assert (await town.http.get(path)).status_code == 401
    assert len(town.recorded(WarningDrafted)) == before


async def countries_of(town: Town, drafted: httpx.Response) -> tuple[str, ...]:
    """Those of the draft that a form led to."""
    assert drafted.status_code == 303, drafted.text
    made = drafted.headers["location"].rpartition("/")[2]
    (event,) = [r.event for r in town.recorded(WarningDrafted) if r.event.warning_id == made]  # type: ignore[attr-defined]
    return event.content.target.countries  # type: ignore[attr-defined, no-any-return]


async def test_a_draft_is_for_the_countries_that_its_form_names_and_for_no_others(town: Town) -> None:
    warning_id = await town.release(target={"nodes": ["milan"], "countries": ["IT"]})
    await town.quiet()
    town.read_all()
    follow = f"/console/warnings/{warning_id}/follow"
    async with aclosing(await signed_in(town, "officer1")) as browser:
        before = fields((await browser.get(follow)).text)
        assert before["countries"] == "IT"
        for path, form in (("/console/warnings", DRAFT), (follow, before)):
            drafted = len(town.recorded(WarningDrafted))
            for language, said in (("zh", "“日木”不是国家"), ("en", "“日木” is not a country.")):
                refused = await browser.post(path, data={**form, "countries": "IT、日木"}, params={"lang": language})
                assert (refused.status_code, "warning.countries" in refused.text, said in refused.text) == (
                    422, True, True,
                )  # fmt: skip
                assert 'value="IT、日木"' in refused.text
            assert len(town.recorded(WarningDrafted)) == drafted
            named = await browser.post(path, data={**form, "countries": "意大利, Peru"})
            assert await countries_of(town, named) == ("IT", "PE")
            assert await countries_of(town, await browser.post(path, data={**form, "countries": ""})) == ()


async def test_the_second_person_releases_and_cancels_only_what_they_read(town: Town) -> None:
    warning_id = await town.draft(target={"nodes": ["milan"]})
    path = f"/console/warnings/{warning_id}"
    async with aclosing(await signed_in(town, "officer2")) as browser:
        for act, left in (("release", "draft"), ("cancel", "released")):
            read = (await browser.get(path)).text
            seen = {"version": version_in(read), "reason": "误报"}
            if act == "release":
                words = town.body(target={"nodes": ["milan"]}, texts=[{"language": "zh-CN", "headline": "留在原地"}])
                assert (await town.ask("officer1", "PUT", f"/v1/warnings/{warning_id}", json=words)).status_code == 200
            else:
                seen["version"] = "2"  # it is a draft on their page
            stale = await browser.post(f"{path}/{act}", data=seen)
            assert (stale.status_code, "version.stale" in stale.text) == (412, True)
            assert (await town.get("officer1", f"/v1/warnings/{warning_id}")).json()["status"] == left
            assert "留在原地" in stale.text
            again = {**seen, "version": version_in(stale.text)}
            assert (await browser.post(f"{path}/{act}", data=again)).status_code == 303
            await town.quiet()
    assert (await town.get("officer1", f"/v1/warnings/{warning_id}")).json()["status"] == "cancelled"
    assert all("洪水将至" not in said for said in town.inbox("milan-head", Channel.SMS)[-2:])
    town.read_all()


def version_in(page: str) -> str:
    """The version that the page's forms name."""
    (version,) = set(re.findall(r'name="version" value="(\d+)"', page))
    return str(version)


async def test_what_others_draft_takes_no_place_in_the_list_of_a_station(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LISTED", 4)
    mine = [await town.release(target={"nodes": [node]}) for node in ("milan", "office")]
    await town.quiet()
    town.read_all()
    for _ in range(9):
        await town.draft(target={"nodes": ["south"]})
    async with aclosing(await signed_in(town, "milan-head")) as browser:
        listed = re.findall(r'href="/console/warnings/(\w+)"', (await browser.get("/console")).text)
        assert (listed[:2], len(listed) <= 4) == (mine[::-1], True)
        monkeypatch.setattr(source, "LOOKED_THROUGH", 8)
        assert "/console/warnings/" not in (await browser.get("/console")).text


async def test_what_others_answer_takes_no_place_among_a_stations_unread_answers(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "UNREAD", 1)
    warning_id = await misunderstood(town, target={"nodes": ["office"]})
    for text in SAID:
        assert await town.device("madrid-es").reply(text) == 200
    await town.quiet()
    town.read_all()
    for who, whose in (("county1", "milan-zh"), ("county2", "madrid-es")):
        async with aclosing(await signed_in(town, who)) as browser:
            assert (await answer_link(browser, warning_id)).endswith(f"/answers/{whose}")
