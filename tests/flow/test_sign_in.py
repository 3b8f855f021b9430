"""Credentials: one-time links, sessions, bearer tokens; how each begins, and how each ends for good."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from problems import problem
from setting import SHARED
from town import OURS, Town, console, signed_in

from domain.grants import TokenKind

pytestmark = SHARED


async def test_a_login_link_works_once_and_opening_it_does_nothing(town: Town) -> None:
    link = await town.login_link("officer1")
    async with httpx.AsyncClient(base_url=town.live.url, headers=OURS) as browser:
        for _ in range(3):  # previews open links
            opened = await browser.get(link)
            assert (opened.status_code, "set-cookie" in opened.headers) == (200, False)
        assert await console(browser) == 401
        spent = await browser.post(link)
        assert spent.status_code == 303
        assert await console(browser) == 200
    async with httpx.AsyncClient(base_url=town.live.url, headers=OURS) as another:
        again = await another.post(link)
        assert (again.status_code, "set-cookie" in again.headers) == (409, False)
        assert await console(another) == 401


async def test_of_two_at_once_one_gets_in(town: Town) -> None:
    link = await town.login_link("officer1")

    async def post() -> int:
        async with httpx.AsyncClient(base_url=town.live.url, headers=OURS) as browser:
            return (await browser.post(link)).status_code

    got = await asyncio.gather(*[post() for _ in range(6)])
    assert got.count(303) == 1
    assert set(got) <= {303, 409, 412}
    assert await post() == 409


async def test_the_session_cookie_is_for_our_pages_alone(town: Town) -> None:
    answer = await town.http.post(await town.login_link("officer1"), headers=OURS)
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("fenghuo_session=")
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= {part.strip() for part in cookie.split(";")}
    assert "secure" not in cookie  # plain http on loopback; the twin below has https


async def test_behind_https_the_cookie_is_secure(town: Town) -> None:
    import msgspec

    app = town.live.server.config.app
    kept = app.state.services
    app.state.services = msgspec.structs.replace(kept, public_url="https://warn.example")
    try:
        answer = await town.http.post(await town.login_link("officer1"), headers=OURS)
    finally:
        app.state.services = kept
    assert "; secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_another_site_can_neither_sign_in_nor_out(town: Town, headers: dict[str, str]) -> None:
    link = await town.login_link("officer1")
    answer = await town.http.post(link, headers=headers)
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    browser = await signed_in(town, "officer1")
    browser.headers.pop("sec-fetch-site")
    assert (await browser.post("/logout", headers=headers)).status_code == 403
    assert await console(browser) == 200
    browser.headers.update(OURS)
    assert (await browser.post(link)).status_code == 303  # the link was not spent by the other site
    await browser.aclose()


async def test_signing_out_ends_the_session_everywhere(town: Town) -> None:
    browser = await signed_in(town, "officer1")
    kept = dict(browser.cookies)
    assert (await browser.get("/console/session")).status_code == 204
    page = await browser.get("/console?lang=zh")
    assert re.search(r'<form method="post" action="/logout"><button[^>]*>退出登录</button></form>', page.text)
    out = await browser.post("/logout")
    assert (out.status_code, out.headers["location"]) == (303, "/console")
    after = await browser.get("/console?lang=en")
    assert (after.status_code, "You are not signed in." in after.text, "/logout" in after.text) == (401, True, False)
    await browser.aclose()
    async with httpx.AsyncClient(base_url=town.live.url, cookies=kept) as copy:
        await town.quiet()
        assert await console(copy) == 401
        assert (await copy.get("/console/session")).status_code == 401


@pytest.mark.parametrize(
    ("language", "missing", "over", "unknown"),
    [
        (
            "zh",
            ("您尚未登录。", "请打开新的登录链接。"),
            ("登录凭证无效、已过期或已被撤销。", "请重新登录。"),
            "此登录链接不是我们发出的。",
        ),
        (
            "en",
            ("You are not signed in.", "Open a new login link."),
            ("The credential is unknown, expired or withdrawn.", "Sign in again."),
            "This login link is not one of ours.",
        ),
    ],
)
async def test_who_is_not_signed_in_any_more_is_told_so_in_their_language(
    town: Town, language: str, missing: tuple[str, str], over: tuple[str, str], unknown: str
) -> None:
    for cookies, words in (({}, missing), ({"fenghuo_session": "over"}, over)):
        async with httpx.AsyncClient(base_url=town.live.url, cookies=cookies) as browser:
            page = await browser.get(f"/console?lang={language}")
            assert (page.status_code, [said for said in words if said not in page.text]) == (401, [])
    refused = await town.http.post(f"/login/none?lang={language}", headers=OURS)
    assert (refused.status_code, unknown in refused.text) == (401, True)


async def test_each_credential_is_good_for_its_own_purpose_alone(town: Town) -> None:
    browser = await signed_in(town, "officer1")
    session, bearer = browser.cookies["fenghuo_session"], await town.token("officer1")
    link = (await town.login_link("officer1")).rpartition("/")[2]
    for wrong in (session, link):
        answer = await town.http.get("/v1/warnings", headers={"Authorization": f"Bearer {wrong}"})
        problem(answer, 401, "token.invalid")
    for wrong in (bearer, link):
        async with httpx.AsyncClient(base_url=town.live.url, cookies={"fenghuo_session": wrong}) as other:
            assert await console(other) == 401
    assert (await browser.post(f"/login/{bearer}")).status_code == 401
    assert (await town.http.get("/v1/warnings", headers={"Authorization": f"Bearer {bearer}"})).status_code == 200
    await browser.aclose()


async def test_a_withdrawn_token_is_refused(town: Town) -> None:
    secret = await town.token("officer1")
    bearer = {"Authorization": f"Bearer {secret}"}
    assert (await town.http.get("/v1/warnings", headers=bearer)).status_code == 200
    await town.stores.registry.end_session(secret)
    await town.quiet()
    problem(await town.http.get("/v1/warnings", headers=bearer), 401, "token.invalid")


async def test_the_log_knows_no_secret(town: Town) -> None:
    browser = await signed_in(town, "officer1")
    secrets = [browser.cookies["fenghuo_session"], await town.token("officer1")]
    secrets.append((await town.login_link("officer1")).rpartition("/")[2])
    await browser.aclose()
    stored = b"".join(path.read_bytes() for path in town.stores.folder.glob("*.sqlite*"))
    assert [secret for secret in secrets if secret.encode() in stored] == []
    assert TokenKind.SESSION.value.encode() in stored
