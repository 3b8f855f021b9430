"""`fenghuo self-test`: a message marked as a test through every configured channel, and what became of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from domain.errors import InvalidInput, NotFound, Unreachable
from domain.outcomes import Outcome
from domain.people import Channel
from infra.cli.common import As, DataDir, actor, settings, with_stores
from infra.cli.output import AsJson, show
from infra.config import Settings
from infra.stores import Stores, runs

PARTIAL = 5
LOOK_S = 0.2
RECEIPTED = frozenset({Channel.SMS, Channel.VOICE, Channel.WEBHOOK})
"""Channels whose providers say that a message arrived; of the others it is known that the provider took it."""
FAILED = frozenset({Outcome.REFUSED, Outcome.EXPIRED})


class Tried(msgspec.Struct):
    """What became of one channel's message. `accepted_s`, `delivered_s`: seconds since the order; None: not so far."""

    channel: Channel
    person: str
    outcome: str = "planned"
    reason: str = ""
    provider: str = ""
    accepted_s: float | None = None
    delivered_s: float | None = None

    @property
    def passed(self) -> bool:
        return (self.delivered_s if self.channel in RECEIPTED else self.accepted_s) is not None

    @property
    def over(self) -> bool:
        return self.passed or self.outcome in FAILED


def self_test(
    person: As,
    to: Annotated[
        list[str] | None, typer.Option("--to", help="A person who gets it; may be named again. [env: FENGHUO_CANARIES]")
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for receipts.", min=0, max=3600)] = 60,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Sends a test message through every configured channel and waits for its receipt. A running program sends it.

    Exit status 0 when each arrived (mail, web push and chat: was taken by the provider), 5 when not.
    """
    read = settings(data_dir=data_dir)
    people = to or read.canaries
    if not people:
        raise InvalidInput("selftest.nobody", "Nobody is named to send to.", "Use --to PERSON, or set canaries.")

    async def act(stores: Stores) -> list[Tried]:
        if not runs(stores):
            raise Unreachable("selftest.nothing_runs", "No Fenghuo runs on this data folder.", "Run: fenghuo all")
        tried = _chosen(stores, people, configured(read))
        points = [(one.person, one.channel) for one in tried if one.person]
        if not points:
            raise NotFound("selftest.no_channel", "None of these people has a channel that is configured.")
        began = time.monotonic()
        ordered = await stores.reachability.order_canary(actor(person), points)
        while True:
            await stores.catch_up()
            _look(stores, ordered.test_id, tried, time.monotonic() - began)
            if all(one.over for one in tried if one.person) or time.monotonic() - began > wait:
                return tried
            await asyncio.sleep(LOOK_S)

    tried = with_stores(data_dir, act)
    passed = all(one.passed for one in tried)
    channels = [{**msgspec.to_builtins(one), "passed": one.passed} for one in tried]
    show({"passed": passed, "channels": channels}, as_json=as_json, text=lambda: "\n".join(map(_line, tried)))
    if not passed:
        raise typer.Exit(PARTIAL)


def configured(read: Settings) -> list[Channel]:
    """The channels that the settings name. Webhooks need no setting, so they are tried where a person has one."""
    named = {
        Channel.SMS: read.sandbox or read.sms or read.aliyun,
        Channel.VOICE: read.sandbox or read.voice,
        Channel.EMAIL: read.sandbox or read.email,
        Channel.WEBPUSH: read.sandbox or read.webpush,
        Channel.CHAT: read.chat,
    }
    return [channel for channel in Channel if named.get(channel)]


def _chosen(stores: Stores, people: Sequence[str], channels: Sequence[Channel]) -> list[Tried]:
    """For each channel the first of these people who has it; nobody, where none does."""
    with stores.views.reading() as db:
        known = stores.views.directory.people_by_id(db, people)
    if missing := [name for name in people if name not in known]:
        raise NotFound("person.unknown", f"There is no person {missing[0]}.")

    def whose(channel: Channel) -> str:
        return next((name for name in people if channel in known[name].channels), "")

    tried = [Tried(channel, whose(channel)) for channel in channels]
    if hook := whose(Channel.WEBHOOK):
        tried.append(Tried(Channel.WEBHOOK, hook))
    for one in tried:
        one.reason = "" if one.person else "no_address"
    return tried


def _look(stores: Stores, test_id: str, tried: Sequence[Tried], seconds: float) -> None:
    with stores.views.reading() as db:
        found = stores.views.deliveries.of(db, test_id)
    for one in tried:
        row = found.get((one.person, one.channel))
        if row is None:
            continue
        one.outcome, one.reason, one.provider = row["outcome"], row["reason"], row["provider"]
        if one.accepted_s is None and one.outcome in {Outcome.ACCEPTED, Outcome.DELIVERED}:
            one.accepted_s = round(seconds, 1)
        if one.delivered_s is None and one.outcome == Outcome.DELIVERED:
            one.delivered_s = round(seconds, 1)


def _line(one: Tried) -> str:
    def said(seconds: float | None) -> str:
        return "-" if seconds is None else f"{seconds:.1f} s"

    mark = "通过 passed" if one.passed else "失败 failed"
    why = f"  {one.reason}" if one.reason else ""
    times = f"接收 accepted {said(one.accepted_s)}  送达 delivered {said(one.delivered_s)}"
    return f"{one.channel.value:<8}  {mark}  {one.outcome}  {times}{why}"
