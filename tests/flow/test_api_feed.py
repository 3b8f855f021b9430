"""The log as a feed: pages, and a live stream that loses and repeats nothing however often the reader comes back."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

from problems import denied, problem
from setting import SHARED
from town import Town
from townsfolk import SETUP

from domain.grants import TokenKind

pytestmark = SHARED
BATCHES, EACH = 6, 50
LASTS = timedelta(days=1)


async def test_pages_of_the_log_are_the_log(town: Town) -> None:
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        page = (await town.get("auditor1", f"/v1/log?limit=7&after={after}")).json()
        found += page["items"]
        if page["next"] is None:
            break
        after = page["next"]
    assert [event["position"] for event in found] == [r.position for r in town.recorded()]
    assert page["last"] == found[-1]["position"]


async def test_sealed_fields_are_named_and_not_given(town: Town) -> None:
    answer = await town.get("auditor1", "/v1/log?limit=1000")
    people = [e for e in answer.json()["items"] if e["topic"] == "person.registered.v1"]
    assert people
    assert {json.dumps(e["data"]["personal"]) for e in people} == {
        json.dumps({"sealed": e["data"]["person_id"]}) for e in people
    }
    for secret in ("Name of", "people.example", "+39347"):
        assert secret not in answer.text


async def read_stream(town: Town, path: str, until: int, **headers: str) -> list[tuple[int, str]]:
    """(id, event) of the stream's messages until one has the id `until`; then hangs up."""
    found: list[tuple[int, str]] = []
    token = town.tokens["auditor1"]
    async with town.http.stream("GET", path, headers={"Authorization": f"Bearer {token}", **headers}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line == "" and "id" in fields:
                found.append((int(fields["id"]), fields["event"]))
                assert json.loads(fields["data"])["position"] == int(fields["id"])
                if found[-1][0] >= until:
                    return found
            fields = {} if line == "" else {**fields, name: value}
    return found


async def test_a_reader_who_comes_back_loses_and_repeats_nothing(town: Town) -> None:
    await town.get("auditor1", "/v1/log")
    start = town.stores.log.last_position_now()
    wanted = start + BATCHES * EACH

    async def write() -> None:
        for _ in range(wanted - start):
            await town.stores.registry.issue_token("officer1", TokenKind.BEARER, town.stores.new_id(), LASTS, SETUP)

    writing = asyncio.create_task(write())
    seen: list[int] = []
    for n in range(BATCHES):  # hangs up in the middle of what is being written, five times
        after = {"Last-Event-ID": str(seen[-1] if seen else start)}
        got = await asyncio.wait_for(read_stream(town, "/v1/log/stream", start + (n + 1) * EACH, **after), 30)
        seen += [position for position, _ in got]
    await writing
    assert seen == list(range(start + 1, wanted + 1))
    assert [r.position for r in town.recorded() if r.position > start] == seen


async def test_last_event_id_wins_over_since(town: Town) -> None:
    await town.get("auditor1", "/v1/log")
    end = town.stores.log.last_position_now()
    got = await read_stream(town, "/v1/log/stream?since=0", end, **{"Last-Event-ID": str(end - 2)})
    assert [position for position, _ in got] == [end - 1, end]
    got = await read_stream(town, f"/v1/log/stream?since={end - 3}", end)
    assert [position for position, _ in got] == [end - 2, end - 1, end]


async def test_the_stream_is_for_auditors_and_takes_positions_alone(town: Town) -> None:
    assert denied(await town.get("officer1", "/v1/log/stream"))
    problem(await town.http.get("/v1/log/stream"), 401, "token.missing")
    for wrong in ("x", "-1", "9" * 20):
        answer = await town.get("auditor1", "/v1/log/stream", headers={"Last-Event-ID": wrong})
        problem(answer, 422, "stream.last_event_id")
    problem(await town.get("auditor1", f"/v1/log?after={2**63}"), 422, "request.invalid")


async def test_the_signed_head_is_public_and_grows(town: Town) -> None:
    await town.draft()
    await asyncio.to_thread(town.stores.prover.extend)
    answer = await town.http.get("/v1/log/checkpoint")
    assert answer.status_code == 200
    origin, size, _root, blank, signature = answer.text.split("\n")[:5]
    assert (origin, int(size), blank) == ("fenghuo.log", town.stores.log.last_position_now(), "")
    assert signature.startswith("— fenghuo.log ")
