"""Feeds through the running program: a publisher on loopback, conditional requests, drafts, and what must not happen.

The program's own poller reads; its clock is moved by hand.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from problems import denied, problem
from setting import Errors
from town import Town, town
from townsfolk import SETUP

from domain.feeds import FeedItemsTaken
from domain.grants import GrantRole
from domain.warnings import WarningDrafted, WarningReleased

MAPPING = {"key": "country", "title": "country", "level": "advice", "text": "text", "updated": "at"}
CAP = """<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>{identifier}</identifier>
<sender>met@example.org</sender><sent>{sent}</sent><status>Actual</status><msgType>{kind}</msgType><scope>Public</scope>{references}
<info><language>en</language><category>Met</category><event>Storm</event><urgency>Expected</urgency>
<severity>{severity}</severity><certainty>Likely</certainty><headline>{headline}</headline>
<area><areaDesc>Coast</areaDesc></area></info></alert>"""


def cap(identifier: str = "a1", **changes: str) -> str:
    fields = {"sent": "2026-07-01T08:00:00+00:00", "kind": "Alert", "references": "", "severity": "Severe"}
    return CAP.format(**{**fields, "identifier": identifier, "headline": "Storm ahead", **changes})


class Publisher:
    """A publisher's server. What it was asked is kept; `answers` are given once each before `body` is."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.answers: list[web.Response] = []
        self.asked: list[web.Request] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        if self.answers:
            return self.answers.pop(0)
        body = self.pages.get(request.path)
        if body is None:
            return web.Response(status=404)
        tag = f'"{hash(body)}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304)
        return web.Response(body=body.encode(), headers={"ETag": tag})


