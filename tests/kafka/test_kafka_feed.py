"""The feed on a real broker: whole, in each stream's order, and nothing skipped when its relay ends at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog

from domain.errors import Refused
from domain.ids import node_stream
from infra.engine.left import Left
from infra.kafka import feed
from infra.kafka.clients import whole
from infra.kafka.feed import FeedRelay
from infra.kafka.settings import KafkaConfig
from tests.engine.house import ANNOTATED, House, actor, annotate, content, house


async def read(config: KafkaConfig) -> list[dict[str, Any]]:
    """The feed's messages, by partition and offset."""
    return [json.loads(record.value) for record in await whole(config, config.feed)]


@contextlib.asynccontextmanager
async def relaying(relay: FeedRelay) -> AsyncIterator[FeedRelay]:
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what is waited for happens on the far side of a socket
            await asyncio.sleep(0.01)


def in_order(found: list[dict[str, Any]]) -> bool:
    last: dict[str, str] = {}
    for event in found:
        if event["sequence"] <= last.get(event["subject"], ""):
            return False
        last[event["subject"]] = event["sequence"]
    return True


async def test_every_event_of_the_log_is_in_the_feed_once_and_each_stream_in_order(tmp_path, kafka):
    async with house(tmp_path) as h, relaying(FeedRelay(h.stores.log, kafka)) as relay:
        await h.told()
        end = h.stores.log.last_position_now()
        await until(lambda: relay.published >= end)

        found = await read(kafka)
        recorded = h.recorded()
        assert {e["id"] for e in found} == {r.metadata.event_id for r in recorded}
        assert len(found) == len(recorded)
        assert in_order(found)


async def test_a_message_is_a_structured_cloudevent_keyed_by_its_stream(tmp_path, kafka):
    async with house(tmp_path) as h, relaying(FeedRelay(h.stores.log, kafka)) as relay:
        warning_id = await h.told()
        end = h.stores.log.last_position_now()
        await until(lambda: relay.published >= end)
        records = await whole(kafka, kafka.feed)
    (released,) = [r for r in records if json.loads(r.value)["type"] == "warning.released.v1"]
    event = json.loads(released.value)

    assert released.key == f"warning-{warning_id}".encode() == event["subject"].encode()
    assert dict(released.headers) == {"content-type": b"application/cloudevents+json; charset=UTF-8"}
    assert {k: event[k] for k in ("specversion", "datacontenttype", "actor")} == {
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "actor": "officer2",
    }
    assert event["time"] == "2026-07-01T08:00:00Z"
    assert event["data"]["warning_id"] == warning_id


async def lived(h: House) -> int:
    await h.told()
    return h.stores.log.last_position_now()


async def test_a_relay_that_ends_before_it_wrote_its_position_repeats_a_batch_and_skips_nothing(
    tmp_path, kafka, monkeypatch
):
    small = kafka.model_copy(update={"batch": 10})
    async with house(tmp_path) as h:
        end = await lived(h)
        sent: list[str] = []

        class Broken(Exception):
            """The process ends here."""

        class Ending:
            """A producer that ends the process after the third batch, before its position is written."""

            def __init__(self, inner: Any) -> None:
                self._inner = inner
                self.send = inner.send

            async def send_and_wait(self, topic: str, *rest: Any, **more: Any) -> None:
                sent.append(topic)
                if len(sent) == 3:
                    raise Broken
                await self._inner.send_and_wait(topic, *rest, **more)

        real = feed.producer

        @contextlib.asynccontextmanager
        async def ending(config: KafkaConfig) -> AsyncIterator[Any]:
            async with real(config) as inner:
                yield Ending(inner)

        with monkeypatch.context() as patched:
            patched.setattr(feed, "producer", ending)
            with pytest.raises(Broken):
                await FeedRelay(h.stores.log, small).run()
        before = await read(small)
        async with relaying(FeedRelay(h.stores.log, small)) as relay:
            await until(lambda: relay.published >= end)

        found = await read(small)
        ids = [e["id"] for e in found]
        assert len(before) == 30
        assert {r.metadata.event_id for r in h.recorded()} == set(ids)
        assert len(ids) - len(set(ids)) == 10


async def test_the_position_survives_the_views_and_another_relay_goes_on(tmp_path, kafka):
    async with house(tmp_path) as h:
        await lived(h)
        async with relaying(FeedRelay(h.stores.log, kafka)) as relay:
            await until(lambda: relay.published >= h.stores.log.last_position_now())
    for file in tmp_path.glob("views.sqlite*"):
        file.unlink()
    async with house(tmp_path) as h:
        end = await lived(h)
        async with relaying(FeedRelay(h.stores.log, kafka)) as relay:
            await until(lambda: relay.published >= end)
        assert len(await read(kafka)) == len(h.recorded())


async def test_two_relays_at_once_publish_under_the_same_ids(tmp_path, kafka):
    async with house(tmp_path) as h:
        async with relaying(FeedRelay(h.stores.log, kafka)) as one, relaying(FeedRelay(h.stores.log, kafka)) as two:
            end = await lived(h)
            await until(lambda: min(one.published, two.published) >= end)
        found = await read(kafka)
        recorded = {r.metadata.event_id: r for r in h.recorded()}
        assert {e["id"] for e in found} == recorded.keys()
        assert all(int(e["sequence"]) == recorded[e["id"]].position for e in found)
        once = {e["id"]: e for e in reversed(found)}
        assert in_order(sorted(once.values(), key=lambda e: e["sequence"]))


async def test_a_feed_of_another_log_is_refused(tmp_path, kafka):
    async with house(tmp_path / "one") as h:
        await lived(h)
        async with relaying(FeedRelay(h.stores.log, kafka)) as relay:
            await until(lambda: relay.published >= h.stores.log.last_position_now())
    async with house(tmp_path / "two") as h:
        with pytest.raises(Refused) as refused:
            await FeedRelay(h.stores.log, kafka)._publish()
    assert refused.value.code == "feed.ahead"


async def test_it_stops_before_an_event_of_which_nobody_here_knows_what_is_personal(tmp_path, kafka):
    with structlog.testing.capture_logs() as lines:
        async with house(tmp_path) as h:
            await h.told()
            position = annotate(h.stores.log, node_stream("village"))
            await h.desk.draft(actor("officer1"), content())
            left = Left()
            for _ in range(2):  # also one that begins there
                async with relaying(FeedRelay(h.stores.log, kafka, left)) as relay:
                    await until(lambda: relay._parked_at == position)
                    assert relay.published == position - 1
    found = await read(kafka)
    assert [int(event["sequence"]) for event in sorted(found, key=lambda e: e["sequence"])] == list(range(1, position))
    assert len(left) == 1
    assert [line["topic"] for line in lines if line["event"] == "feed_parked"] == [ANNOTATED] * 2
    assert "feed_stopped" not in [line["event"] for line in lines]
