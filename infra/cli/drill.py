"""`fenghuo drill`: issues a drill and measures how long it takes until stations have acknowledged.

Against a running installation over its API (FENGHUO_URL, FENGHUO_TOKEN) or beside it on its data folder; with
`--sandbox` against a program of its own, whose made-up stations answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Protocol
from uuid import uuid4

import aiohttp
import msgspec
import typer

from api import drills
from domain.errors import FenghuoError, InvalidInput, NotFound, Unreachable
from domain.rulepacks import Level
from infra import config, logs
from infra.cli.common import As, DataDir, actor, run_loop
from infra.cli.output import AsJson, err, progress, show
from infra.config import OwnSettings
from infra.demo.drill import sandboxed
from infra.stores import Stores, runs

PARTIAL = 5  # the exit status when not every station has acknowledged within the limit
LOOK_S = 0.25  # between two looks at the report
SANDBOX_REASON = "sandbox: its providers are on loopback"


class Order(msgspec.Struct, frozen=True):
    """What is asked for, as `POST /v1/drills` takes it."""

    node: str | None
    level: Level
    minutes: float
    real_channels: bool
    reason: str


class Site(Protocol):
    """Where the drill takes place."""

    async def issue(self, order: Order) -> str:
        """Releases it; its warning's id."""

    async def report(self, warning_id: str) -> dict[str, Any]:
        """As `GET /v1/warnings/{id}/drill-report`."""


def drill(
    target: Annotated[
        str | None, typer.Option(help="All below this node; the duty office where none is named.")
    ] = None,
    level: Annotated[Level, typer.Option(help="The level whose rules are drilled.")] = Level.ORANGE,
    limit: Annotated[float, typer.Option(help="Minutes within which every station is to acknowledge.", min=0.001)] = 30,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="In a program of its own with made-up stations.")] = False,
    real_channels: Annotated[
        bool, typer.Option("--real-channels", help="Reach people by the real providers; needs --reason.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why the drill reaches people.")] = "",
    url: Annotated[str, typer.Option(envvar="FENGHUO_URL", help="A running Fenghuo; needs FENGHUO_TOKEN.")] = "",
    person: As = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Issues a drill, waits for stations to acknowledge, prints the time to 50, 90 and 99 % of them.

    Exit status 0 when all acknowledged within the limit, 5 when not.
    """
    logs.configure(level="error" if sandbox else "WARNING", as_json=not sys.stderr.isatty())
    if limit > drills.LONGEST_MIN:
        raise InvalidInput("drill.limit", f"A drill lasts at most {drills.LONGEST_MIN} minutes.")
    order = Order(target, level, limit, real_channels or sandbox, reason or (SANDBOX_REASON if sandbox else ""))
    result: dict[str, Any] = {}

    async def run() -> None:
        where = _sandbox() if sandbox else _api(url) if url else _folder(data_dir, person)
        async with where as site:
            result.update(await measure(site, order))

    run_loop(run())
    show(result, as_json=as_json, text=lambda: table(result))
    if not result["complete"]:
        raise typer.Exit(PARTIAL)


async def measure(site: Site, order: Order) -> dict[str, Any]:
    """Issues it and looks on until every station has acknowledged or the limit is over; the report as it is then."""
    began = time.monotonic()
    limit_s = order.minutes * 60
    warning_id = await site.issue(order)
    err.print(f"演习已发出 drill released: {warning_id}")

    def left() -> bool:
        return time.monotonic() - began < limit_s

    report = await site.report(warning_id)
    while not report["planned"] and left():
        await asyncio.sleep(LOOK_S)
        report = await site.report(warning_id)
    if report["planned"] and not report["stations"]:
        raise NotFound("drill.no_station", "There is no station below this node.", "Name another with --target.")
    with progress("站点确认 stations", report["stations"]) as told:
        while report["acknowledged"] < report["stations"] and left():
            told(report["acknowledged"])
            await asyncio.sleep(LOOK_S)
            report = await site.report(warning_id)
    complete = report["planned"] and report["acknowledged"] == report["stations"]
    return {**report, "limit_s": limit_s, "complete": complete}


def table(report: dict[str, Any]) -> str:
    """Chinese first, English second, the figure last."""
    lines = [
        f"演习 drill  {report['warning_id']}  {report['level']}",
        f"站点 stations: {report['acknowledged']} / {report['stations']}",
    ]
    for share, seconds in report["seconds_to"].items():
        said = "未达到 not reached" if seconds is None else f"{seconds:.1f} s"
        lines.append(f"{share}% 站点确认用时 of stations acknowledged after: {said}")
    lines.append(
        f"应通知 people: {report['people']}  已发 told: {report['told']}  送达 delivered: {report['delivered']}"
    )
    lines.append(f"已回应 answered: {report['answered']}  需要帮助 help: {report['help']}")
    silent = [answer["node_id"] for answer in report["answers"] if answer["seconds"] is None]
    if silent:
        lines.append(f"未回应 silent: {', '.join(silent)}")
    return "\n".join(lines)


# Where ----------------------------------------------------------------------------------------------------------------


class _Api:
    """An installation, over HTTP."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def issue(self, order: Order) -> str:
        body = msgspec.to_builtins(order)
        return str((await self._ask("POST", "v1/drills", json=body, headers={"Idempotency-Key": uuid4().hex}))["id"])

    async def report(self, warning_id: str) -> dict[str, Any]:
        return await self._ask("GET", f"v1/warnings/{warning_id}/drill-report")

    async def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            async with self._http.request(method, path, **more) as response:
                answer: dict[str, Any] = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unreachable("drill.unreachable", "The installation does not answer.", "Check FENGHUO_URL.") from error
        if response.status >= 400:
            raise FenghuoError(answer.get("code", "http"), answer.get("detail", f"HTTP {response.status}"))
        return answer