@asynccontextmanager
async def publishing(folder: Path) -> AsyncIterator[tuple[Town, Publisher]]:
    publisher = Publisher()
    app = web.Application()
    app.router.add_get("/{path:.*}", publisher.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    publisher.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with town(folder, feeds={"allowed_origins": [publisher.url]}) as made:
            yield made, publisher
    finally:
        await runner.cleanup()


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[tuple[Town, Publisher]]:
    async with publishing(tmp_path / "data") as made:
        yield made


def feed(publisher: Publisher, **changes: Any) -> dict[str, Any]:
    fields = {
        "feed_id": "advice", "url": f"{publisher.url}/advice.json", "form": "json", "node_id": "office",
        "title": "Advice",
        "every_s": 60, "mapping": MAPPING, "levels": {"Do not travel": "red", "Take care": "yellow"},
    }  # fmt: skip
    return {**fields, **changes}


def advice(count: int, advice: str = "Take care", at: str = "2026-07-01", text: str = "") -> str:
    rows = [{"country": f"Country {n}", "advice": advice, "at": at, "text": text} for n in range(count)]
    return json.dumps(rows)


async def added(town: Town, body: dict[str, Any]) -> None:
    answer = await town.post("officer1", "/v1/feeds", body)
    assert answer.status_code == 201, answer.text


async def read_once(town: Town, publisher: Publisher) -> None:
    """Moves the clock to the next reading, and returns once it is over."""
    before = len(publisher.asked)
    await town.pass_time(seconds=70)
    await town.until(lambda: len(publisher.asked) > before, "the feed to be read")
    await _settled(town)


async def _settled(town: Town) -> None:
    for _ in range(200):
        said = (await town.get("officer1", "/v1/feeds")).json()["items"]
        if all(f["next_at"] and f["next_at"] > town.clock.now().isoformat().replace("+00:00", "Z") for f in said):
            break
        await asyncio.sleep(0.02)
    await town.quiet()


async def drafts(town: Town) -> list[dict[str, Any]]:
    rows = (await town.get("officer1", "/v1/warnings?limit=200")).json()["items"]
    return [row for row in rows if row["status"] == "draft"]


async def test_230_updates_at_once_are_230_drafts_and_never_more(both: tuple[Town, Publisher]) -> None:
    town, publisher = both
    publisher.pages["/advice.json"] = advice(230)
    await added(town, feed(publisher))
    await read_once(town, publisher)
    assert not town.recorded(WarningDrafted), "what stood there at first is no news"

    publisher.pages["/advice.json"] = advice(230, "Do not travel")
    await read_once(town, publisher)
    assert len(town.recorded(WarningDrafted)) == 230
    publisher.pages["/advice.json"] = advice(230, "Do not travel", at="2026-07-02")  # stamped anew, and nothing else
    await read_once(town, publisher)
    await read_once(town, publisher)
    assert publisher.asked[-1].headers["If-None-Match"]
    assert len(town.recorded(WarningDrafted)) == 230
    assert not town.recorded(WarningReleased), "nothing goes out by itself"
    assert {row["level"] for row in await drafts(town)} == {"red"}


async def test_a_restart_reads_everything_again_and_drafts_nothing_twice(tmp_path: Path) -> None:
    async with publishing(tmp_path / "data") as (town, publisher):
        publisher.pages["/advice.json"] = advice(3)
        await added(town, feed(publisher, baseline=False))
        await read_once(town, publisher)
        assert len(town.recorded(WarningDrafted)) == 3
        stores, poller = town.stores, town.live.runtime.poller
        with stores.views.reading() as db:
            (known,) = stores.views.feeds.feeds(db)
        poller._readings.clear()  # what a restart forgets
        await read_once(town, publisher)
        assert "If-None-Match" not in publisher.asked[-1].headers
        assert known.feed_id == "advice"
        assert len(town.recorded(WarningDrafted)) == 3
        assert len(town.recorded(FeedItemsTaken)) == 1


async def test_a_level_that_swings_makes_one_update_and_going_back_takes_it_away(both: tuple[Town, Publisher]) -> None:
    town, publisher = both
    publisher.pages["/advice.json"] = advice(1)
    await added(town, feed(publisher, baseline=False))
    await read_once(town, publisher)
    (first,) = await drafts(town)
    assert (await town.post("officer1", f"/v1/warnings/{first['warning_id']}/release")).status_code == 200
    await town.quiet()
    town.read_all()

    publisher.pages["/advice.json"] = advice(1, "Do not travel")
    await read_once(town, publisher)
    (update,) = await drafts(town)
    assert (update["updates"], update["level"]) == (first["warning_id"], "red")
    publisher.pages["/advice.json"] = advice(1)
    await read_once(town, publisher)
    assert await drafts(town) == []
    items = (await town.get("officer1", "/v1/feeds/advice/items")).json()["items"]
    assert [(i["key"], i["verdict"], i["warning_id"]) for i in items] == [
        ("Country 0", "returned", first["warning_id"])
    ]


async def test_an_index_of_cap_leads_to_its_messages_and_an_update_names_its_warning(
    both: tuple[Town, Publisher],
) -> None:
    town, publisher = both
    entry = '<entry><id>x{n}</id><link type="application/cap+xml" href="{n}.xml"/></entry>'
    index = '<feed xmlns="http://www.w3.org/2005/Atom">{}</feed>'
    publisher.pages |= {"/index.atom": index.format(entry.format(n="a1")), "/a1.xml": cap()}
    await added(town, feed(publisher, form="cap", url=f"{publisher.url}/index.atom"))
    await read_once(town, publisher)
    (first,) = await drafts(town)
    assert (first["level"], first["content"]["texts"][0]["headline"]) == ("orange", "Storm ahead")
    assert (await town.post("officer1", f"/v1/warnings/{first['warning_id']}/release")).status_code == 200
    await town.quiet()
    town.read_all()

    references = "<references>met@example.org,a1,2026-07-01T08:00:00+00:00</references>"
    again = cap("a2", kind="Update", references=references, sent="2026-07-01T09:00:00+00:00")
    worse = cap("a3", kind="Update", references=references, sent="2026-07-01T09:30:00+00:00", severity="Extreme")
    publisher.pages |= {"/index.atom": index.format(entry.format(n="a2")), "/a2.xml": again}
    await read_once(town, publisher)
    assert await drafts(town) == [], "the same, stamped anew"
    publisher.pages |= {"/index.atom": index.format(entry.format(n="a3")), "/a3.xml": worse}
    await read_once(town, publisher)
    (update,) = await drafts(town)
    assert (update["updates"], update["level"]) == (first["warning_id"], "red")

    gone = cap("a4", kind="Cancel", references=references, sent="2026-07-01T10:00:00+00:00")
    publisher.pages |= {"/index.atom": index.format(entry.format(n="a4")), "/a4.xml": gone}
    await read_once(town, publisher)
    items = (await town.get("officer1", "/v1/feeds/advice/items")).json()["items"]
    assert [i["verdict"] for i in items] == ["cancelled"]
    assert (await town.get("officer1", f"/v1/warnings/{first['warning_id']}")).json()["status"] == "released"


async def test_a_message_that_is_not_there_yet_is_asked_for_again(both: tuple[Town, Publisher]) -> None:
    town, publisher = both
    publisher.pages["/index.atom"] = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>x1</id>'
        '<link type="application/cap+xml" href="a1.xml"/></entry></feed>'
    )
    await added(town, feed(publisher, form="cap", url=f"{publisher.url}/index.atom"))
    await read_once(town, publisher)
    assert await drafts(town) == []
    publisher.pages["/a1.xml"] = cap()  # the index stays as it was
    await read_once(town, publisher)
    assert len(await drafts(town)) == 1


