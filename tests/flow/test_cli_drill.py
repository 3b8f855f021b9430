"""`fenghuo drill` and `fenghuo warning preview` as processes and on data folders."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from setting import History
from terminal import fenghuo, process, refused

from domain.people import Channel
from tests.ops.installation import install
from tests.ops.process import Serve
from tests.ports import free_port


def test_a_drill_in_a_sandbox_measures_every_station(tmp_path: Path) -> None:
    ran = process("drill", "--sandbox", "--limit", "0.75", "--json", folder=tmp_path)
    assert ran.status == 0, ran.err
    said = ran.json
    assert (said["complete"], said["acknowledged"]) == (True, said["stations"])
    assert said["stations"] > 40
    assert 0 < said["seconds_to"]["50"] <= said["seconds_to"]["90"] <= said["seconds_to"]["99"]
    assert list(tmp_path.iterdir()) == []


async def test_a_drill_beside_a_running_program(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    await install(folder, 4, channels=(Channel.SMS, Channel.EMAIL))
    nobody = await asyncio.to_thread(process, "drill", "--as", "officer1", folder=folder)
    refused(nobody, 4, "drill.nothing_runs")
    running = await Serve.start({"FENGHUO_DATA_DIR": str(folder)}, "--port", str(free_port()))
    try:
        await running.up()
        ran = await asyncio.to_thread(process, "drill", "--as", "officer1", "--limit", "0.1", "--json", folder=folder)
        assert ran.status == 5, ran
        assert (ran.json["planned"], ran.json["stations"], ran.json["complete"]) == (True, 4, False)
    finally:
        await running.stop()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("drill",), "data.none"),
        (("drill", "--limit", "2000"), "drill.limit"),
        (("drill", "--url", "http://127.0.0.1:1"), "drill.token"),
        (("drill", "--url", "nonsense"), "drill.url"),
        (("drill", "--url", "http://"), "drill.url"),
        (("drill", "--url", "http://warn.example:99999"), "drill.url"),
        (("drill", "--url", "http://[::1"), "drill.url"),
        (("drill", "--url", "https://warn.example/?a=b"), "drill.url"),
    ],
)
def test_wrong_use_says_what_is_missing(tmp_path: Path, arguments: tuple[str, ...], code: str) -> None:
    env = {"FENGHUO_TOKEN": "x"} if code == "drill.url" else {}
    refused(fenghuo(*arguments, folder=tmp_path, env=env), 2, code)


async def test_an_installation_below_a_path_is_asked_there(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"code": "drill.limit", "detail": "No."}, status=409)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    for url in (server.make_url("/"), server.make_url("/warn"), server.make_url("/warn/")):
        ran = await asyncio.to_thread(fenghuo, "drill", "--url", str(url), folder=tmp_path, env={"FENGHUO_TOKEN": "x"})
        refused(ran, 1, "drill.limit")
    await server.close()
    assert asked == ["/v1/drills", "/warn/v1/drills", "/warn/v1/drills"]


def test_the_preview_of_a_draft(history: History) -> None:
    env = {"FENGHUO_PRICES__SMS": '{"+39": "0.5"}', "FENGHUO_PRICES__CURRENCY": "EUR"}
    draft = history.warnings["draft"]
    ran = fenghuo("warning", "preview", draft, "--json", folder=history.folder, env=env)
    said = ran.json
    assert [p["when"] for p in said["phases"]] == ["at_once", "on_relay"]
    segments = sum(m["segments"] * m["messages"] for m in said["text_messages"])
    assert (float(said["cost"]["total"]), said["cost"]["currency"]) == (segments * 0.5, "EUR")
    text = fenghuo("warning", "preview", draft, folder=history.folder)
    assert (text.status, "价格未知 unknown price" in text.out, "洪水将至" in text.out) == (0, True, True)
    refused(
        fenghuo("warning", "preview", history.warnings["released"], folder=history.folder), 1, "warning.not_a_draft"
    )
    wrong = {"FENGHUO_PRICES__SMS": '{"39": "0.5"}'}
    refused(fenghuo("warning", "preview", draft, folder=history.folder, env=wrong), 2, "config.invalid")