@asynccontextmanager
async def _api(url: str, token: str = "") -> AsyncIterator[Site]:
    token = token or os.environ.get("FENGHUO_TOKEN", "")
    if not token:
        raise InvalidInput("drill.token", "FENGHUO_TOKEN is not set.", "Issue one: fenghuo token issue PERSON.")
    headers, limits = {"Authorization": f"Bearer {token}"}, aiohttp.ClientTimeout(total=30)
    try:
        session = aiohttp.ClientSession(f"{config.web_address(url).rstrip('/')}/", headers=headers, timeout=limits)
    except ValueError as error:
        raise InvalidInput("drill.url", "The URL is none of a web server.", "Write https://warn.example.") from error
    async with session as http:
        yield _Api(http)


class _Folder:
    """An installation that runs on the same data folder."""

    def __init__(self, stores: Stores, person: str) -> None:
        self._stores, self._person = stores, person

    async def issue(self, order: Order) -> str:
        stores = self._stores
        content = drills.content_of(
            order.node or self._top(), order.level, stores.clock.now(), timedelta(minutes=order.minutes)
        )

        async def reached(_: int) -> int:
            return await stores.catch_up()

        done = await drills.issue(
            stores.desk,
            reached,
            actor(self._person),
            content,
            real_channels=order.real_channels,
            reason=order.reason,
        )
        return done.id

    async def report(self, warning_id: str) -> dict[str, Any]:
        await self._stores.catch_up()
        views = self._stores.views
        with views.reading() as db:
            row = views.warnings.one(db, warning_id)
            assert row is not None  # it was released here
            return drills.report(views, db, row).model_dump(mode="json")

    def _top(self) -> str:
        with self._stores.views.reading() as db:
            nodes = self._stores.views.directory.hierarchy(db).nodes.values()
        top = next((node.node_id for node in nodes if node.parent is None), None)
        if top is None:
            raise NotFound("node.none", "No hierarchy is loaded.", "Load one: fenghuo hierarchy load FILE.")
        return top


@asynccontextmanager
async def _folder(data_dir: Path | None, person: str) -> AsyncIterator[Site]:
    settings = config.load(data_dir=data_dir)
    folder = settings.data_dir
    if settings.database is None and not (folder / "log.sqlite").exists():
        raise InvalidInput(
            "data.none", f"There is no log in {folder}.", "Name the folder with --data-dir, or drill with --sandbox."
        )
    async with Stores(folder, database=settings.database) as stores:
        if not runs(stores):
            raise Unreachable(
                "drill.nothing_runs", f"No Fenghuo runs on {folder}.", "Start it: fenghuo all; or drill with --sandbox."
            )
        await stores.catch_up()
        yield _Folder(stores, person)


@asynccontextmanager
async def _sandbox() -> AsyncIterator[Site]:
    with tempfile.TemporaryDirectory(prefix="fenghuo-drill-") as folder:
        settings = OwnSettings(data_dir=Path(folder), host="127.0.0.1", port=0)
        async with sandboxed(settings) as (live, token), _api(live, token) as site:
            yield site