async def test_a_message_of_another_age_keeps_no_other_back(both: tuple[Town, Publisher]) -> None:
    town, publisher = both
    publisher.pages["/index.atom"] = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>x1</id>'
        '<link type="application/cap+xml" href="a1.xml"/></entry><entry><id>x2</id>'
        '<link type="application/cap+xml" href="a2.xml"/></entry></feed>'
    )
    another_age = cap(sent="9999-12-30T00:00:00+00:00")
    publisher.pages |= {"/a1.xml": another_age, "/a2.xml": cap("a2")}
    await added(town, feed(publisher, form="cap", url=f"{publisher.url}/index.atom"))
    await read_once(town, publisher)
    assert len(await drafts(town)) == 1
    imported = await town.post("officer1", "/v1/warnings/import", content=another_age.encode())
    problem(imported, 422, "cap.year")


async def test_a_feed_that_is_read_once_a_day_is_not_asked_before(both: tuple[Town, Publisher]) -> None:
    town, publisher = both
    publisher.pages["/advice.json"] = advice(1)
    await added(town, feed(publisher, every_s=86_400))
    await read_once(town, publisher)
    for _ in range(3):
        await town.pass_time(hours=2)
        await _settled(town)
    assert len(publisher.asked) == 1
    town.clock.jump(timedelta(hours=-7))  # set back to before it was read: nothing is known of how long to wait
    await read_once(town, publisher)
    assert len(publisher.asked) == 2


async def test_rss_is_read_without_its_markup(both: tuple[Town, Publisher]) -> None:
    town, publisher = both
    publisher.pages["/rss"] = (
        "<rss><channel><item><title>Quake &amp; more</title><guid>q1</guid><link>https://x.example/q1</link>"
        "<description>&lt;p&gt;Stay &lt;b&gt;out&lt;/b&gt;&lt;/p&gt;&lt;script&gt;x()&lt;/script&gt;</description>"
        "</item><item><title></title><guid>q2</guid></item></channel></rss>"
    )
    await added(town, feed(publisher, form="syndication", url=f"{publisher.url}/rss", baseline=False))
    await read_once(town, publisher)
    (row,) = await drafts(town)
    (text,) = row["content"]["texts"]
    assert (text["headline"], text["description"]) == ("Quake & more", "Stay out")
    items = (await town.get("officer1", "/v1/feeds/advice/items")).json()["items"]
    assert [(i["key"], i["verdict"]) for i in items] == [("q1", "drafted"), ("q2", "unusable")]


