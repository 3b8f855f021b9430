"""The whole engine with Kafka between the plan and the worker: everybody is told, retries and withdrawals included."""

from __future__ import annotations

import pytest

from domain.outcomes import Outcome
from domain.rulepacks import Level
from domain.shards import Purpose
from infra.kafka.settings import KafkaConfig
from tests.engine.house import MILAN, SMS, actor, house


@pytest.fixture(name="kafka")
def _named(kafka: KafkaConfig) -> KafkaConfig:
    """The worker has the name by which the house knows what is under way."""
    return kafka.model_copy(update={"member": "embedded"})


async def test_everybody_is_told_once(tmp_path, kafka):
    async with house(tmp_path, kafka=kafka) as h:
        warning_id = await h.told()
        assert h.sent() == h.planned(warning_id)
        assert {row[0] for who, channel in MILAN for row in h.rows(warning_id, who, channel=channel)} == {
            Outcome.ACCEPTED
        }


async def test_a_retry_comes_over_its_lane_as_soon_as_it_is_due(tmp_path, kafka):
    async with house(tmp_path, kafka=kafka) as h:
        h.notifiers[SMS].answers["madrid-es"] = [Outcome.DEFERRED, Outcome.UNKNOWN]
        warning_id = await h.told(Level.RED, target="madrid")
        await h.pass_time(minutes=10)
        await h.pass_time(minutes=10)
        assert [row[0] for row in h.rows(warning_id, "madrid-es")] == [
            Outcome.DEFERRED,
            Outcome.UNKNOWN,
            Outcome.ACCEPTED,
        ]


async def test_a_withdrawal_reaches_exactly_those_who_were_told(tmp_path, kafka):
    async with house(tmp_path, kafka=kafka) as h:
        warning_id = await h.told(Level.RED, target="milan")
        told = h.sent()
        h.forget_sent()
        await h.desk.cancel(actor("officer1"), warning_id, reason="mistake")
        await h.quiet()
        assert h.sent() == h.planned(warning_id, Purpose.CANCEL) == told
