"""Who watches the dead letters says once that they cannot be read, however long that lasts."""

from __future__ import annotations

import asyncio

import structlog

from domain.errors import Unreachable
from infra.kafka import dead
from infra.kafka.dead import DeadWatch
from infra.kafka.settings import KafkaConfig


class Away(DeadWatch):
    """Follows brokers that answer as the list says; None: they are there for a moment, then gone."""

    def __init__(self, answers: list[str | None]) -> None:
        super().__init__(KafkaConfig(bootstrap="127.0.0.1:1"))
        self._answers = answers
        self.over = asyncio.Event()

    async def _follow(self) -> None:
        if not self._answers:
            self.over.set()
            await asyncio.Event().wait()
        code = self._answers.pop(0)
        if code is None:
            self._read()
        raise Unreachable(code or "kafka.unreachable", "No broker answers.")


async def test_the_same_fault_is_said_once_until_they_are_read_again(monkeypatch) -> None:
    monkeypatch.setattr(dead, "AGAIN_S", 0)
    watch = Away(["kafka.unreachable", "kafka.unreachable", "kafka.certificate", "kafka.certificate", None, None])
    with structlog.testing.capture_logs() as lines:
        running = asyncio.create_task(watch.run())
        await watch.over.wait()
        running.cancel()
    said = [line["code"] for line in lines if line["event"] == "dead_letters_unread"]
    assert said == ["kafka.unreachable", "kafka.certificate", "kafka.unreachable", "kafka.unreachable"]
    assert watch.loaded.is_set()