async def test_two_people_may_let_a_feed_release_by_itself_and_it_takes_the_second(
    both: tuple[Town, Publisher],
) -> None:
    town, publisher = both
    publisher.pages["/advice.json"] = "[]"
    await added(town, feed(publisher))
    await read_once(town, publisher)
    levels = {"levels": ["red"]}
    problem(
        await town.ask("officer1", "PUT", "/v1/feeds/advice/release-levels", json=levels), 409, "feed.second_person"
    )
    assert (await town.ask("officer2", "PUT", "/v1/feeds/advice/release-levels", json=levels)).status_code == 200

    publisher.pages["/advice.json"] = json.dumps(
        [{"country": "X", "advice": "Do not travel"}, {"country": "Y", "advice": "Take care"}]
    )
    await read_once(town, publisher)
    (released,) = town.recorded(WarningReleased)
    assert (released.event.release.value, released.event.released_by) == ("by_rule", "system:feeds")  # type: ignore[attr-defined]
    assert [row["level"] for row in await drafts(town)] == ["yellow"]
    town.read_all()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (web.Response(status=500), "feed.status"),
        (web.Response(status=503, headers={"Retry-After": "300"}), "feed.busy"),
        (web.Response(status=302, headers={"Location": "https://10.0.0.1/inside"}), "feed.address"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/inside"}), "feed.address"),
        (web.Response(body=b"x" * (9 * 1024 * 1024)), "feed.too_large"),
        (web.Response(body=b"{not json"), "feed.json"),
        (web.Response(body=b'{"a": 1}'), "feed.items"),
    ],
    ids=["500", "503", "private", "loopback", "large", "broken", "shape"],
)
async def test_a_reading_that_goes_wrong_says_why_and_the_next_one_is_taken(
    both: tuple[Town, Publisher], answer: web.Response, code: str
) -> None:
    town, publisher = both
    publisher.pages["/advice.json"] = advice(1)
    publisher.answers.append(answer)
    await added(town, feed(publisher, baseline=False))
    await read_once(town, publisher)
    (shown,) = (await town.get("officer1", "/v1/feeds")).json()["items"]
    assert (shown["code"], shown["failures"]) == (code, 1)
    await town.pass_time(seconds=400)
    await town.until(lambda: len(town.recorded(WarningDrafted)) == 1, "the next reading")


