"""The border to aiokafka: who is cancelled there is cancelled, whatever the library is at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from infra.kafka.clients import administering, consumer, producer
from infra.kafka.settings import KafkaConfig


@pytest.mark.parametrize("client", [administering, consumer, producer])
async def test_a_cancellation_while_a_client_stops_is_not_lost(
    client: Callable[[KafkaConfig], AbstractAsyncContextManager[Any]], kafka: KafkaConfig
) -> None:
    leaving = asyncio.Event()

    async def asks() -> None:
        async with client(kafka):
            await asyncio.sleep(0)
            leaving.set()

    task = asyncio.create_task(asks())
    await leaving.wait()
    assert not task.done(), "it had stopped before it could be cancelled: this shows nothing"
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
