"""Is it alive, is it ready, what does it count: for supervisors, load balancers and Prometheus."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from importlib import metadata

from fastapi import APIRouter, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.responses import JSONResponse, PlainTextResponse

from api.auth import S
from api.services import Services
from domain.errors import FenghuoError, UnknownEvent
from domain.people import Channel
from notifiers.channel import Result
from notifiers.failover import Provider, Providers
from notifiers.limits import MICRO

router = APIRouter(tags=["health"])
LAG_READY = 5_000  # events: above this the views are too old to work with


@router.get("/healthz")
async def alive(s: S) -> JSONResponse:
    """200 while every part of the program runs."""
    return JSONResponse({"alive": s.alive()}, 200 if s.alive() else 503)


@router.get("/readyz")
async def ready(s: S) -> JSONResponse:
    """200 once the log answers and the views have caught up with it. `parked`: where they stand at an event that this
    program does not know; what was folded before it can be read."""
    try:
        position = s.views.position
        lag = await s.log.last_position() - position
        parked = await _parked(s, position) if lag > 0 else None
    except FenghuoError as error:
        return JSONResponse({"ready": False, "code": error.code}, 503)
    fine = s.alive() and lag <= LAG_READY
    return JSONResponse({"ready": fine, "lag": lag} | (parked or {}), 200 if fine else 503)


async def _parked(s: Services, position: int) -> dict[str, object] | None:
    try:
        await s.log.read(position, 1)
    except UnknownEvent as error:
        return {"parked": {"position": error.position, "topic": error.topic, "code": error.code}}
    return None


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(s: S) -> Response:
    """Counters and gauges in Prometheus' text form; no labels that name a person or a warning."""
    return Response(await asyncio.to_thread(generate_latest, s.metrics), media_type=CONTENT_TYPE_LATEST)


STATES = ("closed", "half_open", "open")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CALLBACKS = "/callbacks/"
SOON = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SENDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Meters:
    """What is counted. One set for each program; `registry` is its own, so tests do not share.

    Labels are routes, channels, providers, outcomes and the like: each from a short list, none from what was sent.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        Info("fenghuo_build", "Which Fenghuo runs", registry=registry).info({"version": metadata.version("fenghuo")})
        self._requests = Counter(
            "fenghuo_http_requests_total", "HTTP requests", ["method", "route", "status"], registry=registry
        )
        self._request_s = Histogram(
            "fenghuo_http_request_duration_seconds",
            "Seconds until the answer began",
            ["method", "route"],
            buckets=SOON,
            registry=registry,
        )
        self._callbacks = Counter(
            "fenghuo_callbacks_total", "Callbacks of providers: taken or refused", ["kind", "result"], registry=registry
        )
        self._messages = Counter(
            "fenghuo_messages_total",
            "Messages handed over, by what became of them",
            ["channel", "provider", "outcome", "reason"],
            registry=registry,
        )
        self._send_s = Histogram(
            "fenghuo_send_duration_seconds",
            "Seconds for handing over one chunk of messages, waits for the rate included",
            ["channel"],
            buckets=SENDS,
            registry=registry,
        )
        self.drilled = Counter(
            "fenghuo_drill_messages_total",
            "Messages of drills by channel and outcome, which count nowhere else",
            ["channel", "outcome"],
            registry=registry,
        )
        self._events = Counter("fenghuo_log_events_total", "Events appended by this process", registry=registry)
        self._append_s = Histogram(
            "fenghuo_log_append_duration_seconds",
            "Seconds from asking for an append until it is durable",
            buckets=SOON,
            registry=registry,
        )
        self.live = Gauge("fenghuo_live_streams", "Live streams that are open", ["kind"], registry=registry)
        of = ["provider", "channel"]
        self._provider_state = Gauge("fenghuo_provider_state", "0 closed, 1 half open, 2 open", of, registry=registry)
        self._provider_rate = Gauge("fenghuo_provider_rate", "Tokens a second; -1: any", of, registry=registry)
        self._provider_spent = Gauge(
            "fenghuo_provider_spent_today", "What was spent today (UTC)", of, registry=registry
        )
        self._provider_waiting = Gauge(
            "fenghuo_provider_rate_waiting", "Batches that wait for tokens", of, registry=registry
        )

    def watch(self, providers: Providers) -> None:
        """Shows these providers as they are when somebody looks."""
        for provider in providers.all:
            labels = (provider.name, provider.channel.value)
            for gauge, read in (
                (self._provider_state, _state(provider)),
                (self._provider_rate, _rate(provider)),
                (self._provider_spent, _spent(provider)),
                (self._provider_waiting, _waiting(provider)),
            ):
                gauge.labels(*labels).set_function(read)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """An answer began; `route` is the template that its path was found by, as in `/v1/warnings/{warning_id}`."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._request_s.labels(method, route).observe(seconds)
        if route.startswith(CALLBACKS):
            kind = route.removeprefix(CALLBACKS).partition("/")[0]
            self._callbacks.labels(kind, "taken" if status < 400 else "refused").inc()

    def sent(self, channel: Channel, results: Sequence[Result], seconds: float) -> None:
        """A chunk was handed to a channel, with these results."""
        self._send_s.labels(channel.value).observe(seconds)
        for (provider, outcome, reason), n in Tally((r.provider, r.outcome, r.reason) for r in results).items():
            self._messages.labels(channel.value, provider, outcome.value, reason.value).inc(n)

    def appended(self, events: int, seconds: float) -> None:
        self._events.inc(events)
        self._append_s.observe(seconds)


def _state(provider: Provider) -> Callable[[], float]:
    return lambda: float(STATES.index(provider.breaker.state.value))


def _rate(provider: Provider) -> Callable[[], float]:
    return lambda: -1.0 if provider.pace.per_s is None else provider.pace.per_s


def _spent(provider: Provider) -> Callable[[], float]:
    return lambda: provider.budget.spent() / MICRO if provider.budget else 0.0


def _waiting(provider: Provider) -> Callable[[], float]:
    return lambda: float(provider.pace.waiting)
