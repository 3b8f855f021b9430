"""A recipient's own link: a page in a language that they read, that stays in it, and that says when there is none."""

from __future__ import annotations

import re
from contextlib import aclosing

import httpx
from setting import SHARED
from town import Town, link_in
from townsfolk import SETUP

from domain.answers import AnswerReceived
from domain.people import Channel, Person, Role

pytestmark = SHARED


def language(page: httpx.Response) -> str:
    found = re.search(r'<html lang="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


async def link_of(town: Town, who: str, **changes: object) -> str:
    """The link in somebody's first message of a new warning."""
    await town.release(**changes)
    await town.quiet()
    path = link_in(town.inbox(who, Channel.SMS)[-1])
    town.read_all()
    return path


async def test_the_page_speaks_as_the_warning_does_where_it_does_not_speak_the_readers_language(town: Town) -> None:
    town.guests.add("+4930123456789")
    guest = Person(person_id="guest-de", node_id="milan", role=Role.HEAD, language="de", channels=(Channel.SMS,))
    await town.stores.registry.register_people([(guest, {"name": "H", "phone": "+4930123456789"})], SETUP)
    await town.stores.follower.reached(await town.stores.log.last_position())
    await town.release(texts=[{"language": "en", "headline": "Flood coming", "instruction": "Move"}])
    await town.quiet()
    town.read_all()
    (message,) = town.sandbox.sms.sent_to("+4930123456789")
    page = await town.http.get(link_in(message.body), headers={"Accept-Language": "de-DE,de;q=0.9"})
    assert (language(page), "Flood coming" in page.text, "I need help" in page.text) == ("en", True, True)


async def test_the_language_that_was_chosen_on_the_page_stays_when_the_button_is_pressed(town: Town) -> None:
    link = await link_of(town, "milan-head")
    async with aclosing(httpx.AsyncClient(base_url=town.live.url, follow_redirects=True)) as phone:
        assert language(await phone.get(link)) == "zh-CN"
        chosen = await phone.get(f"{link}?lang=en")
        action = re.search(r'<form method="post" action="([^"]+)"', chosen.text)
        assert action is not None
        pressed = await phone.post(action[1], data={"answer": "help"})
        assert (language(pressed), "We know that you need help." in pressed.text) == ("en", True)
        odd = await phone.post(f"{link}?lang=%0d%0aX:1", data={"answer": "safe"})
        assert (odd.status_code, "lang" in str(odd.url)) == (200, False)
    await town.quiet()
    town.read_all()


async def test_a_link_that_leads_to_nothing_says_so_in_the_readers_language_and_shows_no_console(town: Town) -> None:
    link = await link_of(town, "milan-head")
    said = len(town.recorded(AnswerReceived))
    for headers, path, tag, words in [
        ({"Accept-Language": "it-IT,it;q=0.9"}, link[:-3], "it", "Questo link non è nostro."),
        ({"Accept-Language": "it"}, f"{link[:-3]}?lang=es", "es", "Este enlace no es nuestro."),
        ({}, "/a/none", "zh-CN", "此链接不是我们发出的。"),
    ]:
        for page in (
            await town.http.get(path, headers=headers),
            await town.http.post(path, headers=headers, data={"answer": "help"}),
        ):
            assert (page.status_code, language(page), words in page.text) == (404, tag, True)
            assert "/console" not in re.sub(r"/console/static/", "", page.text)
            assert page.headers["x-robots-tag"] == "noindex, nofollow"
            assert "default-src 'none'" in page.headers["content-security-policy"]
    assert len(town.recorded(AnswerReceived)) == said
    await town.quiet()
    town.read_all()
