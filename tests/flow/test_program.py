"""The program as it is installed: set up from the command line, served by a process, sending to another process."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from terminal import fenghuo, refused
from townsfolk import GRANTS, PEOPLE, TREE, WEBPUSH, mail_of, phone_of

from domain.people import Channel
from infra.demo.warning import warning_cap
from tests.ops.process import Serve, sandbox
from tests.ports import free_port

EXPECTED = {  # messages by person: orange, so staff first, and then the people of whose station acknowledged
    "officer1": 1, "officer2": 1, "county1": 1, "county2": 1, "milan-head": 1, "milan-liaison": 1, "rome-head": 1,
    "madrid-head": 1, "village-head": 1, "village-liaison": 1, "milan-zh": 1, "milan-it": 1, "milan-en": 1,
    "milan-both": 1,
}  # fmt: skip


def set_up(folder: Path, files: Path, push: dict[str, Any]) -> dict[str, str]:
    """An installation from nothing; the bearer tokens of the officers and of a head."""

    def run(*arguments: str | Path) -> Any:
        ran = fenghuo(*arguments, folder=folder)
        assert (ran.status, ran.err) == (0, ""), ran
        return ran.json if "--json" in arguments else ran.out

    run("init")
    (files / "tree.json").write_bytes(msgspec.json.encode(TREE))
    assert run("hierarchy", "load", files / "tree.json", "--json") == {"nodes": 7, "new": 7}
    refused(fenghuo("hierarchy", "load", files / "tree.json", folder=folder), 1, "permission.denied")
    people = [
        {
            "person_id": who,
            "node_id": node,
            "role": role,
            "language": language,
            "channels": channels,
            "personal": {
                "name": f"Name of {who}",
                **({"phone": phone_of(who)} if Channel.SMS in channels else {}),
                **({"email": mail_of(who)} if Channel.EMAIL in channels else {}),
                **({"push": push[who]} if WEBPUSH in channels else {}),
            },
        }
        for who, (node, role, language, channels) in PEOPLE.items()
    ]
    (files / "people.json").write_bytes(msgspec.json.encode(people))
    run("grant", "give", "admin", "administrator", "office")
    assert run("hierarchy", "load", files / "tree.json", "--as", "admin", "--json")["new"] == 0
    assert run("people", "load", files / "people.json", "--as", "admin", "--json") == {"people": len(PEOPLE)}
    for who, role, node in GRANTS:
        run("grant", "give", who, role, node)
    return {who: run("token", "issue", who, "--json")["token"] for who in ("officer1", "officer2", "milan-head")}


async def test_from_an_empty_folder_to_everybody_told(tmp_path: Path) -> None:
    folder, port = tmp_path / "data", free_port()
    inbound = f"http://127.0.0.1:{port}/callbacks/sms/inbound"
    async with sandbox("--count", "--inbound-url", inbound) as providers, aiohttp.ClientSession() as http:
        push = {}
        for who, (*_, channels) in PEOPLE.items():
            if WEBPUSH in channels:
                async with http.post(f"{providers.ready['push']}/subscribe") as answer:
                    push[who] = await answer.json()
        tokens = await asyncio.to_thread(set_up, folder, tmp_path, push)
        running = await Serve.start({**providers.settings(), "FENGHUO_DATA_DIR": str(folder)}, "--port", str(port))
        try:
            await running.up()
            url = f"http://127.0.0.1:{port}"
            warning_id = await _issue(http, url, tokens)
            wanted = _recipients(push)
            async with asyncio.timeout(30):
                while _reached(await providers.stats(http)) != wanted:  # noqa: ASYNC110  it is another process
                    await asyncio.sleep(0.05)
            listed = await asyncio.to_thread(fenghuo, "warning", "show", warning_id, "--json", folder=folder)
            assert listed.json["status"] == "released"
            link = await asyncio.to_thread(fenghuo, "token", "login-link", "officer1", "--json", folder=folder)
            await _signs_in(http, url, link.json["url"])
            assert _reached(await providers.stats(http)) == wanted
            assert await running.stop() == 0
        finally:
            await running.kill()
    said = "\n".join(running.said)
    personal = [*map(phone_of, PEOPLE), *map(mail_of, PEOPLE), *tokens.values(), "Name of"]
    assert [word for word in personal if word in said] == []
    assert [line for line in running.said if '"level": "error"' in line or "Traceback" in line] == []
    verified = await asyncio.to_thread(fenghuo, "log", "verify", "--json", folder=folder)
    assert (verified.status, verified.json["ok"]) == (0, True)


async def _issue(http: aiohttp.ClientSession, url: str, tokens: dict[str, str]) -> str:
    async def post(who: str, path: str, status: int, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {tokens[who]}"}
        async with http.post(f"{url}{path}", headers=headers, **more) as answer:
            assert answer.status == status, await answer.text()
            return json.loads(await answer.read())

    drafted = await post("officer1", "/v1/warnings/import", 201, data=warning_cap(datetime.now(UTC)))
    path = f"/v1/warnings/{drafted['id']}"
    await post("officer2", f"{path}/release", 200, json={})
    async with asyncio.timeout(30):  # the plan is made a moment after the release
        while True:
            async with http.post(
                f"{url}{path}/nodes/milan/acknowledge", headers={"Authorization": f"Bearer {tokens['milan-head']}"}
            ) as answer:
                if answer.status == 200:
                    break
                assert (await answer.json(content_type=None))["code"] == "relay.unknown"
            await asyncio.sleep(0.05)
    return str(drafted["id"])


async def _signs_in(http: aiohttp.ClientSession, url: str, link: str) -> None:
    path = "/login/" + link.rpartition("/login/")[2]
    async with asyncio.timeout(30):  # another process wrote it: the one that serves looks once a second
        while True:
            async with http.post(
                url + path, headers={"Sec-Fetch-Site": "same-origin"}, allow_redirects=False
            ) as answer:
                if answer.status == 303:
                    return
                assert answer.status == 401
            await asyncio.sleep(0.05)


def _recipients(push: dict[str, Any]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {"sms": {}, "smtp": {}, "push": {}}
    for who, count in EXPECTED.items():
        for channel in PEOPLE[who][3]:
            match channel:
                case Channel.SMS:
                    found["sms"][phone_of(who)] = count
                case Channel.EMAIL:
                    found["smtp"][mail_of(who)] = count
                case _:
                    found["push"][push[who]["endpoint"].rpartition("/")[2]] = count
    return found


def _reached(stats: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {name: stats[name]["recipients"] for name in ("sms", "smtp", "push")}
