"""The state of an installation as Prometheus reads it. The stores are asked at most once in KEEP_S seconds, however
often and by however many they are scraped; what takes longer to find out, once in SLOW_S.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError

from domain.errors import FenghuoError
from infra.runtime import Runtime
from infra.state import State, measure
from infra.stores import Stores
from projections import backlog

if TYPE_CHECKING:
    from infra.kafka.state import KafkaState, KafkaWatch

_log = structlog.get_logger("fenghuo.metrics")

KEEP_S = 5.0
SLOW_S = 60.0


class StateCollector(Collector):
    """Where the stores cannot be read, `fenghuo_state_readable` is 0 and what they hold is left out."""

    def __init__(self, stores: Stores, runtime: Runtime, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._stores = stores
        self._runtime = runtime
        self._elapsed = elapsed
        self._asking = threading.Lock()
        self._state: State | None = None
        self._mute_stations = 0
        self._asked_at: float | None = None
        self._slowly_at: float | None = None

    def collect(self) -> Iterator[Metric]:
        state = self._latest()
        yield gauge("fenghuo_state_readable", "1 where log and views could be read, else 0", float(state is not None))
        yield from self._of_the_program()
        watch = self._runtime.kafka_watch
        if watch is not None and watch.running:
            yield from _of_kafka(watch, state)
        if state is not None:
            yield from _of_the_stores(state)
            yield gauge(
                "fenghuo_stations_without_contact",
                "Stations none of whose head and liaisons has a working channel",
                self._mute_stations,
            )

    def _latest(self) -> State | None:
        with self._asking:  # a second scrape waits for the first one's answer
            now = self._elapsed()
            if self._asked_at is not None and now - self._asked_at < KEEP_S:
                return self._state
            try:
                if self._slowly_at is None or now - self._slowly_at >= SLOW_S:
                    with self._stores.views.reading() as db:
                        self._mute_stations = backlog.stations_without_contact(self._stores.views, db)
                    self._slowly_at = now
                self._state = measure(self._stores)
            except (FenghuoError, DBAPIError, OSError) as error:
                _log.warning("state_unreadable", kind=type(error).__name__)
                self._state = None
            self._asked_at = now
            return self._state

    def _of_the_program(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("fenghuo_part_running", "1 while a part of the program runs", labels=["part"])
        for part, runs in sorted(self._runtime.parts.items()):
            running.add_metric([part], float(runs))
        yield running
        waited = CounterMetricFamily(
            "fenghuo_provider_rate_waited_seconds",
            "Seconds that batches have waited for tokens",
            labels=["provider", "channel"],
        )
        for provider in self._runtime.providers.all:
            waited.add_metric([provider.name, provider.channel.value], provider.pace.waited_s)
        yield waited
        log = self._stores.log
        yield gauge(
            "fenghuo_views_failures",
            "How often in a row the views could not be kept up",
            self._stores.follower.failures,
        )
        yield gauge(
            "fenghuo_unknown_topics",
            "Kinds of events of a newer program that this process has met and does not know",
            len(log.mapper.unknown),
        )
        yield gauge("fenghuo_feeds_failing", "Feeds whose last reading failed", self._runtime.poller.failing)
        yield counter("fenghuo_log_inserts", "Inserts into the log; each may carry several appends", log.batches)
        yield counter("fenghuo_log_insert_seconds", "Seconds spent in these inserts", log.write_s)


def _of_the_stores(state: State) -> Iterator[Metric]:
    yield gauge("fenghuo_log_position", "Last position of the log", state.position)
    yield gauge("fenghuo_log_signed_position", "Position up to which the log is signed", state.signed_position)
    yield gauge("fenghuo_log_unsigned_seconds", "Age of the oldest event that is not signed", state.unsigned_s)
    yield gauge("fenghuo_views_position", "Position up to which the views follow the log", state.views_position)
    yield gauge("fenghuo_views_lag_events", "Events that the views are behind the log", state.lag_events)
    yield gauge("fenghuo_views_lag_seconds", "Age of the oldest event that the views lack", state.lag_s)
    yield gauge(
        "fenghuo_views_parked",
        "1 while the views stand at an event of a newer program, else 0",
        state.parked is not None,
    )
    yield gauge("fenghuo_plans_pending", "Decisions that wait for their plan", state.plans_pending)
    yield gauge("fenghuo_plans_oldest_seconds", "How long the first of them has waited", state.plans_oldest_s)
    yield gauge("fenghuo_data_free_bytes", "Free space where the data folder lies", state.disk_free)
    yield gauge("fenghuo_data_size_bytes", "Size of the file system where the data folder lies", state.disk_size)

    shards = GaugeMetricFamily(
        "fenghuo_queue_shards", "Shards not at their end: waiting, sending, resting", labels=["lane", "state"]
    )
    oldest = GaugeMetricFamily(
        "fenghuo_queue_oldest_seconds", "How long the first shard has waited to be sent", labels=["lane"]
    )
    retries = GaugeMetricFamily("fenghuo_retries_waiting", "Messages whose next attempt is to come", labels=["lane"])
    for lane in state.lanes:
        name = lane.lane.value
        shards.add_metric([name, "waiting"], lane.waiting)
        shards.add_metric([name, "sending"], lane.sending)
        shards.add_metric([name, "resting"], lane.resting)
        oldest.add_metric([name], lane.oldest_s)
        retries.add_metric([name], lane.retries)
    yield from (shards, oldest, retries)

    silent = GaugeMetricFamily(
        "fenghuo_stations_silent", "Stations that the escalation chases, by the warning's level", labels=["level"]
    )
    waiting = GaugeMetricFamily(
        "fenghuo_unacknowledged", "Stations that have not acknowledged a warning in force", labels=["level"]
    )
    since = GaugeMetricFamily(
        "fenghuo_unacknowledged_oldest_seconds", "For how long the first of them has not", labels=["level"]
    )
    for level in state.silence:
        name = level.level.value
        silent.add_metric([name], level.chased)
        waiting.add_metric([name], level.unacknowledged)
        since.add_metric([name], level.oldest_s)
    yield from (silent, waiting, since)

    timers = GaugeMetricFamily("fenghuo_timers", "Timers that run", labels=["kind"])
    due = GaugeMetricFamily("fenghuo_timers_due", "Timers whose time has come", labels=["kind"])
    overdue = GaugeMetricFamily(
        "fenghuo_timers_due_oldest_seconds", "For how long the first of them has been due", labels=["kind"]
    )
    for timer in state.timers:
        timers.add_metric([timer.kind], timer.timers)
        due.add_metric([timer.kind], timer.due)
        overdue.add_metric([timer.kind], timer.oldest_s)
    yield from (timers, due, overdue)


def _of_kafka(watch: KafkaWatch, state: State | None) -> Iterator[Metric]:
    """Of the one process that announces to Kafka. Where the brokers do not answer, what they hold is left out."""
    found: KafkaState | None = watch.latest
    yield gauge("fenghuo_kafka_readable", "1 where the brokers answered when last asked, else 0", float(bool(found)))
    if found is None:
        return
    lag = GaugeMetricFamily(
        "fenghuo_kafka_lane_lag", "Messages of a lane that its workers have not committed", labels=["lane"]
    )
    workers = GaugeMetricFamily("fenghuo_kafka_lane_workers", "Workers that take from a lane", labels=["lane"])
    for lane in found.lanes:
        lag.add_metric([lane.lane.value], lane.lag)
        workers.add_metric([lane.lane.value], lane.workers)
    yield from (lag, workers)
    yield gauge("fenghuo_kafka_feed_position", "Position up to which the log is published", found.feed_position)
    if state is not None:
        behind = max(0, state.position - found.feed_position)
        yield gauge("fenghuo_kafka_feed_lag_events", "Events of the log that are not published", behind)
    yield gauge("fenghuo_kafka_dead_letters", "Messages that were laid aside", found.dead_letters)


def gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, value=value)


def counter(name: str, what: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, what, value=value)
