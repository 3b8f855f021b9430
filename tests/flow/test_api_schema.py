"""The API against its own description: whatever Schemathesis makes up, no answer is a 5xx or of another form.

The program runs in a thread of its own; every request goes over a real socket.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from town import Town
from town import town as new_town
from townsfolk import SETUP

from domain.grants import GrantRole
from infra.config import EmailConfig

ROOT = Path(__file__).parents[2]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
schema = schemathesis.openapi.from_path(ROOT / "docs" / "openapi.json")
# The streams do not end; test_api_feed.py and test_live_stream.py read them.
ours = schema.exclude(path=["/v1/log/stream", "/v1/live"])
# Schemathesis looks at the whole process, and in this one the program's own parts draw random numbers.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
bounded = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


SPARE = EmailConfig(host="127.0.0.1", port=1, sender="duty@fao.example", name="spare")  # nothing is sent by it


class Running:
    """A town in a thread, what there is in it, and the token of somebody who may do everything."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="town")
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failed: BaseException | None = None
        self.url = self.token = ""
        self.known: dict[str, str] = {}

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._up.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None and self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        if self.failed is not None:
            raise self.failed

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with new_town(self._folder, email_next=[SPARE]) as town:
                await self._fill(town)
                self._up.set()
                await self._stop.wait()
                await town.quiet()
                town.read_all()
        except BaseException as error:
            self.failed = error
        finally:
            self._up.set()

    async def _fill(self, town: Town) -> None:
        for role in (GrantRole.AUDITOR, GrantRole.STATION_HEAD, GrantRole.ADMINISTRATOR):
            await town.stores.registry.give_grant(
                SETUP, person_id="officer1", role=role, node_id="office", bootstrap=True
            )
        warning_id = await town.release()
        case = await town.post("milan-head", "/v1/cases", {"node_id": "milan", "text": "走失"})
        feed = {"feed_id": "f1", "url": "https://127.0.0.1/", "form": "json", "node_id": "office", "title": "Advice"}
        await town.post("officer1", "/v1/feeds", feed)
        await town.quiet()
        self.url, self.token = town.live.url, await town.token("officer1")
        self.known = {"warning_id": warning_id, "node_id": "milan", "case_id": case.json()["id"], "feed_id": "f1"}
        self.known |= {"person_id": "milan-zh", "stay_id": "s1"}
        self.known |= {"provider": "spare"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("schema") / "data") as made:
        yield made


def _ask(case: Any, running: Running) -> None:
    case.call_and_validate(
        base_url=running.url, headers={"Authorization": f"Bearer {running.token}"}, checks=CHECKS, timeout=20
    )


@ours.parametrize()
@bounded
def test_whatever_is_asked_the_answer_is_one_of_those_described(case: Any, running: Running) -> None:
    _ask(case, running)


@ours.include(path_regex=r"\{").parametrize()
@bounded
def test_so_it_is_of_things_that_exist(case: Any, running: Running) -> None:
    case.path_parameters = {name: running.known[name] for name in case.path_parameters}
    _ask(case, running)
