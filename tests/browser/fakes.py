"""A console over plain memory: the source and the desk that page tests fill and move by hand, and a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request

from api.commands import expect
from api.pages.live import Hub
from api.pages.model import Contact, DraftForm, Help, HelpLine, Summary, TreeLine, WarningLine, WarningList, Who
from api.pages.routes import console
from api.preview_shapes import Cost, Difference, NodeCount, Phase, Preview, Sample, Some, TextMessage
from domain.errors import InvalidInput, NotSignedIn, Refused

NOW = datetime(2026, 11, 21, 12, 13, tzinfo=UTC)
HIERARCHY = Path(__file__).parents[2] / "infra" / "demo" / "data" / "hierarchy.json"
EVERYTHING = frozenset(
    {
        "warning.read", "warning.draft", "warning.release", "warning.break_glass", "warning.cancel", "case.read",
        "case.task", "people.open",
    }
)  # fmt: skip
DUTY = Who(person_id="p-1", label="值班员 陈晓", may=EVERYTHING)


class Memory:
    """ConsoleSource and ConsoleDesk in one. Every change moves the position on and wakes who waits."""

    def __init__(self) -> None:
        self.at = 100
        self.nodes: dict[str, TreeLine] = {}
        self.names: dict[str, tuple[str, str]] = {}
        self.lines: dict[str, WarningLine] = {}
        self.words: dict[str, list[tuple[str, str, str, str]]] = {}
        self.cases: list[HelpLine] = []
        self.calls: list[tuple[object, ...]] = []
        self.tree_reads = 0
        self.page = 100  # warnings, and calls for help, that are shown at once
        self._moved = asyncio.Condition()

    # What the tests do -------------------------------------------------------------------------------------------

    def add_warning(self, warning_id: str = "w-1", status: str = "released", **values: object) -> WarningLine:
        line = WarningLine(
            warning_id=warning_id,
            headline="日本石川近海强震：请立即远离海岸，向高处转移",
            level="red",
            status=status,
            event="地震与海啸",
            drafted_by="陈晓",
            released_by=None if status == "draft" else "林岚",
            effective_at=NOW - timedelta(minutes=13),
            expires_at=NOW + timedelta(hours=24),
            updates=None,
            position=self.at,
            version=1,
            texts=(),
            contact=Contact(hotline="12308", mission="+81 3 3403 3388", police="110"),
        )
        self.lines[warning_id] = msgspec.structs.replace(line, **values)
        self.words[warning_id] = [
            (
                "zh-CN",
                "日本石川近海强震：请立即远离海岸，向高处转移",
                "北京时间20时05分，日本石川县近海发生7.4级地震，气象厅已发布海啸警报。沿海道路与部分铁路中断。",
                "请立即前往高处或坚固楼房三层以上，远离海岸与河口；保持手机畅通，与所在服务站联系，并回复是否平安。",
            ),
            (
                "en",
                "Strong earthquake off Ishikawa, Japan: leave the coast for high ground now",
                "A magnitude 7.4 earthquake struck off Ishikawa at 21:05 local time. A tsunami warning is in force.",
                "Go to high ground or above the third floor at once. Keep your phone on and say whether you are safe.",
            ),
        ]
        return self.lines[warning_id]

    def fill(self, hierarchy: Sequence[dict[str, object]] | None = None) -> None:
        """The demo hierarchy with people in it, every office waiting."""
        everything = hierarchy or json.loads(HIERARCHY.read_text(encoding="utf-8"))
        depths = {None: -1}
        for number, node in enumerate(everything):
            depths[node["id"]] = depths[node["parent"]] + 1
            self.names[node["id"]] = (node["name_zh"], node["name_en"])
            leaf = node["kind"] == "station"
            people = 40 + (number * 37) % 210 if leaf else 0
            self.nodes[node["id"]] = TreeLine(
                node_id=node["id"], parent=node["parent"], depth=depths[node["id"]], kind=node["kind"],
                name=node["name_zh"], country=node["country"], lat=node["lat"], lon=node["lon"], state="waiting",
                late=False, escalations=(), acknowledged_at=None, relayed_at=None, recipients=people, told=0,
                delivered=0, acknowledged=0, help=0, unreached=people, own_recipients=people, position=self.at,
            )  # fmt: skip
        self._roll_up(self.at)

    def set(self, node_id: str, **values: object) -> None:
        """Changes one node, and with it the roll-up above. Call `await moved()` to let the console know."""
        self.at += 1
        self.nodes[node_id] = msgspec.structs.replace(self.nodes[node_id], **values, position=self.at)
        self._roll_up(self.at)

    def ask_help(self, node_id: str, case_id: str) -> None:
        self.set(node_id, help=self.nodes[node_id].help + 1)
        self.cases.append(
            HelpLine(case_id=case_id, node_id=node_id, node_name="", person_id=None, status="open", opened_at=NOW)
        )

    async def revise(self, warning_id: str, headline: str) -> None:
        self.words[warning_id] = [("zh-CN", headline, "情况", "建议")]
        await self.stand(warning_id, headline=headline)

    async def moved(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    def _roll_up(self, position: int) -> None:
        counts = ("recipients", "told", "delivered", "acknowledged", "help", "unreached")
        for depth in (1, 0):
            for node in [one for one in self.nodes.values() if one.depth == depth and one.kind != "station"]:
                below = [one for one in self.nodes.values() if one.parent == node.node_id]
                rolled = {name: sum(getattr(one, name) for one in below) for name in counts}
                if any(getattr(node, name) != value for name, value in rolled.items()):
                    self.nodes[node.node_id] = msgspec.structs.replace(node, **rolled, position=position)

    # ConsoleSource -----------------------------------------------------------------------------------------------

    def warnings(self, who: Who, language: str, before: int | None = None) -> WarningList:
        lines = [self._said(line, language) for line in self.lines.values()]
        if before is not None:
            return WarningList(lines=tuple(lines[self.page :]), older=None)
        return WarningList(lines=tuple(lines[: self.page]), older=self.at if len(lines) > self.page else None)

    def warning(self, who: Who, warning_id: str, language: str) -> WarningLine | None:
        line = self.lines.get(warning_id)
        return self._said(line, language) if line else None

    def _said(self, line: WarningLine, language: str) -> WarningLine:
        texts = tuple(self.words[line.warning_id])
        for tag, headline, _description, _instruction in texts:
            if tag.startswith(language) and line.headline.startswith("日本"):
                return msgspec.structs.replace(line, headline=headline, texts=texts)
        return msgspec.structs.replace(line, texts=texts)

    def tree(self, who: Who, warning_id: str, language: str, since: int = 0) -> Sequence[TreeLine]:
        self.tree_reads += 1
        if self.lines[warning_id].status == "draft":
            return []
        place = 1 if language == "en" else 0
        return [
            msgspec.structs.replace(line, name=self.names[line.node_id][place])
            for line in list(self.nodes.values())
            if line.position > since
        ]

    def summary(self, who: Who, warning_id: str) -> Summary:
        every = list(self.nodes.values()) if self.lines[warning_id].status != "draft" else []
        root = every[0] if every else None
        told = root.told if root else 0
        return Summary(
            recipients=root.recipients if root else 0, told=told, delivered=root.delivered if root else 0,
            acknowledged=root.acknowledged if root else 0, help=root.help if root else 0,
            unreached=root.unreached if root else 0, nodes=len(every),
            nodes_acknowledged=sum(one.state in {"acknowledged", "relayed"} for one in every),
            nodes_relayed=sum(one.state == "relayed" for one in every),
            nodes_escalated=sum(one.state in {"escalated", "asleep"} for one in every),
            sent={"sms": told, "email": told // 2, "voice": told // 40} if told else {}, position=self.at,
        )  # fmt: skip

    def help(self, who: Who, warning_id: str, language: str) -> Help:
        place = 1 if language == "en" else 0
        lines = [msgspec.structs.replace(case, node_name=self.names[case.node_id][place]) for case in self.cases]
        cases, unread = ([line for line in lines if line.unclear is kind] for kind in (False, True))
        shown = (*cases[: self.page], *unread[: self.page])
        return Help(lines=shown, cases=len(cases), unread=len(unread))

    def preview(self, who: Who, warning_id: str) -> Preview:
        line = self.lines[warning_id]
        if line.status != "draft":
            raise Refused("warning.not_a_draft", "A preview is of a draft.")
        node = NodeCount(
            node_id="n", name_zh="大阪", name_en="Osaka", country="JP", staff=2, people=40, without_channel=1
        )
        phase = Phase(
            when="at_once", people=42, messages=50, shards=3, without_channel=1, by_channel={"sms": 42, "email": 8},
            by_language={"zh": 40, "en": 2}, by_country={"JP": 42}, by_node=[node],
        )  # fmt: skip
        some = Some(count=3, person_ids=["p"])
        return Preview(
            warning_id=warning_id, version=line.version, as_of=self.at, level="red", lane="extreme", drill=False,
            sandboxed=False, correction=False, phases=[phase],
            difference=Difference(
                updates="w-0", newly=some, stays=some, no_longer=some, left_silent=[],
                texts={"zh": {"headline": [("-", "旧"), ("+", "新")]}},
            ),
            text_messages=[
                TextMessage(language="zh", circle="people", encoding="UCS-2", characters=90, segments=2, messages=42)
            ],
            cost=Cost(currency="CNY", total=Decimal("4.2"), unknown=2, charges=[]),
            samples=[Sample(channel="sms", language="zh", circle="people", subject="", text=line.headline)],
        )  # fmt: skip

    def position(self) -> int:
        return self.at

    async def changed(self, after: int) -> int:
        async with self._moved:
            await self._moved.wait_for(lambda: self.at > after)
        return self.at

    # ConsoleDesk -------------------------------------------------------------------------------------------------

    async def draft(self, who: Who, form: DraftForm) -> str:
        self.calls.append(("draft", who.person_id, form))
        if form.expires < "2026":
            raise InvalidInput("warning.validity", "A warning expires after it takes effect.", "Correct the draft.")
        self.add_warning("w-new", "draft", headline=form.headline_zh, level=form.level)
        return "w-new"

    async def draft_from_cap(self, who: Who, data: bytes) -> str:
        self.calls.append(("cap", who.person_id, len(data)))
        if not data.startswith(b"<"):
            raise InvalidInput("cap.not_xml", "This is not XML.", "Choose a CAP 1.2 file.")
        self.add_warning("w-cap", "draft")
        return "w-cap"

    async def release(
        self,
        who: Who,
        warning_id: str,
        *,
        version: int,
        break_glass: bool,
        reason: str,
        real_channels: bool = False,
    ) -> None:
        self.calls.append(("release", who.person_id, warning_id, break_glass, reason))
        expect(self.lines[warning_id].version, version)
        if not break_glass and self.lines[warning_id].drafted_by == who.label:
            raise Refused(
                "warning.second_person",
                "A warning is released by somebody who did not write it.",
                "Ask a second person, or break the glass with a reason.",
            )
        await self.stand(warning_id, status="released", released_by=who.label)

    async def cancel(self, who: Who, warning_id: str, *, version: int, reason: str) -> None:
        self.calls.append(("cancel", who.person_id, warning_id, reason))
        expect(self.lines[warning_id].version, version)
        if not reason:
            raise Refused("warning.reason_missing", "A cancellation needs a reason.", "Say why it is withdrawn.")
        await self.stand(warning_id, status="cancelled")

    async def stand(self, warning_id: str, **values: object) -> None:
        self.at += 1
        line = self.lines[warning_id]
        self.lines[warning_id] = msgspec.structs.replace(
            line, **{"version": line.version + 1, "position": self.at, **values}
        )
        await self.moved()


def application(memory: Memory, who: Who | None = DUTY, hub: Hub | None = None) -> FastAPI:
    def current(_request: Request) -> Who:
        if who is None:
            raise NotSignedIn("session.none", "Nobody is signed in.", "Open your sign-in link.")
        return who

    app = FastAPI()
    app.include_router(console(memory, memory, current, hub=hub))
    return app


class Server(uvicorn.Server):
    """uvicorn as the program runs it: streams are ended before it waits for its connections."""

    hub: Hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.hub.close()
        await super().shutdown(sockets)


@contextlib.asynccontextmanager
async def serving(app: FastAPI, hub: Hub, port: int = 0) -> AsyncIterator[str]:
    """The app on a loopback port; its URL. Leaving it stops the server as SIGTERM would."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = Server(
            uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", timeout_graceful_shutdown=5)
        )
        server.hub = hub
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server._serve([listener]))
        while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
