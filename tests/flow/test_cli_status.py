"""`fenghuo status` on a data folder, and `fenghuo self-test` beside a running program."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import aiohttp
import pytest
from setting import History
from terminal import fenghuo, process, refused

from api.commands import Actor
from domain.errors import NotPermitted
from domain.people import Channel
from domain.reach import ReachTestOrdered
from infra.stores import Stores
from tests.ops.installation import install
from tests.ops.process import Sandbox, Serve, sandbox
from tests.ports import free_port


def test_status_says_how_a_folder_stands_and_changes_nothing(history: History) -> None:
    before = {path.name: path.stat().st_size for path in history.folder.iterdir() if path.suffix != ".sqlite-wal"}
    ran = fenghuo("status", "--json", folder=history.folder)
    said = ran.json
    with sqlite3.connect(f"file:{history.folder / 'log.sqlite'}?mode=ro", uri=True) as db:
        ((end,),) = db.execute("SELECT MAX(rowid) FROM stored_events").fetchall()
    assert (ran.status, said["running"]) == (0, False)
    assert (said["position"], said["views_position"], said["signed_position"]) == (end, end, end)
    assert (said["lag_events"], said["unsigned_s"], said["plans_pending"]) == (0, 0, 0)
    assert [lane["lane"] for lane in said["lanes"]] == ["extreme", "high", "normal", "drill"]
    silence = {row["level"]: row for row in said["silence"]}
    assert silence["orange"]["unacknowledged"] > 0
    assert silence["orange"]["oldest_s"] > 0
    assert {timer["kind"] for timer in said["timers"]} == {"escalate", "expire", "refer"}
    assert {p.name: p.stat().st_size for p in history.folder.iterdir() if p.name in before} == before

    words = fenghuo("status", folder=history.folder)
    assert words.status == 0
    for said_so in ("未运行 not running", f"signed to {end}", "lane extreme: 等待 waiting 0", "unacknowledged orange"):
        assert said_so in words.out


def test_status_shows_views_that_are_behind_as_they_are(history: History) -> None:
    with sqlite3.connect(history.folder / "views.sqlite") as db:
        db.execute("UPDATE view_positions SET position = position - 4")
    assert fenghuo("status", "--json", folder=history.folder).json["lag_events"] == 4


def test_status_needs_a_folder_with_a_log(tmp_path: Path) -> None:
    refused(fenghuo("status", folder=tmp_path), 2, "data.none")


# self-test ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "env", "status", "code"),
    [
        ((), {}, 2, "selftest.nobody"),
        (("--to", "milan-zh"), {}, 4, "selftest.nothing_runs"),
        ((), {"FENGHUO_CANARIES": '["milan-zh"]'}, 4, "selftest.nothing_runs"),
    ],
)
def test_a_self_test_says_what_it_lacks(
    history: History, arguments: tuple[str, ...], env: dict[str, str], status: int, code: str
) -> None:
    ran = fenghuo("self-test", "--as", "officer1", *arguments, folder=history.folder, env=env)
    refused(ran, status, code)


async def _run(folder: Path, providers: Sandbox, *arguments: str) -> Serve:
    settings = {**providers.settings(), "FENGHUO_DATA_DIR": str(folder), "FENGHUO_PORT": str(free_port())}
    running = await Serve.start(settings, *arguments)
    await running.up()
    return running


async def test_a_self_test_tries_each_channel_and_waits_for_its_receipt(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with sandbox() as providers, aiohttp.ClientSession() as http:
        async with http.post(f"{providers.ready['push']}/subscribe") as answer:
            subscription = await answer.json(content_type=None)
        await install(folder, 5, subscribe=lambda: subscription)
        running = await _run(folder, providers)
        env = providers.settings()
        try:

            def tried(*arguments: str) -> tuple[int, dict[str, tuple[bool, str, str]], str]:
                ran = process("self-test", "--as", "officer1", "--json", *arguments, folder=folder, **env)
                rows = {
                    row["channel"]: (row["passed"], row["outcome"], row["reason"])
                    for row in (ran.json["channels"] if ran.out else [])
                }
                return ran.status, rows, ran.err

            everybody = ["--to", "person-00000", "--to", "person-00001", "--to", "person-00004"]
            assert await asyncio.to_thread(tried, *everybody) == (
                0,
                {
                    "sms": (True, "delivered", ""),
                    "email": (True, "accepted", ""),
                    "webpush": (True, "accepted", ""),
                },
                "",
            )
            # One of the channels has nobody to send to: that is no proof that it works.
            status, rows, _ = await asyncio.to_thread(tried, "--to", "person-00001")
            assert status == 5
            assert rows["email"] == (True, "accepted", "")
            assert rows["sms"] == rows["webpush"] == (False, "planned", "no_address")
        finally:
            await running.stop()
        # The mail server is away: its channel fails, the others are tried all the same.
        gone = {**env, "FENGHUO_EMAIL__PORT": str(free_port())}
        running = await Serve.start({**gone, "FENGHUO_DATA_DIR": str(folder), "FENGHUO_PORT": str(free_port())})
        try:
            await running.up()
            status, rows, _ = await asyncio.to_thread(tried, *everybody, "--wait", "3")
            assert status == 5
            assert rows["sms"] == (True, "delivered", "")
            assert rows["email"][:2] == (False, "deferred")
        finally:
            await running.stop()
    async with Stores(folder) as stores:
        orders = [r for r in stores.log.read_now(0, 10_000) if isinstance(r.event, ReachTestOrdered)]
        assert [(r.event.canary, r.event.points) for r in orders] == [(True, 3), (True, 1), (True, 3)]  # type: ignore[attr-defined]
        assert {r.metadata.actor for r in orders} == {"officer1"}


def test_whoever_may_not_order_tests_may_not_send_one(history: History) -> None:
    async def denied() -> str:
        async with Stores(history.folder) as stores:
            end = stores.log.last_position_now()
            with pytest.raises(NotPermitted) as said:
                await stores.reachability.order_canary(
                    Actor(person_id="milan-zh", correlation_id="c"), [("milan-zh", Channel.SMS)]
                )
            assert stores.log.last_position_now() == end
            return said.value.code

    assert asyncio.run(denied()) == "permission.denied"
