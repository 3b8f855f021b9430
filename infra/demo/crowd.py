"""The providers and the made-up people of the demo, in a process of their own: what is shown is not slowed by them.

`Crowd` is the parent's side; `python -m infra.demo.crowd` is the child's. They speak lines of JSON over the child's
standard input and output; the child ends when its input does, so it never outlives its parent.
"""

from __future__ import annotations

import asyncio
import sys
from random import Random
from typing import Any, Literal

import msgspec

from infra.config import EmailConfig, OwnSettings, SmsConfig, WebPushConfig
from infra.sandbox.people import SandboxPeople
from infra.sandbox.push import SandboxPush
from infra.sandbox.sms import SandboxSms
from infra.sandbox.smtp import SandboxSmtp

ACCOUNT = "AC" + "0" * 32
TOKEN = "sandbox-token"  # noqa: S105  it guards nothing but the sandbox itself
LONGEST_LINE = 64 * 1024 * 1024


class Order(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the parent asks for. `answer`: staff answer always, others with the odds `answers`, sleepers never."""

    what: Literal["subscribe", "answer", "quiet"]
    count: int = 0
    inbound_url: str = ""
    staff: frozenset[str] = frozenset()
    asleep: frozenset[str] = frozenset()
    answers: float = 0.0


class Started(msgspec.Struct, kw_only=True):
    sms: str
    smtp: int
    push: str


class Crowd:
    """The child process, for the time of a block."""

    async def __aenter__(self) -> Crowd:
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "infra.demo.crowd",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for the parent, which drains first
        )
        self.started = msgspec.json.decode(await self._line(), type=Started)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        await self._child.wait()

    def settings(self, settings: OwnSettings) -> OwnSettings:
        """The settings, pointed at the child's providers. Those of an installation are none: see OwnSettings."""
        return settings.model_copy(
            update={
                "sms": SmsConfig.model_validate(
                    {
                        "account_sid": ACCOUNT,
                        "auth_token": TOKEN,
                        "sender": "+15005550006",
                        "base_url": self.started.sms,
                    }
                ),
                "email": EmailConfig(
                    host="127.0.0.1", port=self.started.smtp, sender="duty@fao.wenzhou.example", tls="none"
                ),
                "webpush": WebPushConfig(
                    contact="mailto:duty@fao.wenzhou.example", allowed_origins=[self.started.push]
                ),
            }
        )

    async def subscribe(self, count: int) -> list[dict[str, Any]]:
        """Web push subscriptions of as many browsers."""
        found: list[dict[str, Any]] = msgspec.json.decode(await self._order(Order(what="subscribe", count=count)))
        return found

    async def answer(self, order: Order) -> None:
        """From now on people answer."""
        await self._order(order)

    async def quiet(self) -> None:
        """Nobody answers any more."""
        await self._order(Order(what="quiet"))

    async def _order(self, order: Order) -> bytes:
        assert self._child.stdin is not None
        self._child.stdin.write(msgspec.json.encode(order) + b"\n")
        await self._child.stdin.drain()
        return await self._line()

    async def _line(self) -> bytes:
        assert self._child.stdout is not None
        return await self._child.stdout.readline()


async def _child() -> None:
    sms, smtp, push = SandboxSms(ACCOUNT, TOKEN), SandboxSmtp(discard=False), SandboxPush()
    for part in (sms, smtp, push):
        await part.start()
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowds: list[SandboxPeople] = []

    def tell(value: Any) -> None:
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        sys.stdout.flush()

    tell(Started(sms=sms.url, smtp=smtp.port, push=push.url))
    while line := await reader.readline():
        order = msgspec.json.decode(line, type=Order)
        match order.what:
            case "subscribe":
                tell([push.subscribe() for _ in range(order.count)])
            case "answer":
                sms.inbound_url = order.inbound_url
                crowds = _crowds(order)
                for crowd in crowds:
                    crowd.watch(sms=sms, smtp=smtp, push=push)
                tell("answering")
            case "quiet":
                for part in (sms, smtp, push):
                    part.tally.listeners.clear()
                for crowd in crowds:
                    await crowd.stop()
                tell("quiet")
    for crowd in crowds:
        await crowd.stop()
    for part in (sms, smtp, push):
        await part.stop()


class _Others:
    """Everybody but these."""

    def __init__(self, these: frozenset[str]) -> None:
        self._these = these

    def __contains__(self, who: object) -> bool:
        return who not in self._these


def _crowds(order: Order) -> list[SandboxPeople]:
    """Staff answer at once, but for those who sleep; citizens answer as people do."""
    dice = Random(1), Random(2)  # noqa: S311  the same story each time is the point
    awake = order.staff - order.asleep
    return [
        SandboxPeople(dice[0], answers=1.0, needs_help=0.0, wait_s=(0.1, 1.0), asleep=_Others(awake)),
        SandboxPeople(dice[1], answers=order.answers, needs_help=0.02, wait_s=(0.2, 2.0), asleep=order.staff),
    ]


if __name__ == "__main__":
    asyncio.run(_child())
