"""The console's pages over HTTP: what they say, refuse and leave out, in both languages, and to whom."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import api
import domain
import notifiers
from api.pages import answer, i18n, labels, problems, render
from api.pages.model import Step
from domain.errors import NotFound, Refused, Unreachable
from projections.cases import STATUSES
from tests.browser.fakes import DUTY, Memory, application

PAGES = Path(render.__file__).parent
OURS = {"Sec-Fetch-Site": "same-origin"}
SEEN = {"version": "1"}  # what the forms of a page name: the warning as its reader saw it
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
DRAFT = {
    "level": "red", "event": "地震", "headline_zh": "标题", "description_zh": "情况", "instruction_zh": "建议",
    "headline_en": "", "description_en": "", "instruction_en": "", "countries": "JP", "area": "石川",
    "hotline": "12308", "mission": "+81", "police": "110", "expires": "2026-11-23T08:00", "zone": "Asia/Shanghai",
    "drill": "",
}  # fmt: skip


def client_of(memory: Memory, **values: object) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=application(memory, **values))
    return httpx.AsyncClient(transport=transport, base_url="http://console.test")


@pytest.fixture
def memory() -> Memory:
    made = Memory()
    made.fill()
    made.add_warning()
    made.add_warning("w-draft", "draft", drafted_by="林岚")
    return made


@pytest.fixture
async def client(memory: Memory) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(memory) as made:
        yield made


# What goes out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [("/console", 200), ("/console/warnings/w-1", 200), ("/console/warnings/none", 404)],
)
async def test_every_page_goes_out_under_the_strict_policy(client: httpx.AsyncClient, path: str, status: int) -> None:
    response = await client.get(path)
    assert response.status_code == status
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "same-origin"
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", response.text)


async def test_hostile_text_is_shown_and_never_runs(memory: Memory) -> None:
    memory.add_warning("w-1", headline=HOSTILE, event=HOSTILE, drafted_by=HOSTILE)
    memory.words["w-1"] = [("en", HOSTILE, HOSTILE, HOSTILE)]
    memory.names["wenzhou"] = (HOSTILE, HOSTILE)
    memory.ask_help("wenzhou", HOSTILE)
    async with client_of(memory, who=msgspec.structs.replace(DUTY, label=HOSTILE)) as client:
        for path in ("/console", "/console/warnings/w-1"):
            text = (await client.get(path)).text
            assert "<script>alert" not in text
            assert "<img src=x" not in text
            assert "&lt;script&gt;alert(1)" in text


async def test_nobody_signed_in_sees_nothing(memory: Memory) -> None:
    async with client_of(memory, who=None) as client:
        for path in ("/console", "/console/warnings/w-1", "/console/warnings/w-1/stream"):
            response = await client.get(path)
            assert response.status_code == 401
            assert "日本" not in response.text


async def test_actions_are_offered_to_those_who_may_and_in_their_time(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    draft = (await client.get("/console/warnings/w-draft")).text
    assert 'id="release"' in draft
    assert 'id="break-glass"' in draft
    released = (await client.get("/console/warnings/w-1")).text
    assert 'id="release"' not in released
    assert 'id="cancel"' in released
    async with client_of(memory, who=msgspec.structs.replace(DUTY, may=frozenset({"warning.read"}))) as auditor:
        seen = (await auditor.get("/console/warnings/w-draft")).text + (await auditor.get("/console")).text
    assert set(re.findall(r'<form[^>]* action="([^"]+)"', seen)) == {"/logout"}


async def test_the_tree_says_how_many_acknowledged_and_why_a_station_was_bypassed(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    at = memory.lines["w-1"].effective_at
    steps = (
        Step(action="deputy", at=at, told=1),
        Step(action="voice", at=at, told=3),
        Step(action="direct", at=at, told=None),
    )
    memory.set("station-prato", state="asleep", steps=steps, silent_s=1900)
    memory.set("station-milan", state="partial", quota=3, signed=1)

    async def row(language: str, node_id: str) -> str:
        page = (await client.get(f"/console/warnings/w-1?lang={language}")).text
        found = re.search(rf'<tr id="n-{node_id}".*?</tr>', page, re.DOTALL)
        assert found is not None
        return re.sub(r"<[^>]+>", "", found[0])

    assert "told directly, no answer for 31 min" in await row("en", "station-prato")
    assert "deputy told (1) 20:00" in await row("en", "station-prato")
    assert "people told directly 20:00" in await row("en", "station-prato")
    assert "已直接通知群众，31 分钟无人应答" in await row("zh", "station-prato")
    assert "Partly acknowledged 1 of 3" in await row("en", "station-milan")
    assert "部分确认 1/3 已确认" in await row("zh", "station-milan")


# What comes in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://console.test"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://console.test"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "http://evil.test"}, False),
        ({"Origin": "http://console.test.evil.test"}, False),
        ({"Origin": "null"}, False),
        ({}, False),
    ],
)
@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/console/warnings", DRAFT),
        ("/console/warnings/w-draft/release", SEEN),
        ("/console/warnings/w-1/cancel", {**SEEN, "reason": "误报"}),
    ],
)
async def test_a_form_counts_only_from_our_own_pages(
    memory: Memory, client: httpx.AsyncClient, path: str, data: dict[str, str], headers: dict[str, str], allowed: bool
) -> None:
    response = await client.post(path, data=data, headers=headers)
    assert response.status_code == (303 if allowed else 403)
    assert len(memory.calls) == (1 if allowed else 0)


async def test_a_draft_leads_to_its_page(memory: Memory, client: httpx.AsyncClient) -> None:
    response = await client.post("/console/warnings", data=DRAFT, headers=OURS)
    assert (response.status_code, response.headers["location"]) == (303, "/console/warnings/w-new")
    (_, person, form) = memory.calls[0]
    assert (person, msgspec.to_builtins(form)) == (DUTY.person_id, DRAFT)
    by_htmx = await client.post("/console/warnings", data=DRAFT, headers={**OURS, "HX-Request": "true"})
    assert (by_htmx.status_code, by_htmx.headers["hx-redirect"]) == (204, "/console/warnings/w-new")


async def test_a_bad_draft_comes_back_as_it_was_typed_with_what_is_wrong(client: httpx.AsyncClient) -> None:
    bad = {**DRAFT, "expires": "1999-01-01T00:00", "headline_en": HOSTILE}
    page = await client.post("/console/warnings", data=bad, headers=OURS)
    assert page.status_code == 422
    assert "失效时间须晚于生效时间。" in page.text
    assert 'value="标题"' in page.text
    assert "<script>alert" not in page.text
    fragment = await client.post("/console/warnings?lang=en", data=bad, headers={**OURS, "HX-Request": "true"})
    assert fragment.status_code == 422
    assert "A warning expires after it takes effect." in fragment.text
    assert "<html" not in fragment.text


async def test_refusals_are_shown_where_they_were_asked_for(memory: Memory) -> None:
    author = msgspec.structs.replace(DUTY, label="林岚")
    async with client_of(memory, who=author) as client:
        alone = await client.post("/console/warnings/w-draft/release", data=SEEN, headers=OURS)
        broken = {**SEEN, "break_glass": "yes", "reason": "深夜，无第二人"}
        glass = await client.post("/console/warnings/w-draft/release", data=broken, headers=OURS)
        short = await client.post("/console/warnings/w-1/cancel", data={**SEEN, "reason": " "}, headers=OURS)
    assert alone.status_code == 409
    assert "预警须由起草人以外的人签发。" in alone.text.partition('id="problem-release"')[2].partition("</form>")[0]
    assert glass.status_code == 303
    assert memory.calls[1] == ("release", DUTY.person_id, "w-draft", True, "深夜，无第二人")
    assert short.status_code == 409
    assert re.search(r'<details class="act" open>\s*<summary id="cancel-open">', short.text)


async def test_every_form_on_a_warning_names_the_version_that_its_page_shows(
    memory: Memory, client: httpx.AsyncClient
) -> None:
    memory.add_warning("w-drill", "draft", drill=True)
    for warning_id, forms in (("w-draft", 3), ("w-drill", 3), ("w-1", 1)):
        for version in (1, 2):
            actions = (await client.get(f"/console/warnings/{warning_id}")).text.partition('id="actions"')[2]
            assert actions.count("<form") == forms
            assert actions.count(f'<input type="hidden" name="version" value="{version}">') == forms
            await memory.stand(warning_id)


@pytest.mark.parametrize(
    ("path", "data", "slot"),
    [
        ("/console/warnings/w-draft/release", {}, "release"),
        ("/console/warnings/w-draft/release", {"break_glass": "yes", "reason": "急"}, "glass"),
        ("/console/warnings/w-1/cancel", {"reason": "误报"}, "cancel"),
    ],
)
async def test_what_was_changed_since_it_was_read_is_to_be_read_again(
    memory: Memory, client: httpx.AsyncClient, path: str, data: dict[str, str], slot: str
) -> None:
    for warning_id in ("w-draft", "w-1"):
        await memory.stand(warning_id)
    said = {"zh": "您看到的是第 1 版，现已是第 2 版。", "en": "You saw version 1; it is at 2 now."}
    todo = {"zh": "请重新阅读后再决定。", "en": "Read it again, then decide."}
    for language in ("zh", "en"):
        page = await client.post(f"{path}?lang={language}", data={**SEEN, **data}, headers=OURS)
        problem = page.text.partition(f'id="problem-{slot}"')[2].partition("</form>")[0]
        assert (page.status_code, said[language] in problem, todo[language] in problem) == (412, True, True)
        assert 'name="version" value="2"' in page.text  # it is what this page shows
        fragment = await client.post(
            f"{path}?lang={language}", data={**SEEN, **data}, headers={**OURS, "HX-Request": "true"}
        )
        assert (fragment.status_code, said[language] in fragment.text, "<html" in fragment.text) == (412, True, False)
    assert [line.status for line in memory.lines.values()] == ["released", "draft"]
    assert (await client.post(path, data={"version": "2", **data}, headers=OURS)).status_code == 303


@pytest.mark.parametrize("version", [{}, {"version": ""}, {"version": "x"}, {"version": "-1"}, {"version": "9" * 19}])
async def test_a_form_that_names_no_version_does_nothing(
    memory: Memory, client: httpx.AsyncClient, version: dict[str, str]
) -> None:
    for path in ("/console/warnings/w-draft/release", "/console/warnings/w-1/cancel"):
        refused = await client.post(path, data={**version, "reason": "急"}, headers=OURS)
        assert (refused.status_code, "page.form" in refused.text) == (422, True)
    assert memory.calls == []


@pytest.mark.parametrize(
    ("posted", "page"),
    [
        ("/console/warnings", "/console"),
        ("/console/cap", "/console"),
        ("/console/warnings/w-draft/release", "/console/warnings/w-draft"),
        ("/console/warnings/w-1/cancel", "/console/warnings/w-1"),
        ("/console/warnings/w%3F1%25/cancel", "/console/warnings/w%3F1%25"),
    ],
)
async def test_a_page_that_a_post_answered_with_is_read_in_the_other_language_too(
    memory: Memory, client: httpx.AsyncClient, posted: str, page: str
) -> None:
    memory.add_warning("w?1%")
    refused = await client.post(posted, data={"expires": "1999"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert 'href="?lang=en"' in refused.text
    link = await client.get(f"{posted}?lang=en&x=%26")
    assert (link.status_code, link.headers["location"]) == (303, f"{page}?lang=en&x=%26")
    shown = await client.get(link.headers["location"])
    assert (shown.status_code, '<html lang="en">' in shown.text) == (200, True)
    assert (await client.get(posted)).headers["location"] == page
    assert memory.calls == []


@pytest.mark.parametrize(
    ("action", "path", "data"),
    [
        ("warning.draft", "/console/warnings", DRAFT),
        ("warning.draft", "/console/cap", {}),
        ("warning.release", "/console/warnings/w-draft/release", SEEN),
        ("warning.break_glass", "/console/warnings/w-draft/release", {**SEEN, "break_glass": "yes", "reason": "急"}),
        ("warning.cancel", "/console/warnings/w-1/cancel", {**SEEN, "reason": "误报"}),
    ],
)
async def test_what_one_may_not_do_never_reaches_the_desk(
    memory: Memory, action: str, path: str, data: dict[str, str]
) -> None:
    async with client_of(memory, who=msgspec.structs.replace(DUTY, may=DUTY.may - {action})) as client:
        response = await client.post(path, data=data, headers=OURS)
    assert response.status_code == 403
    assert memory.calls == []


async def test_cap_files_up_to_eight_mebibytes(memory: Memory, client: httpx.AsyncClient) -> None:
    limit = 8 * 1024 * 1024
    for size, status in ((limit, 303), (limit + 1, 422), (limit + 100_000, 422), (0, 422)):
        file = {"file": ("a.xml", b"<" * size, "text/xml")}
        response = await client.post("/console/cap", files=file, headers=OURS)
        assert response.status_code == status, size
    assert memory.calls == [("cap", DUTY.person_id, limit)]


async def test_a_form_of_unknown_length_is_refused(memory: Memory, client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"reason=x"

    response = await client.post("/console/warnings/w-1/cancel", content=endless(), headers=OURS)
    assert response.status_code == 422
    assert memory.calls == []


# Static files -----------------------------------------------------------------------------------------------------


async def test_static_files_are_kept_for_good_under_their_hash_and_no_other(client: httpx.AsyncClient) -> None:
    page = (await client.get("/console/warnings/w-1")).text
    found = re.findall(r'(?:src|href|data-land)="(/console/static/[^"]+)"', page)
    assert len(found) > 10
    for url in found:
        response = await client.get(url.replace("&amp;", "&"))
        assert response.status_code == 200, url
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    stale = await client.get("/console/static/console.css?v=0000")
    assert stale.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "../routes.py",
        "%2e%2e/routes.py",
        "..%2froutes.py",
        "vendor/../../model.py",
        "vendor/.stamp",
        "//etc/passwd",
        "",
    ],
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(f"http://console.test/console/static/{path}")
    assert response.status_code in {404, 405}
    assert "import" not in response.text


# Languages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers", "tag"),
    [
        ("/console", {}, "zh-CN"),
        ("/console", {"Accept-Language": "en-GB,en;q=0.9"}, "en"),
        ("/console", {"Accept-Language": "de, zh-TW;q=0.5, en;q=0.4"}, "zh-CN"),
        ("/console", {"Accept-Language": "en;q=0, de;q=nonsense"}, "zh-CN"),
        ("/console", {"Accept-Language": "zh", "Cookie": "fenghuo_lang=en"}, "en"),
        ("/console?lang=zh", {"Accept-Language": "en", "Cookie": "fenghuo_lang=en"}, "zh-CN"),
        ("/console?lang=xx", {"Accept-Language": "en"}, "en"),
    ],
)
async def test_the_language_is_chosen(client: httpx.AsyncClient, path: str, headers: dict[str, str], tag: str) -> None:
    response = await client.get(path, headers=headers)
    assert f'<html lang="{tag}">' in response.text
    assert ("fenghuo_lang" in response.cookies) == ("lang=zh" in path)


KEYWORDS = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2)}
PUBLIC = {"answer.py", *(f"templates/{name}.html" for name in ("answer", "login", "public", "refused"))}


def extracted() -> dict[str, set[str]]:
    """Message ids by domain, out of the sources as they are now."""
    found: dict[str, set[str]] = {"console": set(), "answer": set(labels.LEVELS.values())}
    methods = [("**.py", "python"), ("templates/**.html", "jinja2.ext:babel_extract")]
    strict = {"**.html": {"silent": "false"}}
    for name, _line, message, _comments, _context in extract_from_dir(PAGES, methods, strict, KEYWORDS):
        ids = message if isinstance(message, tuple) else (message,)
        found["answer" if name in PUBLIC else "console"].update(ids[:1])
    return found


@pytest.mark.parametrize(
    ("domain_", "locale"),
    [("console", "zh_CN"), ("answer", "zh_CN"), ("answer", "es"), ("answer", "it"), ("answer", "fr")],
)
def test_every_word_is_translated_and_no_other(domain_: str, locale: str) -> None:
    with (i18n.LOCALE / locale / "LC_MESSAGES" / f"{domain_}.po").open("rb") as opened:
        catalog = read_po(opened)
    said = {}
    for message in catalog:
        if message.id:
            first = message.id[0] if isinstance(message.id, tuple) else message.id
            said[first] = message
    assert set(said) == extracted()[domain_]
    for first, message in said.items():
        words = message.string if isinstance(message.string, tuple) else (message.string,)
        assert all(words), first
        assert not message.fuzzy, first
        for word in words:
            assert set(re.findall(r"%\(\w+\)s", word)) == set(re.findall(r"%\(\w+\)s", first)), first


def test_the_sentences_listed_for_translation_are_still_said_somewhere() -> None:
    rooms = [Path(room.__path__[0]) for room in (domain, notifiers, api)]
    lists = {Path(listing.__file__) for listing in (problems, answer)}
    sources = "".join(f.read_text(encoding="utf-8") for room in rooms for f in room.rglob("*.py") if f not in lists)
    assert [sentence for sentence in (*problems.KNOWN, *answer.REFUSALS) if f'"{sentence}"' not in sources] == []


@pytest.mark.parametrize("status", STATUSES)
async def test_every_standing_of_a_case_is_said_in_the_readers_language(
    memory: Memory, client: httpx.AsyncClient, status: str
) -> None:
    memory.ask_help("ruian", "case-1")
    memory.cases[0] = msgspec.structs.replace(memory.cases[0], status=status)
    said = {}
    for language in i18n.CONSOLE_LANGUAGES:
        page = (await client.get(f"/console/warnings/w-1?lang={language}")).text
        (said[language],) = re.findall(r'<li id="case-case-1">.*?<span class="chip">([^<]+)</span>', page)
    assert said["en"] == labels.CASES[status] != status
    assert re.search("[\u4e00-\u9fff]", said["zh"])


async def test_the_chinese_page_has_no_english_left(client: httpx.AsyncClient) -> None:
    text = (await client.get("/console/warnings/w-1")).text
    visible = re.sub(r"<(template|title|code|script)[^>]*>.*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL)
    visible = re.sub(r'lang="en".*?</details>', " ", visible, flags=re.DOTALL)
    left = set(re.findall(r"[A-Za-z]{4,}", visible))
    english = set(re.findall(r"[A-Za-z]{4,}", " ".join(word for entry in client_words() for word in entry)))
    assert left - english - {"English"} == set()


def client_words() -> list[tuple[str, str, str, str]]:
    made = Memory()
    made.add_warning()
    return made.words["w-1"]


def test_times_say_their_zone(memory: Memory) -> None:
    at = memory.lines["w-1"].effective_at
    assert i18n.moment(at, "zh") == "2026年11月21日 20:00 GMT+8"
    assert i18n.moment(at, "en") == "Nov 21, 2026 20:00 GMT+8"
    assert i18n.iso(at) == "2026-11-21T20:00:00+08:00"


# Pages without sign-in --------------------------------------------------------------------------------------------


def page_of(language: str, **values: object) -> str:
    given = {
        "level": "red", "headline": HOSTILE, "description": "情况", "instruction": "建议", "text_language": "zh-CN",
        "hotline": "12308", "mission": "+39 (06) 9652-4200, 昼夜", "police": "当地报警", "post_to": "/a/token",
    }  # fmt: skip
    return answer.answer_page(language, **{**given, **values})


@pytest.mark.parametrize(
    ("language", "safe", "need"),
    [
        ("zh", "我平安", "需要帮助"),
        ("en", "I am safe", "I need help"),
        ("es", "Estoy a salvo", "Necesito ayuda"),
        ("it", "Sono al sicuro", "Ho bisogno di aiuto"),
        ("fr", "Je suis en sécurité", "J'ai besoin d'aide"),
    ],
)
def test_a_recipient_answers_in_their_language_without_scripts(language: str, safe: str, need: str) -> None:
    page = page_of(language)
    assert f'<html lang="{i18n.tag(language)}">' in page
    assert "<script" not in page
    assert re.search(rf'<button name="answer" value="safe"[^>]*>{safe}</button>', page)
    assert re.search(rf'<button name="answer" value="help"[^>]*>{need}</button>', page)
    assert 'method="post" action="/a/token"' in page
    assert 'href="tel:12308"' in page
    assert 'href="tel:+390696524200"' in page
    assert "<strong>当地报警</strong>" in page


def test_an_answer_may_be_changed() -> None:
    safe, need = page_of("en", answered="safe"), page_of("en", answered="help")
    assert "Thank you. We know that you are safe." in safe
    assert 'value="help"' in safe
    assert 'value="safe"' not in safe
    assert "We know that you need help." in need
    assert 'value="safe"' in need


def test_a_drill_says_so_and_an_ended_warning_too() -> None:
    assert "这是演练" in page_of("zh", drill=True)
    assert "本预警已失效" in page_of("zh", ended=True)


@pytest.mark.parametrize(
    ("language", "unknown", "complete", "again"),
    [
        ("zh", "此链接不是我们发出的。", "请确认链接是否完整。", "请过几分钟再试。"),
        ("en", "This link is not one of ours.", "Check that it is complete.", "Try again in a few minutes."),
        ("es", "Este enlace no es nuestro.", "Compruebe que esté completo.", "Vuelva a intentarlo en unos minutos."),
        ("it", "Questo link non è nostro.", "Controlli che sia completo.", "Riprovi tra qualche minuto."),
        ("fr", "Ce lien n&#39;est pas de nous.", "Vérifiez qu&#39;il est complet.", "Réessayez dans quelques minutes."),
    ],
)
def test_a_recipient_is_told_in_their_language_what_is_wrong_and_nothing_of_the_program(
    language: str, unknown: str, complete: str, again: str
) -> None:
    wrong = NotFound("link.unknown", "This link is not one of ours.", "Check that it is complete.")
    page = answer.refusal_page(language, wrong)
    assert f'<html lang="{i18n.tag(language)}">' in page
    assert [said for said in (unknown, complete) if said not in page] == []
    gone = answer.refusal_page(language, Unreachable("log.read_failed", "The log's database does not answer."))
    assert again in gone
    assert "database" not in gone


def test_a_sign_in_link_asks_for_a_button() -> None:
    page = answer.login_page("zh", post_to="/login/x")
    assert 'method="post" action="/login/x"' in page
    spent = Refused("token.spent", "This link was used, has expired or never existed.", "Ask for a new one.")
    refused = answer.login_page("zh", post_to="/login/x", error=spent)
    assert "此链接已使用" in refused
    assert "<form" not in refused
    assert answer.respond(page).headers["x-robots-tag"] == "noindex, nofollow"
