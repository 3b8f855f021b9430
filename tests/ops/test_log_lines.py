"""The lines that a running program writes: JSON, under the id of the request that they are about, and of nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from domain.people import Channel, Person, Role
from domain.warnings import WarningDrafted, WarningReleased
from infra import logs
from infra.stores import Stores
from tests.ports import free_port

from .installation import SETUP, Installation, draft, install
from .process import TOKEN, Sandbox, Serve, sandbox

PEOPLE = 20
SPOKEN = ("Fenghuo serves at", "Draining")  # what is said to whoever started it


async def lines_of_a_run(folder: Path) -> tuple[Installation, list[str], dict[str, str], str]:
    """A warning goes its way through a real program at its most talkative: its lines, the headers of two answers."""
    async with sandbox() as providers:
        installed = await install(folder, PEOPLE, subscribe=await _subscription(providers))
        port = free_port()
        serve = await Serve.start(
            {
                **providers.settings(),
                "FENGHUO_DATA_DIR": str(folder),
                "FENGHUO_PORT": str(port),
                "FENGHUO_LOG_LEVEL": "debug",
            }
        )
        await serve.up()
        headers: dict[str, str] = {}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            warning_id = ""
            for which, path, sent in ((0, "/v1/warnings", "drafted.by-hand"), (1, "/v1/warnings/{}/release", "rel-1")):
                bearer = {"Authorization": f"Bearer {installed.tokens[which]}", "X-Correlation-Id": sent}
                body = draft() if which == 0 else {}
                async with http.post(path.format(warning_id), json=body, headers=bearer) as answer:
                    assert answer.status < 300, await answer.text()
                    headers[sent] = answer.headers["X-Correlation-Id"]
                    warning_id = warning_id or (await answer.json())["id"]
            async with http.get("/v1/warnings/none", headers={"X-Correlation-Id": "no good, two words"}) as answer:
                headers["made"] = answer.headers["X-Correlation-Id"]
            async with asyncio.timeout(30):
                while not any('"planned"' in line for line in serve.said):  # noqa: ASYNC110  another process writes it
                    await asyncio.sleep(0.05)
        assert await serve.stop() == 0
    return installed, serve.said, headers, warning_id


async def _subscription(providers: Sandbox) -> Any:
    async with aiohttp.ClientSession() as http, http.post(f"{providers.ready['push']}/subscribe") as answer:
        found = await answer.json(content_type=None)
    return lambda: found


async def test_one_id_leads_from_the_request_to_its_events_to_the_lines_about_it(tmp_path: Path) -> None:
    installed, said, headers, warning_id = await lines_of_a_run(tmp_path / "data")

    assert {sent: back for sent, back in headers.items() if sent != "made"} == {
        "drafted.by-hand": "drafted.by-hand",
        "rel-1": "rel-1",
    }
    assert re.fullmatch("[0-9a-f]{32}", headers["made"])

    async with Stores(tmp_path / "data") as stores:
        events = stores.log.stream(f"warning-{warning_id}")
        by_kind = {type(r.event): r.metadata.correlation_id for r in events}
        assert by_kind[WarningDrafted] == "drafted.by-hand"
        assert by_kind[WarningReleased] == "rel-1"

    lines = [json.loads(line) for line in said if not line.startswith(SPOKEN)]
    assert lines
    for line in lines:
        assert {"event", "level", "timestamp", "correlation_id"} <= line.keys(), line
    (planned,) = [line for line in lines if line["event"] == "planned" and line["warning_id"] == warning_id]
    assert (planned["correlation_id"], planned["part"]) == ("rel-1", "planner")

    # Of those who were told, of what, and of what the program was trusted with, nothing stands in any line.
    secrets = [*installed.tokens, TOKEN, "洪水", "Name ", "officer1", *(a for _, a in installed.addresses.values())]
    assert [word for word in secrets if any(word in line for line in said)] == []


@pytest.fixture
def _as_before() -> Any:
    kept, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.configure(**kept)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_as_before")
def test_lines_of_libraries_have_the_same_form_and_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info", as_json=True)
    phone = "+393470000001"
    with structlog.contextvars.bound_contextvars(correlation_id="c-1"):
        try:
            assert phone
            raise ValueError("no such thing")
        except ValueError:
            logging.getLogger("some.library").exception("it failed")
            structlog.get_logger().exception("ours_failed")
        structlog.get_logger().debug("not written")
        logging.getLogger("some.library").info("not written")
    theirs, ours = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("it failed", "error", "some.library")
    assert (ours["event"], ours["level"]) == ("ours_failed", "error")
    for line in (theirs, ours):
        assert line["correlation_id"] == "c-1"
        assert "ValueError: no such thing" in line["exception"]
        assert phone not in line["exception"]


WANG = Person(
    person_id="wang-xiaoming-1980", node_id="milan", role=Role.CITIZEN, language="zh", channels=(Channel.SMS,),
    tags=("wheelchair",), enterprise="acme-spa",
)  # fmt: skip
REFUSING = {
    "sqlite": "CREATE TRIGGER never BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    "postgresql": "ALTER TABLE {table} ADD CONSTRAINT never CHECK (person_id <> 'wang-xiaoming-1980')",
}


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("on", ["sqlite", "postgresql"])
async def test_views_that_cannot_be_written_say_why_and_of_nobody_what_they_were_to_write(
    on: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(request.getfixturevalue("postgres").schema()) if on == "postgresql" else None
        await install(tmp_path / "data", 1, channels=(Channel.SMS,), database=database)
        async with Stores(tmp_path / "data", database=database) as stores:
            await stores.catch_up()
            with stores.views._changing() as db:
                db.exec_driver_sql(REFUSING[on].format(table=stores.views.directory.tables["people"].name))
            await stores.registry.register_people([(WANG, {"name": "王小明", "phone": "+8613800138009"})], SETUP)
            logs.configure(level="info", as_json=True)
            following = asyncio.create_task(stores.follower.run())
            async with asyncio.timeout(20):
                while not stores.follower.failures:  # noqa: ASYNC110  it folds in a thread
                    await asyncio.sleep(0.01)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    said = capsys.readouterr().err
    line = json.loads(said.splitlines()[0])
    assert line["event"] == "views_stopped"
    assert {"sqlite": "not this one", "postgresql": 'violates check constraint "never"'}[on] in line["exception"]
    assert [
        word for word in (WANG.person_id, "wheelchair", "acme-spa", "王小明", "8613800138009") if word in said
    ] == []
