"""`fenghuo status`: how an installation stands, read from its stores, whether the program runs or not."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from infra.cli.common import DataDir, with_stores
from infra.cli.output import AsJson, show
from infra.state import State, measure
from infra.stores import Stores, runs

NAMED = 20  # silent stations that are named; --json names all
GIB = 1024**3


def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Prints positions, lag, lanes, silence, timers, proof and room on the disk. Changes nothing."""

    async def act(stores: Stores) -> tuple[bool, State]:
        return runs(stores), await asyncio.to_thread(measure, stores)

    running, state = with_stores(data_dir, act, catch_up=False)
    value: dict[str, Any] = {"running": running, **msgspec.to_builtins(state)}
    show(value, as_json=as_json, text=lambda: "\n".join(_lines(running, state)))


def _lines(running: bool, state: State) -> list[str]:
    """Chinese first, English second, the figures last."""
    lines = [
        f"程序 program: {'运行中 running' if running else '未运行 not running'}",
        f"日志 log: {state.position}, 已签名至 signed to {state.signed_position}{_for(state.unsigned_s)}",
        f"视图 views: {state.views_position}, 落后 behind {state.lag_events}{_for(state.lag_s)}",
        *_parked(state),
        f"待计划 plans pending: {state.plans_pending}{_for(state.plans_oldest_s)}",
    ]
    lines += [
        f"通道 lane {lane.lane.value}: 等待 waiting {lane.waiting}{_for(lane.oldest_s)}, "
        f"发送中 sending {lane.sending}, 待重试 resting {lane.resting} (消息 messages {lane.retries})"
        for lane in state.lanes
    ]
    lines += [
        f"未确认 unacknowledged {silence.level.value}: {silence.unacknowledged}{_for(silence.oldest_s)}, "
        f"催办中 chased {silence.chased}"
        for silence in reversed(state.silence)
        if silence.unacknowledged
    ]
    lines += [
        f"  {silent.node_id}: 预警 warning {silent.warning_id}, 升级 steps {silent.steps}"
        for silent in state.silent[:NAMED]
    ]
    lines += [
        f"定时 timers {timer.kind}: {timer.timers}, 到期 due {timer.due}{_for(timer.oldest_s)}"
        for timer in state.timers
    ]
    lines.append(f"磁盘 disk: 可用 free {state.disk_free / GIB:.1f} / {state.disk_size / GIB:.1f} GiB")
    return lines


def _parked(state: State) -> list[str]:
    if state.parked is None:
        return []
    where = f"{state.parked.position} ({state.parked.topic}){_for(state.parked.for_s)}"
    return [f"  停在 parked at {where}: 由较新版本写入，请升级本程序 written by a newer program: upgrade this one"]


def _for(seconds: float) -> str:
    return f" ({seconds:.0f} s)" if seconds else ""
