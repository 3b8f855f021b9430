"""The demo's story: one warning goes out through the tree and comes back, over real sockets, step by step.

Everything is done through the same doors as in earnest: HTTP requests with bearer tokens, providers on loopback that
speak SMTP, the SMS provider's form API with signed callbacks, and Web Push; made-up people answer by SMS and link.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp

from domain.errors import FenghuoError
from domain.grants import TokenKind
from infra.cli.output import err, progress
from infra.config import OwnSettings
from infra.demo.crowd import Crowd, Order
from infra.demo.hierarchy import hierarchy
from infra.demo.people import people
from infra.demo.report import Summary
from infra.demo.setup import SETUP, Cast, load
from infra.demo.warning import warning_cap
from infra.fsck import rebuilt, verify
from infra.serve import Serving, serving, until_stopped
from infra.stores import Stores

STAFF = ("duty_officer", "county_officer", "head", "deputy", "liaison")
SLEEPER = "station-prato"
ANSWERS = 0.2  # the odds that a citizen answers a message; most get two or three
LONGEST_S = 240.0


class Demo:
    """One run. `result` is complete once `run` calls back."""

    def __init__(self, settings: OwnSettings, *, people: int, stay: bool) -> None:
        self.settings = settings
        self.count = people
        self.stay = stay
        self.result = Summary()

    async def run(self, done: Callable[[], None]) -> None:
        began = time.perf_counter()
        async with (
            Crowd() as crowd,
            Stores(self.settings.data_dir) as stores,
            serving(crowd.settings(self.settings), stores) as live,
        ):
            cast = await self._load(live, crowd)
            staff = cast.addresses(lambda p: p.role in STAFF)
            sleeping = cast.addresses(lambda p: p.role in STAFF and p.node == SLEEPER)
            inbound = f"{live.url}/callbacks/sms/inbound"
            await crowd.answer(Order(what="answer", inbound_url=inbound, staff=staff, asleep=sleeping, answers=ANSWERS))
            tokens = [await self._token(stores, officer) for officer in cast.officers[:2]]
            async with aiohttp.ClientSession(live.url) as http:
                warning_id = await self._issue(http, tokens)
                await self._carried(live, warning_id)
                middle = await stores.log.last_position()
                await crowd.quiet()
                await self._cancel(http, tokens[0], live, warning_id)
            self._count(stores, warning_id)
            await asyncio.to_thread(self._look_back, stores, warning_id, middle)
            self.result.seconds = round(time.perf_counter() - began, 1)
            done()
            if self.stay:
                await self._serve_on(live, cast)

    async def _load(self, live: Serving, crowd: Crowd) -> Cast:
        _say("载入层级和人员", "loading the hierarchy and the people")
        everybody = list(people(count=self.count))
        subscriptions = await crowd.subscribe(sum(person.push for person in everybody))
        with progress("people", len(everybody)) as told:
            return await load(live.stores, hierarchy(), everybody, subscriptions, told)

    async def _token(self, stores: Stores, person_id: str) -> str:
        secret = secrets.token_urlsafe(32)
        await stores.registry.issue_token(person_id, TokenKind.BEARER, secret, timedelta(hours=1), SETUP)
        await stores.follower.reached(await stores.log.last_position())
        return secret

    async def _issue(self, http: aiohttp.ClientSession, tokens: list[str]) -> str:
        _say("读取 CAP 1.2 文件并起草", "reading a CAP 1.2 file and drafting from it")
        cap = warning_cap(self._now())
        headers = {"Content-Type": "application/cap+xml"}
        drafted = await _post(http, "/v1/warnings/import", tokens[0], data=cap, headers=headers)
        path = f"/v1/warnings/{drafted['id']}/release"
        async with http.post(path, json={}, headers=_bearer(tokens[0])) as alone:
            said = await alone.json(content_type=None)
            _say(f"起草人自己签发被拒绝：{said['code']}", f"its author may not release it alone: {said['code']}")
        await _post(http, path, tokens[1], json={}, headers={"Idempotency-Key": "demo-release"})
        _say("第二人签发，开始逐级通知", "a second person releases it; it goes out through the tree")
        return str(drafted["id"])

    def _now(self) -> datetime:
        return datetime.now(ZoneInfo("Asia/Shanghai"))

    async def _carried(self, live: Serving, warning_id: str) -> None:
        """Until every station relayed, or slept through its escalation, and all that was planned is settled."""
        views = live.stores.views
        with progress("told", None) as told:
            async with asyncio.timeout(LONGEST_S):
                position, quiet = -1, 0
                while quiet < 3:
                    with views.reading() as db:
                        rows = views.tree.rows(db, warning_id)
                        totals = views.tree.totals(db, warning_id)
                        busy = views.plans.pending(db) or views.deliveries.unfinished(db, warning_id)
                    told(totals["told"])
                    through = rows and all(row["relayed_at"] is not None for row in rows.values())
                    still = views.position == position and not busy and through
                    position, quiet = views.position, quiet + 1 if still else 0
                    await asyncio.sleep(0.3)
        chased = sum(bool(row["escalations"]) for row in rows.values())
        _say(
            f"已发到 {totals['told']} 人，{chased} 个机构沉默后被催办，其服务对象由系统直接通知",
            f"{totals['told']} people told; {chased} node stayed silent, was chased, and its people were told directly",
        )

    async def _cancel(self, http: aiohttp.ClientSession, token: str, live: Serving, warning_id: str) -> None:
        _say("解除：只通知收到的人", "cancelling: exactly those reached are told")
        before = self._reached(live.stores, warning_id)
        await _post(http, f"/v1/warnings/{warning_id}/cancel", token, json={"reason": "演练结束 demo is over"})
        views = live.stores.views
        async with asyncio.timeout(LONGEST_S):
            while True:
                await live.stores.follower.reached(await live.stores.log.last_position())
                with views.reading() as db:
                    waiting = views.plans.pending(db)
                    left = views.deliveries.queue_length(db)
                if not waiting and not left:
                    break
                await asyncio.sleep(0.1)
        with views.reading() as db:
            told = views.deliveries.told_of_cancel(db, warning_id)
        self.result.cancelled = len({person for person, _ in told})
        self.result.cancelled_exactly = told == before

    def _reached(self, stores: Stores, warning_id: str) -> set[tuple[str, str]]:
        with stores.views.reading() as db:
            return {(t.person_id, t.channel.value) for t in stores.views.deliveries.reached(db, warning_id)}

    def _count(self, stores: Stores, warning_id: str) -> None:
        with stores.views.reading() as db:
            totals = stores.views.tree.totals(db, warning_id)
            rows = stores.views.tree.rows(db, warning_id).values()
            counts = stores.views.deliveries.counts(db, warning_id)
        result = self.result
        result.unreachable = totals["unreachable"]
        result.recipients = totals["recipients"] + totals["unreachable"]
        result.told, result.delivered = totals["told"], totals["delivered"]
        result.acknowledged, result.help = totals["acknowledged"], totals["help"]
        result.stations = len(rows)
        result.relayed = sum(row["relayed_at"] is not None and not row["automatic"] for row in rows)
        result.escalated = sum(bool(row["escalations"]) for row in rows)
        for purpose, channel, outcome, n in counts:
            if purpose != "cancel" and outcome in ("accepted", "delivered", "unknown"):
                result.sent[channel] = result.sent.get(channel, 0) + n

    def _look_back(self, stores: Stores, warning_id: str, middle: int) -> None:
        """Replays to an earlier moment, rebuilds every view and compares, verifies the log."""
        with stores.views.reading() as db:
            released = stores.views.warnings.one(db, warning_id)
        assert released is not None
        then = (released["drafted_position"] + middle) // 2
        with progress("replaying", then) as told:
            past = rebuilt(stores, then, told)
        with past.reading() as db:
            self.result.replayed_told = past.tree.totals(db, warning_id)["told"]
        past.close()
        self.result.replayed_position = then
        _say("回放、重建所有视图并比较、校验日志", "replaying, rebuilding every view and comparing, verifying the log")
        at = -1
        while at != stores.views.position:  # receipts may still come in: both must stand at the same event
            at = stores.views.catch_up(stores.log.read_now)
            before = stores.views.snapshot()
            with progress("rebuilding", at) as told:
                stores.views.rebuild(stores.log.read_now, on_batch=told)
            self.result.views_identical = before == stores.views.snapshot()
        stores.prover.extend()
        try:
            self.result.log_events = verify(stores).events
            self.result.log_verified = True
        except FenghuoError as error:
            _say(f"校验失败：{error.message}", f"verification failed: {error.message}")

    async def _serve_on(self, live: Serving, cast: Cast) -> None:
        secret = secrets.token_urlsafe(32)
        await live.stores.registry.issue_token(
            cast.officers[0], TokenKind.LOGIN_LINK, secret, timedelta(hours=1), SETUP
        )
        err.print(f"\n控制台 console (opens once): {live.url}/login/{secret}")
        err.print("按 Ctrl-C 结束 / Ctrl-C ends it")
        await until_stopped()
        err.print("Draining…")


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _post(http: aiohttp.ClientSession, path: str, token: str, **more: Any) -> dict[str, Any]:
    headers = {**_bearer(token), **more.pop("headers", {})}
    async with http.post(path, headers=headers, **more) as response:
        answer: dict[str, Any] = await response.json(content_type=None)
        if response.status >= 400:
            raise FenghuoError(answer["code"], answer["detail"])
        return answer


_BEGAN = time.perf_counter()


def _say(zh: str, en: str) -> None:
    err.print(f"{time.perf_counter() - _BEGAN:6.1f} s  {zh} / {en}")
