"""`fenghuo status`: how an installation stands, read from its stores, whether the program runs or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from domain.errors import FenghuoError
from infra.cli.common import DataDir, settings, with_stores
from infra.cli.output import AsJson, show
from infra.state import State, measure
from infra.stores import Stores, runs

if TYPE_CHECKING:
    from infra.kafka.state import KafkaState

NAMED = 20  # silent stations that are named; --json names all
GIB = 1024**3


def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Prints positions, lag, lanes, silence, timers, proof and room on the disk. Changes nothing.

    With Kafka configured, also what waits in its lanes; where the brokers do not answer, the code of that.
    """
    brokers = settings(data_dir=data_dir).kafka

    async def act(stores: Stores) -> tuple[bool, State, KafkaState | FenghuoError | None]:
        lanes: KafkaState | FenghuoError | None = None
        if brokers is not None:
            from infra.kafka.state import measure as measured  # noqa: PLC0415  see infra/runtime.py

            try:
                lanes = await measured(brokers)
            except FenghuoError as error:  # the rest is worth knowing all the more
                lanes = error
        return runs(stores), await asyncio.to_thread(measure, stores), lanes

    running, state, lanes = with_stores(data_dir, act, catch_up=False)
    value: dict[str, Any] = {"running": running, **msgspec.to_builtins(state)}
    if lanes is not None:
        value["kafka"] = {"error": lanes.code} if isinstance(lanes, FenghuoError) else msgspec.to_builtins(lanes)
    lines = [*_lines(running, state), *_of_kafka(lanes, state.position)]
    show(value, as_json=as_json, text=lambda: "\n".join(lines))


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


def _of_kafka(found: KafkaState | FenghuoError | None, position: int) -> list[str]:
    if found is None:
        return []
    if isinstance(found, FenghuoError):
        return [f"Kafka: 无应答 no answer ({found.code})"]
    lines = [
        f"Kafka 通道 lane {lane.lane.value}: 未确认 lag {lane.lag}, 工作进程 workers {lane.workers}"
        for lane in found.lanes
    ]
    behind = max(0, position - found.feed_position)
    return [
        *lines,
        f"Kafka 发布 feed: {found.feed_position}, 落后 behind {behind}",
        f"Kafka 死信 dead letters: {found.dead_letters}",
    ]


def _for(seconds: float) -> str:
    return f" ({seconds:.0f} s)" if seconds else ""