async def test_a_fault_of_ours_lets_a_feed_wait_longer_each_time_too(
    both: tuple[Town, Publisher], errors: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    town, publisher = both
    errors.expect("feed_failed")
    publisher.pages["/advice.json"] = advice(1)
    await added(town, feed(publisher, baseline=False))
    poller, tries = town.live.runtime.poller, 0

    async def broken(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(poller, "read", broken)
    waits: list[float] = []
    for failures in range(1, 5):
        await town.pass_time(seconds=700)
        await town.until(lambda n=failures: (r := poller.reading("advice")) and r.failures == n, "the next failure")
        reading = poller.reading("advice")
        assert reading is not None
        assert (reading.code, reading.message) == ("feed.internal", "")
        await town.until(lambda r=reading: r.next_at > town.clock.now(), "its next turn")
        waits.append((reading.next_at - town.clock.now()).total_seconds())
    assert tries == 4
    assert all(after > 1.5 * before for before, after in pairwise(waits)), waits
    assert poller.failing == 1


async def test_xml_that_attacks_is_refused(both: tuple[Town, Publisher]) -> None:
    town, publisher = both
    publisher.pages["/x"] = (
        '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss><channel><item><title>&x;</title></item></channel></rss>'
    )
    await added(town, feed(publisher, form="syndication", url=f"{publisher.url}/x"))
    await read_once(town, publisher)
    (shown,) = (await town.get("officer1", "/v1/feeds")).json()["items"]
    assert shown["code"] == "feed.xml"


async def test_who_may_do_what_with_feeds(both: tuple[Town, Publisher]) -> None:
    town, publisher = both
    publisher.pages["/advice.json"] = "[]"
    assert denied(await town.post("milan-head", "/v1/feeds", feed(publisher)))
    await added(town, feed(publisher))
    for method, path, body in (
        ("DELETE", "/v1/feeds/advice", None),
        ("PUT", "/v1/feeds/advice/release-levels", {"levels": ["red"]}),
        ("GET", "/v1/feeds/advice/items", None),
    ):
        assert denied(await town.ask("milan-head", method, path, json=body)), (method, path)
    assert (await town.get("milan-head", "/v1/feeds")).json() == {"items": []}
    assert (await town.ask("officer2", "DELETE", "/v1/feeds/advice")).status_code == 200
    problem(await town.get("officer1", "/v1/feeds/advice/items"), 404, "feed.unknown")


@pytest.mark.parametrize("node", ["north", "office"])
async def test_a_feed_ends_by_itself_what_its_second_person_could_end(both: tuple[Town, Publisher], node: str) -> None:
    town, publisher = both
    publisher.pages["/advice.json"] = advice(1)
    await added(town, feed(publisher, node_id="north", baseline=False))
    done = await town.stores.registry.give_grant(
        SETUP, person_id="county1", role=GrantRole.DUTY_OFFICER, node_id="north", bootstrap=True
    )
    await town.stores.follower.reached(done.position)
    levels = {"levels": ["red"]}
    assert (await town.ask("county1", "PUT", "/v1/feeds/advice/release-levels", json=levels)).status_code == 200
    await read_once(town, publisher)
    (first,) = await drafts(town)
    path = f"/v1/warnings/{first['warning_id']}"
    assert (await town.ask("officer1", "PUT", path, json=town.body(target={"nodes": [node]}))).status_code == 200
    assert (await town.post("officer2", f"{path}/release")).status_code == 200
    await town.quiet()

    publisher.pages["/advice.json"] = advice(1, "Do not travel")
    await read_once(town, publisher)
    by_rule = node == "north"
    assert (await town.get("officer1", path)).json()["status"] == ("updated" if by_rule else "released")
    assert [row["updates"] for row in await drafts(town)] == ([] if by_rule else [first["warning_id"]])

    publisher.pages["/advice.json"] = advice(1, "Do not travel", at="2026-07-02", text="In all of it.")
    await read_once(town, publisher)  # what is drafted and waits for somebody else is revised, and waits on
    assert [row["updates"] for row in await drafts(town)] == ([] if by_rule else [first["warning_id"]])
    released = [r.event.warning_id for r in town.recorded(WarningReleased)]
    assert len(released) == (3 if by_rule else 1)
    town.read_all()


async def test_a_feed_whose_officer_left_drafts_no_more(both: tuple[Town, Publisher], errors: Errors) -> None:
    town, publisher = both
    publisher.pages["/advice.json"] = advice(1)
    await added(town, feed(publisher, baseline=False))
    with town.stores.views.reading() as db:
        (grant,) = town.stores.views.directory.grants_of(db, "officer1")
    done = await town.stores.registry.revoke_grant(SETUP, grant.grant_id, reason="left")
    await town.stores.follower.reached(done.position)
    before = len(publisher.asked)
    await town.pass_time(seconds=70)
    await town.until(lambda: len(publisher.asked) > before, "the reading")
    await town.until(lambda: (r := town.live.runtime.poller.reading("advice")) and r.code == "permission.denied", "why")
    assert not town.recorded(WarningDrafted)
